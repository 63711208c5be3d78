//! Assignments as opaque text that is only compared.

use std::hash::{Hash, Hasher};

use data_encoding::BASE64URL_NOPAD;

/// Separates the parts of an assignment's text. JSON allows U+001F nowhere unescaped, so no token contains it.
const SEPARATOR: char = '\u{1f}';

/// The number of keys that are told apart.
const KEYS: u8 = 15;

/// The digest of a remainder that is only noted is behind this byte, plus the number of its key. As [`SEPARATOR`], no
/// token contains any of these.
const NOTED: u8 = 0x01;

/// The same for a remainder that is compared.
const COMPARED: u8 = NOTED + KEYS;

const _: () = assert!(COMPARED + KEYS <= SEPARATOR as u8, "all of them are control characters");

/// The bytes of a digest in an assignment's text.
const DIGEST: usize = 19;

/// The bits of each of them, so that the text is ASCII.
const BITS: usize = 7;

const _: () = assert!(DIGEST * BITS >= 128);

/// The assigned person and the context, and perhaps what else its announcement said. Compared byte for byte.
///
/// The text is the number of the identity pointer, the identity's token, the context's tokens and the remainder's digest,
/// in one allocation.
#[derive(Debug, Clone, Eq)]
pub struct Assignment(Box<str>);

/// 128 bits of a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Tells keys apart, but for one in fifteen.
    key: u8,
    /// [`BITS`] in each byte, the lowest first.
    bytes: [u8; DIGEST],
}

/// All of an announcement's data outside identity, context and what the rule ignores, by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remainder {
    /// It is not looked at.
    Ignored,
    /// Two assignments whose remainders differ are the same, but it can be told.
    Noted(Digest),
    /// Two assignments whose remainders differ are different ones.
    Compared(Digest),
}

impl Digest {
    /// The digest of these 128 bits. `key`: any number that is likely another one for another key.
    #[must_use]
    pub fn new(bits: u128, key: u8) -> Self {
        let mut rest = bits;
        let bytes = std::array::from_fn(|_| {
            let [lowest, ..] = rest.to_le_bytes();
            rest >>= BITS;
            lowest & ((1 << BITS) - 1)
        });
        Self { key: key % KEYS, bytes }
    }

    /// The digest as text: a digit for the key, and the bits in Base64 without padding.
    #[must_use]
    pub fn text(&self) -> String {
        let bits = self.bytes.iter().rev().fold(0, |bits: u128, byte| bits << BITS | u128::from(*byte));
        format!("{:x}{}", self.key, BASE64URL_NOPAD.encode(&bits.to_be_bytes()))
    }

    /// The digest whose [`text`](Self::text) this is; `None`: it is no digest's.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (key, digest) = text.split_at_checked(1)?;
        let key = u8::from_str_radix(key, 16).ok().filter(|key| *key < KEYS)?;
        let bits = BASE64URL_NOPAD.decode(digest.as_bytes()).ok()?.try_into().ok()?;
        Some(Self::new(u128::from_be_bytes(bits), key))
    }

    /// The digest behind `marker`, which is a remainder's.
    fn behind(marker: u8, text: &[u8]) -> Option<Self> {
        let key = if is_noted(marker) { marker - NOTED } else { marker - COMPARED };
        text.first_chunk().map(|bytes| Self { key, bytes: *bytes })
    }
}

/// Whether the byte is before a digest that is only noted.
const fn is_noted(byte: u8) -> bool {
    NOTED <= byte && byte < COMPARED
}

/// Whether the byte is before a digest that is compared.
const fn is_compared(byte: u8) -> bool {
    COMPARED <= byte && byte < COMPARED + KEYS
}

