//! The data of an event as leaves: where each value stands, what form it has, and a keyed hash of it. No value is kept
//! but those of the members that tell the kinds of an enveloped event apart.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::shape::{is_id, is_uuid};
use crate::pusher::json::{self, Scanner};

/// The most leaves that are told apart. What is beyond them is one part, which can differ as a whole.
const MAX_LEAVES: usize = 32;

/// How deep values are told apart.
const MAX_LEVELS: usize = 6;

/// The longest pointer, in bytes.
const MAX_POINTER: usize = 96;

/// The longest key of which the values may be ids: a map of users, for example, has others.
const MAX_KEY: usize = 40;

/// Members at the outermost level whose values tell the kinds of an event apart: constants of the backend.
const KINDS: [&str; 8] = ["type", "category", "kind", "event", "event_type", "eventType", "topic", "event_name"];

/// The longest value that may be a kind, in bytes.
const MAX_KIND: usize = 40;

/// The forms that values have, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(super) struct Forms(u16);

impl Forms {
    pub(super) const STRING: Self = Self(1);
    pub(super) const NUMBER: Self = Self(1 << 1);
    pub(super) const BOOL: Self = Self(1 << 2);
    pub(super) const NULL: Self = Self(1 << 3);
    pub(super) const LIST: Self = Self(1 << 4);
    pub(super) const OBJECT: Self = Self(1 << 5);
    pub(super) const TIME: Self = Self(1 << 6);
    pub(super) const UUID: Self = Self(1 << 7);
    pub(super) const ID: Self = Self(1 << 8);
    pub(super) const ADDRESS: Self = Self(1 << 9);

    /// Every form, with the name of a value that has it.
    pub(super) const NAMES: [(Self, &'static str); 10] = [
        (Self::UUID, "uuid"),
        (Self::TIME, "time"),
        (Self::ADDRESS, "address"),
        (Self::ID, "id"),
        (Self::STRING, "string"),
        (Self::NUMBER, "number"),
        (Self::BOOL, "boolean"),
        (Self::NULL, "null"),
        (Self::LIST, "list"),
        (Self::OBJECT, "object"),
    ];

    /// Both sets together.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has any of `other`.
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Where it is.
    pub(super) pointer: String,
    /// The hash of its token.
    pub(super) hash: u64,
    /// What it looks like.
    pub(super) forms: Forms,
    /// Of an address with a query: the hash of what stands before that.
    pub(super) base: Option<u64>,
}

/// The data of one event.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    pub(super) leaves: Vec<Leaf>,
    /// The hash of everything that is no leaf of its own.
    pub(super) elsewhere: u64,
    /// The members that tell kinds apart, and their values.
    pub(super) kinds: SmallVec<[(String, String); 2]>,
    /// Whether it is a JSON object.
    pub(super) is_object: bool,
}

/// Reads `data`.
pub(super) fn read(data: &str, keys: &RandomState) -> Leaves {
    let mut walk = Walk { keys, leaves: Leaves::default(), pointer: String::new() };
    let data = data.trim_ascii();
    if !json::is_valid(data) || walk.descend(data, 0).is_none() {
        let elsewhere = keys.hash_one(data);
        return Leaves { elsewhere, ..Leaves::default() };
    }
    walk.leaves.is_object = data.starts_with('{');
    walk.leaves
}

struct Walk<'k> {
    keys: &'k RandomState,
    leaves: Leaves,
    /// Of the value that is looked at.
    pointer: String,
}

impl Walk<'_> {
    /// `None`: a key has an escape, or is there twice.
    fn descend(&mut self, token: &str, level: usize) -> Option<()> {
        if !token.starts_with('{') || level == MAX_LEVELS {
            self.leaf(token);
            return Some(());
        }
        let mut scanner = Scanner::object(token);
        let mut is_empty = true;
        while let Some((key, value)) = scanner.member().ok()? {
            is_empty = false;
            if level == 0 && KINDS.contains(&key) && is_kind(value) {
                self.leaves.kinds.push((format!("/{key}"), value[1..value.len() - 1].to_owned()));
                continue;
            }
            let before = self.pointer.len();
            if is_plain(key) && before + 1 + key.len() <= MAX_POINTER {
                self.pointer.push('/');
                self.pointer.push_str(key);
                self.descend(value, level + 1)?;
                self.pointer.truncate(before);
            } else {
                self.apart(&[self.pointer.as_str(), key, value].join("\u{1}"));
            }
        }
        if is_empty {
            self.leaf(token);
        }
        Some(())
    }

    fn leaf(&mut self, token: &str) {
        if self.leaves.leaves.len() == MAX_LEAVES {
            self.apart(&[self.pointer.as_str(), token].join("\u{1}"));
            return;
        }
        let (forms, base) = form(token);
        self.leaves.leaves.push(Leaf {
            pointer: self.pointer.clone(),
            hash: self.keys.hash_one(token),
            forms,
            base: base.map(|base| self.keys.hash_one(base)),
        });
    }

    /// Part of what is no leaf of its own.
    fn apart(&mut self, text: &str) {
        self.leaves.elsewhere = self.keys.hash_one((self.leaves.elsewhere, text));
    }
}

