//! The effects of messages on sessions (`pusher-protocol.md` 4).

mod sign_in;

use serde_json::{Value, json};

use super::*;
use crate::pusher::Grant;

const ID: &str = "12.34";

fn app() -> App {
    App::new("1001", "usher-key", "usher-secret")
}

fn session_options() -> SessionOptions {
    SessionOptions {
        activity_timeout: Duration::from_secs(120),
        client_events: true,
        max_channels: 3,
        sign_in_timeout: None,
    }
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn session() -> Session {
    Session::establish(SocketId::parse(ID).unwrap(), session_options(), at(0)).0
}

fn token(name: &str, data: Option<&str>) -> String {
    Grant::Channel { name, data }.token(&app(), ID)
}

fn say(session: &mut Session, message: &Value) -> Effect {
    session.on_message(&message.to_string(), &app(), at(0))
}

fn subscribe(session: &mut Session, data: &Value) -> Effect {
    say(session, &json!({"event": "pusher:subscribe", "data": data}))
}

fn join(session: &mut Session, data: &Value) {
    match subscribe(session, data) {
        Effect::Join { channel, channel_type, identity, .. } => {
            session.joined(channel, channel_type, identity.map(|identity| identity.user_id))
        }
        other => panic!("{other:?}"),
    }
}

fn join_private(session: &mut Session, name: &str) {
    join(session, &json!({"channel": name, "auth": token(name, None)}));
}

fn join_presence(session: &mut Session, name: &str, user: &str) {
    let data = json!({"user_id": user}).to_string();
    join(session, &json!({"channel": name, "auth": token(name, Some(&data)), "channel_data": data}));
}

#[track_caller]
fn reply(effect: Effect) -> Value {
    match effect {
        Effect::Reply(frame) => serde_json::from_str(&frame).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The code and the message of the error for the client.
#[track_caller]
fn error(effect: Effect) -> (Option<u64>, String) {
    let error = reply(effect);
    assert_eq!(error["event"], "pusher:error");
    (error["data"]["code"].as_u64(), error["data"]["message"].as_str().unwrap().to_owned())
}

#[test]
fn versions_five_to_seven_are_spoken() {
    for query in
        ["protocol=7", "protocol=7&client=js&version=8.6.0&flash=false", "client=java&protocol=5", "protocol=6"]
    {
        assert_eq!(check_version(query), Ok(()), "{query}");
    }
    for (query, code) in [
        ("", ErrorCode::NoVersion),
        ("client=js", ErrorCode::NoVersion),
        ("protocol=", ErrorCode::NoVersion),
        ("protocol=7&protocol=7", ErrorCode::NoVersion),
        ("protocol=seven", ErrorCode::BadVersion),
        ("protocol=-7", ErrorCode::BadVersion),
        ("protocol=99999999999", ErrorCode::BadVersion),
        ("protocol=4", ErrorCode::UnsupportedVersion),
        ("protocol=8", ErrorCode::UnsupportedVersion),
    ] {
        assert_eq!(check_version(query), Err(code), "{query}");
    }
}

#[test]
fn a_session_begins_with_who_the_client_is() {
    let (_, greeting) = Session::establish(SocketId::parse(ID).unwrap(), session_options(), at(0));
    assert_eq!(
        greeting.as_str(),
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#
    );
}

#[test]
fn a_ping_is_answered_and_a_pong_is_not() {
    let mut session = session();
    assert_eq!(reply(say(&mut session, &json!({"event": "pusher:ping", "data": {}})))["event"], "pusher:pong");
    assert!(matches!(say(&mut session, &json!({"event": "pusher:pong"})), Effect::None));
}

#[test]
fn an_inactive_connection_is_pinged_and_then_closed() {
    let mut session = session();
    assert_eq!(session.deadline(), at(120_000));
    assert!(matches!(session.on_time(at(119_999)), Effect::None));
    session.on_activity(at(1_000));
    assert!(matches!(session.on_time(at(120_999)), Effect::None));
    assert_eq!(reply(session.on_time(at(121_000)))["event"], "pusher:ping");
    assert_eq!(session.deadline(), at(151_000));
    assert!(matches!(session.on_time(at(150_999)), Effect::None));
    session.on_activity(at(150_999));
    assert!(matches!(session.on_time(at(151_000)), Effect::None));
    assert_eq!(reply(session.on_time(at(270_999)))["event"], "pusher:ping");
    assert!(matches!(session.on_time(at(300_999)), Effect::Close(ErrorCode::PongTimeout)));
}

/// Pusher's authorized connections: a sign-in, or a channel that requires a token.
#[test]
fn a_client_that_does_not_sign_in_in_time_is_closed() {
    let session_options = SessionOptions { sign_in_timeout: Some(Duration::from_secs(5)), ..session_options() };
    let begin = || Session::establish(SocketId::parse(ID).unwrap(), session_options, at(0)).0;
    let mut idle = begin();
    join(&mut idle, &json!({"channel": "c"}));
    let _refused = subscribe(&mut idle, &json!({"channel": "private-room", "auth": "x"}));
    let _refused = say(&mut idle, &json!({"event": "pusher:signin", "data": {"auth": "x", "user_data": "{}"}}));
    idle.on_activity(at(4_000));
    assert_eq!(idle.deadline(), at(5_000));
    assert!(matches!(idle.on_time(at(4_999)), Effect::None));
    assert!(matches!(idle.on_time(at(5_000)), Effect::Close(ErrorCode::Unauthorized)));

    let mut shown: Vec<Session> = (0..4).map(|_| begin()).collect();
    let _signed_in = sign_in::sign_in(&mut shown[0], r#"{"id":"7"}"#);
    join_private(&mut shown[1], "private-room");
    join_private(&mut shown[2], "private-encrypted-room");
    join_presence(&mut shown[3], "presence-room", "7");
    for session in &mut shown {
        assert_eq!(session.deadline(), at(120_000));
        assert!(matches!(session.on_time(at(5_000)), Effect::None));
    }
}

#[test]
fn old_clients_receive_an_event_before_the_close() {
    for (query, notice) in [
        ("protocol=7", CloseNotice::FrameOnly),
        ("protocol=6&client=js", CloseNotice::FrameOnly),
        ("client=java&protocol=5", CloseNotice::EventAndFrame),
        ("protocol=4", CloseNotice::EventAndFrame),
        ("protocol=seven", CloseNotice::FrameOnly),
        ("", CloseNotice::FrameOnly),
    ] {
        assert_eq!(CloseNotice::of(query), notice, "{query}");
    }
}

#[test]
fn a_public_channel_requires_no_token() {
    let mut session = session();
    for data in [
        json!({"channel": "hilton-room-12-chat"}),
        json!({"channel": "c", "auth": ""}),
        json!({"channel": "cache-c", "auth": null}),
    ] {
        assert!(matches!(subscribe(&mut session, &data), Effect::Join { identity: None, .. }), "{data}");
    }
    // `data` as a string.
    let wrapped = json!({"event": "pusher:subscribe", "data": json!({"channel": "d"}).to_string()});
    assert!(matches!(say(&mut session, &wrapped), Effect::Join { .. }));
}

#[test]
fn a_channel_is_subscribed_to_once() {
    let mut session = session();
    join(&mut session, &json!({"channel": "c"}));
    assert_eq!(
        error(subscribe(&mut session, &json!({"channel": "c"}))),
        (None, "Existing subscription to channel c".into())
    );
    match say(&mut session, &json!({"event": "pusher:unsubscribe", "data": {"channel": "c"}})) {
        Effect::Leave(channel) => assert_eq!(&*channel, "c"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        say(&mut session, &json!({"event": "pusher:unsubscribe", "data": {"channel": "c"}})),
        Effect::None
    ));
    join(&mut session, &json!({"channel": "c"}));
}

#[test]
fn channels_are_bounded_in_number_and_name() {
    let mut session = session();
    for name in ["a", "b", "c"] {
        join(&mut session, &json!({"channel": name}));
    }
    assert!(error(subscribe(&mut session, &json!({"channel": "d"}))).1.contains("3 channels"));
    let _ = say(&mut session, &json!({"event": "pusher:unsubscribe", "data": {"channel": "a"}}));
    for name in ["", "a b", "#a", "caf\u{e9}", &"c".repeat(201)] {
        assert!(error(subscribe(&mut session, &json!({"channel": name}))).1.contains("name is invalid"), "{name}");
    }
    join(&mut session, &json!({"channel": "c".repeat(200)}));
}

/// `threats.md` WS-12.
#[test]
fn a_private_channel_needs_its_own_token() {
    let mut session = session();
    let name = "private-room";
    let own = token(name, None);
    let foreign = [
        String::new(),
        "x".to_owned(),
        own.to_uppercase(),
        token("private-other", None),
        token(name, Some("{}")),
        Grant::Channel { name, data: None }.token(&app(), "12.35"),
        Grant::Channel { name, data: None }.token(&App::new("1001", "usher-key", "another"), ID),
        Grant::Channel { name, data: None }.token(&App::new("1001", "another", "usher-secret"), ID),
    ];
    for auth in &foreign {
        let (code, message) = error(subscribe(&mut session, &json!({"channel": name, "auth": auth})));
        assert!(code.is_none() && message.contains(name), "{auth}: {message}");
    }
    assert_eq!(error(subscribe(&mut session, &json!({"channel": name}))).0, None);
    assert!(matches!(
        subscribe(&mut session, &json!({"channel": name, "auth": own})),
        Effect::Join { identity: None, .. }
    ));
    for name in ["private-encrypted-room", "private-cache-room", "private-encrypted-cache-room"] {
        assert_eq!(error(subscribe(&mut session, &json!({"channel": name}))).0, None);
        assert!(matches!(
            subscribe(&mut session, &json!({"channel": name, "auth": token(name, None)})),
            Effect::Join { .. }
        ));
    }
}

/// docs/broker.md.
#[test]
fn channel_data_is_signed_wherever_it_is_sent() {
    let mut session = session();
    for name in ["private-room", "private-cache-room", "private-encrypted-room", "private-encrypted-cache-room"] {
        for data in [r#"{"user_id":"7"}"#, "anything", ""] {
            let signed = json!({"channel": name, "auth": token(name, Some(data)), "channel_data": data});
            assert!(matches!(subscribe(&mut session, &signed), Effect::Join { identity: None, .. }), "{signed}");
            let unsigned = json!({"channel": name, "auth": token(name, None), "channel_data": data});
            assert!(error(subscribe(&mut session, &unsigned)).1.contains("does not match"), "{unsigned}");
        }
        let large = "x".repeat(16 * 1024 + 1);
        let signed = json!({"channel": name, "auth": token(name, Some(&large)), "channel_data": large});
        assert!(error(subscribe(&mut session, &signed)).1.contains("too large"));
    }
    // pusher-js sends null if there is none.
    let none = json!({"channel": "private-room", "auth": token("private-room", None), "channel_data": null});
    assert!(matches!(subscribe(&mut session, &none), Effect::Join { .. }));
}

#[test]
fn a_presence_channel_needs_to_know_who_joins() {
    let mut session = session();
    let name = "presence-room";
    let mut with = |data: &str| {
        subscribe(&mut session, &json!({"channel": name, "auth": token(name, Some(data)), "channel_data": data}))
    };
    for (data, user_id) in [
        (r#"{"user_id":"7","user_info":{"name":"Anna"}}"#, "7"),
        (r#"{ "user_id" : 10 }"#, "10"),
        (r#"{"user_id":-1.50}"#, "-1.5"),
        (r#"{"user_id":1.0}"#, "1"),
        (r#"{"user_id":"Zo\u00eb","user_info":null}"#, "Zoë"),
    ] {
        match with(data) {
            Effect::Join { identity: Some(identity), .. } => assert_eq!(&*identity.user_id, user_id),
            other => panic!("{data}: {other:?}"),
        }
    }
    let long = json!({"user_id": "7".repeat(129)}).to_string();
    let much = json!({"user_id": "7", "user_info": "i".repeat(1023)}).to_string();
    for (data, problem) in [
        ("", "not an object"),
        ("7", "not an object"),
        ("{}", "not an object"),
        (r#"["7"]"#, "not an object"),
        (r#"{"user_id":"7""#, "not an object"),
        (r#"{"user_id":"7","user_id":"8"}"#, "not an object"),
        (r#"{"user_id":""}"#, "neither a text nor a number"),
        (r#"{"user_id":true}"#, "neither a text nor a number"),
        (r#"{"user_id":{"a":1}}"#, "neither a text nor a number"),
        (&long, "more than 128 characters"),
        (&much, "more than 1024 bytes"),
        (&"x".repeat(16 * 1024 + 1), "too large"),
    ] {
        let (code, message) = error(with(data));
        assert!(code.is_none() && message.contains(problem), "{data}: {message}");
    }
    // Values at the bounds are accepted.
    assert!(matches!(
        with(&json!({"user_id": "é".repeat(128), "user_info": "i".repeat(1022)}).to_string()),
        Effect::Join { .. }
    ));
    // The data is bound to the token (threats.md WS-12).
    let other =
        json!({"channel": name, "auth": token(name, Some(r#"{"user_id":"7"}"#)), "channel_data": r#"{"user_id":"8"}"#});
    assert!(error(subscribe(&mut session, &other)).1.contains("does not match"));
}

#[test]
fn a_full_channel_is_an_error() {
    let (code, message) = error(Effect::Reply(Session::channel_full("presence-c", ChannelFull)));
    assert!(code.is_none() && message.contains("has 100 members already"), "{message}");
}

#[test]
fn client_events_go_to_the_others_of_a_channel() {
    let mut session = session();
    join_private(&mut session, "private-c");
    join_presence(&mut session, "presence-c", "7");
    for (channel, expected) in [
        ("private-c", r#"{"event":"client-typing","channel":"private-c","data":{"on":true}}"#),
        ("presence-c", r#"{"event":"client-typing","channel":"presence-c","data":{"on":true},"user_id":"7"}"#),
    ] {
        match say(
            &mut session,
            &json!({"event": "client-typing", "channel": channel, "data": {"on": true}, "user_id": "8"}),
        ) {
            Effect::Relay { channel: to, frame } => assert_eq!((&*to, frame.as_str()), (channel, expected)),
            other => panic!("{other:?}"),
        }
    }
}

/// `threats.md` WS-11.
#[test]
fn what_is_no_client_event_goes_nowhere() {
    let mut session = session();
    join_private(&mut session, "private-c");
    join_private(&mut session, "private-encrypted-c");
    join(&mut session, &json!({"channel": "c"}));
    let large = "x".repeat(MAX_DATA - 1);
    for (message, problem) in [
        (json!({"event": "staff-assigned", "channel": "private-c", "data": {"staff_id": 9}}), "client events only"),
        (json!({"event": "pusher_internal:member_added", "channel": "private-c", "data": "{}"}), "client events only"),
        (json!({"event": "pusher:error", "channel": "private-c", "data": "{}"}), "client events only"),
        (json!({"event": "Client-typing", "channel": "private-c", "data": "{}"}), "client events only"),
        (json!({"event": "client-typing", "channel": "c", "data": {}}), "only supported on private and presence"),
        (json!({"event": "client-typing", "channel": "private-encrypted-c", "data": {}}), "not encrypted"),
        (json!({"event": "client-typing", "channel": "private-d", "data": {}}), "not subscribed"),
        (json!({"event": "client-typing", "channel": "#server-to-user-7", "data": {}}), "not subscribed"),
        (json!({"event": "client-typing", "data": {}}), "names no channel"),
        (json!({"event": format!("client-{}", "é".repeat(194)), "channel": "private-c"}), "name is too long"),
        (json!({"event": "client-typing", "channel": "private-c", "data": large}), "too large"),
        (json!([]), "not a JSON object"),
    ] {
        let (code, told) = error(say(&mut session, &message));
        assert!(code.is_none() && told.contains(problem), "{message}: {told}");
    }
    // Values at the bounds are accepted.
    let message = json!({"event": format!("client-{}", "é".repeat(193)), "channel": "private-c", "data": large[2..]});
    assert!(matches!(say(&mut session, &message), Effect::Relay { .. }));
}

#[test]
fn client_events_are_limited_in_rate() {
    let mut session = session();
    join_private(&mut session, "private-c");
    let message = json!({"event": "client-typing", "channel": "private-c", "data": {}}).to_string();
    for _ in 0..10 {
        assert!(matches!(session.on_message(&message, &app(), at(5_000)), Effect::Relay { .. }));
    }
    assert_eq!(error(session.on_message(&message, &app(), at(5_000))).0, Some(4301));
    assert!(matches!(session.on_message(&message, &app(), at(6_000)), Effect::Relay { .. }));
}

#[test]
fn client_events_can_be_switched_off() {
    let session_options = SessionOptions { client_events: false, ..session_options() };
    let (mut session, _) = Session::establish(SocketId::parse(ID).unwrap(), session_options, at(0));
    join_private(&mut session, "private-c");
    assert!(error(say(&mut session, &json!({"event": "client-x", "channel": "private-c"}))).1.contains("switched off"));
}

#[test]
fn everything_that_was_joined_is_known_at_the_end() {
    let mut session = session();
    join(&mut session, &json!({"channel": "a"}));
    join_private(&mut session, "private-b");
    let _ = sign_in::sign_in(&mut session, r#"{"id":7}"#);
    let mut names: Vec<_> = session.into_channels().map(|name| name.to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, ["#server-to-user-7", "a", "private-b"]);
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_said_panics(text in r#"[\{\}\[\]":,a-z\\0-9 é]{0,60}"#) {
        let _ = session().on_message(&text, &app(), at(0));
    }
}
