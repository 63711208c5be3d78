//! The corpus of `threats.md` 2.5, the bodies of the client libraries, and properties of both passes.

mod properties;

use super::*;

/// The reason for not reading a body exactly, and the channels it may affect (`["*"]`: any).
fn inexact(endpoint: Endpoint, body: impl AsRef<[u8]>) -> (InexactReason, Vec<String>) {
    match Trigger::parse(endpoint, body.as_ref()) {
        Ok(trigger) => panic!("{} was read exactly: {trigger:?}", String::from_utf8_lossy(body.as_ref())),
        Err(Inexact { reason, affected: AffectedChannels::Listed(channels) }) => (reason, channels),
        Err(Inexact { reason, affected: AffectedChannels::All }) => (reason, vec!["*".into()]),
    }
}

fn exact(endpoint: Endpoint, body: &str) -> Trigger<'_> {
    Trigger::parse(endpoint, body.as_bytes()).unwrap_or_else(|inexact| panic!("{body}: {inexact:?}"))
}

/// An event's name, channels and data.
fn summary<'e>(event: &'e Event<'_>) -> (&'e str, Vec<&'e str>, Option<Cow<'e, str>>) {
    (&event.name, event.channels.iter().map(|channel| &**channel).collect(), event.data(&mut []))
}

#[track_caller]
fn check_inexact(endpoint: Endpoint, cases: &[(&str, InexactReason, &[&str])]) {
    for (body, reason, channels) in cases {
        assert_eq!(
            inexact(endpoint, body),
            (*reason, channels.iter().map(|channel| (*channel).to_owned()).collect()),
            "{body}"
        );
    }
}

/// The bodies of `pusher-protocol.md` 8.6: every library's key order, separators and escaping.
#[test]
fn the_libraries_bodies_are_exact() {
    for vector in include_str!("../signature/vectors_8_6.txt").lines() {
        let [path, body, ..] = vector.split('\t').collect::<Vec<_>>()[..] else { panic!("{vector}") };
        let endpoint = match path {
            "/apps/3/events" => Endpoint::Events,
            "/apps/3/batch_events" => Endpoint::Batch,
            _ => continue,
        };
        let trigger = exact(endpoint, body);
        let (name, channels, data) = summary(&trigger.events[0]);
        assert_eq!((trigger.events.len(), name, &channels[..]), (1, "foo", &["project-3"][..]));
        let data: serde_json::Value = serde_json::from_str(&data.unwrap()).unwrap();
        assert!(data == serde_json::json!({"some": "data"}) || data == serde_json::json!({"u": "é/<"}), "{data}");
    }
}

