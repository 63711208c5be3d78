//! The session's answers, frame by frame.

use super::*;

fn subscriptions(channels: &[&str]) -> Subscriptions {
    let app = App::new("3", "278d425bdf160c739803", "7ad3773142a6692b25b8");
    let member = r#"{"user_id":"10"}"#.to_owned();
    Subscriptions { channels: channels.iter().map(|channel| (*channel).to_owned()).collect(), app: Some(app), member }
}

fn sent(effects: &[Effect]) -> Vec<Value> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Send(text) = effect { serde_json::from_str(text).ok() } else { None })
        .collect()
}

const ESTABLISHED: &str =
    r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\",\"activity_timeout\":30}"}"#;

#[test]
fn subscribes_and_signs_once_the_connection_is_established() {
    let subscriptions = subscriptions(&["h-room-1-chat", "private-foobar", "presence-foobar"]);
    let mut session = Session::new(&subscriptions);
    assert_eq!(session.silence(), LONGEST_SILENCE);
    let effects = session.receive(ESTABLISHED).unwrap();
    assert!(
        matches!(&effects[0], Effect::Established(event) if event.data.as_deref().is_some_and(|data| data.contains("1234.1234")))
    );
    let sent = sent(&effects);
    assert_eq!(sent[0], json!({ "event": "pusher:subscribe", "data": { "channel": "h-room-1-chat" } }));
    // pusher-protocol.md 8.7
    let auth = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
    assert_eq!(sent[1], json!({ "event": "pusher:subscribe", "data": { "channel": "private-foobar", "auth": auth } }));
    assert_eq!(sent[2]["data"]["channel_data"], r#"{"user_id":"10"}"#);
    assert!(sent[2]["data"]["auth"].as_str().unwrap().starts_with("278d425bdf160c739803:"));
    assert_eq!(session.silence(), Duration::from_secs(30));
}

#[test]
fn is_ready_when_all_channels_are_confirmed() {
    let subscriptions = subscriptions(&["a", "b"]);
    let mut session = Session::new(&subscriptions);
    let mut confirm = |channel: &str| {
        let frame =
            json!({ "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}" }).to_string();
        session.receive(&frame).unwrap().contains(&Effect::Ready)
    };
    assert!(!confirm("a"));
    assert!(confirm("b"));
}

#[test]
fn answers_pings_and_ignores_pongs() {
    let subscriptions = subscriptions(&[]);
    let mut session = Session::new(&subscriptions);
    let answered = session.receive(r#"{"event":"pusher:ping"}"#).unwrap();
    assert_eq!(sent(&answered)[0]["event"], "pusher:pong");
    assert_eq!(answered.len(), 1);
    assert!(session.receive(r#"{"event":"pusher:pong","data":{}}"#).unwrap().is_empty());
}

#[test]
fn distinguishes_events_from_the_protocols_own() {
    let subscriptions = subscriptions(&["presence-a"]);
    let mut session = Session::new(&subscriptions);
    let mut only = |text: &str| {
        let mut effects = session.receive(text).unwrap();
        assert_eq!(effects.len(), 1);
        effects.remove(0)
    };
    let event = only(r#"{"event":"client-x","channel":"presence-a","data":{"k": 1},"user_id":"7"}"#);
    let expected = Event {
        name: "client-x".to_owned(),
        channel: Some("presence-a".to_owned()),
        user_id: Some("7".to_owned()),
        data: Some(r#"{"k": 1}"#.to_owned()),
    };
    assert_eq!(event, Effect::Event(expected));
    assert!(
        matches!(only(r#"{"event":"e","channel":"c","data":"\"text\""}"#), Effect::Event(event) if event.data.as_deref() == Some("\"text\""))
    );
    assert!(matches!(
        only(r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{}"}"#),
        Effect::Notice(_)
    ));
    assert!(
        matches!(only(r#"{"event":"pusher:cache_miss","channel":"cache-a"}"#), Effect::Notice(event) if event.data.is_none())
    );
}

#[test]
fn permanent_refusals_are_distinguished_from_others() {
    let subscriptions = subscriptions(&["private-a"]);
    let mut session = Session::new(&subscriptions);
    let mut refused = |text: &str| {
        let effects = session.receive(text).unwrap();
        effects.into_iter().find_map(|effect| if let Effect::Refused(message) = effect { Some(message) } else { None })
    };
    // As an object (Pusher), as text (Reverb), and soketi's own event (pusher-protocol.md 4.3).
    let told = [
        r#"{"event":"pusher:error","data":{"message":"bad key","code":4001}}"#,
        r#"{"event":"pusher:error","data":"{\"code\":4009,\"message\":\"Connection is unauthorized\"}"}"#,
        r#"{"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"wrong","status":401}}"#,
        r#"{"event":"pusher:error","data":{"message":"wrong","code":null}}"#,
    ]
    .map(&mut refused);
    assert_eq!(told[0].as_deref(), Some("the server reports error 4001: bad key"));
    assert_eq!(told[1].as_deref(), Some("the server reports error 4009: Connection is unauthorized"));
    assert_eq!(told[2].as_deref(), Some("the subscription to private-a was refused: wrong"));
    // Without a code while a subscription is waited for: it was that one (docs/broker.md).
    assert_eq!(told[3].as_deref(), Some("the server reports an error: wrong"));
    let (slow_down, nothing) = (
        r#"{"event":"pusher:error","data":{"message":"slow down","code":4301}}"#,
        r#"{"event":"pusher:error","data":{"code":null}}"#,
    );
    assert_eq!(refused(slow_down), None);
    assert_eq!(
        refused(r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}"#),
        None
    );
    assert_eq!(refused(nothing), None);
}

#[test]
fn odd_frames_are_errors_and_nothing_more() {
    let subscriptions = subscriptions(&["a"]);
    for text in [
        "",
        "[]",
        "7",
        "{}",
        r#"{"event":7}"#,
        r#"{"event":"pusher:connection_established"}"#,
        r#"{"event":"a","channel":[]}"#,
    ] {
        assert!(Session::new(&subscriptions).receive(text).is_err(), "{text}");
    }
}

#[test]
fn guarded_channels_need_a_secret() {
    let mut subscriptions = subscriptions(&["a", "private-b"]);
    assert_eq!(subscriptions.first_unsigned(), None);
    subscriptions.app = None;
    assert_eq!(subscriptions.first_unsigned(), Some("private-b"));
}
