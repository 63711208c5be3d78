//! The rate limit of subscribing only delays reading.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::rate::{Limiters, Rate, Rates};

/// The delay of each subscription beyond the burst.
const EACH: Duration = Duration::from_millis(50);
const DELAYED: &str = r#"usher_rate_delayed_total{scope="subscriptions"}"#;

type InMemory = WebSocketStream<DuplexStream>;

/// A client that has received the first frame. The clock is paused and advances only while all tasks wait.
async fn client(server: &Server) -> InMemory {
    client_at(server, None).await
}

/// The same with this pace.
async fn client_at(server: &Server, pace: Option<Pace>) -> InMemory {
    let (near, far) = duplex(1024 * 1024);
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
    let broker = Arc::clone(&server.broker);
    let _served =
        server.tasks.spawn(async move { broker.serve(served, &Uri::from_static(TARGET), pace, &Arc::default()).await });
    assert_eq!(hear(&mut client).await["event"], "pusher:connection_established");
    client
}

async fn hear(client: &mut InMemory) -> Value {
    serde_json::from_str(client.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
}

fn wish(event: &str, channel: &str) -> Message {
    Message::text(json!({"event": format!("pusher:{event}"), "data": {"channel": channel}}).to_string())
}

/// Subscribes to and unsubscribes from this number of channels, one after the other.
async fn churn(client: &mut InMemory, channels: u32) {
    for number in 0..channels {
        client.feed(wish("subscribe", &number.to_string())).await.unwrap();
        client.feed(wish("unsubscribe", &number.to_string())).await.unwrap();
    }
    client.flush().await.unwrap();
}

/// Receives the confirmations of all channels in order. Returns the time of each.
async fn churned(client: &mut InMemory, channels: u32) -> Vec<Duration> {
    let began = Instant::now();
    let mut times = Vec::new();
    for number in 0..channels {
        let told = hear(client).await;
        assert_eq!(
            (&told["event"], &told["channel"]),
            (&json!("pusher_internal:subscription_succeeded"), &json!(number.to_string()))
        );
        times.push(began.elapsed());
    }
    times
}

/// Subscribing for longer than the activity timeout, followed by a ping: nothing is lost or refused, and the server
/// sends no ping.
#[tokio::test(start_paused = true)]
async fn a_burst_is_answered_at_once_and_the_rest_in_turn() {
    let server = Server::start(&Options { max_channels: 5, activity_timeout: Duration::from_secs(5), ..plain() }).await;
    let mut client = client(&server).await;
    churn(&mut client, 1_000).await;
    client.send(Message::text(r#"{"event":"pusher:ping"}"#)).await.unwrap();
    let times = churned(&mut client, 1_000).await;
    assert_eq!(times[4], Duration::ZERO);
    // The first request beyond the limit is read before the limit applies.
    for (number, time) in (0..).zip(&times[5..]) {
        assert!(
            (EACH * number..=EACH * number + Duration::from_millis(number.into())).contains(time),
            "{number}: {time:?}"
        );
    }
    assert_eq!(hear(&mut client).await["event"], "pusher:pong");
    assert_eq!(server.metric(DELAYED), 995);
    sleep(EACH * 5).await;
    churn(&mut client, 5).await;
    assert_eq!(churned(&mut client, 5).await, [Duration::ZERO; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_client_receives_events_without_delay() {
    let server = Server::start(&Options { max_channels: 5, ..plain() }).await;
    let mut client = client(&server).await;
    client.send(wish("subscribe", "news")).await.unwrap();
    let _subscribed = hear(&mut client).await;
    churn(&mut client, 100).await;
    let began = Instant::now();
    let publishing = async {
        for number in 1..20 {
            sleep(Duration::from_millis(101)).await;
            server.trigger("news", &number.to_string(), "{}");
        }
    };
    let hearing = async {
        let (mut events, mut channels) = (1_u32, 0_u32);
        while events < 20 || channels < 100 {
            let told = hear(&mut client).await;
            if told["channel"] == "news" {
                assert_eq!(
                    (&told["event"], began.elapsed()),
                    (&json!(events.to_string()), Duration::from_millis(101) * events)
                );
                events += 1;
            } else {
                assert_eq!(told["channel"], channels.to_string());
                channels += 1;
            }
        }
    };
    tokio::join!(publishing, hearing);
    assert!(began.elapsed() >= EACH * 95, "{:?}", began.elapsed());
}

/// A refused request is answered as well, and counts like any other.
#[tokio::test(start_paused = true)]
async fn subscriptions_that_are_refused_count() {
    let server = Server::start(&Options { max_channels: 5, ..plain() }).await;
    let mut client = client(&server).await;
    let began = Instant::now();
    for _ in 0..45 {
        client.feed(wish("subscribe", "private-room")).await.unwrap();
    }
    client.flush().await.unwrap();
    for _ in 0..45 {
        assert_eq!(hear(&mut client).await["event"], "pusher:error");
    }
    assert!(began.elapsed() >= EACH * 39, "{:?}", began.elapsed());
}

/// The sign-in timeout applies to delayed clients as well.
#[tokio::test(start_paused = true)]
async fn subscribing_puts_off_no_sign_in() {
    let server = Server::start(&Options { max_channels: 5, sign_in_timeout: Duration::from_secs(5), ..plain() }).await;
    let began = Instant::now();
    let mut client = client(&server).await;
    churn(&mut client, 1_000).await;
    let code = loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => break u16::from(frame.code),
            _ => assert!(began.elapsed() < Duration::from_secs(10), "it stays"),
        }
    };
    assert_eq!((code, began.elapsed().as_secs()), (4009, 5));
}

/// The unread messages of a client take minutes; its disconnect is noticed when a frame is sent to it.
#[tokio::test]
async fn who_is_read_slowly_and_goes_is_forgotten() {
    let server = Server::start(&Options { max_channels: 1, ..plain() }).await;
    let mut client = server.client().await;
    for number in 0..5_000 {
        client.socket.feed(wish("subscribe", &number.to_string())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let _first = client.hear().await;
    drop(client);
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="lost"}"#), 1);
}

/// All connections of an address share its pace, and another connection may use it up for a long time: the client's
/// answer to a ping stays unread.
#[tokio::test(start_paused = true)]
async fn who_is_not_read_is_not_silent() {
    let server = Server::start(&Options { activity_timeout: Duration::from_secs(5), ..plain() }).await;
    let once = NonZeroU32::MIN;
    let rates = Rates { peer_messages: Some(Rate { per_second: once, burst: once }), ..Rates::default() };
    let limiters = Limiters::new(&rates, Clock::start(), &server.metrics);
    let pace = || limiters.pace([192, 0, 2, 1].into());
    let mut other = pace().unwrap();
    let taking = async move {
        loop {
            other.ready().await;
            other.count_message();
        }
    };
    let mut taking = Box::pin(timeout(Duration::from_secs(200), taking));
    assert!(futures_util::poll!(&mut taking).is_pending());
    let mut client = client_at(&server, pace()).await;
    for name in ["first", "second", "third"] {
        client.feed(Message::text(json!({"event": name}).to_string())).await.unwrap();
    }
    client.flush().await.unwrap();
    let began = Instant::now();
    let hearing = async {
        let mut answered = Vec::new();
        for _ in 0..3 {
            assert_eq!(hear(&mut client).await["event"], "pusher:error");
            answered.push(began.elapsed().as_secs());
        }
        answered
    };
    let (answered, _elapsed) = tokio::join!(hearing, taking);
    assert!(answered[0] == 0 && answered[1] >= 200, "the other one took no turns: {answered:?}");
    // It is read again after a second, and then has the usual activity timeout.
    let answered = Instant::now();
    assert_eq!(hear(&mut client).await["event"], "pusher:ping");
    assert_eq!(answered.elapsed().as_secs(), 1 + 5);
}
