//! A request's query string, split and decoded once.

use std::borrow::Cow;

/// The pairs of a query string in their order on the wire.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// How often a parameter is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given<'q> {
    Never,
    Once(&'q str),
    Repeatedly,
}

impl<'a> Query<'a> {
    /// Splits and decodes `raw` (without `?`): `+` is a space, `%xx` a byte, keys are lower-cased (ASCII) after decoding, empty segments are skipped
    /// and a key without `=` has the value "" (`pusher-protocol.md` 2.1, 2.2). Never fails: what does not decode to UTF-8 is kept as it stands
    /// and will not verify.
    #[must_use]
    pub fn parse(raw: &'a str) -> Self {
        // A signed trigger has five parameters, none of them encoded: one allocation and one look are enough for it.
        let mut pairs = Vec::with_capacity(8);
        let is_plain = is_plain(raw);
        let mut rest = raw;
        while !rest.is_empty() {
            let segment;
            (segment, rest) = cut(rest, b'&');
            if segment.is_empty() {
                continue;
            }
            let (key, value) = cut(segment, b'=');
            pairs.push(if is_plain { (lower_case(Cow::Borrowed(key)), Cow::Borrowed(value)) } else { (decode_key(key), decode(value)) });
        }
        Self { raw, pairs }
    }

    /// The query as received.
    #[must_use]
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded value of the only parameter named `key`; `None` when absent or given more than once.
    #[must_use]
    pub fn only(&self, key: &str) -> Option<&str> {
        match self.given(key) {
            Given::Once(value) => Some(value),
            Given::Never | Given::Repeatedly => None,
        }
    }

    /// Whether the query holds a parameter that a trigger may carry there instead of in its body
    /// (`name`, `channel`, `channels`, `channels[]`, `data`, `socket_id`, `info`, `batch`; any `[…]` after the key counts as an array's form).
    #[must_use]
    pub fn has_trigger_parameters(&self) -> bool {
        self.pairs.iter().filter(|(key, _)| !is_for_authentication(key)).any(|(key, _)| {
            let name = key.split_once('[').map_or(&**key, |(name, _)| name).trim();
            matches!(name, "name" | "channel" | "channels" | "data" | "socket_id" | "info" | "batch")
        })
    }

    /// How often the parameter named `key` (in lower case) is given.
    pub(super) fn given(&self, key: &str) -> Given<'_> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| &**value);
        match (values.next(), values.next()) {
            (None, _) => Given::Never,
            (Some(value), None) => Given::Once(value),
            (Some(_), Some(_)) => Given::Repeatedly,
        }
    }

    /// The decoded pairs in their order on the wire.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Whether `key` is one of those that every signed request has.
fn is_for_authentication(key: &str) -> bool {
    matches!(key, "auth_key" | "auth_timestamp" | "auth_version" | "auth_signature" | "body_md5")
}

/// `text` before and behind its first `byte`, which is ASCII; all of it and nothing, if there is none. The parts are short: this is quicker than a search
/// that is made for long texts.
fn cut(text: &str, byte: u8) -> (&str, &str) {
    text.bytes().position(|its| its == byte).map_or((text, ""), |place| (&text[..place], &text[place + 1..]))
}

/// A key decoded and lower-cased.
pub(super) fn decode_key(raw: &str) -> Cow<'_, str> {
    lower_case(decode(raw))
}

fn lower_case(mut key: Cow<'_, str>) -> Cow<'_, str> {
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        key.to_mut().make_ascii_lowercase();
    }
    key
}

/// Whether nothing in `raw` is encoded.
fn is_plain(raw: &str) -> bool {
    !raw.as_bytes().contains(&b'%') && !raw.as_bytes().contains(&b'+')
}

/// `text` with everything but the unreserved characters of RFC 3986 percent-encoded, appended to `target`.
pub(super) fn encode_into(target: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            target.push(char::from(byte));
        } else {
            target.extend(['%', char::from(DIGITS[usize::from(byte >> 4)]), char::from(DIGITS[usize::from(byte & 15)])]);
        }
    }
}