impl Assignment {
    /// `pointer` is the number of the identity pointer that matched (an id and a name with the same text are different
    /// people); `identity` and `context` are JSON tokens as written in `data`, so none of them contains U+001F (JSON
    /// allows it only escaped).
    #[must_use]
    pub fn new<'a>(pointer: usize, identity: &str, context: impl AsRef<[&'a str]>) -> Self {
        Self::with_remainder(pointer, identity, context, Remainder::Ignored)
    }

    /// The same of an announcement with this remainder.
    #[must_use]
    pub fn with_remainder<'a>(
        pointer: usize,
        identity: &str,
        context: impl AsRef<[&'a str]>,
        remainder: Remainder,
    ) -> Self {
        let context = context.as_ref();
        let digest = match &remainder {
            Remainder::Ignored => None,
            Remainder::Noted(digest) => Some((NOTED + digest.key, digest)),
            Remainder::Compared(digest) => Some((COMPARED + digest.key, digest)),
        };
        // The exact capacity if the pointer is one of the first ten.
        let mut text = String::with_capacity(
            2 + identity.len()
                + context.iter().map(|token| token.len() + 1).sum::<usize>()
                + digest.map_or(0, |_| 1 + DIGEST),
        );
        match u8::try_from(pointer) {
            Ok(digit @ 0..=9) => text.push(char::from(b'0' + digit)),
            _ => text.push_str(&pointer.to_string()),
        }
        let mut append = |token: &str| {
            debug_assert!(!token.contains(SEPARATOR), "a JSON token holds no raw U+001F");
            text.push(SEPARATOR);
            text.push_str(token);
        };
        append(identity);
        context.iter().for_each(|token| append(token));
        if let Some((marker, digest)) = digest {
            text.push(char::from(marker));
            text.push_str(str::from_utf8(&digest.bytes).expect("ASCII is text"));
        }
        Self(text.into_boxed_str())
    }

    /// The number of the identity pointer.
    #[must_use]
    pub fn pointer(&self) -> usize {
        self.parts().0
    }

    /// The JSON tokens: that of the identity, then those of the context in the order of the rule's pointers.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.parts().1;
        std::iter::from_fn(move || {
            let (token, behind) = split(rest?);
            rest = behind;
            Some(token)
        })
    }

    /// The identity's JSON token.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.tokens().next().unwrap_or_default()
    }

    /// The context's JSON tokens in the order of the rule's pointers.
    pub fn context(&self) -> impl Iterator<Item = &str> {
        self.tokens().skip(1)
    }

    /// The number of the identity pointer, and the tokens.
    #[inline]
    fn parts(&self) -> (usize, Option<&str>) {
        match self.0.as_bytes() {
            // One of the first ten, as nearly always.
            [digit, separator, ..] if *separator == SEPARATOR as u8 => {
                (usize::from(digit.wrapping_sub(b'0')), Some(&self.0[2..self.assigned()]))
            }
            _ => {
                let (pointer, tokens) = split(&self.0[..self.assigned()]);
                (pointer.parse().unwrap_or_default(), tokens)
            }
        }
    }

    /// The length of the part of the text that has no remainder.
    fn assigned(&self) -> usize {
        self.remainder().map_or(self.0.len(), |(start, _)| start)
    }

    /// Where the remainder begins in the text, if there is one, and the byte that says what it is for.
    #[inline]
    fn remainder(&self) -> Option<(usize, u8)> {
        let start = self.0.len().checked_sub(1 + DIGEST)?;
        let marker = self.0.as_bytes()[start];
        (is_noted(marker) || is_compared(marker)).then_some((start, marker))
    }

    /// The length of the part of the text in which equal assignments are equal.
    #[inline]
    pub(super) fn compared(&self) -> usize {
        match self.remainder() {
            Some((start, marker)) if is_noted(marker) => start,
            Some(_) | None => self.0.len(),
        }
    }

    /// What else its announcement said.
    #[must_use]
    pub fn said(&self) -> Remainder {
        match (self.remainder(), self.digest()) {
            (Some((_, marker)), Some(digest)) if is_noted(marker) => Remainder::Noted(digest),
            (Some(_), Some(digest)) => Remainder::Compared(digest),
            _ => Remainder::Ignored,
        }
    }

    /// The remainder's digest, if there is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let (start, marker) = self.remainder()?;
        Digest::behind(marker, &self.0.as_bytes()[start + 1..])
    }

    /// Whether both are the same but for their remainders.
    #[must_use]
    pub fn is_of_same(&self, other: &Self) -> bool {
        self.0[..self.assigned()] == other.0[..other.assigned()]
    }

    /// The digest of `shown`'s remainder, if both have one with the same key and they differ.
    #[must_use]
    pub fn difference_from(&self, shown: &Self) -> Option<Digest> {
        let differs = |digest: &Digest| self.digest().is_some_and(|own| own.key == digest.key && own != *digest);
        shown.digest().filter(differs)
    }

    /// Whether `shown`, a text as long as this one's, is that of an equal assignment.
    #[inline]
    pub(super) fn equals_text(&self, shown: &[u8]) -> bool {
        let compared = self.compared();
        shown[..compared] == self.0.as_bytes()[..compared] && (compared == shown.len() || is_noted(shown[compared]))
    }

    /// [`difference_from`](Self::difference_from) for the text of an assignment that is equal to this one, and as long.
    #[inline]
    pub(super) fn difference_from_text(&self, shown: &[u8]) -> Option<Digest> {
        let compared = self.compared();
        let own = &self.0.as_bytes()[compared..];
        match (&shown[compared..], own.first()) {
            (shown, Some(marker)) if shown != own && shown.first() == Some(marker) => {
                Digest::behind(*marker, &shown[1..])
            }
            _ => None,
        }
    }

    /// The whole text. It is never empty.
    #[must_use]
    pub const fn text(&self) -> &str {
        &self.0
    }

    /// The assignment whose [`text`](Self::text) this is.
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Assignment {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes()[..self.compared()] == other.0.as_bytes()[..other.compared()]
    }
}

