//! The main uses of the broker by clients.

use super::*;

#[tokio::test]
async fn a_guest_hears_what_the_backend_says() {
    let server = Server::start(&Options::default()).await;
    let (mut guest, mut staff) = (server.client().await, server.client().await);
    assert_ne!(guest.id, staff.id);
    guest.subscribe("hilton-room-12-chat", None).await;
    assert_eq!(guest.hear().await["data"], r#"{"subscription_count":1}"#);
    staff.subscribe("hilton-room-12-chat", None).await;
    assert_eq!(guest.hear().await["data"], r#"{"subscription_count":2}"#);
    server.trigger("hilton-room-12-chat", "staff-assigned", r#"{"staff_name":"Anna"}"#);
    let expected =
        json!({"event": "staff-assigned", "channel": "hilton-room-12-chat", "data": r#"{"staff_name":"Anna"}"#});
    assert_eq!(guest.hear().await, expected);
    assert_eq!(staff.hear_event().await, "pusher_internal:subscription_count");
    assert_eq!(staff.hear().await, expected);
    guest.say(json!({"event": "pusher:unsubscribe", "data": {"channel": "hilton-room-12-chat"}})).await;
    assert_eq!(staff.hear().await["data"], r#"{"subscription_count":1}"#);
}

#[tokio::test]
async fn both_kinds_of_ping_are_answered() {
    let server = Server::start(&plain()).await;
    let mut client = server.client().await;
    client.say(json!({"event": "pusher:ping", "data": {}})).await;
    assert_eq!(client.hear_event().await, "pusher:pong");
    client.socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(client.socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
}

#[tokio::test]
async fn members_see_each_other_come_and_go() {
    let server = Server::start(&plain()).await;
    let (mut anna, mut boris, mut boris_phone) = (server.client().await, server.client().await, server.client().await);
    let boris_data = r#"{"user_id":"boris","user_info":{"role":"night"}}"#;
    anna.subscribe("presence-desk", Some(r#"{"user_id":"anna"}"#)).await;
    boris.subscribe("presence-desk", Some(boris_data)).await;
    boris_phone.subscribe("presence-desk", Some(boris_data)).await;
    let told = anna.hear().await;
    assert_eq!((&told["event"], &told["data"]), (&json!("pusher_internal:member_added"), &json!(boris_data)));
    // One connection breaks off, the other is closed: the user is removed with the second.
    drop(boris);
    boris_phone.say(json!({"event": "client-bye", "channel": "presence-desk", "data": {}})).await;
    let told = anna.hear().await;
    assert_eq!((&told["event"], &told["user_id"]), (&json!("client-bye"), &json!("boris")));
    boris_phone.socket.close(None).await.unwrap();
    let told = anna.hear().await;
    assert_eq!(
        (&told["event"], &told["data"]),
        (&json!("pusher_internal:member_removed"), &json!(r#"{"user_id":"boris"}"#))
    );
}

/// `threats.md` WS-11.
#[tokio::test]
async fn a_client_speaks_for_itself_only() {
    let server = Server::start(&plain()).await;
    let (mut forger, mut guest) = (server.client().await, server.client().await);
    forger.subscribe("private-c1", None).await;
    guest.subscribe("private-c1", None).await;
    for message in [
        json!({"event": "staff-assigned", "channel": "private-c1", "data": {"staff_id": 9}}),
        json!({"event": "pusher_internal:subscription_succeeded", "channel": "private-c1", "data": {}}),
        json!({"event": "client-typing", "channel": "private-c2", "data": {}}),
    ] {
        forger.say(message).await;
        assert_eq!(forger.hear_event().await, "pusher:error");
    }
    forger.say(json!({"event": "client-typing", "channel": "private-c1", "data": {"on": true}})).await;
    assert_eq!(guest.hear().await, json!({"event": "client-typing", "channel": "private-c1", "data": {"on": true}}));
    // Not to the sender: its next message is another one.
    server.trigger("private-c1", "new-message", "{}");
    assert_eq!(forger.hear_event().await, "new-message");
}

/// `threats.md` WS-12.
#[tokio::test]
async fn another_connections_token_opens_nothing() {
    let server = Server::start(&plain()).await;
    let (mut guest, thief) = (server.client().await, server.client().await);
    let auth = Grant::Channel { name: "private-c", data: None }.token(&app(), &guest.id);
    let (mut thief, stolen) =
        (thief, json!({"event": "pusher:subscribe", "data": {"channel": "private-c", "auth": auth}}));
    thief.say(stolen.clone()).await;
    assert_eq!(thief.hear().await["data"]["code"], Value::Null);
    guest.say(stolen).await;
    assert_eq!(guest.hear_event().await, "pusher_internal:subscription_succeeded");
    server.trigger("private-c", "secret", "{}");
    assert_eq!(guest.hear_event().await, "secret");
    thief.say(json!({"event": "pusher:ping"})).await;
    assert_eq!(thief.hear_event().await, "pusher:pong");
}

#[tokio::test]
async fn a_user_is_reached_on_all_connections_and_sent_away_from_all() {
    let server = Server::start(&plain()).await;
    let (mut laptop, mut phone, mut other) = (server.client().await, server.client().await, server.client().await);
    for client in [&mut laptop, &mut phone] {
        client.sign_in(r#"{"id":"7"}"#).await;
    }
    other.sign_in(r#"{"id":"8"}"#).await;
    server.post("events", &json!({"name": "note", "data": "{}", "channels": ["#server-to-user-7"]}));
    server.post("users/7/terminate_connections", &json!({}));
    for client in [&mut laptop, &mut phone] {
        let (heard, code) = client.hear_close().await;
        assert_eq!((heard[0]["event"].as_str(), code), (Some("note"), 4009));
    }
    other.say(json!({"event": "pusher:ping"})).await;
    assert_eq!(other.hear_event().await, "pusher:pong");
}

#[tokio::test]
async fn an_invalid_request_is_closed_with_a_code() {
    let server = Server::start(&Options { max_connections: 1, ..plain() }).await;
    for (target, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app?protocol=7", 4005),
        ("/prefix/app/usher-key?protocol=7", 4005),
        ("/app/usher-key/x?protocol=7", 4005),
        ("/app/usher-key?protocol=x", 4006),
        ("/app/usher-key?protocol=8", 4007),
        ("/app/usher-key", 4008),
    ] {
        assert_eq!(server.visit(target).await.hear_close().await, (vec![], code), "{target}");
    }
    // Clients of an old protocol receive an event as well.
    for (target, code) in
        [("/app/nobody?protocol=5", 4001), ("/app/usher-key?protocol=4", 4007), ("/elsewhere?protocol=5", 4005)]
    {
        let (heard, closed) = server.visit(target).await.hear_close().await;
        assert_eq!(
            (&heard[0]["event"], &heard[0]["data"]["code"], closed, heard.len()),
            (&json!("pusher:error"), &json!(code), code, 1),
            "{target}"
        );
    }
    let first = server.client().await;
    assert_eq!(server.visit(TARGET).await.hear_close().await, (vec![], 4100));
    drop(first);
    server.quiet().await;
    let _second = server.client().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="refused"}"#), 10);
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="busy"}"#), 1);
}