/// `path` with its escapes decoded once; what does not decode to UTF-8 has its odd bytes replaced. For judging a path, never for signing it.
#[must_use]
pub fn decode_path(path: &str) -> Cow<'_, str> {
    if path.contains('%') { Cow::Owned(String::from_utf8_lossy(&unescape(path.as_bytes(), false)).into_owned()) } else { Cow::Borrowed(path) }
}

fn decode(raw: &str) -> Cow<'_, str> {
    if is_plain(raw) {
        return Cow::Borrowed(raw);
    }
    String::from_utf8(unescape(raw.as_bytes(), true)).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// The bytes behind `%xx` (and, where `plus` is one, behind `+`).
fn unescape(raw: &[u8], plus: bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) if plus => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                // Not an escape: a per cent sign that someone forgot to encode.
                _ => b'%',
            },
            _ => *byte,
        });
    }
    decoded
}

/// The value of a hexadecimal digit of either case.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(raw: &str) -> Vec<(String, String)> {
        Query::parse(raw).pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn pair(raw: &str) -> (String, String) {
        let mut all = pairs(raw);
        assert_eq!(all.len(), 1, "{raw}");
        all.remove(0)
    }

    #[test]
    fn splits_and_decodes() {
        for (raw, key, value) in [
            ("a=b", "a", "b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a=b=c", "a", "b=c"),
            ("Auth_Key=K", "auth_key", "K"),
            ("auth%5Fkey=k", "auth_key", "k"),
            ("%41uth_key=k", "auth_key", "k"),
            ("a=%26b", "a", "&b"),
            ("a=x+y%20z%2b", "a", "x y z+"),
            ("a=%C3%A9%c3%a9", "a", "éé"),
            ("a=%", "a", "%"),
            ("a=%4", "a", "%4"),
            ("a=%zz%41", "a", "%zzA"),
            ("a=%00", "a", "\0"),
            // not UTF-8: as it stands
            ("a=%ff+", "a", "%ff+"),
            ("channels[]=c", "channels[]", "c"),
        ] {
            assert_eq!(pair(raw), (key.to_owned(), value.to_owned()), "{raw}");
        }
        assert_eq!(pairs("").len(), 0);
        assert_eq!(pairs("&&a=1&&b=2&").len(), 2);
        assert_eq!(Query::parse("b=1&a=%20").raw(), "b=1&a=%20");
    }

    #[test]
    fn only_wants_exactly_one() {
        let query = Query::parse("a=1&b=2&A=3&c");
        assert_eq!(query.only("a"), None);
        assert_eq!(query.only("b"), Some("2"));
        assert_eq!(query.only("c"), Some(""));
        assert_eq!(query.only("d"), None);
        assert_eq!(query.given("a"), Given::Repeatedly);
    }

    /// `threats.md` JSON-19.
    #[test]
    fn trigger_parameters_are_seen_in_every_spelling() {
        for raw in [
            "name=x",
            "x=1&channel=c",
            "channels=c",
            "channels[]=c",
            "channels%5B%5D=c",
            "channels[0]=c",
            "data",
            "socket_id=1.2",
            "INFO=x",
            "+data=1",
        ] {
            assert!(Query::parse(raw).has_trigger_parameters(), "{raw}");
        }
        for raw in ["", "auth_key=name&auth_timestamp=1&auth_version=1.0&body_md5=x&auth_signature=y", "names=x", "filter_by_prefix=presence-"] {
            assert!(!Query::parse(raw).has_trigger_parameters(), "{raw}");
        }
    }

    #[test]
    fn a_hundred_thousand_pairs_are_read() {
        let raw = "a=%41&".repeat(100_000);
        let query = Query::parse(&raw);
        assert_eq!(query.pairs().count(), 100_000);
        assert_eq!(query.given("a"), Given::Repeatedly);
        assert_eq!(query.only("b"), None);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(text in any::<String>()) {
            let mut raw = String::from("k=");
            encode_into(&mut raw, &text);
            prop_assert_eq!(pair(&raw).1, text);
        }

        #[test]
        fn never_panics(raw in "[a%+&=0-9A-F\u{e9}]{0,40}") {
            let query = Query::parse(&raw);
            let _ = query.has_trigger_parameters();
            prop_assert_eq!(query.raw(), raw.as_str());
        }
    }
}
