//! The meaning of the payloads of real backends and of malformed ones (`threats.md` 2.5), and which rules are refused.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::rule::{AssignmentTokens, Extraction};
use super::*;
use crate::assignment::Assignment;

const KEY: RemainderKey = RemainderKey::new([7; 16]);

impl Rule {
    fn found<'a>(&self, data: &'a str) -> Extraction<'a> {
        self.extract(data, None)
    }

    fn meant(&self, event: &str, data: Option<&str>) -> EventMeaning {
        self.read(event, data, &KEY)
    }
}

pub(super) fn spec() -> RuleSpec {
    RuleSpec {
        name: "staff-assigned".into(),
        event: "staff-assigned".into(),
        channel: "{hotelSlug}-room-{roomNumber}-chat".into(),
        identity: vec!["/staff_id".into(), "/staff_name".into()],
        context: vec!["/conversation_id".into()],
        filter: Vec::new(),
        ignore: Vec::new(),
        on_difference: OnDifference::Suppress,
        released_by: vec!["conversation-closed".into()],
        remember_for: Duration::from_secs(86_400),
        late_joiners: LateJoiners::Ignore,
        refresh_after: None,
        detect_bypass: false,
        mode: Mode::Enforce,
        apps: Vec::new(),
    }
}

fn rule() -> Rule {
    Rule::new(spec()).unwrap()
}

fn enveloped() -> Rule {
    let filter = [("/category", "guest_chat"), ("/type", "staff_assigned")];
    let filter = filter.map(|(pointer, value)| (pointer.to_owned(), Value::from(value))).to_vec();
    let identity = vec!["/payload/staff_id".into(), "/payload/staff_name".into()];
    Rule::new(RuleSpec { event: "realtime_event".into(), identity, context: Vec::new(), filter, ..spec() }).unwrap()
}

