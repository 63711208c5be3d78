//! JSON one object level at a time, strictly, every value kept as the token that was received. What two readers may read differently is a fault here:
//! duplicate keys, escapes inside keys, bytes after the end (`threats.md` 2.5).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The most levels of arrays and objects that a text may have: what serde_json itself reads (`threats.md` JSON-12).
pub(crate) const MAX_DEPTH: usize = 127;

/// Why an object was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NotJson,
    TrailingBytes,
    NotAnObject,
    TooDeep,
    DuplicateKey,
    EscapedKey,
}

/// The members of one object in their order, no key twice, no key with escapes; the values are tokens without whitespace around them.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    entries: Vec<(&'a str, &'a RawValue)>,
    escaped_key: bool,
}

impl<'a> Members<'a> {
    /// Reads the object that `text` is. It and what it holds may be `max_depth` levels deep.
    pub(crate) fn parse(text: &'a str, max_depth: usize) -> Result<Self, Fault> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = Self::deserialize(&mut deserializer).map_err(|error| if error.is_data() { Fault::NotAnObject } else { Fault::NotJson })?;
        deserializer.end().map_err(|_| Fault::TrailingBytes)?;
        if members.escaped_key {
            return Err(Fault::EscapedKey);
        }
        if any_twice(members.entries.iter().map(|(key, _)| *key)) {
            return Err(Fault::DuplicateKey);
        }
        // Raw values are skipped without recursion and without a limit; the limit is ours to keep.
        if max_depth == 0 || members.entries.iter().any(|(_, value)| deeper_than(value.get(), max_depth - 1)) {
            return Err(Fault::TooDeep);
        }
        Ok(members)
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// Keys and values in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a RawValue)> {
        self.entries.iter().copied()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // A trigger has three to five members: one allocation is enough for it.
                let mut members = Members { entries: Vec::with_capacity(6), escaped_key: false };
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    match key {
                        Key::Plain(key) => members.entries.push((key, value)),
                        Key::Escaped => members.escaped_key = true,
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A key; serde_json lends it from the text exactly when it holds no escape.
enum Key<'a> {
    Plain(&'a str),
    Escaped,
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key::Plain(key))
            }

            fn visit_str<E>(self, _key: &str) -> Result<Self::Value, E> {
                Ok(Key::Escaped)
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The elements of the array that `text` is, as tokens.
pub(crate) fn elements(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// The text of the JSON string that `token` is, borrowed where it holds no escape. `None` if it is another value or does not decode (lone surrogates).
/// `token` must be valid JSON.
pub(crate) fn string(token: &str) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    match inner.bytes().position(|byte| byte == b'\\') {
        None => Some(Cow::Borrowed(inner)),
        Some(first) => unescape(inner, first).or_else(|| serde_json::from_str(token).ok()).map(Cow::Owned),
    }
}

/// `inner`, whose first escape is at `first`, without its escapes: in one buffer of the right size, which is what serde_json's general way lacks. `None`
/// where it has escapes of code points.
fn unescape(inner: &str, first: usize) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    let mut next = Some(first);
    while let Some(place) = next {
        text.push_str(&rest[..place]);
        text.push(match rest.as_bytes().get(place + 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            _ => return None,
        });
        rest = &rest[place + 2..];
        next = rest.bytes().position(|byte| byte == b'\\');
    }
    text.push_str(rest);
    Some(text)
}

/// Whether `text` has more than `limit` levels of arrays and objects. Linear and without recursion; `text` need not be JSON.
pub(crate) fn deeper_than(text: &str, limit: usize) -> bool {
    if text.len() <= limit || !text.starts_with(['[', '{']) {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether two of `texts` are equal. Takes n log n comparisons, for how many there are is the caller's choice.
pub(crate) fn any_twice<'t>(texts: impl ExactSizeIterator<Item = &'t str> + Clone) -> bool {
    if texts.len() <= 8 {
        return texts.clone().enumerate().any(|(index, text)| texts.clone().take(index).any(|earlier| earlier == text));
    }
    let mut sorted: Vec<_> = texts.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<Fault> {
        Members::parse(text, MAX_DEPTH).err()
    }

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn members_keep_their_tokens() {
        let members = Members::parse(" {\"a\" : 1.0 , \"é\":\" x\" ,\"\":[ 1 ]} \n", MAX_DEPTH).unwrap();
        let found: Vec<_> = members.iter().map(|(key, value)| (key, value.get())).collect();
        assert_eq!(found, [("a", "1.0"), ("é", "\" x\""), ("", "[ 1 ]")]);
        assert_eq!(members.get("a").map(RawValue::get), Some("1.0"));
        assert!(members.get("b").is_none());
    }

    #[test]
    fn strings_decode_as_serde_json_decodes_them() {
        for token in [
            r#""""#,
            r#""plain""#,
            r#""{\"staff_name\":\"Zo\u00eb\"}""#,
            r#""\"""#,
            r#""\\\\n""#,
            r#""a\/b\n\t\r\b\fc""#,
            r#""é\"é""#,
            r#""\ud83d\ude00\"""#,
            r#""\ud83d""#,
            r#""\\u0041""#,
        ] {
            let expected: Option<String> = serde_json::from_str(token).ok();
            assert_eq!(string(token).map(Cow::into_owned), expected, "{token}");
        }
        assert_eq!(string("7"), None);
    }

    #[test]
    fn faults_are_told_apart() {
        for (text, expected) in [
            ("", Fault::NotJson),
            ("{", Fault::NotJson),
            ("{\"a\":07}", Fault::NotJson),
            ("{\"a\":NaN}", Fault::NotJson),
            ("{'a':1}", Fault::NotJson),
            ("{\"a\":1,}", Fault::NotJson),
            ("{\"a\":1 /*c*/}", Fault::NotJson),
            ("{\"a\":\"\n\"}", Fault::NotJson),
            ("{\"\\ud800\":1}", Fault::NotJson),
            ("\u{feff}{}", Fault::NotJson),
            ("[]", Fault::NotAnObject),
            ("1", Fault::NotAnObject),
            ("null", Fault::NotAnObject),
            ("{}{}", Fault::TrailingBytes),
            ("{},", Fault::TrailingBytes),
            ("{}\0", Fault::TrailingBytes),
            ("{\"a\":1,\"a\":1}", Fault::DuplicateKey),
            ("{\"\\u0061\":1}", Fault::EscapedKey),
            ("{\"a\\/b\":1}", Fault::EscapedKey),
        ] {
            assert_eq!(fault(text), Some(expected), "{text}");
        }
        assert_eq!(fault("{}"), None);
    }

    #[test]
    fn depth_is_counted_from_the_outermost_level() {
        assert_eq!(fault(&format!("{{\"a\":{}}}", nested(126))), None);
        assert_eq!(fault(&format!("{{\"a\":{}}}", nested(127))), Some(Fault::TooDeep));
        assert_eq!(fault(&format!("{{\"a\":{}}}", nested(10_000))), Some(Fault::TooDeep));
        assert_eq!(Members::parse("{}", 0).err(), Some(Fault::TooDeep));
        // brackets in strings are no levels, whatever is escaped there
        assert_eq!(fault(&format!("{{\"a\":[\"\\\\\\\"{}\"]}}", "[".repeat(300))), None);
        // what serde_json itself takes for too deep
        assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH)).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        assert!(matches!(string("\"é/<\""), Some(Cow::Borrowed("é/<"))));
        assert_eq!(string("\"a\\u00e9\\/\"").as_deref(), Some("aé/"));
        assert_eq!(string("\"\"").as_deref(), Some(""));
        for token in ["1", "null", "[\"a\"]", "{}", "\"\\ud800\""] {
            assert_eq!(string(token), None, "{token}");
        }
    }

    #[test]
    fn twins_are_found_in_short_and_long_lists() {
        let texts: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        for length in [0, 1, 2, 8, 9, 1000] {
            let mut some: Vec<&str> = texts[..length].iter().map(String::as_str).collect();
            assert!(!any_twice(some.iter().copied()), "{length}");
            if let Some(last) = some.last().copied() {
                some.insert(0, last);
                assert!(any_twice(some.iter().copied()), "{length}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_keys_are_read() {
        let text = format!("{{{}\"x\":0}}", (0..100_000).map(|number| format!("\"{number}\":0,")).collect::<String>());
        assert_eq!(fault(&text), None);
        assert_eq!(fault(&text.replace("\"x\"", "\"99999\"")), Some(Fault::DuplicateKey));
    }
}
