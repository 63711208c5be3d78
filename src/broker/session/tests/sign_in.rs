//! Signing in: who may, as whom, and what the user watches.

use super::*;

pub(super) fn sign_in(session: &mut Session, data: &str) -> Effect {
    let auth = Grant::User { data }.token(&app(), ID);
    say(session, &json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}))
}

#[test]
fn a_client_signs_in_as_one_user() {
    let mut session = session();
    let own = "#server-to-user-7";
    assert_eq!(error(subscribe(&mut session, &json!({"channel": own}))).0, Some(4009));
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
    // pusher-js subscribes to its user's channel then; it is no subscription, and nobody else's channel is to be had.
    let told = reply(subscribe(&mut session, &json!({"channel": own})));
    assert_eq!((&told["event"], &told["channel"]), (&json!("pusher_internal:subscription_succeeded"), &json!(own)));
    assert_eq!(error(subscribe(&mut session, &json!({"channel": "#server-to-user-8"}))).0, Some(4009));
    match sign_in(&mut session, r#"{"id":"7","watchlist":["8"]}"#) {
        Effect::Watch { watchlist, reply: told } => {
            assert_eq!(watchlist, [Arc::from("8")]);
            assert!(told.contains("pusher:signin_success"), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error(sign_in(&mut session, r#"{"id":"8"}"#)).0, Some(4009));
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
        assert_eq!(error(say(&mut session, &message)).0, Some(4009), "{auth}");
    }
    for data in ["", "{}", r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"a\n"}"#, &json!({"id": "7".repeat(201)}).to_string()] {
        assert!(error(sign_in(&mut session, data)).1.contains("with an id"), "{data}");
    }
    assert!(error(sign_in(&mut session, &" ".repeat(32 * 1024 + 1))).1.contains("too large"));
}

#[test]
fn a_watchlist_is_a_list_of_a_hundred_users_at_most() {
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
            Effect::SignIn { watchlist, .. } => assert_eq!(watchlist.iter().map(|id| &**id).collect::<Vec<_>>(), expected),
            other => panic!("{list}: {other:?}"),
        }
    }
    let mut session = session();
    let many = json!((0..101).map(|number| number.to_string()).collect::<Vec<_>>());
    let (code, message) = error(sign_in(&mut session, &data(&many)));
    assert!(code == Some(4302) && message.contains("101 ids"), "{message}");
    for list in [json!("8"), json!({"8": true}), json!(7), json!([""]), json!([null]), json!([["8"]]), json!(["a\n"]), json!(["8".repeat(201)])] {
        let (code, message) = error(sign_in(&mut session, &data(&list)));
        assert!(code.is_none() && message.contains("watchlist is not a list"), "{list}: {message}");
    }
    // Whoever was refused was not signed in: it may do so as anybody.
    assert!(matches!(sign_in(&mut session, r#"{"id":"8"}"#), Effect::SignIn { .. }));
}