#[test]
fn optional_keys_may_be_null() {
    let body = |rest: &str| format!(r#"{{"name":"n","channel":"c","data":"d"{rest}}}"#);
    for (rest, socket_id, wants_info) in [
        ("", None, false),
        (r#","socket_id":null,"info":null"#, None, false),
        (r#","socket_id":"1.2""#, Some("1.2"), false),
        (r#","socket_id":"\u0031.2""#, Some("1.2"), false),
        (r#","socket_id":"""#, Some(""), false),
        (r#","info":"user_count""#, None, true),
    ] {
        let body = body(rest);
        let trigger = exact(Endpoint::Events, &body);
        assert_eq!(
            (trigger.events[0].socket_id.as_deref(), trigger.events[0].wants_info),
            (socket_id, wants_info),
            "{body}"
        );
    }
    check_inexact(
        Endpoint::Events,
        &[
            (&body(r#","socket_id":1.2"#), InexactReason::BadSocketId, &["c"]),
            (&body(r#","socket_id":"\ud800""#), InexactReason::BadSocketId, &["c"]),
            (&body(r#","socket_id":false"#), InexactReason::BadSocketId, &["c"]),
            (&body(r#","info":["user_count"]"#), InexactReason::BadInfo, &["c"]),
        ],
    );
}

/// JSON-04: an escaped name or channel equals the plain one.
#[test]
fn escaped_values_are_decoded() {
    let trigger =
        exact(Endpoint::Events, r#"{"name":"staff\u002dassigned","channels":["\u0063\/1"],"data":"{\"staff_id\":7}"}"#);
    assert_eq!(summary(&trigger.events[0]), ("staff-assigned", vec!["c/1"], Some("{\"staff_id\":7}".into())));
}

/// JSON-01 to 03, 05, 06, 14.
#[test]
fn keys_that_readers_may_differ_about_are_inexact() {
    check_inexact(
        Endpoint::Events,
        &[
            (
                r#"{"name":"other","name":"staff-assigned","channel":"c1","data":"{\"staff_id\":7}"}"#,
                InexactReason::DuplicateKey,
                &["c1"],
            ),
            (
                r#"{"name":"staff-assigned","name":"other","channel":"c1","data":"{\"staff_id\":7}"}"#,
                InexactReason::DuplicateKey,
                &["c1"],
            ),
            (r#"{"na\u006de":"staff-assigned","channel":"c1","data":"d"}"#, InexactReason::EscapedKey, &["c1"]),
            (r#"{"name":"n","ch\u0061nnel":"c1","data":"d"}"#, InexactReason::EscapedKey, &["c1"]),
            (
                r#"{"name":"n","channel":"c1","channels":["c2"],"data":"d"}"#,
                InexactReason::BothChannelKeys,
                &["c1", "c2"],
            ),
            (
                r#"{"name":"n","channel":"c1","channel":"c2","channels":["c2","c3"],"data":"d"}"#,
                InexactReason::DuplicateKey,
                &["c1", "c2", "c3"],
            ),
            (r#"{"name":"n","channel":"c1","data":"d","data":"e"}"#, InexactReason::DuplicateKey, &["c1"]),
            (r#"{"Name":"n","channel":"c1","data":"d"}"#, InexactReason::UnknownKey, &["c1"]),
            (r#"{"name":"n","CHANNEL":"c1","data":"d"}"#, InexactReason::UnknownKey, &["c1"]),
            (r#"{"name":"n","channels ":["c1"],"data":"d"}"#, InexactReason::UnknownKey, &["c1"]),
            (r#"{"name":"n","channel\u017f":["c1"],"data":"d"}"#, InexactReason::EscapedKey, &["c1"]),
            (r#"{"name":"n","channel":"c1","data":"d","tags":{}}"#, InexactReason::UnknownKey, &["c1"]),
            (r#"{"name":"n","channel":"c1","data":"d","idempotency_key":"k"}"#, InexactReason::UnknownKey, &["c1"]),
            (r#"{"name":"n","data":"d"}"#, InexactReason::NoChannel, &["*"]),
            (r#"{"name":"n","channel":"c1"}"#, InexactReason::NoData, &["c1"]),
            (r#"{"channel":"c1","data":"d"}"#, InexactReason::BadName, &["c1"]),
            ("{}", InexactReason::BadName, &["*"]),
        ],
    );
}

/// JSON-06, 10, 16.
#[test]
fn channels_are_strings_each_once() {
    let many = |count: usize| (0..count).map(|number| format!("\"c{number}\"")).collect::<Vec<_>>().join(",");
    for (channels, reason, affected) in [
        (r#"["c1","c1"]"#, InexactReason::DuplicateChannel, &["c1"][..]),
        (r#"["c1","\u00631"]"#, InexactReason::DuplicateChannel, &["c1"]),
        ("[]", InexactReason::BadChannels, &["*"]),
        (r#""c1""#, InexactReason::BadChannels, &["c1"]),
        (r#"[["c1"]]"#, InexactReason::BadChannel, &["*"]),
        ("[1]", InexactReason::BadChannel, &["*"]),
        (r#"["c1",null]"#, InexactReason::BadChannel, &["*"]),
        ("null", InexactReason::BadChannels, &["*"]),
        (r#"{"0":"c1"}"#, InexactReason::BadChannels, &["*"]),
        (r#"["c1","\ud800"]"#, InexactReason::BadChannel, &["*"]),
        (r#"["c1\u0000x"]"#, InexactReason::BadChannel, &["*"]),
    ] {
        check_inexact(
            Endpoint::Events,
            &[(&format!(r#"{{"name":"n","channels":{channels},"data":"d"}}"#), reason, affected)],
        );
    }
    let of = |count: usize| format!(r#"{{"name":"n","channels":[{}],"data":"d"}}"#, many(count));
    assert_eq!(exact(Endpoint::Events, &of(100)).events[0].channels.len(), 100);
    assert_eq!(inexact(Endpoint::Events, of(101)).0, InexactReason::TooManyChannels);
    assert_eq!(inexact(Endpoint::Events, of(1000)).1.len(), 1000);
    assert_eq!(inexact(Endpoint::Events, of(1001)), (InexactReason::TooManyChannels, vec!["*".into()]));
    // Outside Pusher's set, but every reader reads the same: upstream refuses it.
    for name in ["", "a b", "é", "e\u{301}", "#server-to-user-7", &"x".repeat(201)] {
        let body = format!(r#"{{"name":"n","channel":"{name}","data":"d"}}"#);
        assert_eq!(exact(Endpoint::Events, &body).events[0].channels[..], [name]);
    }
}

/// JSON-07, 10: exact as a trigger, but there is no text in `data`.
#[test]
fn data_that_is_no_text_is_left_to_the_rules() {
    for data in [r#"{"staff_id":7}"#, "7", "null", "[]", r#""\ud800""#, r#""\"\ud800\"""#] {
        let body = format!(r#"{{"name":"n","channel":"c","data":{data}}}"#);
        assert_eq!(exact(Endpoint::Events, &body).events[0].data(&mut []), None, "{data}");
    }
    for name in [r#""\ud800""#, "7", "null", r#"["n"]"#, r#""staff-assigned\u0000""#] {
        check_inexact(
            Endpoint::Events,
            &[(&format!(r#"{{"name":{name},"channel":"c","data":"d"}}"#), InexactReason::BadName, &["c"])],
        );
    }
}

/// JSON-11, 13.
#[test]
fn what_is_not_json_may_touch_anything() {
    let body = r#"{"name":"n","channel":"c","data":"d"}"#;
    for (changed, reason) in [
        (String::new(), InexactReason::NotJson),
        (format!("\u{feff}{body}"), InexactReason::NotJson),
        (format!("{body}\0"), InexactReason::TrailingBytes),
        (format!("{body}{body}"), InexactReason::TrailingBytes),
        (format!("{body},"), InexactReason::TrailingBytes),
        (body.replace("\"d\"", "NaN"), InexactReason::NotJson),
        (body.replace("\"d\"", "07"), InexactReason::NotJson),
        (format!("{body}//c"), InexactReason::TrailingBytes),
        (format!("/**/{body}"), InexactReason::NotJson),
        (body.replace('"', "'"), InexactReason::NotJson),
        (body.replace("\"d\"", "\"d\t\""), InexactReason::NotJson),
        (body.replace("\"d\"", "\"\\x\""), InexactReason::NotJson),
        (format!("[{body}]"), InexactReason::NotAnObject),
        ("name=n&channel=c&data=d".into(), InexactReason::NotJson),
        (body.chars().flat_map(|character| [character, '\0']).collect(), InexactReason::NotJson),
    ] {
        assert_eq!(inexact(Endpoint::Events, &changed), (reason, vec!["*".to_owned()]), "{changed}");
    }
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\xbd\xed\xb8\x80"] {
        let changed = [br#"{"name":"n","channel":"c","data":""#, bytes, b"\"}"].concat();
        assert_eq!(inexact(Endpoint::Events, changed), (InexactReason::NotUtf8, vec!["*".to_owned()]));
    }
    // Whitespace around it is part of JSON.
    let padded = format!(" \r\n\t{body}\n");
    assert_eq!(exact(Endpoint::Events, &padded).events.len(), 1);
}

/// JSON-12.
#[test]
fn depth_is_bounded() {
    let levels = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    let single = |data: String| format!(r#"{{"name":"n","channel":"c","data":{data}}}"#);
    let batch = |data: String| format!(r#"{{"batch":[{}]}}"#, single(data));
    assert_eq!(exact(Endpoint::Events, &single(levels(126))).events[0].data(&mut []), None);
    assert_eq!(exact(Endpoint::Batch, &batch(levels(124))).events[0].data(&mut []), None);
    for count in [127, 128, 129, 10_000] {
        assert_eq!(
            inexact(Endpoint::Events, single(levels(count))),
            (InexactReason::TooDeep, vec!["*".into()]),
            "{count}"
        );
    }
    assert_eq!(inexact(Endpoint::Batch, batch(levels(125))), (InexactReason::TooDeep, vec!["*".into()]));
    assert_eq!(inexact(Endpoint::Events, "[".repeat(10_000)).1, ["*"]);
    assert_eq!(inexact(Endpoint::Events, format!("  {}", levels(10_000))).1, ["*"]);
    // In the text of data, the rules check the depth.
    let brackets = "[".repeat(10_000);
    assert_eq!(
        exact(Endpoint::Events, &single(format!("\"{brackets}\""))).events[0].data(&mut []).as_deref(),
        Some(brackets.as_str())
    );
}

/// JSON-15: linear in time.
#[test]
fn big_bodies_are_read() {
    let keys: String = (0..100_000).map(|number| format!("\"k{number}\":0,")).collect();
    let body = format!(r#"{{{keys}"name":"n","channel":"c","data":"d"}}"#);
    assert_eq!(inexact(Endpoint::Events, body), (InexactReason::UnknownKey, vec!["c".into()]));
    let body = format!(r#"{{"{}":0,"name":"n","channel":"c","data":"d"}}"#, " ".repeat(1 << 20));
    assert_eq!(inexact(Endpoint::Events, body), (InexactReason::UnknownKey, vec!["c".into()]));
    let names = "\"c\",".repeat(100_000);
    let body = format!(r#"{{"name":"n","channels":[{names}"c"],"data":"d"}}"#);
    assert_eq!(inexact(Endpoint::Events, body), (InexactReason::TooManyChannels, vec!["*".into()]));
    let data = "\\\"".repeat(1 << 19);
    let body = format!(r#"{{"name":"n","channel":"c","data":"{data}"}}"#);
    assert_eq!(exact(Endpoint::Events, &body).events[0].data(&mut []).map(|data| data.len()), Some(1 << 19));
}

/// JSON-17, 18.
#[test]
fn batches_are_exact_or_odd_as_a_whole() {
    let item = r#"{"name":"n","channel":"c","data":"d"}"#;
    let of = |count: usize| format!(r#"{{"batch":[{}]}}"#, vec![item; count].join(","));
    assert_eq!(exact(Endpoint::Batch, &of(1)).events.len(), 1);
    assert_eq!(exact(Endpoint::Batch, &of(10)).events.len(), 10);
    check_inexact(
        Endpoint::Batch,
        &[
            (&of(0), InexactReason::BadBatch, &["*"]),
            (&of(11), InexactReason::TooManyEvents, &["c"]),
            (r#"{"batch":{}}"#, InexactReason::BadBatch, &["*"]),
            (r#"{"batch":null}"#, InexactReason::BadBatch, &["*"]),
            (&format!(r#"{{"batch":[{item}],"batch":[]}}"#), InexactReason::DuplicateKey, &["c"]),
            (&format!(r#"{{"batch":[{item}],"x":1}}"#), InexactReason::UnknownKey, &["c"]),
            (&format!(r#"{{"batch":[{item}],"channel":"c2"}}"#), InexactReason::UnknownKey, &["c", "c2"]),
            (&format!(r#"{{"batch":[{item},1]}}"#), InexactReason::NotAnObject, &["*"]),
            (&format!(r#"{{"batch":[{item},{{}}]}}"#), InexactReason::BadName, &["c"]),
            (
                &format!(r#"{{"batch":[{item},{{"name":"n","channels":["c2"],"data":"d"}}]}}"#),
                InexactReason::ChannelsInBatch,
                &["c", "c2"],
            ),
            (
                &format!(r#"{{"batch":[{item},{{"name":"n","channel":"c2","channel":"c3","data":"d"}}]}}"#),
                InexactReason::DuplicateKey,
                &["c", "c2", "c3"],
            ),
            (
                &format!(r#"{{"batch":[{{"name":"n","channel":"c","data":"d","batch":[{item}]}}]}}"#),
                InexactReason::NestedBatch,
                &["*"],
            ),
            (item, InexactReason::WrongEndpoint, &["c"]),
        ],
    );
    check_inexact(
        Endpoint::Events,
        &[(&of(1), InexactReason::WrongEndpoint, &["c"]), (r#"{"batch":[]}"#, InexactReason::WrongEndpoint, &["*"])],
    );
}

#[test]
fn a_reduced_body_keeps_its_tokens() {
    let body = " {\"name\" : \"n\", \"channels\": [\"a\", \"\\u0062\" ,\"c\"], \"data\":\"\\u007b}\" }\n";
    let trigger = exact(Endpoint::Events, body);
    let without = |dropped: &[(usize, usize)]| String::from_utf8(trigger.without(dropped)).unwrap();
    assert_eq!(without(&[]), body);
    assert_eq!(without(&[(0, 1)]), body.replace("[\"a\", \"\\u0062\" ,\"c\"]", "[\"a\",\"c\"]"));
    assert_eq!(without(&[(0, 2), (0, 0)]), body.replace("[\"a\", \"\\u0062\" ,\"c\"]", "[\"\\u0062\"]"));
    assert_eq!(without(&[(0, 0), (0, 1), (0, 2)]), "");

    let body = r#"{"batch": [ {"name":"a","channel":"x","data":"1"}, { "channel" : "x","name":"b" ,"data":2} ]}"#;
    let trigger = exact(Endpoint::Batch, body);
    let without = |dropped: &[(usize, usize)]| String::from_utf8(trigger.without(dropped)).unwrap();
    assert_eq!(without(&[]), body);
    assert_eq!(without(&[(0, 0)]), r#"{"batch": [{ "channel" : "x","name":"b" ,"data":2}]}"#);
    assert_eq!(without(&[(1, 0)]), r#"{"batch": [{"name":"a","channel":"x","data":"1"}]}"#);
    assert_eq!(without(&[(0, 0), (1, 0)]), "");

    let body = r#"{"name":"n","channel":"a","data":"d"}"#;
    let trigger = exact(Endpoint::Events, body);
    assert_eq!(trigger.without(&[]), body.as_bytes());
    assert_eq!(trigger.without(&[(0, 0)]), b"");
}
