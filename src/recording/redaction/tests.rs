//! Types, structure, equality and decisions stay; values do not.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::pusher::{AffectedChannels, ChannelKind, Endpoint, Trigger, is_valid_name, socket_id};
use crate::recording::{RecordedOutcome, UnixTime};
use crate::rules::{EventMeaning, LateJoiners, Mode, OnDifference, RemainderKey, RuleSpec};

fn rule(channel: &str) -> Rule {
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let spec = RuleSpec {
        name: "staff".to_owned(),
        event: "staff".to_owned(),
        channel: channel.to_owned(),
        identity: text(&["/who/id", "/who/name"]),
        context: text(&["/room"]),
        filter: vec![("/type".to_owned(), "on duty".into()), ("/list/1".to_owned(), 7.into())],
        ignore: vec![],
        on_difference: OnDifference::Forward,
        released_by: vec![],
        remember_for: Duration::from_secs(1),
        late_joiners: LateJoiners::Ignore,
        refresh_after: None,
        detect_bypass: false,
        mode: Mode::Enforce,
        apps: vec![],
    };
    Rule::new(spec).unwrap()
}

fn redactor(channels: &[&str]) -> Redactor {
    Redactor::new(channels.iter().map(|channel| ("1".into(), rule(channel))))
}

fn trigger<'t>(path: &'t str, body: &'t str) -> RecordedTrigger<'t> {
    RecordedTrigger {
        id: "a-1".into(),
        received: UnixTime(0),
        settled: None,
        app: "1".into(),
        path: path.into(),
        body: body.into(),
        head: None,
        outcome: RecordedOutcome::Suppressed,
        decision: "suppressed".into(),
        reason: "same_assignment".into(),
    }
}

fn body(redactor: &Redactor, body: &str) -> String {
    redactor.redact(&trigger("/apps/1/events", body)).body.into_owned()
}

/// A body whose data is `data`.
fn of(data: &str) -> String {
    format!(
        "{{ \"name\":\"staff\",\n\"channels\" : [ \"inn-room-12\" ], \"data\":{} }}",
        serde_json::to_string(data).unwrap()
    )
}

/// What the rule reads in the only event of a body.
fn meaning(rule: &Rule, body: &str) -> EventMeaning {
    let trigger = Trigger::parse(Endpoint::Events, body.as_bytes()).unwrap();
    let data = trigger.events[0].data(&mut []).map(Cow::into_owned);
    rule.read("staff", data.as_deref(), &RemainderKey::new([7; 16]))
}

#[test]
fn types_structure_and_equality_stay_and_values_do_not() {
    let redactor = redactor(&["{inn}-room-{number}"]);
    let data =
        r#"{ "type":"on duty", "who":{"id":12, "name":"Anna","x":""}, "list":["Anna",7,-1.5e3,true,null,{}, [ ] ] }"#;
    let redacted = body(&redactor, &of(data));
    for (kept, count) in [("staff", 1), ("-room-", 1), ("on duty", 1), ("name", 2), ("Anna", 0), ("inn", 0), ("12", 0)]
    {
        let found = redacted.matches(kept).count();
        // Digits may be in a hash.
        assert!(found == count || kept == "12", "{kept}: {redacted}");
    }
    let inner: serde_json::Value = serde_json::from_str(&redacted).unwrap();
    let inner: serde_json::Value = serde_json::from_str(inner["data"].as_str().unwrap()).unwrap();
    assert_eq!(inner["who"]["name"], inner["list"][0], "{redacted}");
    assert!(inner["who"]["id"].as_u64().is_some_and(|id| id != 12) && inner["who"]["x"] == "");
    assert!(
        inner["list"][2].is_u64() && inner["list"][1] == 7 && inner["list"][3] == true && inner["list"][4].is_null()
    );
    assert_eq!(redacted, body(&redactor, &of(data)), "the same in one recording");
    assert_ne!(redacted, body(&self::redactor(&["{inn}-room-{number}"]), &of(data)), "and another in the next");
    // White space and what is empty are copied.
    let layout = |text: &str| text.chars().filter(|c| " \n{}[]:,".contains(*c)).collect::<String>();
    assert_eq!(layout(&redacted), layout(&of(data)));
}

