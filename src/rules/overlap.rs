//! Whether two rules, or a rule and an entry of the contract, can match the same event on the same channel.
//!
//! Templates of different families nearly always have a channel in common if their placeholders may hold anything:
//! `x-conversation-room-1-chat` matches both `{hotel}-room-{room}-chat` and `{hotel}-conversation-{id}-chat`. So only
//! channels count on which the placeholders of one of the two hold nothing but letters and digits.

use super::contract::ContractEntry;
use super::rule::Rule;
use super::template::Template;

/// One character of a channel name, as a template describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// This character.
    Literal(u8),
    /// A character of this kind.
    Any(Characters),
    /// Any number of characters of this kind.
    Many(Characters),
}

/// What a placeholder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Characters {
    /// Letters and digits.
    Word,
    /// Anything.
    All,
}

impl Characters {
    fn include(self, byte: u8) -> bool {
        self == Self::All || byte.is_ascii_alphanumeric()
    }
}

/// What stands for any character in an example.
const EXAMPLE: u8 = b'x';

impl Rule {
    /// A channel on which both rules match an event that both are about; `None`: there is none. Rules whose `where`
    /// expects different values at the same pointer match no event together.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<String> {
        let (one, two) = (self.spec(), other.spec());
        let excludes = |(pointer, expected): &(String, serde_json::Value)| {
            two.filter.iter().any(|(its, value)| its == pointer && value != expected)
        };
        if one.event != two.event || one.filter.iter().any(excludes) {
            return None;
        }
        common_channel(self.template(), other.template())
    }

    /// Whether a channel matches both this rule and `entry`.
    #[must_use]
    pub fn shares_channel(&self, entry: &ContractEntry) -> bool {
        common_channel(self.template(), entry.template()).is_some()
    }
}

/// A channel that matches both, and on which the placeholders of one hold words.
fn common_channel(one: &Template, two: &Template) -> Option<String> {
    let common = |left, right| common(&parts(one, left), &parts(two, right));
    common(Characters::Word, Characters::All).or_else(|| common(Characters::All, Characters::Word))
}

impl Part {
    /// A character that is both one of these and one of `held`.
    fn within(self, held: Characters) -> Option<u8> {
        match self {
            Self::Literal(byte) => Some(byte).filter(|byte| held.include(*byte)),
            Self::Any(_) | Self::Many(_) => Some(EXAMPLE),
        }
    }
}

fn parts(template: &Template, held: Characters) -> Vec<Part> {
    let mut parts = Vec::new();
    for (number, literal) in template.literals().enumerate() {
        if number > 0 {
            parts.extend([Part::Any(held), Part::Many(held)]);
        }
        parts.extend(literal.bytes().map(Part::Literal));
    }
    parts
}

/// A shortest text that both match. Literals are ASCII, so that a byte is a character.
///
/// `next[i][j]` is how to go on from `one[i..]` and `two[j..]`: the length of the rest of the text, the character that
/// comes next, if any, and the places after it. It is worked out from the ends, so the time is the product of the
/// lengths, which the names of channels bound.
fn common(one: &[Part], two: &[Part]) -> Option<String> {
    type Step = Option<(usize, Option<u8>, (usize, usize))>;
    let mut next: Vec<Vec<Step>> = vec![vec![None; two.len() + 1]; one.len() + 1];
    for i in (0..=one.len()).rev() {
        for j in (0..=two.len()).rev() {
            let length = |place: (usize, usize)| next[place.0][place.1].map(|(length, ..)| length);
            let skip = |place| length(place).map(|length| (length, None, place));
            let take = |byte, place| length(place).map(|length| (length + 1, Some(byte), place));
            next[i][j] = match (one.get(i), two.get(j)) {
                (None, None) => Some((0, None, (i, j))),
                (Some(Part::Many(_)), Some(Part::Many(_))) => {
                    skip((i + 1, j)).into_iter().chain(skip((i, j + 1))).min()
                }
                (Some(Part::Many(held)), Some(other)) => {
                    let taken = other.within(*held).and_then(|byte| take(byte, (i, j + 1)));
                    skip((i + 1, j)).into_iter().chain(taken).min()
                }
                (Some(other), Some(Part::Many(held))) => {
                    let taken = other.within(*held).and_then(|byte| take(byte, (i + 1, j)));
                    skip((i, j + 1)).into_iter().chain(taken).min()
                }
                (Some(Part::Many(_)), None) => skip((i + 1, j)),
                (None, Some(Part::Many(_))) => skip((i, j + 1)),
                (Some(Part::Any(held)), Some(other)) | (Some(other), Some(Part::Any(held))) => {
                    other.within(*held).and_then(|byte| take(byte, (i + 1, j + 1)))
                }
                (Some(Part::Literal(left)), Some(Part::Literal(right))) if left == right => take(*left, (i + 1, j + 1)),
                (Some(Part::Literal(_)), Some(Part::Literal(_))) | (None, Some(_)) | (Some(_), None) => None,
            };
        }
    }
    let mut text = String::new();
    let mut place = (0, 0);
    while place != (one.len(), two.len()) {
        let (_, byte, after) = next[place.0][place.1]?;
        text.extend(byte.map(char::from));
        place = after;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(one: &str, two: &str) -> Option<String> {
        let (one, two) = (Template::parse_any(one).unwrap(), Template::parse_any(two).unwrap());
        let found = common_channel(&one, &two);
        assert_eq!(found.is_some(), common_channel(&two, &one).is_some());
        assert!(found.iter().all(|channel| one.matches(channel) && two.matches(channel)), "{found:?}");
        found
    }

    #[test]
    fn a_channel_of_both_is_found_if_there_is_one() {
        for (one, two, expected) in [
            ("a", "a", Some("a")),
            ("a", "b", None),
            ("{x}", "a", Some("a")),
            ("{x}-room-{y}-chat", "{z}-chat", Some("x-room-x-chat")),
            ("{x}-room-{y}-chat", "inn-{z}", Some("inn-room-x-chat")),
            ("{x}-room-{y}-chat", "{x}-conversation-{y}-chat", None),
            ("{x}-lobby", "{x}-room-{y}", Some("x-room-lobby")),
            ("inn-{x}", "spa-{x}", None),
            ("{x}-a", "{x}-b", None),
            ("a{x}", "{x}b", Some("ab")),
            ("a{x}", "a", None),
            ("aba{x}aba", "ababa", None),
        ] {
            assert_eq!(shared(one, two).as_deref(), expected, "{one} and {two}");
        }
    }

    proptest! {
        #[test]
        fn what_both_match_is_never_missed(
            (one, two) in ("[ab]{0,2}(\\{p\\}[ab]{1,2}){0,1}(\\{q\\}[ab]{0,2}){0,1}", "[ab]{0,2}(\\{p\\}[ab]{1,2}){0,1}(\\{q\\}[ab]{0,2}){0,1}"),
            channels in prop::collection::vec("[ab]{1,8}", 8)
        ) {
            let (Ok(first), Ok(second)) = (Template::parse_any(&one), Template::parse_any(&two)) else { return Ok(()) };
            let found = shared(&one, &two);
            for channel in channels.iter().filter(|channel| first.matches(channel) && second.matches(channel)) {
                prop_assert!(found.is_some(), "{} and {} share {}", one, two, channel);
            }
        }
    }
}