impl Hash for Assignment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes()[..self.compared()].hash(state);
    }
}

/// The first part of `text`, and what is behind its separator.
fn split(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(SEPARATOR as u8, text.as_bytes()) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

/// The effect of a forwarded request on a channel once upstream applies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// It announces exactly this assignment on the channel.
    One(Assignment),
    /// A batch: it announces several assignments one after another, the last of which is this one. Equal to no other
    /// value.
    Last(Assignment),
    /// It may change what the guests see in an unknown way.
    Opaque,
}

impl Value {
    /// The assignment that it announces, if it announces nothing else.
    pub(super) const fn announced(&self) -> Option<&Assignment> {
        if let Self::One(assignment) = self { Some(assignment) } else { None }
    }

    /// Whether both announce exactly the same assignment. `Last` and `Opaque` equal no value, not even each other:
    /// their last assignment does not determine what the channel shows in between.
    pub(super) fn same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::One(mine), Self::One(theirs)) if mine == theirs)
    }

    /// What the channel shows after this alone was applied completely.
    #[must_use]
    pub const fn shows(&self) -> Option<&Assignment> {
        match self {
            Self::One(assignment) | Self::Last(assignment) => Some(assignment),
            Self::Opaque => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_come_back() {
        let assignment = Assignment::new(1, "\"Anna Byrne\"", ["123", "{\n\t\"a\": 1 }"]);
        assert_eq!(assignment.identity(), "\"Anna Byrne\"");
        assert_eq!(assignment.context().collect::<Vec<_>>(), ["123", "{\n\t\"a\": 1 }"]);
        assert_eq!(assignment.tokens().collect::<Vec<_>>(), ["\"Anna Byrne\"", "123", "{\n\t\"a\": 1 }"]);
        assert_eq!(Assignment::new(12, "7", ["8"]).tokens().collect::<Vec<_>>(), ["7", "8"]);
        assert_eq!((assignment.pointer(), Assignment::new(12, "7", []).pointer()), (1, 12));
        assert_eq!(Assignment::from_text(assignment.text()), assignment);
        assert_eq!(Assignment::new(0, "7", []).context().count(), 0);
    }

    #[test]
    fn pointer_token_and_context_all_count() {
        let anna = Assignment::new(0, "7", ["null"]);
        assert_ne!(anna, Assignment::new(1, "7", ["null"]), "an id and a name with the same text");
        assert_ne!(anna, Assignment::new(0, "\"7\"", ["null"]), "a number and a string");
        assert_ne!(anna, Assignment::new(0, "7", []));
        assert_ne!(anna, Assignment::new(0, "7", ["null", "null"]));
        assert_eq!(anna, Assignment::new(0, "7", ["null"]));
    }

    #[test]
    fn a_remainder_is_noted_or_compared() {
        let with = |remainder| Assignment::with_remainder(0, "7", ["null"], remainder);
        let (one, other) = (Digest::new(1, 3), Digest::new(u128::MAX, 18));
        let noted = |digest| with(Remainder::Noted(digest));
        let compared = |digest| with(Remainder::Compared(digest));
        assert_eq!(noted(one), noted(other));
        assert_ne!(compared(one), compared(other));
        assert_eq!(compared(one), compared(one));
        assert_ne!(noted(one), Assignment::with_remainder(0, "8", ["null"], Remainder::Noted(one)));
        let plain = with(Remainder::Ignored);
        for digest in [one, other, Digest::new(1 << 127, 14), Digest::new(0x0123_4567_89ab_cdef << 60, 0)] {
            assert_eq!(Digest::from_text(&digest.text()), Some(digest));
        }
        // Another key: it is not known whether they differ.
        let rotated = Digest::new(2, 4);
        assert_eq!((noted(rotated).difference_from(&noted(one)), noted(rotated) == noted(one)), (None, true));
        assert_eq!(noted(rotated).difference_from_text(noted(one).text().as_bytes()), None);
        assert!(noted(rotated).equals_text(noted(one).text().as_bytes()));
        assert!(!compared(rotated).equals_text(compared(one).text().as_bytes()));
        assert_eq!([noted(one).said(), plain.said()], [Remainder::Noted(one), Remainder::Ignored]);
        assert!(["", "short", "with spaces, 22 bytes."].iter().all(|text| Digest::from_text(text).is_none()));
        for assignment in [noted(one), compared(one), plain.clone()] {
            assert_eq!((assignment.pointer(), assignment.tokens().collect::<Vec<_>>()), (0, vec!["7", "null"]));
            assert!(assignment.is_of_same(&plain) && plain.is_of_same(&compared(other)), "{assignment:?}");
            assert_eq!(Assignment::from_text(assignment.text()), assignment);
        }
        let tenth = Assignment::with_remainder(10, "7", [], Remainder::Noted(one));
        assert_eq!((tenth.pointer(), tenth.tokens().collect::<Vec<_>>()), (10, vec!["7"]));
        for (mine, shown, difference) in [
            (noted(one), noted(other), Some(other)),
            (noted(one), noted(one), None),
            (noted(one), plain.clone(), None),
            (plain.clone(), noted(one), None),
        ] {
            assert_eq!(mine.difference_from(&shown), difference);
        }
        assert_eq!(noted(one).difference_from_text(noted(other).text().as_bytes()), Some(other));
        assert_eq!(noted(one).difference_from_text(noted(one).text().as_bytes()), None);
        assert_eq!(compared(one).difference_from_text(compared(one).text().as_bytes()), None);
        assert_eq!(compared(one).difference_from(&compared(other)), Some(other));
    }

    #[test]
    fn only_one_announcement_is_like_another() {
        let anna = || Assignment::new(0, "7", []);
        assert!(Value::One(anna()).same(&Value::One(anna())));
        assert!(!Value::Last(anna()).same(&Value::Last(anna())));
        assert!(!Value::Last(anna()).same(&Value::One(anna())));
        assert!(!Value::One(anna()).same(&Value::Last(anna())));
        assert!(!Value::Opaque.same(&Value::Opaque));
        assert_eq!((Value::One(anna()).announced(), Value::Last(anna()).announced()), (Some(&anna()), None));
    }
}