/// Every pair of these is as equal to the rule, redacted, as it is not.
#[test]
fn what_the_rules_read_stays_as_equal_as_it_is() {
    let long = format!("\"{}\"", "x".repeat(1100));
    let values = [
        "1",
        "1.0",
        "\"1\"",
        "\"\\u0031\"",
        "\"\"",
        "null",
        "true",
        "[1]",
        "{\"a\":1}",
        "{ \"a\":1}",
        "\"\\ud800\"",
        "12345678901234567890",
        "1e400",
        &long,
    ];
    let mut datas = Vec::new();
    for value in values {
        datas.push(format!("{{\"type\":\"on duty\",\"list\":[0,7],\"who\":{{\"id\":{value},\"name\":\"A\"}}}}"));
        datas.push(format!("{{\"type\":\"on duty\",\"list\":[0,7],\"who\":{{\"id\":1}},\"room\":{value}}}"));
        datas.push(format!("{{\"type\":\"on duty\",\"list\":[0,7],\"who\":{{\"id\":1}},\"else\":{value}}}"));
        datas.push(format!("{{\"type\":{value},\"list\":[0,7],\"who\":{{\"id\":1}}}}"));
        datas.push(format!("{{\"type\":\"on duty\",\"list\":[{value},7.0],\"who\":{{\"id\":1}}}}"));
        datas.push(value.to_owned());
    }
    datas.extend(["{\"who\":1,\"who\":2}", "{\"\\u0077ho\":1}", "no json", "", "{", " 7 "].map(str::to_owned));
    let (redactor, rule) = (redactor(&["{inn}-room-{number}"]), rule("{inn}-room-{number}"));
    let mut found: HashMap<String, String> = HashMap::new();
    for data in datas {
        let (plain, redacted) = (meaning(&rule, &of(&data)), meaning(&rule, &body(&redactor, &of(&data))));
        match (&plain, &redacted) {
            // Which are equal to which is compared below.
            (EventMeaning::Announcement(_), EventMeaning::Announcement(_)) => {}
            _ => assert_eq!(plain, redacted, "{data}"),
        }
        let (plain, redacted) = (format!("{plain:?}"), format!("{redacted:?}"));
        let known = found.entry(plain).or_insert_with(|| redacted.clone());
        assert_eq!(*known, redacted, "{data}");
    }
    let mut different: Vec<&String> = found.values().collect();
    let count = different.len();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), count, "what differs stays different");
}

#[test]
fn channels_stay_of_their_kind_and_their_rules() {
    let templates =
        ["{inn}-room-{number}", "{any}-chat", "private-{inn}-room-{number}", "a{x}e{y}", "lobby", "{a}.{b}.{c}"];
    let long = "x".repeat(90);
    let names = [
        "inn-room-12".to_owned(),
        "inn-room-12-chat".to_owned(),
        "private-inn-room-12".to_owned(),
        "presence-inn".to_owned(),
        "cache-inn-room-12".to_owned(),
        "Private-Encrypted-inn".to_owned(),
        "#server-to-user-7".to_owned(),
        "lobby".to_owned(),
        "abcd".to_owned(),
        "aaaaaf".to_owned(),
        "axey".to_owned(),
        format!("{long}.{long}.b"),
        "x".repeat(200),
        "not a name".to_owned(),
        String::new(),
        "x".repeat(201),
    ];
    let redactor = redactor(&templates);
    let rules: Vec<Rule> = templates.iter().map(|template| rule(template)).collect();
    let app = AppRules { key: &redactor.key, rules: rules.iter().collect() };
    for name in &names {
        let redacted = app.channel(name);
        assert_eq!(is_valid_name(name), is_valid_name(&redacted), "{name}: {redacted}");
        if is_valid_name(name) {
            assert_eq!(ChannelKind::of(name), ChannelKind::of(&redacted), "{name}: {redacted}");
        }
        for rule in &rules {
            assert_eq!(rule.watches(name), rule.watches(&redacted), "{name}: {redacted}");
        }
        assert_eq!(redacted == *name, name == "lobby", "{name}: {redacted}");
    }
    let (one, other) = (app.channel("inn-room-12"), app.channel("inn-room-13"));
    assert_eq!(one.split('-').next(), other.split('-').next(), "equal parts stay equal");
    assert_ne!(one, other);
    assert!(app.channel("private-inn-room-12").starts_with("private-"));
}

