//! A request's query string, split and decoded once.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::percent::{self, Plus};

/// The number of parameters that need no allocation: a signed trigger has five.
const INLINE_PAIRS: usize = 8;

/// The pairs of a query string in their order on the wire.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: SmallVec<[Pair<'a>; INLINE_PAIRS]>,
    /// Whether the raw query has the form in which it is signed: nothing is encoded or in upper case, and every segment
    /// has an equals sign.
    is_verbatim: bool,
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of the authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credentials<'q> {
    /// `auth_key`.
    pub(super) key: Occurrence<'q>,
    /// `auth_version`.
    pub(super) version: Occurrence<'q>,
    /// `auth_timestamp`.
    pub(super) timestamp: Occurrence<'q>,
    /// `body_md5`.
    pub(super) body_md5: Occurrence<'q>,
    /// `auth_signature`.
    pub(super) signature: Occurrence<'q>,
}

/// How often a parameter is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurrence<'q> {
    Absent,
    Once(&'q str),
    Repeated,
}

impl<'a> Query<'a> {
    /// Splits and decodes `raw` (without `?`): `+` is a space, `%xx` a byte, keys are lower-cased (ASCII) after
    /// decoding, empty segments are skipped and a key without `=` has the value "" (`pusher-protocol.md` 2.1, 2.2).
    /// Never fails: what does not decode to UTF-8 stays as received, and will not verify.
    #[must_use]
    pub fn parse(raw: &'a str) -> Self {
        let is_plain = !has(raw, |byte| (byte == b'%') | (byte == b'+') | byte.is_ascii_uppercase());
        let mut query = Self { raw, pairs: SmallVec::new(), is_verbatim: true };
        let mut segment = 0;
        let mut equals = None;
        for place in memchr::memchr2_iter(b'&', b'=', raw.as_bytes()) {
            if raw.as_bytes()[place] == b'&' {
                query.push(segment, equals.take(), place, is_plain);
                segment = place + 1;
            } else {
                equals.get_or_insert(place);
            }
        }
        query.push(segment, equals, raw.len(), is_plain);
        query
    }

    /// Adds the segment between two positions of the raw query, whose key ends at `equals`.
    fn push(&mut self, start: usize, equals: Option<usize>, end: usize, is_plain: bool) {
        let (key, value) = match equals {
            Some(equals) => (&self.raw[start..equals], &self.raw[equals + 1..end]),
            None => (&self.raw[start..end], ""),
        };
        self.is_verbatim &= equals.is_some() || self.raw.is_empty();
        if start == end {
            return;
        }
        let pair = if is_plain { (Cow::Borrowed(key), Cow::Borrowed(value)) } else { (decode_key(key), decode(value)) };
        self.is_verbatim &= is_plain || matches!(pair, (Cow::Borrowed(_), Cow::Borrowed(_)));
        self.pairs.push(pair);
    }

    /// The query as received.
    #[must_use]
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded value of the only parameter named `key`; `None` when absent or given more than once.
    #[must_use]
    pub fn only(&self, key: &str) -> Option<&str> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| &**value);
        values.next().filter(|_| values.next().is_none())
    }

    /// Each key with the range of its value in the raw query, in their order, if the raw query has the form in which it
    /// is signed.
    pub(super) fn value_ranges(&self) -> Option<impl Iterator<Item = (&str, Range<usize>)>> {
        let mut next = 0;
        self.is_verbatim.then(|| {
            self.pairs.iter().map(move |(key, value)| {
                let start = next + key.len() + 1;
                let end = start + value.len();
                next = end + 1;
                (&**key, start..end)
            })
        })
    }

    /// Whether the query has a parameter that a trigger may have there instead of in its body (`name`, `channel`,
    /// `channels`, `channels[]`, `data`, `socket_id`, `info`, `batch`; any `[…]` after the key counts as an array's
    /// form).
    #[must_use]
    pub fn has_trigger_parameters(&self) -> bool {
        self.pairs.iter().any(|(key, _)| !is_for_authentication(key) && is_for_trigger(key))
    }

    /// The parameters of the authentication.
    pub(super) fn credentials(&self) -> Credentials<'_> {
        let absent = Occurrence::Absent;
        let mut found =
            Credentials { key: absent, version: absent, timestamp: absent, body_md5: absent, signature: absent };
        for (key, value) in &self.pairs {
            let occurrence = match &**key {
                "auth_key" => &mut found.key,
                "auth_version" => &mut found.version,
                "auth_timestamp" => &mut found.timestamp,
                "body_md5" => &mut found.body_md5,
                "auth_signature" => &mut found.signature,
                _ => continue,
            };
            *occurrence =
                if *occurrence == Occurrence::Absent { Occurrence::Once(value) } else { Occurrence::Repeated };
        }
        found
    }

    /// Passes the signed form of the query to `put`, piece by piece: all pairs but `auth_signature`, sorted by key,
    /// those of one key (arrays) in their order, `k1=v1&k2=v2`.
    pub(super) fn signed(&self, mut put: impl FnMut(&str)) {
        if let Some((before, after)) = self.parts_around_signature() {
            put(before);
            if !before.is_empty() && !after.is_empty() {
                put("&");
            }
            return put(after);
        }
        let mut pairs: SmallVec<[&Pair<'_>; INLINE_PAIRS]> =
            self.pairs.iter().filter(|(key, _)| key != "auth_signature").collect();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            if index > 0 {
                put("&");
            }
            put(key);
            put("=");
            put(value);
        }
    }

    /// The parts of the raw query before and after the only `auth_signature`, if together they are the signed form:
    /// most libraries send it like that.
    fn parts_around_signature(&self) -> Option<(&'a str, &'a str)> {
        let mut signature = None;
        let mut last = "";
        for (key, value) in self.value_ranges()? {
            if key == "auth_signature" {
                if signature.replace(value.start - key.len() - 1..value.end).is_some() {
                    return None;
                }
            } else if *key < *last {
                return None;
            } else {
                last = key;
            }
        }
        match signature {
            None => Some((self.raw, "")),
            Some(signature) => Some((
                &self.raw[..signature.start.saturating_sub(1)],
                self.raw.get(signature.end + 1..).unwrap_or_default(),
            )),
        }
    }

    /// The decoded pairs in their order on the wire.
    #[cfg(test)]
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Whether `key` is one of the parameters that every signed request has.
fn is_for_authentication(key: &str) -> bool {
    matches!(key, "auth_key" | "auth_timestamp" | "auth_version" | "auth_signature" | "body_md5")
}

