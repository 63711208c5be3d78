//! The scanner accepts the same texts as serde_json, refuses the others for the same reasons, and finds the same
//! tokens.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

/// Pieces that mutations insert.
const ALPHABET: [char; 30] = [
    '{', '}', '[', ']', '"', ',', ':', '\\', '/', 'u', 'b', 'n', 'f', 'r', 't', '0', '1', '2', '9', '-', '+', '.', 'e',
    'E', ' ', '\n', '\t', '\u{1}', 'a', 'é',
];

/// Pieces of JSON.
const PIECES: [&str; 24] = [
    "{", "}", "[", "]", ",", ":", "{\"a\":", "\"\":", "\"a\"", "\"", "\\\"", "\\u00e9", "\\ud83d", "\\u12x4", "null",
    "true", "false", "0", "-1.5e+7", "2E", "é", " ", "\r\n", "\u{1f}",
];

/// Pieces of the contents of strings.
const IN_STRINGS: [&str; 14] = [
    "\\\"",
    "\\\"",
    "\\\"",
    "\\\"",
    "\\\"",
    "{",
    ":",
    "a",
    "staff_name",
    "é",
    "https://media.example/1.jpg",
    "\\\\",
    "\\/",
    "\\n",
];

/// Whether JSON has more than `limit` levels; byte by byte.
fn deeper_than(text: &str, limit: usize) -> bool {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > limit
}

/// An object as serde_json reads it.
fn expected(text: &str) -> Result<Vec<(&str, &str)>, ObjectError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let AllMembers(entries) = AllMembers::deserialize(&mut deserializer)
        .map_err(|error| if error.is_data() { ObjectError::NotAnObject } else { ObjectError::NotJson })?;
    deserializer.end().map_err(|_| ObjectError::TrailingBytes)?;
    let members: Option<Vec<(&str, &str)>> = entries
        .into_iter()
        .map(|(key, value)| if let Cow::Borrowed(key) = key { Some((key, value)) } else { None })
        .collect();
    let members = members.ok_or(ObjectError::EscapedKey)?;
    if members.iter().enumerate().any(|(index, (key, _))| members[..index].iter().any(|(earlier, _)| earlier == key)) {
        return Err(ObjectError::DuplicateKey);
    }
    if deeper_than(text, MAX_DEPTH) { Err(ObjectError::TooDeep) } else { Ok(members) }
}

#[track_caller]
fn assert_same(text: &str) {
    let is_shallow = !deeper_than(text, MAX_DEPTH);
    assert_eq!(is_valid(text), is_shallow && serde_json::from_str::<&RawValue>(text).is_ok(), "{text:?}");
    let array = serde_json::from_str::<Vec<&RawValue>>(text).ok().filter(|_| is_shallow);
    let array: Option<Vec<&str>> = array.map(|elements| elements.into_iter().map(RawValue::get).collect());
    assert_eq!(elements(text).map(SmallVec::into_vec), array, "{text:?}");
    assert_eq!(Members::parse(text).map(|members| members.iter().collect::<Vec<_>>()), expected(text), "{text:?}");
    if let Ok(token) = serde_json::from_str::<&RawValue>(text) {
        assert_eq!(string(token.get()).map(Cow::into_owned), serde_json::from_str::<String>(text).ok(), "{text:?}");
        assert_eq!(
            string_into(token.get(), &mut [0; 24]).map(Cow::into_owned),
            serde_json::from_str::<String>(text).ok(),
            "{text:?}"
        );
    }
}

/// A text by itself, and as a value in other texts.
#[track_caller]
fn assert_same_wherever(text: &str) {
    for text in [
        text,
        &format!("[{text}]"),
        &format!("{{\"a\":{text}}}"),
        &format!("[1,{{\"a\":[{text} ]}}]"),
        &format!("\"{text}\""),
    ] {
        assert_same(text);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof!["[a-c]{0,2}", "[\"\\\\/\n\u{1}aé😀]{0,6}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        ]
    })
}

/// A value's text, compact or pretty, perhaps with an escape where none is needed.
fn spelt() -> impl Strategy<Value = String> {
    (value(), any::<bool>(), any::<bool>()).prop_map(|(value, is_pretty, is_escaped)| {
        let text = if is_pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        if is_escaped { text.replace('b', "\\u0062") } else { text }
    })
}

#[derive(Debug, Clone)]
enum Change {
    Put(Index, char),
    Insert(Index, char),
    Remove(Index),
    Truncate(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let character = || prop_oneof![9 => select(&ALPHABET[..]), 1 => any::<char>()];
    prop_oneof![
        3 => (any::<Index>(), character()).prop_map(|(at, character)| Change::Put(at, character)),
        3 => (any::<Index>(), character()).prop_map(|(at, character)| Change::Insert(at, character)),
        3 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Truncate)
    ]
}

fn changed(text: &str, changes: Vec<Change>) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for change in changes {
        match change {
            Change::Insert(at, character) => text.insert(at.index(text.len() + 1), character),
            _ if text.is_empty() => {}
            Change::Put(at, character) => {
                let at = at.index(text.len());
                text[at] = character;
            }
            Change::Remove(at) => {
                text.remove(at.index(text.len()));
            }
            Change::Truncate(at) => text.truncate(at.index(text.len())),
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn json_is_read_alike(text in spelt()) {
        prop_assert!(is_valid(&text));
        assert_same(&text);
    }

    #[test]
    fn broken_json_is_read_alike(text in spelt(), changes in prop::collection::vec(change(), 1..4)) {
        assert_same(&changed(&text, changes));
    }

    #[test]
    fn random_text_is_read_alike(characters in prop::collection::vec(select(&ALPHABET[..]), 0..12)) {
        assert_same_wherever(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn random_pieces_are_read_alike(pieces in prop::collection::vec(select(&PIECES[..]), 0..12)) {
        assert_same_wherever(&pieces.concat());
    }

    /// Longer than a block, mostly with the escapes of JSON within a string.
    #[test]
    fn long_strings_are_read_alike(pieces in prop::collection::vec(select(&IN_STRINGS[..]), 0..60), changes in prop::collection::vec(change(), 0..2)) {
        let text = format!("\"{}\"", pieces.concat());
        assert_same(&text);
        assert_same_wherever(&changed(&text, changes));
    }

    /// Near the limit on depth, perhaps malformed.
    #[test]
    fn deep_json_is_read_alike(are_objects in prop::collection::vec(any::<bool>(), 120..134), changes in prop::collection::vec(change(), 0..2)) {
        let opening: String = are_objects.iter().map(|is_object| if *is_object { "{\"a\":" } else { "[" }).collect();
        let closing: String = are_objects.iter().rev().map(|is_object| if *is_object { "}" } else { "]" }).collect();
        let text = format!("{opening}0{closing}");
        assert_same(&text);
        assert_same(&changed(&text, changes));
    }
}

/// Every text of up to four special characters.
#[test]
fn all_short_texts_are_read_alike() {
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        texts = texts
            .iter()
            .flat_map(|text| "{}[]\",:\\0-.e1 ".chars().map(move |character| format!("{text}{character}")))
            .collect();
        texts.iter().for_each(|text| assert_same_wherever(text));
    }
}
