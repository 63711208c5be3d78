//! Names of channels and events as shapes: literal text around places that vary. Digits, uuids and other ids vary by
//! themselves; a word varies where several names differ in it alone.

use std::fmt;

use crate::pusher::ChannelKind;

/// What stands in a shape for a place that varies.
pub(super) const PLACE: &str = "{…}";

/// The longest name that is looked at, in bytes: Pusher's own bound.
pub(super) const MAX_NAME: usize = 200;

/// The most pieces of a word that varies: a slug such as `grand-hotel-north` has five.
const MAX_VARYING: usize = 7;

/// The shortest word of digits and letters that is an id.
const MIN_ID: usize = 8;

/// The lengths of the parts of a uuid.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// A name, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape(Vec<Piece>);

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    /// A word.
    Word(Box<str>),
    /// A character between words.
    Sign(char),
    /// A place that varies. It never follows another one directly, nor with a sign between alone.
    Varies,
}

/// What two shapes have in common if they differ in one place alone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Common {
    /// The shape with that place varying.
    pub(super) shape: Shape,
    /// What the other shape has at that place.
    pub(super) other: String,
}

impl Shape {
    /// The shape of a name.
    pub(super) fn of(name: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            if let Some(length) = uuid(rest) {
                pieces.push(Piece::Varies);
                rest = &rest[length..];
            } else if first.is_alphanumeric() {
                let end = rest.find(|other: char| !other.is_alphanumeric()).unwrap_or(rest.len());
                word(&rest[..end], &mut pieces);
                rest = &rest[end..];
            } else {
                pieces.push(Piece::Sign(first));
                rest = &rest[first.len_utf8()..];
            }
        }
        Self(joined(pieces))
    }

    /// Whether a name of the shape `other` has this shape, too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let (shape, text) = (&self.0, &other.0);
        // Where the last varying place stands, and where in the text it ends at least.
        let mut last: Option<(usize, usize)> = None;
        let (mut at, mut position) = (0, 0);
        while position < text.len() {
            match shape.get(at) {
                Some(Piece::Varies) => {
                    last = Some((at, position + 1));
                    (at, position) = (at + 1, position + 1);
                }
                Some(piece) if *piece == text[position] => (at, position) = (at + 1, position + 1),
                _ => match &mut last {
                    Some((place, end)) => {
                        *end += 1;
                        (at, position) = (*place + 1, *end);
                        if position > text.len() {
                            return false;
                        }
                    }
                    None => return false,
                },
            }
        }
        at == shape.len()
    }

    /// How many of its pieces are literal.
    pub(super) fn literals(&self) -> usize {
        self.0.iter().filter(|piece| **piece != Piece::Varies).count()
    }

    /// What `self` and `other` have in common, if they differ in one place alone, where one of them has a single word.
    pub(super) fn common(&self, other: &Self) -> Option<Common> {
        let (one, two) = (&self.0, &other.0);
        let shorter = one.len().min(two.len());
        let before = one.iter().zip(two).take_while(|(one, two)| one == two).count();
        let after = one.iter().rev().zip(two.iter().rev()).take_while(|(one, two)| one == two).count();
        let after = after.min(shorter - before);
        let middles = [&one[before..one.len() - after], &two[before..two.len() - after]];
        let is_word = |middle: &[Piece]| matches!(middle, [Piece::Word(_)]);
        let is_text =
            |middle: &[Piece]| !middle.is_empty() && middle.len() <= MAX_VARYING && !middle.contains(&Piece::Varies);
        let has_words =
            one[..before].iter().chain(&one[one.len() - after..]).any(|piece| matches!(piece, Piece::Word(_)));
        let is_fit = has_words
            && middles.iter().all(|middle| is_text(middle))
            && middles.iter().any(|middle| is_word(middle))
            && (before > 0 || !(self.has_kind() || other.has_kind()));
        if !is_fit {
            return None;
        }
        let pieces = one[..before].iter().chain([&Piece::Varies]).chain(&one[one.len() - after..]).cloned().collect();
        Some(Common { shape: Self(joined(pieces)), other: middles[1].iter().map(ToString::to_string).collect() })
    }

    /// Whether its first word says what kind of channel it is.
    fn has_kind(&self) -> bool {
        matches!(self.0.first(), Some(Piece::Word(word)) if matches!(&**word, "private" | "presence" | "cache"))
            || matches!(self.0.first(), Some(Piece::Sign('#')))
    }

    /// The kind of channel.
    pub(super) fn kind(&self) -> ChannelKind {
        ChannelKind::of(&self.to_string())
    }

    /// As a channel template of a rule: each varying place has a name, by the word before it where there is one.
    pub(super) fn template(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        let mut before = None;
        let mut template = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Word(word) => {
                    before = Some(word).filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()));
                    template.push_str(word);
                }
                Piece::Sign(sign) => template.push(*sign),
                Piece::Varies => {
                    let number = names.len() + 1;
                    let name = before.map_or_else(|| format!("part{number}"), ToString::to_string);
                    let name = if names.contains(&name) { format!("part{number}") } else { name };
                    template.push_str(&format!("{{{name}}}"));
                    names.push(name);
                    before = None;
                }
            }
        }
        template
    }

    /// A name of this shape. `number` tells several apart.
    pub(super) fn example(&self, number: usize) -> String {
        let text = |piece: &Piece| if *piece == Piece::Varies { number.to_string() } else { piece.to_string() };
        self.0.iter().map(text).collect()
    }

    /// Reads what was written by `Display`.
    pub(super) fn read(text: &str) -> Self {
        let mut pieces = Vec::new();
        for (index, literal) in text.split(PLACE).enumerate() {
            if index > 0 {
                pieces.push(Piece::Varies);
            }
            let mut rest = literal;
            while let Some(first) = rest.chars().next() {
                let end = if first.is_alphanumeric() {
                    let end = rest.find(|other: char| !other.is_alphanumeric()).unwrap_or(rest.len());
                    pieces.push(Piece::Word(rest[..end].into()));
                    end
                } else {
                    pieces.push(Piece::Sign(first));
                    first.len_utf8()
                };
                rest = &rest[end..];
            }
        }
        Self(pieces)
    }

    /// How many bytes it takes beside itself.
    pub(super) fn size(&self) -> usize {
        let text = |piece: &Piece| if let Piece::Word(word) = piece { word.len() + ALLOCATION } else { 0 };
        self.0.capacity() * size_of::<Piece>() + ALLOCATION + self.0.iter().map(text).sum::<usize>()
    }
}