fn is_for_trigger(key: &str) -> bool {
    let name = key.split_once('[').map_or(key, |(name, _)| name).trim();
    matches!(name, "name" | "channel" | "channels" | "data" | "socket_id" | "info" | "batch")
}

/// Whether `text` has such a byte. Every byte is checked, which the compiler vectorises.
fn has(text: &str, is: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |any, byte| any | is(byte))
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

fn decode(raw: &str) -> Cow<'_, str> {
    if is_plain(raw) {
        return Cow::Borrowed(raw);
    }
    String::from_utf8(percent::decode(raw.as_bytes(), Plus::IsSpace)).map_or(Cow::Borrowed(raw), Cow::Owned)
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
            // Not UTF-8: as received.
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
        let occurrence = |raw| Query::parse(raw).credentials().version == Occurrence::Repeated;
        assert!(occurrence("auth_version=1&AUTH_VERSION=1") && !occurrence("auth_version=1"));
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
        for raw in [
            "",
            "auth_key=name&auth_timestamp=1&auth_version=1.0&body_md5=x&auth_signature=y",
            "names=x",
            "filter_by_prefix=presence-",
        ] {
            assert!(!Query::parse(raw).has_trigger_parameters(), "{raw}");
        }
    }

    #[test]
    fn a_hundred_thousand_pairs_are_read() {
        let raw = "a=%41&".repeat(100_000);
        let query = Query::parse(&raw);
        assert_eq!(query.pairs().count(), 100_000);
        assert_eq!(query.only("a"), None);
        assert_eq!(query.only("b"), None);
    }

    /// The same as `signed`, computed without shortcuts.
    fn sorted(query: &Query<'_>) -> String {
        let mut pairs: Vec<_> = query.pairs().filter(|(key, _)| *key != "auth_signature").collect();
        pairs.sort_by_key(|(key, _)| *key);
        pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    }

    fn signed(raw: &str) -> (String, String) {
        let query = Query::parse(raw);
        let mut text = String::new();
        query.signed(|piece| text.push_str(piece));
        (text, sorted(&query))
    }

    #[test]
    fn what_is_signed_is_sorted_wherever_the_signature_stands() {
        for (raw, expected) in [
            ("auth_key=k&auth_version=1.0&auth_signature=s", "auth_key=k&auth_version=1.0"),
            ("auth_key=k&auth_signature=s&auth_version=1.0", "auth_key=k&auth_version=1.0"),
            ("auth_signature=s&auth_key=k", "auth_key=k"),
            ("auth_signature=s", ""),
            ("", ""),
            ("b=2&a=1&auth_signature=s", "a=1&b=2"),
            ("a=1&&b=2", "a=1&b=2"),
            ("a=1&", "a=1"),
            ("&a=1", "a=1"),
            ("a&auth_signature=s", "a="),
            ("A=1&auth_signature=s&b=2&auth_signature=t", "a=1&b=2"),
        ] {
            assert_eq!(signed(raw), (expected.to_owned(), expected.to_owned()), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn signs_what_is_sorted(segments in prop::collection::vec("|a=1|a=2|ab=|b|B=1|c=%41|auth_signature=s|auth_signature|auth_t=1", 0..6)) {
            let (text, sorted) = signed(&segments.join("&"));
            prop_assert_eq!(text, sorted);
        }

        #[test]
        fn never_panics(raw in "[a%+&=0-9A-F\u{e9}]{0,40}") {
            let query = Query::parse(&raw);
            let _ = query.has_trigger_parameters();
            prop_assert_eq!(query.raw(), raw.as_str());
        }
    }
}
