//! Properties of both passes over random and mutated bodies.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// JSON text of `value` in one of several spellings: whitespace, escapes.
fn spell(value: &Value, spelling: u8) -> String {
    match spelling % 3 {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(value).unwrap(),
        // No key has a q.
        _ => value.to_string().replace('q', "\\u0071"),
    }
}

fn event() -> impl Strategy<Value = Value> {
    let data = prop_oneof![
        any::<String>().prop_map(Value::from),
        Just(json!({"staff_id": 7})),
        Just(json!("{\"staff_id\":7}"))
    ];
    ("[q-s\u{e9}\"-]{0,3}", data, any::<bool>()).prop_map(|(name, data, info)| match info {
        true => json!({"name": name, "data": data, "info": "user_count"}),
        false => json!({"name": name, "data": data, "socket_id": null}),
    })
}

prop_compose! {
    fn single()(mut event in event(), channels in prop::collection::btree_set("[q-s\u{e9}/]{0,3}", 1..6), spelling in any::<u8>()) -> String {
        event["channels"] = channels.into_iter().collect();
        spell(&event, spelling)
    }
}

prop_compose! {
    fn batch()(items in prop::collection::vec((event(), "[q-s]{0,2}"), 1..6), spelling in any::<u8>()) -> String {
        let items: Vec<Value> = items.into_iter().map(|(mut event, channel)| { event["channel"] = channel.into(); event }).collect();
        spell(&json!({ "batch": items }), spelling)
    }
}

fn body() -> impl Strategy<Value = (Endpoint, String)> {
    prop_oneof![single().prop_map(|body| (Endpoint::Events, body)), batch().prop_map(|body| (Endpoint::Batch, body))]
}

/// Pieces that make a valid body malformed.
const PIECES: [&str; 14] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\",
    "\\ud800",
    "\\u0000",
    "\"channel\":\"x\",",
    "\"batch\":[],",
    "\u{feff}",
    " ",
];

/// A body with a few bytes overwritten and a few pieces inserted.
fn mutated() -> impl Strategy<Value = (Endpoint, Vec<u8>)> {
    let pieces = prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&PIECES[..])), 0..3);
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (body(), pieces, bytes).prop_map(|((endpoint, body), pieces, bytes)| {
        let mut body = body.into_bytes();
        for (at, byte) in bytes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for (at, piece) in pieces {
            let at = at.index(body.len() + 1);
            body.splice(at..at, piece.bytes());
        }
        (endpoint, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn good_bodies_are_exact((endpoint, body) in body()) {
        prop_assert!(Trigger::parse(endpoint, body.as_bytes()).is_ok(), "{}", body);
    }

    #[test]
    fn random_bytes_do_no_harm(body in any::<Vec<u8>>()) {
        prop_assert!(Trigger::parse(Endpoint::Events, &body).is_err());
        prop_assert!(Trigger::parse(Endpoint::Batch, &body).is_err());
    }

    /// What is read exactly is what another reader finds as well. Of any other body, each channel that the other reader
    /// finds is among those it may affect.
    #[test]
    fn another_reader_agrees((endpoint, body) in mutated()) {
        let _is_exact = agreement::check(endpoint, &body);
    }

    /// A reduced trigger is read exactly, and the rest of it is unchanged.
    #[test]
    fn a_reduced_body_is_what_stays((endpoint, body) in body(), choice in any::<u64>()) {
        let trigger = Trigger::parse(endpoint, body.as_bytes()).unwrap();
        let all = trigger.events.iter().enumerate().flat_map(|(event, read)| (0..read.channels.len()).map(move |channel| (event, channel)));
        let (dropped, kept): (Vec<_>, Vec<_>) = all.enumerate().partition(|(index, _)| choice >> (index % 64) & 1 == 1);
        let dropped: Vec<(usize, usize)> = dropped.into_iter().map(|(_, pair)| pair).collect();
        let reduced = trigger.without(&dropped);
        if kept.is_empty() {
            prop_assert!(reduced.is_empty());
            return Ok(());
        }
        let again = Trigger::parse(endpoint, &reduced).unwrap();
        let list = |trigger: &Trigger<'_>| -> Vec<(String, String, Option<String>, bool)> {
            let of = |event: &Event<'_>, channel: &str| (event.name.to_string(), channel.to_owned(), event.data(&mut []).map(Cow::into_owned), event.wants_info);
            trigger.events.iter().flat_map(|event| event.channels.iter().map(|channel| of(event, channel)).collect::<Vec<_>>()).collect()
        };
        let expected: Vec<_> = list(&trigger).into_iter().enumerate().filter(|(index, _)| kept.iter().any(|(kept, _)| kept == index)).collect();
        prop_assert_eq!(list(&again), expected.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>());
    }
}