/// What an allocation takes beside its content, at most.
pub(super) const ALLOCATION: usize = 16;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| piece.fmt(f))
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Sign(sign) => write!(f, "{sign}"),
            Self::Varies => f.write_str(PLACE),
        }
    }
}

/// The length of the uuid that `text` begins with.
fn uuid(text: &str) -> Option<usize> {
    let mut rest = text;
    for (index, length) in UUID.into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-')?;
        }
        let part = rest.get(..length)?;
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        rest = &rest[length..];
    }
    (!rest.starts_with(char::is_alphanumeric)).then_some(text.len() - rest.len())
}

/// Whether all of `text` is a uuid.
pub(super) fn is_uuid(text: &str) -> bool {
    uuid(text) == Some(text.len())
}

/// Whether a word of letters and digits is an id, and no word that somebody chose.
pub(super) fn is_id(word: &str) -> bool {
    let has_digits = word.contains(|letter: char| letter.is_ascii_digit());
    let turns = word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    has_digits && word.len() >= MIN_ID && (word.bytes().all(|byte| byte.is_ascii_hexdigit()) || turns >= 2)
}

/// The pieces of a word of letters and digits: `12`, `12b` and ids vary; of `room12` the end does.
fn word(word: &str, pieces: &mut Vec<Piece>) {
    let digits = word.len() - word.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    let letters = &word[..word.len() - digits];
    if is_id(word) || letters.contains(|letter: char| letter.is_ascii_digit()) || letters.is_empty() {
        pieces.push(Piece::Varies);
    } else {
        pieces.push(Piece::Word(letters.into()));
        if digits > 0 {
            pieces.push(Piece::Varies);
        }
    }
}

