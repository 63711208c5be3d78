//! Conversions between JSON and structs, strings and identifiers.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Parses `text` as one JSON object; `None` for any other text. serde alone also accepts an array of the struct's
/// fields.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
}

/// `value` as JSON.
pub(super) fn text(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("text, numbers and objects with text for keys can always be written as JSON")
}

/// The content of a JSON string; `None` for any other value. JSON can escape one half of a UTF-16 surrogate pair, which
/// is not a character: a text that was cut inside an emoji ends with one. It is replaced by U+FFFD, which every client
/// can read.
pub(super) fn string(token: &RawValue) -> Option<String> {
    let token = token.get();
    serde_json::from_str(token).or_else(|_| serde_json::from_str(token).map(|Lossy(text)| text)).ok()
}

/// A text with U+FFFD in place of each unpaired surrogate.
struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(without_surrogates(bytes)))
            }
        }
        // serde_json's byte strings contain an unpaired surrogate as three bytes that are not UTF-8 (WTF-8).
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Converts WTF-8 to UTF-8. The three bytes of a surrogate, of which the first is 0xED, are three invalid chunks.
fn without_surrogates(wtf8: &[u8]) -> String {
    let mut text = String::with_capacity(wtf8.len());
    for chunk in wtf8.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().first() == Some(&0xED) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// The identifier in a JSON value: a string that is not empty, or a number in JavaScript's notation, so that `1` and
/// `1.0` are the same user. pusher-js looks its own member up by the value that it parses from `channel_data`. Integers
/// keep all of their digits.
pub(super) fn identifier(token: &RawValue) -> Option<String> {
    match token.get().as_bytes() {
        [b'"', ..] => string(token).filter(|text| !text.is_empty()),
        [b'-' | b'0'..=b'9', ..] => number(token.get()),
        _ => None,
    }
}

/// The JSON number `token` in JavaScript's notation (ECMA-262, Number::toString); `None` if it is out of range.
fn number(token: &str) -> Option<String> {
    if token != "-0" && token.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        return Some(token.to_owned());
    }
    let value: f64 = token.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-6..1e21).contains(&size) => value.to_string(),
        1e21.. => format!("{value:e}").replace('e', "e+"),
        _ => format!("{value:e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair {
        a: u8,
        #[serde(default)]
        b: u8,
    }

    fn raw(token: &str) -> Box<RawValue> {
        RawValue::from_string(token.to_owned()).unwrap()
    }

    #[test]
    fn a_text_that_was_cut_inside_a_character_is_a_text() {
        for (token, expected) in [
            (r#""""#, ""),
            (r#""Welcome \ud83d\ude00 \u00e9é""#, "Welcome 😀 éé"),
            (r#""Welcome \ud83d""#, "Welcome \u{fffd}"),
            (r#""\ude00é😀\n""#, "\u{fffd}é😀\n"),
            (r#""\ud83d\ud83d\ude00\ude00""#, "\u{fffd}😀\u{fffd}"),
            (r#""\ud83d\u0041\uD800x""#, "\u{fffd}A\u{fffd}x"),
        ] {
            assert_eq!(string(&raw(token)).as_deref(), Some(expected), "{token}");
        }
        for token in ["7", "null", "true", "{}", r#"["a"]"#] {
            assert_eq!(string(&raw(token)), None, "{token}");
        }
    }

    /// What `String(JSON.parse(token))` is in JavaScript, but for whole numbers that it has no room for.
    #[test]
    fn numbers_are_identifiers_as_javascript_writes_them() {
        for (token, expected) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1e0", "1"),
            ("10E-1", "1"),
            ("-0", "0"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("-1.50", "-1.5"),
            ("1e3", "1000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5e-7", "1.5e-7"),
            ("123456789012345680000.0", "123456789012345680000"),
            ("1e21", "1e+21"),
            ("-1.25e300", "-1.25e+300"),
            ("9007199254740993", "9007199254740993"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#""1.0""#, "1.0"),
            (r#""01""#, "01"),
        ] {
            assert_eq!(identifier(&raw(token)).as_deref(), Some(expected), "{token}");
        }
        for token in [r#""""#, "null", "true", "[1]", "{}", "1e999", "-1e999"] {
            assert_eq!(identifier(&raw(token)), None, "{token}");
        }
    }

    #[test]
    fn only_objects_are_objects() {
        assert_eq!(object(" \n{\"a\":1,\"c\":[]} "), Some(Pair { a: 1, b: 0 }));
        for text in ["[1,2]", "[1]", "", "{", "null", "\"{}\"", "{\"a\":1} {}", "{\"a\":1,\"a\":1}", "\u{a0}{\"a\":1}"]
        {
            assert_eq!(object::<Pair>(text), None, "{text}");
        }
    }
}
