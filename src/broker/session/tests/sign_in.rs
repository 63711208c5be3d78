//! Signing in: tokens, users and watchlists.

use super::*;

pub(super) fn sign_in(session: &mut Session, data: &str) -> Effect {
    let auth = Grant::User { data }.token(&app(), ID);
    say(session, &json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}))
}

#[test]
fn a_client_signs_in_as_one_user() {
    let mut session = session();
    let own = "#server-to-user-7";
    assert_eq!(error(subscribe(&mut session, &json!({"channel": own}))).0, None);
    match sign_in(&mut session, r#"{"id":"7","user_info":{"name":"Anna"}}"#) {
        Effect::SignIn { channel, user, watchlist, reply: told, .. } => {
            assert_eq!((&*channel, &*user, watchlist.len()), (own, "7", 0));
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["event"], "pusher:signin_success");
            let data: Value = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
            assert_eq!(data["user_data"], r#"{"id":"7","user_info":{"name":"Anna"}}"#);
        }
        other => panic!("{other:?}"),
    }
    // pusher-js then subscribes to the channel of its user, which has no effect; channels of other users are refused.
    let told = reply(subscribe(&mut session, &json!({"channel": own})));
    assert_eq!((&told["event"], &told["channel"]), (&json!("pusher_internal:subscription_succeeded"), &json!(own)));
    assert!(
        error(subscribe(&mut session, &json!({"channel": "#server-to-user-8"}))).1.contains("signed in as this user")
    );
    match sign_in(&mut session, r#"{"id":"7","watchlist":["8"]}"#) {
        Effect::Watch { watchlist, reply: told, warning: None } => {
            assert_eq!(watchlist, [Arc::from("8")]);
            assert!(told.contains("pusher:signin_success"), "{told}");
        }
        other => panic!("{other:?}"),
    }
    let (code, message) = error(sign_in(&mut session, r#"{"id":"8"}"#));
    assert!(code.is_none() && message.contains("another user"), "{message}");
    assert_eq!(session.into_channels().map(|name| name.to_string()).collect::<Vec<_>>(), [own]);
}

#[test]
fn signing_in_needs_a_token_and_an_id() {
    let mut session = session();
    let data = r#"{"id":"7"}"#;
    for auth in [
        String::new(),
        Grant::User { data: r#"{"id":"8"}"# }.token(&app(), ID),
        Grant::User { data }.token(&app(), "12.35"),
        Grant::Channel { name: data, data: None }.token(&app(), ID),
    ] {
        let message = json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}});
        let (code, message) = error(say(&mut session, &message));
        assert!(code.is_none() && message.contains("was refused"), "{auth}: {message}");
    }
    for data in
        ["", "{}", r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"a\n"}"#, &json!({"id": "7".repeat(201)}).to_string()]
    {
        assert!(error(sign_in(&mut session, data)).1.contains("with an id"), "{data}");
    }
    assert!(error(sign_in(&mut session, &" ".repeat(64 * 1024 + 1))).1.contains("too large"));
}

#[test]
fn a_watchlist_is_a_list_of_users() {
    let data = |watchlist: &Value| json!({"id": "7", "watchlist": watchlist}).to_string();
    let longest: Vec<String> = (0..100).map(|number| format!("{number:0>200}")).collect();
    for (list, expected) in [
        (json!(null), vec![]),
        (json!([]), vec![]),
        (json!(["8", "Zoë", "8"]), vec!["8", "Zoë", "8"]),
        (json!(["7", 8]), vec!["7", "8"]),
        (json!(longest), longest.iter().map(String::as_str).collect()),
    ] {
        match sign_in(&mut session(), &data(&list)) {
            Effect::SignIn { watchlist, .. } => {
                assert_eq!(watchlist.iter().map(|id| &**id).collect::<Vec<_>>(), expected)
            }
            other => panic!("{list}: {other:?}"),
        }
    }
    let mut session = session();
    for list in [
        json!("8"),
        json!({"8": true}),
        json!(7),
        json!([""]),
        json!([null]),
        json!([["8"]]),
        json!(["a\n"]),
        json!(["8".repeat(201)]),
    ] {
        let (code, message) = error(sign_in(&mut session, &data(&list)));
        assert!(code.is_none() && message.contains("watchlist is not a list"), "{list}: {message}");
    }
    // A refused client is not signed in, and can sign in as any user.
    assert!(matches!(sign_in(&mut session, r#"{"id":"8"}"#), Effect::SignIn { .. }));
}

/// Of more than a hundred users, the first hundred are accepted (docs/broker.md); the others are not checked.
#[test]
fn a_long_watchlist_is_truncated_with_a_warning() {
    let list: Vec<Value> = (0..100).map(|number| json!(number.to_string())).chain([json!(""), json!(null)]).collect();
    let data = json!({"id": "7", "watchlist": list}).to_string();
    let mut session = session();
    for again in [false, true] {
        let (watchlist, told, warning) = match sign_in(&mut session, &data) {
            Effect::SignIn { watchlist, reply, warning, .. } if !again => (watchlist, reply, warning),
            Effect::Watch { watchlist, reply, warning } if again => (watchlist, reply, warning),
            other => panic!("{other:?}"),
        };
        assert_eq!((watchlist.len(), &*watchlist[99]), (100, "99"));
        assert!(told.contains("pusher:signin_success"), "{told}");
        let (code, message) = error(Effect::Reply(warning.unwrap()));
        assert!(code == Some(4302) && message.contains("of 102 user ids, the first 100"), "{message}");
    }
}

/// The user object of the sign-in is the identity on a presence channel that is joined without one (docs/broker.md).
#[test]
fn a_user_joins_presence_channels_without_channel_data() {
    let mut session = session();
    let join = |name: &str| json!({"channel": name, "auth": token(name, None)});
    let (code, message) = error(subscribe(&mut session, &join("presence-a")));
    assert!(code.is_none() && message.contains("not signed in"), "{message}");
    let shown = |session: &mut Session, name: &str| match subscribe(session, &join(name)) {
        Effect::Join { identity: Some(Identity { user_id, user_info }), .. } => {
            (user_id.to_string(), user_info.map(|info| info.get().to_owned()))
        }
        other => panic!("{other:?}"),
    };
    let _ = sign_in(&mut session, r#"{"id":"amy","user_info":{"name":"Amy"}}"#);
    assert_eq!(shown(&mut session, "presence-a"), ("amy".to_owned(), Some(r#"{"name":"Amy"}"#.to_owned())));
    // The last sign-in counts; a user object for the channel has priority.
    let _ = sign_in(&mut session, r#"{"id":"amy"}"#);
    assert_eq!(shown(&mut session, "presence-b"), ("amy".to_owned(), None));
    let data = r#"{"user_id":"amy-at-work"}"#;
    let own = json!({"channel": "presence-c", "auth": token("presence-c", Some(data)), "channel_data": data});
    match subscribe(&mut session, &own) {
        Effect::Join { identity: Some(identity), .. } => assert_eq!(&*identity.user_id, "amy-at-work"),
        other => panic!("{other:?}"),
    }
    let large = json!({"id": "amy", "user_info": "i".repeat(1024)}).to_string();
    assert!(matches!(sign_in(&mut session, &large), Effect::Watch { .. }));
    let (code, message) = error(subscribe(&mut session, &join("presence-d")));
    assert!(code.is_none() && message.contains("more than 1024 bytes"), "{message}");
}