#[test]
fn a_body_that_is_not_read_exactly_stays_so_and_touches_as_many_channels() {
    let redactor = redactor(&["{inn}-room-{number}"]);
    for (endpoint, text) in [
        (Endpoint::Events, r#"{"name":"staff","channels":["a","b"],"data":"{}","extra":"x"}"#),
        (Endpoint::Events, r#"{"name":"staff","channel":"a","channels":["b","c"],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","CHANNELS":["b","c"],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","channels":["b","b"],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","channels":["b","x\u0000"],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","channels":["\ud800"],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":7,"channels":["b",["c"]],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","channels":[],"data":"{}"}"#),
        (Endpoint::Events, r#"{"name":"staff","channels":["b"],"data":"{}","socket_id":7}"#),
        (Endpoint::Events, r#"{"batch":[{"name":"staff","channel":"a","data":"{}"}]}"#),
        (
            Endpoint::Batch,
            r#"{"batch":[{"name":"staff","channel":"a","data":"{}"},{"name":"x","channel":"b","data":{"a":1}}]}"#,
        ),
        (Endpoint::Batch, r#"{"batch":[{"name":"staff","channels":["a","c"],"data":"{}"}]}"#),
        (Endpoint::Batch, r#"{"batch":[{"batch":[],"channel":"a"}]}"#),
        (Endpoint::Batch, r#"{"batch":{}}"#),
        (Endpoint::Events, "[]"),
        (Endpoint::Events, "{} {}"),
        (Endpoint::Events, "{\"name\""),
        (Endpoint::Events, ""),
    ] {
        let redacted = body(&redactor, text);
        let read = |text: &str| match Trigger::parse(endpoint, text.as_bytes()) {
            Ok(trigger) => (None, trigger.events.iter().map(|event| event.channels.len()).collect()),
            Err(inexact) => match inexact.affected {
                AffectedChannels::Listed(channels) => (Some("listed"), vec![channels.len()]),
                AffectedChannels::All => (Some("all"), vec![]),
            },
        };
        let (expected, found): ((_, Vec<usize>), (_, Vec<usize>)) = (read(text), read(&redacted));
        assert_eq!(expected, found, "{text}: {redacted}");
    }
    assert!(Trigger::parse(Endpoint::Events, body_text(b"{\"a\":\"\xff\"}").as_bytes()).is_err());
    assert!(!crate::pusher::json::is_valid(&body_text(b"7\xff")));
}

#[test]
fn a_path_shows_no_channel() {
    let redactor = redactor(&["{inn}-room-{number}"]);
    let path = |path: &str| redactor.redact(&trigger(path, "{}")).path.into_owned();
    for kept in ["/apps/1/events", "/apps/1/batch_events", "/base/apps/1/events"] {
        assert_eq!(path(kept), kept);
    }
    let old = path("/apps/1/channels/inn-room-12/events");
    assert!(old.starts_with("/apps/1/channels/") && old.contains("-room-") && old.ends_with("/events"), "{old}");
    assert!(!old.contains("inn"), "{old}");
    for odd in ["/apps/1/channels/inn%2droom/events", "//apps/1/inn/../events", "/apps/1/channels/a/b/events"] {
        assert_eq!(path(odd), "/apps/1//events");
    }
}

#[test]
fn the_id_of_a_connection_becomes_another_one() {
    let redactor = redactor(&["{inn}-room-{number}"]);
    let of = |id: &str| {
        let redacted = body(&redactor, &format!(r#"{{"name":"staff","channel":"a","data":"{{}}","socket_id":{id}}}"#));
        let trigger = Trigger::parse(Endpoint::Events, redacted.as_bytes()).unwrap();
        trigger.events[0].socket_id.as_deref().map(|id| (id.to_owned(), socket_id(id)))
    };
    let (one, other) = (of(r#""1.2""#).unwrap(), of(r#""3.4""#).unwrap());
    assert!(one.1.is_some() && other.1.is_some() && one != other && one.0 != "1.2");
    assert_eq!(of(r#""\u0031.2""#).unwrap(), one);
    assert_eq!((of(r#""01.2""#).unwrap().1, of("null")), (None, None));
}
