//! Assignments as opaque text that is only compared.

/// Separates the parts of an assignment's text. JSON allows U+001F nowhere unescaped, so no token contains it.
const SEPARATOR: char = '\u{1f}';

/// The assigned person and the context. Compared byte for byte.
///
/// The text is the number of the identity pointer, the identity's token and the context's tokens, in one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment(Box<str>);

impl Assignment {
    /// `pointer` is the number of the identity pointer that matched (an id and a name with the same text are different
    /// people); `identity` and `context` are JSON tokens as written in `data`, so none of them contains U+001F (JSON
    /// allows it only escaped).
    #[must_use]
    pub fn new<'a>(pointer: usize, identity: &str, context: impl AsRef<[&'a str]>) -> Self {
        let context = context.as_ref();
        // The exact capacity if the pointer is one of the first ten.
        let mut text =
            String::with_capacity(2 + identity.len() + context.iter().map(|token| token.len() + 1).sum::<usize>());
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
                (usize::from(digit.wrapping_sub(b'0')), Some(&self.0[2..]))
            }
            _ => {
                let (pointer, tokens) = split(&self.0);
                (pointer.parse().unwrap_or_default(), tokens)
            }
        }
    }

    /// The whole text: two assignments are equal if their texts are. It is never empty.
    pub(super) const fn text(&self) -> &str {
        &self.0
    }

    /// The assignment whose [`text`](Self::text) this is.
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.into())
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