/// Varying places with a sign between alone become one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if piece == Piece::Varies {
            match &joined[..] {
                [.., Piece::Varies] => continue,
                [.., Piece::Varies, Piece::Sign(_)] => {
                    joined.pop();
                    continue;
                }
                _ => {}
            }
        }
        joined.push(piece);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_uuids_and_ids_vary() {
        for (name, shape) in [
            ("hotel-a-room-12-chat", "hotel-a-room-{…}-chat"),
            ("conversation-0b6f2c9a-1d2e-4f3a-8b4c-5d6e7f8a9b0c", "conversation-{…}"),
            ("private-user-64f1c2aa99", "private-user-{…}"),
            ("room12", "room{…}"),
            ("floor-3b.room_7", "floor-{…}.room_{…}"),
            ("a-1-2-b", "a-{…}-b"),
            ("x-01ARZ3NDEKTSV4RRFFQ69G5FAV", "x-{…}"),
            ("orders", "orders"),
            ("#server-to-user-7", "#server-to-user-{…}"),
            ("zimmer-ü", "zimmer-ü"),
            ("", ""),
        ] {
            assert_eq!(Shape::of(name).to_string(), shape, "{name}");
            assert_eq!(Shape::read(shape), Shape::of(name), "{shape}");
        }
    }

    #[test]
    fn a_word_varies_where_names_differ_in_it_alone() {
        let common = |one: &str, other: &str| {
            Shape::of(one).common(&Shape::of(other)).map(|common| (common.shape.to_string(), common.other))
        };
        let some = |shape: &str, other: &str| Some((shape.to_owned(), other.to_owned()));
        assert_eq!(common("hotel-a-room-12-chat", "hotel-b-room-7-chat"), some("hotel-{…}-room-{…}-chat", "b"));
        assert_eq!(common("ritz-room-1-chat", "grand-hotel-room-1-chat"), some("{…}-room-{…}-chat", "grand-hotel"));
        // Two words each: `room` and `conversation` may be of the name's own.
        assert_eq!(common("a-room-1-chat", "b-conversation-1-chat"), None);
        assert_eq!(common("private-chat", "presence-chat"), None);
        assert_eq!(common("a", "b"), None);
        assert_eq!(common("a-1", "b-1"), None, "nothing literal is left");
        assert_eq!(common("x-a-a", "x-a"), None);
    }

    #[test]
    fn a_shape_covers_the_names_of_its_template() {
        let shape = Shape::read("{…}-room-{…}-chat");
        for (name, covers) in [
            ("ritz-room-1-chat", true),
            ("grand-hotel-room-1-chat", true),
            ("a-room-b-room-1-chat", true),
            ("room-1-chat", false),
            ("ritz-room-chat", false),
            ("ritz-room-1-chat-2", false),
            ("ritz-lobby-1-chat", false),
        ] {
            assert_eq!(shape.covers(&Shape::of(name)), covers, "{name}");
        }
        assert_eq!(shape.literals(), 5);
        assert!(Shape::of("lobby").covers(&Shape::of("lobby")) && !Shape::of("lobby").covers(&Shape::of("lobby-x")));
        assert_eq!(shape.template(), "{part1}-room-{room}-chat");
        assert_eq!(Shape::read("{…}-{…}").template(), "{part1}-{part2}");
        assert_eq!(shape.example(3), "3-room-3-chat");
    }
}