/// Whether a key is one that the backend's code names. An id, or what a person typed, is none.
fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_KEY
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$'))
        && !key.bytes().all(|byte| byte.is_ascii_digit())
        && !is_id(key)
        && !is_uuid(key)
}

/// Whether the token of a string may be a constant of the backend's code.
fn is_kind(token: &str) -> bool {
    let Some(text) = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let is_sign = |byte: u8| matches!(byte, b'_' | b'-' | b'.' | b':');
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= MAX_KIND
        && text.bytes().all(|byte| byte.is_ascii_alphabetic() || is_sign(byte))
}

/// What a token looks like; and of an address with a query, what stands before that.
fn form(token: &str) -> (Forms, Option<&str>) {
    let form = match token.as_bytes().first() {
        Some(b'"') => return text_form(token.trim_matches('"')),
        Some(b'{') => Forms::OBJECT,
        Some(b'[') => Forms::LIST,
        Some(b't' | b'f') => Forms::BOOL,
        Some(b'n') => Forms::NULL,
        _ if is_epoch(token) => Forms::NUMBER.and(Forms::TIME),
        _ => Forms::NUMBER,
    };
    (form, None)
}

fn text_form(text: &str) -> (Forms, Option<&str>) {
    let is_address = text.starts_with("http://")
        || text.starts_with("https://")
        || text.starts_with("http:\\/\\/")
        || text.starts_with("https:\\/\\/")
        || text.starts_with('/') && !text.contains(' ');
    let base = text.split_once('?').map(|(base, _)| base).filter(|_| is_address);
    let form = if is_address {
        Forms::ADDRESS
    } else if is_uuid(text) {
        Forms::UUID
    } else if is_date(text) || is_epoch(text) {
        Forms::TIME
    } else if is_id(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        Forms::ID
    } else {
        Forms::STRING
    };
    (form.and(Forms::STRING), base)
}

/// Seconds or milliseconds, with a fraction or without, since the Unix epoch, from 2001 on.
fn is_epoch(text: &str) -> bool {
    let whole = text.split('.').next().unwrap_or_default();
    matches!(whole.len(), 10 | 13)
        && whole.bytes().all(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A date with a time, as ISO 8601 or RFC 3339 writes it.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_pattern = bytes.len() >= 16
        && b"dddd-dd-ddTdd:dd".iter().zip(bytes).all(|(pattern, byte)| match pattern {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            other => other == byte,
        });
    is_pattern && bytes.len() <= 40
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(data: &str) -> Vec<String> {
        read(data, &RandomState::new()).leaves.into_iter().map(|leaf| leaf.pointer).collect()
    }

    #[test]
    fn leaves_are_values_below_the_keys_of_code() {
        assert_eq!(
            pointers(r#"{"a":{"b":1,"c":{}},"list":[{"x":1}],"64f1c2aa99":1,"a b":2,"7":3}"#),
            ["/a/b", "/a/c", "/list"]
        );
        assert_eq!(pointers("\"text\""), [""]);
        assert_eq!(pointers("no JSON"), Vec::<String>::new());
        let many: Vec<String> = (0..40).map(|index| format!("\"k{}\":1", "x".repeat(index + 1))).collect();
        assert_eq!(pointers(&format!("{{{}}}", many.join(","))).len(), MAX_LEAVES);
    }

    #[test]
    fn what_is_no_leaf_differs_as_a_whole() {
        let keys = RandomState::new();
        let elsewhere = |data: &str| read(data, &keys).elsewhere;
        assert_ne!(elsewhere(r#"{"64f1c2aa99":1}"#), elsewhere(r#"{"64f1c2aa99":2}"#));
        assert_eq!(elsewhere(r#"{"a":1}"#), elsewhere(r#"{"a":2}"#));
        assert_ne!(elsewhere("one text"), elsewhere("another text"));
        assert_ne!(elsewhere(r#"{"a":1,"a":2}{"#), 0);
    }

    #[test]
    fn forms_are_told_apart() {
        for (token, expected) in [
            ("1764457199", Forms::TIME),
            ("1764457199.25", Forms::TIME),
            ("\"2026-11-30T00:10:00Z\"", Forms::TIME),
            ("\"0b6f2c9a-1d2e-4f3a-8b4c-5d6e7f8a9b0c\"", Forms::UUID),
            ("\"64f1c2aa99\"", Forms::ID),
            ("\"https:\\/\\/cdn.example\\/a.png\"", Forms::ADDRESS),
            ("\"Anna Byrne\"", Forms::STRING),
            ("7", Forms::NUMBER),
            ("null", Forms::NULL),
            ("[1]", Forms::LIST),
        ] {
            let (forms, _) = form(token);
            assert!(forms.has(expected), "{token}: {forms:?}");
        }
        assert_eq!(form("\"https://c/a.png?s=1\"").1, Some("https://c/a.png"));
    }

    #[test]
    fn kinds_are_constants_at_the_outermost_level() {
        let kinds = |data: &str| read(data, &RandomState::new()).kinds.to_vec();
        let kind = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            kinds(r#"{"category":"guest_chat","type":"staff_assigned","payload":{"type":"x"}}"#),
            [kind("/category", "guest_chat"), kind("/type", "staff_assigned")]
        );
        assert_eq!(kinds(r#"{"type":"Anna Byrne","kind":"room12","topic":7}"#), []);
    }
}
