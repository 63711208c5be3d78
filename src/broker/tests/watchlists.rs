//! Watchlist events over real sockets.

use super::*;

/// The next watchlist events of the client.
async fn watchlist_events(client: &mut Client) -> Value {
    let frame = client.hear().await;
    assert_eq!(frame["event"], "pusher_internal:watchlist_events");
    let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
    data["events"].clone()
}

fn group(name: &str, user_ids: &[&str]) -> Value {
    json!({"name": name, "user_ids": user_ids})
}

#[tokio::test]
async fn watched_users_come_and_go() {
    let server = Server::start(&plain()).await;
    let (mut anna, mut laptop, mut phone) = (server.client().await, server.client().await, server.client().await);
    anna.sign_in(r#"{"id":"anna","watchlist":["boris","zoe"]}"#).await;
    assert_eq!(watchlist_events(&mut anna).await, json!([group("offline", &["boris", "zoe"])]));
    laptop.sign_in(r#"{"id":"boris","watchlist":["zoe","anna"]}"#).await;
    assert_eq!(watchlist_events(&mut laptop).await, json!([group("online", &["anna"]), group("offline", &["zoe"])]));
    assert_eq!(watchlist_events(&mut anna).await, json!([group("online", &["boris"])]));
    phone.sign_in(r#"{"id":"boris"}"#).await;
    // One connection breaks off, the backend ends the other: the user is offline after the second.
    drop(laptop);
    server.post("users/boris/terminate_connections", &json!({}));
    assert_eq!(watchlist_events(&mut anna).await, json!([group("offline", &["boris"])]));
    // After another sign-in the client receives the state of its new watchlist.
    anna.sign_in(r#"{"id":"anna","watchlist":["anna"]}"#).await;
    assert_eq!(watchlist_events(&mut anna).await, json!([group("online", &["anna"])]));
    anna.say(json!({"event": "pusher:ping"})).await;
    assert_eq!(anna.hear_event().await, "pusher:pong");
}