fn parts<'a>(pointer: usize, identity: &'a str, context: &[&'a str]) -> Extraction<'a> {
    Extraction::Assignment(AssignmentTokens { pointer, identity, context: context.into() })
}

/// Without an id, with a conversation, with an id, and in an envelope.
#[test]
fn payloads_of_real_backends_are_read() {
    let rule = rule();
    let image =
        r#"{"staff_name": "Anna Byrne", "staff_role": "Receptionist", "staff_profile_image": "https://x/y?sig=abc{["}"#;
    assert_eq!(rule.found(image), parts(1, "\"Anna Byrne\"", &["null"]));
    let conversation = r#"{"staff_name":"Anna Byrne","staff_role":"R","conversation_id":123}"#;
    assert_eq!(rule.found(conversation), parts(1, "\"Anna Byrne\"", &["123"]));
    assert_eq!(rule.found(r#" {"staff_name":"Anna","staff_id": 7 } "#), parts(0, "7", &["null"]));
    let wrapped = r#"{"category":"guest_chat","type":"staff_assigned","payload":{"staff_name":"Anna"},"meta":{"event_id":"0f","ts":1}}"#;
    assert_eq!(enveloped().found(wrapped), parts(1, "\"Anna\"", &[]));
}

#[test]
fn events_are_distinguished_by_name() {
    let rule = rule();
    assert_eq!(rule.meant("staff-assigned", None), EventMeaning::Unreadable(Unreadable::NotText));
    assert_eq!(
        rule.meant("staff-assigned", Some("{\"staff_id\":7}")),
        EventMeaning::Announcement(Assignment::new(0, "7", ["null"]))
    );
    assert_eq!(rule.meant("conversation-closed", None), EventMeaning::Release);
    assert_eq!(rule.meant("conversation-closed", Some("{")), EventMeaning::Release);
    assert_eq!(rule.meant("new-staff-message", Some("{\"staff_id\":7}")), EventMeaning::Unrelated);
    assert_eq!(rule.meant("Staff-Assigned", None), EventMeaning::Unrelated);
    assert!(
        rule.concerns("staff-assigned") && rule.concerns("conversation-closed") && !rule.concerns("staff-assigned ")
    );
    let off = Rule::new(RuleSpec { mode: Mode::Off, ..spec() }).unwrap();
    assert!(!off.concerns("staff-assigned") && !off.concerns("conversation-closed"));
    assert_eq!(off.meant("staff-assigned", None), EventMeaning::Unrelated);
    assert!(Rule::new(RuleSpec { mode: Mode::Observe, ..spec() }).unwrap().concerns("staff-assigned"));
}

#[test]
fn only_plain_valid_channels_of_the_family_are_watched() {
    let rule = rule();
    assert!(rule.watches("hilton-room-12-chat") && rule.watches("private-hilton-room-12-chat"));
    let long = format!("{}-room-1-chat", "x".repeat(190));
    for channel in [
        "hilton-conversation-12-chat",
        "cache-hilton-room-12-chat",
        "Private-Cache-hilton-room-12-chat",
        "presence-cache-hilton-room-12-chat",
        "private-encrypted-hilton-room-12-chat",
        "hôtel-room-12-chat",
        "hilton-room-1\u{0}2-chat",
        "hilton-room-1 2-chat",
        &long,
        "",
    ] {
        assert!(!rule.watches(channel), "{channel}");
    }
}

/// JSON-09: tokens are compared as text and never as floats.
#[test]
fn identities_are_json_tokens() {
    let rule = rule();
    let digits = "9".repeat(400);
    for token in [
        "7",
        "\"7\"",
        "7.0",
        "7e0",
        "-0",
        "9007199254740993",
        "9007199254740992",
        "1E400",
        &digits,
        "\"\\u0041\"",
        "\"A\"",
        "\" \"",
    ] {
        assert_eq!(rule.found(&format!("{{\"staff_id\":{token}}}")), parts(0, token, &["null"]), "{token}");
    }
    let longest = format!("\"{}\"", "x".repeat(1022));
    assert_eq!(rule.found(&format!("{{\"staff_id\":{longest}}}")), parts(0, &longest, &["null"]));
    let longer = format!("\"{}\"", "x".repeat(1023));
    for token in [
        "07",
        "+7",
        "7.",
        ".7",
        "NaN",
        "true",
        "false",
        "[7]",
        "[]",
        "{}",
        "{\"id\":7}",
        "\"\\ud800\"",
        "\"\n\"",
        &longer,
    ] {
        let data = format!("{{\"staff_id\":{token},\"staff_name\":\"Anna\"}}");
        let is_json = serde_json::from_str::<Value>(token).is_ok() || token == "\"\\ud800\"";
        let cause = if is_json { Unreadable::Identity } else { Unreadable::Inexact };
        assert_eq!(rule.found(&data), Extraction::Unreadable(cause), "{token}");
    }
}

#[test]
fn the_first_pointer_with_a_value_is_the_identity() {
    let rule = rule();
    for data in
        [r#"{"staff_id":null,"staff_name":"7"}"#, r#"{"staff_id":"","staff_name":"7"}"#, r#"{"staff_name":"7"}"#]
    {
        assert_eq!(rule.found(data), parts(1, "\"7\"", &["null"]), "{data}");
    }
    for data in ["{}", r#"{"staff_id":null,"staff_name":""}"#, r#"{"staff":"Anna"}"#, "\"Anna\"", "7", "[]", "null"] {
        assert_eq!(rule.found(data), Extraction::Unreadable(Unreadable::NoIdentity), "{data}");
    }
}

#[test]
fn the_context_is_compared_too() {
    let rule = rule();
    for (data, context) in [
        (r#"{"staff_id":7,"conversation_id":null}"#, "null"),
        (r#"{"staff_id":7,"conversation_id":1.0}"#, "1.0"),
        (r#"{"staff_id":7,"conversation_id":""}"#, "\"\""),
        (r#"{"staff_id":7,"conversation_id":true}"#, "true"),
    ] {
        assert_eq!(rule.found(data), parts(0, "7", &[context]), "{data}");
    }
    let long = format!("\"{}\"", "x".repeat(2000));
    for context in ["[1]", "{}", "\"\\udfff\"", &long] {
        let data = format!("{{\"staff_id\":7,\"conversation_id\":{context}}}");
        assert_eq!(rule.found(&data), Extraction::Unreadable(Unreadable::Context), "{data}");
    }
}

/// JSON-08, 11, 12, and the same inside `data`.
#[test]
fn what_readers_may_differ_about_is_unreadable() {
    let rule = rule();
    let deep = format!("{{\"staff_id\":7,\"x\":{}{}}}", "[".repeat(127), "]".repeat(127));
    for data in [
        "",
        "Anna",
        r#"{"staff_id":7,"staff_id":8}"#,
        r#"{"staff_id":7,"staff_id":7}"#,
        r#"{"staff_id":7,"x":1,"x":2}"#,
        r#"{"staff\u005fid":7}"#,
        r#"{"staff_id":7,"st\u0061ff_name":"Anna"}"#,
        r#"{"staff_id":7} "#.repeat(2).as_str(),
        "{\"staff_id\":7}\0",
        "\u{feff}{\"staff_id\":7}",
        r#"{"staff_id":7,}"#,
        r#"{"staff_id":7}//c"#,
        "{'staff_id':7}",
        &deep,
        &"[".repeat(10_000),
    ] {
        assert_eq!(rule.found(data), Extraction::Unreadable(Unreadable::Inexact), "{data:.80}");
    }
    let deepest = format!("{{\"staff_id\":7,\"x\":{}{}}}", "[".repeat(126), "]".repeat(126));
    assert_eq!(rule.found(&deepest), parts(0, "7", &["null"]));
}

#[test]
fn where_decides_whether_it_is_an_announcement() {
    let rule = enveloped();
    let of =
        |category: &str, kind: &str| format!(r#"{{"category":{category},"type":{kind},"payload":{{"staff_id":7}}}}"#);
    assert_eq!(rule.found(&of("\"guest_chat\"", "\"staff_assigned\"")), parts(0, "7", &[]));
    assert_eq!(rule.found(&of("\"guest\\u005fchat\"", "\"staff_assigned\"")), parts(0, "7", &[]));
    for kind in ["\"new_message\"", "null", "7", "[\"staff_assigned\"]", "{}"] {
        assert!(matches!(rule.found(&of("\"guest_chat\"", kind)), Extraction::Unrelated(_)), "{kind}");
    }
    for data in [r#"{"payload":{"staff_id":7}}"#, "{}", "\"text\"", "[1]", r#"{"type":"staff_assigned","payload":{}}"#]
    {
        assert!(matches!(rule.found(data), Extraction::Unrelated(_)), "{data}");
    }
    for data in [
        "{",
        "",
        r#"{"category":"guest_chat","type":"staff_assigned","payload":{}}"#,
        r#"{"type":"x","type":"staff_assigned"}"#,
    ] {
        assert!(matches!(rule.found(data), Extraction::Unreadable(_)), "{data}");
    }
    assert_eq!(rule.found(&of("\"guest_chat\"", "\"\\ud800\"")), Extraction::Unreadable(Unreadable::WhereUnclear));
    assert_eq!(rule.found(&of("\"other\"", "\"\\ud800\"")), Extraction::Unrelated(0));
}

#[test]
fn where_compares_values_of_every_kind() {
    let with = |value: Value| Rule::new(RuleSpec { filter: vec![("/list/1".into(), value)], ..spec() }).unwrap();
    let of = |token: &str| format!("{{\"staff_id\":7,\"list\":[0,{token}]}}");
    for (expected, token) in
        [(json!(1), "1"), (json!(1.5), "1.5"), (json!(1.5), "15e-1"), (json!(true), "true"), (Value::Null, "null")]
    {
        assert_eq!(with(expected).found(&of(token)), parts(0, "7", &["null"]), "{token}");
    }
    for (expected, token) in [
        (json!(1), "2"),
        (json!(1), "\"1\""),
        (json!("1"), "1"),
        (json!(true), "1"),
        (Value::Null, "0"),
        (json!(false), "null"),
    ] {
        assert!(matches!(with(expected).found(&of(token)), Extraction::Unrelated(_)), "{token}");
    }
    // One number for some readers, two for others.
    for (expected, token) in [
        (json!(1), "1.0"),
        (json!(1.0), "1"),
        (json!(9_007_199_254_740_993_u64), "9007199254740992"),
        (json!(1), "1E400"),
    ] {
        assert_eq!(with(expected).found(&of(token)), Extraction::Unreadable(Unreadable::WhereUnclear), "{token}");
    }
    assert!(matches!(with(Value::Null).found("{\"staff_id\":7,\"list\":[0]}"), Extraction::Unrelated(_)));
}

#[test]
fn bad_rules_are_refused_with_every_problem() {
    type Change<'c> = &'c dyn Fn(&mut RuleSpec);
    let refused = |change: Change<'_>| {
        let mut spec = spec();
        change(&mut spec);
        Rule::new(spec).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let cases: [(Change<'_>, &str); 21] = [
        (&|spec| spec.name.clear(), "name: \"\" is no name"),
        (&|spec| spec.name = "staff assigned".into(), "name: \"staff assigned\" is no name"),
        (&|spec| spec.name = "x".repeat(65), "1 to 64 characters"),
        (&|spec| spec.event.clear(), "event: an event's name is empty"),
        (&|spec| spec.event = "é".repeat(201), "event: an event's name has 201 characters"),
        (&|spec| spec.channel.clear(), "channel: is empty"),
        (&|spec| spec.channel = "{a}{b}".into(), "channel: there is nothing between"),
        (&|spec| spec.identity.clear(), "identity: is empty"),
        (&|spec| spec.identity.push("staff.id".into()), "identity: `staff.id` is no JSON pointer"),
        (&|spec| spec.identity.push("/staff_id".into()), "identity: `/staff_id` stands twice"),
        (&|spec| spec.context.push("/conversation_id".into()), "context: `/conversation_id` stands twice"),
        (&|spec| spec.context.push("/~".into()), "context: `/~` has a `~`"),
        (&|spec| spec.filter = vec![("type".into(), Value::Null)], "where: `type` is no JSON pointer"),
        (&|spec| spec.filter = vec![("/t".into(), json!(1)), ("/t".into(), json!(2))], "where: `/t` stands twice"),
        (&|spec| spec.filter = vec![("/t".into(), json!(["x"]))], "where: `/t` is compared with an array"),
        (&|spec| spec.released_by.push(String::new()), "released_by: an event's name is empty"),
        (
            &|spec| spec.released_by.push("staff-assigned".into()),
            "released_by: \"staff-assigned\" is the event that announces",
        ),
        (
            &|spec| spec.released_by.push("conversation-closed".into()),
            "released_by: \"conversation-closed\" stands twice",
        ),
        (&|spec| spec.remember_for = Duration::ZERO, "remember_for: is zero"),
        (&|spec| spec.refresh_after = Some(Duration::ZERO), "refresh_after: is zero"),
        (&|spec| (spec.name, spec.channel) = (" ".into(), "}".into()), "name: \" \" is no name"),
    ];
    for (change, words) in cases {
        let errors = refused(change);
        assert!(errors.contains(words), "{errors}");
    }
    let everything = refused(&|spec| {
        *spec = RuleSpec {
            name: String::new(),
            event: String::new(),
            channel: String::new(),
            remember_for: Duration::ZERO,
            ..spec.clone()
        };
        spec.identity.clear();
    });
    assert_eq!(everything.lines().count(), 5, "{everything}");
    // The same pointer may be in identity, context and `where`.
    let shared = RuleSpec { context: vec!["/staff_id".into()], filter: vec![("/staff_id".into(), json!(7))], ..spec() };
    assert_eq!(Rule::new(shared.clone()).unwrap().found("{\"staff_id\":7}"), parts(0, "7", &["7"]));
    assert_eq!(*Rule::new(shared.clone()).unwrap().spec(), shared);
}

proptest! {
    #[test]
    fn no_data_does_harm(data in any::<String>()) {
        prop_assert_ne!(rule().meant("staff-assigned", Some(&data)), EventMeaning::Release);
    }

    /// If a mutated text is an announcement, serde_json's own reader finds the same values at the pointers.
    #[test]
    fn another_reader_agrees(
        id in prop_oneof![Just("7"), Just("\"7\""), Just("null"), Just("[]"), Just("1.0")], name in "[a-c\u{e9}]{0,3}",
        at in any::<prop::sample::Index>(), piece in "[\"\\\\{}\\[\\],:0-9a\u{e9}]{0,3}",
    ) {
        let mut data = format!("{{\"staff_id\":{id},\"staff_name\":\"{name}\",\"conversation_id\":[1,{{}}],\"x\":0}}").replace("[1,{}]", "12");
        let at = data.char_indices().map(|(index, _)| index).nth(at.index(data.chars().count())).unwrap();
        data.insert_str(at, &piece);
        if let Extraction::Assignment(parts) = rule().found(&data) {
            let value: Value = serde_json::from_str(&data).unwrap();
            let found = value.pointer(["/staff_id", "/staff_name"][parts.pointer]).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(parts.identity).unwrap(), found);
            let context: Value = serde_json::from_str(parts.context[0]).unwrap();
            prop_assert_eq!(&context, value.pointer("/conversation_id").unwrap_or(&Value::Null));
        }
    }
}

/// A rule that looks at what else differs.
fn noting(ignore: &[&str], on_difference: OnDifference) -> Rule {
    let identity = vec!["/agent/id".into()];
    let context = vec!["/list/1/room".into()];
    let ignore = ignore.iter().map(|pointer| (*pointer).to_owned()).collect();
    Rule::new(RuleSpec { identity, context, ignore, on_difference, ..spec() }).unwrap()
}

fn announced(rule: &Rule, data: &str) -> Assignment {
    match rule.meant("staff-assigned", Some(data)) {
        EventMeaning::Announcement(assignment) => assignment,
        other => panic!("{other:?}: {data}"),
    }
}

const DATA: &str =
    r#"{"agent":{"id":7,"at":1},"list":[1,{"room":9,"on":true}],"meta":{"a":[1,2]},"metadata":"x","text":"hi"}"#;

#[test]
fn what_is_neither_assignment_nor_ignored_makes_a_difference() {
    let rule = noting(&["/meta", "/list/0"], OnDifference::Count);
    let differs = |from: &str, to: &str| {
        let changed = DATA.replacen(from, to, 1);
        assert_ne!(changed, DATA);
        announced(&rule, &changed).difference_from(&announced(&rule, DATA)).is_some()
    };
    for (from, to) in [
        ("\"at\":1", "\"at\":2"),
        ("\"at\":1", "\"on\":1"),
        (",\"at\":1", ""),
        ("true", "false"),
        ("metadata", "metadatum"),
        ("\"x\"", "\"y\""),
        ("hi", "ho"),
        ("}],", "},3],"),
        ("{\"agent", "{\"new\":null,\"agent"),
        // The order of keys counts, too: no backend changes it without a reason.
        (",\"metadata\":\"x\",\"text\":\"hi\"", ",\"text\":\"hi\",\"metadata\":\"x\""),
    ] {
        assert!(differs(from, to), "{from} {to}");
    }
    for (from, to) in [
        ("\"id\":7", "\"id\":8"),
        ("\"room\":9,", ""),
        ("[1,2]", "[1,3]"),
        (",\"meta\":{\"a\":[1,2]}", ""),
        ("[1,{", "[{\"any\":1},{"),
        ("{\"agent", " { \"agent"),
        (":[1,{", ": [ 1 , {"),
    ] {
        assert!(!differs(from, to), "{from} {to}");
    }
}

#[test]
fn a_difference_is_news_only_if_the_rule_says_so() {
    let other = DATA.replace("hi", "ho");
    for (on_difference, is_same, is_told) in
        [(OnDifference::Suppress, true, false), (OnDifference::Count, true, true), (OnDifference::Forward, false, true)]
    {
        let rule = noting(&[], on_difference);
        let (one, other) = (announced(&rule, DATA), announced(&rule, &other));
        assert_eq!((one == other, other.difference_from(&one).is_some()), (is_same, is_told), "{on_difference:?}");
        assert!(one.is_of_same(&other) && one == announced(&rule, DATA));
    }
    let elsewhere = rule().read("staff-assigned", Some("{\"staff_id\":7,\"text\":1}"), &RemainderKey::new([8; 16]));
    let here = rule().meant("staff-assigned", Some("{\"staff_id\":7,\"text\":2}"));
    assert_eq!(elsewhere, here, "without a remainder the key is not used");
    let rule = noting(&[], OnDifference::Forward);
    assert_ne!(
        rule.read("staff-assigned", Some(DATA), &RemainderKey::new([8; 16])),
        rule.meant("staff-assigned", Some(DATA))
    );
}

#[test]
fn the_leaves_are_those_of_the_remainder() {
    let rule = noting(&["/meta", "/list/0"], OnDifference::Count);
    let pointers = |data: &str| rule.leaves(data, &KEY).into_iter().map(|leaf| leaf.pointer).collect::<Vec<_>>();
    assert_eq!(pointers(DATA), ["/agent/at", "/list/1/on", "/metadata", "/text"]);
    assert_eq!(pointers("{\"a/b\":{\"m~n\":1,\"e\":{},\"l\":[]}}"), ["/a~1b/m~0n", "/a~1b/e", "/a~1b/l"]);
    assert_eq!(pointers("{\"a\":1,"), ["/a"], "as far as it can be read");
    let many: String = (0..100).map(|index| format!("\"k{index}\":{index},")).collect();
    assert_eq!(pointers(&format!("{{{many}\"z\":1}}")).len(), 32);
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(pointers(&deep).len(), 1);
    let long = format!("{{\"{}\":1,\"b\":2}}", "k".repeat(300));
    assert_eq!(pointers(&long), ["/b"]);
    let hash = |data: &str| rule.leaves(data, &KEY)[0].hash;
    assert_eq!(hash("{\"a\":\"x\"}"), hash("{ \"a\" : \"x\" }"));
    assert_ne!(hash("{\"a\":\"x\"}"), hash("{\"a\":\"y\"}"));
}

#[test]
fn what_is_ignored_is_named_by_pointers() {
    let errors = Rule::new(RuleSpec { ignore: vec!["meta".into()], ..spec() }).unwrap_err();
    assert!(errors[0].key == "ignore" && errors[0].problem.contains("/meta"), "{errors:?}");
}

proptest! {
    /// Whatever the data is, an announcement is equal to itself, and its leaves change with its digest.
    #[test]
    fn leaves_explain_every_digest(one in "[a-c]{0,3}", other in "[a-c]{0,3}") {
        let rule = noting(&["/b"], OnDifference::Count);
        let data = |text: &str| {
            let members: String =
                text.chars().enumerate().map(|(index, key)| format!(",\"{key}{index}\":{{\"b\":{index}}}")).collect();
            format!("{{\"agent\":{{\"id\":7}},\"b\":\"{text}\"{members}}}")
        };
        let (one, other) = (data(&one), data(&other));
        let differs = announced(&rule, &one).difference_from(&announced(&rule, &other)).is_some();
        prop_assert_eq!(differs, rule.leaves(&one, &KEY) != rule.leaves(&other, &KEY));
    }
}
