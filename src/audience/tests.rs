//! Tests of the counts from the frames of relayed connections.

use super::*;
use crate::metrics::{Metrics, Sample};
use frame::{may_be_confirmation, may_be_request};

const ROOM: &str = "inn-room-1-chat";

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn relayed() -> (Arc<Metrics>, Relayed) {
    let metrics = Metrics::new();
    (Arc::clone(&metrics), Relayed::new(metrics))
}

fn says(relayed_client: &RelayedClient, event: &str, channel: &str) {
    let text = format!(r#"{{"event":"pusher:{event}","data":{{"auth":"","channel":"{channel}"}}}}"#);
    assert!(RelayedClient::is_relevant(Side::Client, &text));
    assert_eq!(relayed_client.note(Side::Client, &text, at(0)), None);
}

fn confirms(relayed_client: &RelayedClient, channel: &str, now: u64) {
    let text = format!(r#"{{"event":"pusher_internal:subscription_succeeded","data":"{{}}","channel":"{channel}"}}"#);
    assert!(RelayedClient::is_relevant(Side::Upstream, &text));
    assert_eq!(relayed_client.note(Side::Upstream, &text, at(now)).as_deref(), Some(channel), "counted or not");
}

fn subscribers(subscribers: usize, last_joined: u64) -> Option<Subscribers> {
    Some(Subscribers { subscribers, last_joined: Some(at(last_joined)) })
}

#[test]
fn subscribers_come_and_go() {
    let (metrics, relayed) = relayed();
    let audience = Audience::Relayed(relayed).app("1").unwrap();
    assert_eq!((audience.of(ROOM), audience.sees()), (None, false), "nobody ever came through usher");
    let (anna, ben) = (audience.relayed_client().unwrap(), audience.relayed_client().unwrap());
    assert_eq!(audience.of(ROOM), Some(Subscribers::NONE));
    says(&anna, "subscribe", ROOM);
    assert_eq!(audience.of(ROOM), Some(Subscribers::NONE), "not confirmed");
    confirms(&anna, ROOM, 5);
    confirms(&anna, ROOM, 6);
    says(&ben, "subscribe", ROOM);
    confirms(&ben, ROOM, 7);
    assert_eq!(audience.of(ROOM), subscribers(2, 7));
    assert!(metrics.encode(&Sample::default()).contains("\nusher_relay_subscriptions 2\n"));
    says(&anna, "unsubscribe", ROOM);
    assert_eq!(audience.of(ROOM), subscribers(1, 7));
    drop(ben);
    assert_eq!((audience.of(ROOM), audience.sees()), (Some(Subscribers::NONE), true));
    assert!(metrics.encode(&Sample::default()).contains("\nusher_relay_subscriptions 0\n"));
}

#[test]
fn a_confirmation_of_what_was_taken_back_counts_nothing() {
    let (_, relayed) = relayed();
    let audience = AppAudience::Relayed(relayed.app("1"));
    let relayed_client = audience.relayed_client().unwrap();
    says(&relayed_client, "subscribe", ROOM);
    says(&relayed_client, "unsubscribe", ROOM);
    confirms(&relayed_client, ROOM, 1);
    confirms(&relayed_client, "inn-room-2-chat", 1);
    assert_eq!((audience.of(ROOM), audience.of("inn-room-2-chat")), (Some(Subscribers::NONE), Some(Subscribers::NONE)));
}

#[test]
fn channels_of_a_connection_are_bounded_and_counted() {
    let (metrics, relayed) = relayed();
    let audience = AppAudience::Relayed(relayed.app("1"));
    let relayed_client = audience.relayed_client().unwrap();
    for room in 0..300 {
        says(&relayed_client, "subscribe", &format!("inn-room-{room}-chat"));
        confirms(&relayed_client, &format!("inn-room-{room}-chat"), 1);
    }
    assert_eq!(
        (audience.of("inn-room-255-chat"), audience.of("inn-room-256-chat")),
        (subscribers(1, 1), None),
        "not nobody: unknown"
    );
    assert!(metrics.encode(&Sample::default()).contains("\nusher_relay_subscriptions_uncounted_total 44\n"));
}

#[test]
fn apps_are_separate_and_kept() {
    let (_, relayed) = relayed();
    let one = AppAudience::Relayed(relayed.app("1"));
    let relayed_client = one.relayed_client().unwrap();
    says(&relayed_client, "subscribe", ROOM);
    confirms(&relayed_client, ROOM, 1);
    assert_eq!(AppAudience::Relayed(relayed.app("2")).of(ROOM), None);
    assert_eq!(AppAudience::Relayed(relayed.app("1")).of(ROOM), subscribers(1, 1));
}

#[test]
fn other_frames_tell_nothing() {
    let long = format!(r#"{{"event":"x","channel":"{ROOM}","data":"{}"}}"#, "é".repeat(500));
    for text in ["", "{}", "é", &long, r#"{"event":"pusher:ping","data":{}}"#] {
        assert!(!may_be_request(text) && !may_be_confirmation(text), "{text}");
    }
    // An event that only contains the text `pusher:subscribe` is parsed and ignored.
    let quoted = r#"{"event":"client-x","channel":"private-a","data":{"text":"pusher:subscribe"}}"#;
    assert!(may_be_request(quoted) && subscription_request(quoted).is_none());
    // The list of members of a presence channel is between the beginning and the end.
    let members = format!(
        r#"{{"channel":"presence-a","data":"{}","event":"pusher_internal:subscription_succeeded"}}"#,
        "é".repeat(5000)
    );
    assert!(may_be_confirmation(&members) && confirmed_channel(&members).as_deref() == Some("presence-a"));
    let (longest, list) = (format!("presence-{}", "a".repeat(191)), "é".repeat(5000));
    let members =
        format!(r#"{{"data":"{list}","event":"pusher_internal:subscription_succeeded","channel":"{longest}"}}"#);
    assert!(may_be_confirmation(&members) && confirmed_channel(&members) == Some(longest));
    for odd in [
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":7}"#,
        r#"{"event":"pusher:subscribe","data":"inn-room-1-chat"}"#,
        r#"{"event":"pusher:subscribe","data":"\"{\\\"channel\\\":\\\"inn-room-1-chat\\\"}\""}"#,
        r#"["pusher:subscribe"]"#,
        "pusher:subscribe",
    ] {
        assert!(subscription_request(odd).is_none(), "{odd}");
    }
}

#[test]
fn a_request_may_be_json_in_a_string() {
    let request = |event: &str, data: &str| subscription_request(&format!(r#"{{"event":"{event}","data":{data}}}"#));
    let subscribe = |data: &str| request("pusher:subscribe", data);
    let room = |is_filtered| Some(SubscriptionRequest::Subscribe { channel: "room".to_owned(), is_filtered });
    for (object, expected) in [
        (r#"{"channel":"room"}"#, room(false)),
        (r#"{"auth":"k:\u0061","channel":"\u0072oom","channel_data":"{\"user_id\":\"1\"}"}"#, room(false)),
        (r#"{"channel":"room","filter":{"key":"a","cmp":"eq","val":"b"}}"#, room(true)),
        (r#"{"channel":"room","filter":null}"#, room(false)),
        (r#"{"filter":{}}"#, None),
    ] {
        let text = serde_json::to_string(object).unwrap();
        assert_eq!((subscribe(object), subscribe(&text)), (expected.clone(), expected), "{object}");
    }
    for data in [r#"{"channel":"room"}"#, r#""{\"channel\":\"room\"}""#] {
        let expected = Some(SubscriptionRequest::Unsubscribe("room".to_owned()));
        assert_eq!(request("pusher:unsubscribe", data), expected);
    }
}

#[test]
fn who_asks_with_json_in_a_string_is_counted() {
    let (_, relayed) = relayed();
    let audience = AppAudience::Relayed(relayed.app("1"));
    let client = audience.relayed_client().unwrap();
    for (event, counted) in [("subscribe", 1), ("unsubscribe", 0)] {
        let text = format!(r#"{{"event":"pusher:{event}","data":"{{\"channel\":\"{ROOM}\"}}"}}"#);
        assert!(RelayedClient::is_relevant(Side::Client, &text));
        assert_eq!(client.note(Side::Client, &text, at(0)), None);
        confirms(&client, ROOM, 1);
        assert_eq!(audience.of(ROOM).unwrap().subscribers, counted);
    }
}

#[test]
fn webhooks_tell_of_clients_that_the_relay_does_not_see() {
    let (_, relayed) = relayed();
    let audience = AppAudience::Relayed(relayed.app("1"));
    assert_eq!(audience.webhook([(ROOM, ReportedChange::Occupied)], at(5)), [ROOM]);
    assert_eq!((audience.of(ROOM), audience.of("inn-room-2-chat")), (subscribers(1, 5), None));
    assert!(!audience.sees(), "a second subscriber is not told of");
    let relayed_client = audience.relayed_client().unwrap();
    says(&relayed_client, "subscribe", ROOM);
    confirms(&relayed_client, ROOM, 7);
    assert_eq!(audience.of(ROOM), subscribers(1, 7));
    assert_eq!(audience.webhook([(ROOM, ReportedChange::Subscriptions(3))], at(6)), [ROOM]);
    assert_eq!(audience.of(ROOM), subscribers(3, 7));
    drop(relayed_client);
    assert_eq!(audience.of(ROOM), subscribers(3, 6));
    assert!(audience.webhook([(ROOM, ReportedChange::Vacated)], at(8)).is_empty());
    assert_eq!(audience.of(ROOM), Some(Subscribers::NONE));
    assert_eq!(AppAudience::Relayed(relayed.app("2")).of(ROOM), None, "another app");
}
