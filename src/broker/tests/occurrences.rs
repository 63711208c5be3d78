//! What a sink is told of what happens on the channels.

use parking_lot::Mutex;

use super::*;

/// Keeps what it is told, as text.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl OccurrenceSink for Told {
    fn note(&self, occurrence: &Occurrence<'_>) {
        let text = match *occurrence {
            Occurrence::ChannelOccupied { channel } => format!("occupied {channel}"),
            Occurrence::ChannelVacated { channel } => format!("vacated {channel}"),
            Occurrence::MemberAdded { channel, user_id } => format!("added {channel} {user_id}"),
            Occurrence::MemberRemoved { channel, user_id } => format!("removed {channel} {user_id}"),
            Occurrence::ClientEvent { channel, event, data, socket_id, user_id } => {
                let data = data.map_or("nothing", |data| data.get());
                format!("sent {channel} {event} {data} {socket_id} {user_id:?}")
            }
            Occurrence::CacheMiss { channel } => format!("miss {channel}"),
            Occurrence::SubscriptionCount { channel, before, count } => format!("count {channel} {before} {count}"),
        };
        self.0.lock().push(text);
    }

    fn wants_client_events(&self) -> bool {
        true
    }
}

impl Told {
    /// What was told since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

fn told_by(server: &Server) -> Arc<Told> {
    let told = Arc::new(Told::default());
    server.broker.configure_told(&[app()], |id| (id == "1001").then(|| Arc::clone(&told) as _));
    told
}

#[tokio::test]
async fn a_sink_is_told_who_comes_and_goes() {
    let server = Server::start(&plain()).await;
    let told = told_by(&server);
    let (mut one, mut two) = (server.client().await, server.client().await);
    one.subscribe("cache-a", None).await;
    assert_eq!(one.hear_event().await, "pusher:cache_miss");
    assert_eq!(told.take(), ["occupied cache-a", "miss cache-a", "count cache-a 0 1"]);
    server.trigger("cache-a", "e", "x");
    two.subscribe("cache-a", None).await;
    assert_eq!((one.hear_event().await, two.hear_event().await), ("e".to_owned(), "e".to_owned()));
    assert_eq!(told.take(), ["count cache-a 1 2"]);
    two.say(json!({"event": "pusher:unsubscribe", "data": {"channel": "cache-a"}})).await;
    two.subscribe("presence-a", Some(r#"{"user_id":7}"#)).await;
    assert_eq!(told.take(), ["count cache-a 2 1", "occupied presence-a", "added presence-a 7"]);
    one.subscribe("presence-a", Some(r#"{"user_id":"7"}"#)).await;
    assert_eq!(told.take(), [""; 0], "the same user");
    drop(one);
    drop(two);
    server.quiet().await;
    let mut told = told.take();
    told.sort();
    assert_eq!(told, ["count cache-a 1 0", "removed presence-a 7", "vacated cache-a", "vacated presence-a"]);
}

#[tokio::test]
async fn a_sink_is_told_what_clients_send_and_nothing_of_users_channels() {
    let server = Server::start(&plain()).await;
    let told = told_by(&server);
    let (mut one, mut two) = (server.client().await, server.client().await);
    one.sign_in(r#"{"id":"9"}"#).await;
    assert_eq!(told.take(), [""; 0]);
    for client in [&mut one, &mut two] {
        client.subscribe("private-a", None).await;
    }
    told.take();
    one.say(json!({"event": "client-x", "channel": "private-a", "data": {"text": "é\""}})).await;
    assert_eq!(two.hear_event().await, "client-x");
    assert_eq!(told.take(), [format!("sent private-a client-x {} {} None", r#"{"text":"é\""}"#, one.id)]);
}

#[tokio::test]
async fn who_has_no_sink_tells_nobody() {
    let server = Server::start(&plain()).await;
    let told = told_by(&server);
    server.broker.configure(&[app()]);
    let mut client = server.client().await;
    client.subscribe("a", None).await;
    assert_eq!(told.take(), [""; 0]);
}
