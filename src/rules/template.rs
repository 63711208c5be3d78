//! Channel templates such as `{hotelSlug}-room-{roomNumber}-chat`: literal text around placeholders, each of which
//! matches one or more characters.

use std::ops::Range;

use crate::pusher::channel::{ChannelKind, MAX_NAME, is_name_byte};

/// A checked template: the literals before, between and after its placeholders. There is one more literal than
/// placeholders, and a literal between two placeholders is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    before: Box<str>,
    /// The literal after each placeholder.
    after: Vec<Box<str>>,
    /// The length of the shortest match in bytes. It or the first literal excludes nearly all channels of other
    /// families.
    shortest: usize,
}

impl Template {
    /// Reads the `text` of a rule's template; the error says what is wrong with it and how to correct it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let template = Self::parse_any(text)?;
        match ChannelKind::of(&template.before) {
            ChannelKind::Standard => Ok(template),
            ChannelKind::Cache => Err("is of cache channels: their events are never dropped, for upstream replays the last one to later guests".into()),
            ChannelKind::Encrypted => Err("is of encrypted channels: their data cannot be read without the channel's key".into()),
        }
    }

    /// The same as [`parse`](Self::parse) for a contract's template, which may match any kind of channel, since a
    /// contract does not read the events' data.
    pub(super) fn parse_any(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "is empty: write a channel name, with {name} where it varies, e.g. {hotelSlug}-room-{roomNumber}-chat"
                    .into(),
            );
        }
        let mut pieces = text.split('{');
        let mut template = Self { before: literal(pieces.next().unwrap_or_default())?, after: Vec::new(), shortest: 0 };
        let mut names: Vec<&str> = Vec::new();
        for piece in pieces {
            let (name, after) = piece.split_once('}').ok_or_else(|| {
                format!("`{{{piece}` has no closing brace: write {{name}}, braces mean nothing else here")
            })?;
            if !is_identifier(name) {
                return Err(format!(
                    "`{{{name}}}` is no placeholder: its name must be letters, digits and _, not beginning with a digit"
                ));
            }
            if names.contains(&name) {
                return Err(format!(
                    "`{{{name}}}` stands twice: give each placeholder a name of its own, they match independently"
                ));
            }
            if template.after.last().is_some_and(|between| between.is_empty()) {
                return Err(format!(
                    "there is nothing between `{{{name}}}` and the placeholder before it: one of the two is enough"
                ));
            }
            names.push(name);
            template.after.push(literal(after)?);
        }
        template.shortest =
            template.before.len() + template.after.iter().map(|literal| literal.len() + 1).sum::<usize>();
        template.check_matchable()?;
        Ok(template)
    }

    /// Whether `text` matches. Takes linear time: each literal is searched once, and its first position is as good as
    /// any later one.
    pub(super) fn matches(&self, text: &str) -> bool {
        if text.len() < self.shortest {
            return false;
        }
        let Some(rest) = text.strip_prefix(&*self.before) else { return false };
        let Some((last, between)) = self.after.split_last() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(&**last) else { return false };
        for literal in between {
            match after_one(rest).and_then(|later| behind(later, literal)) {
                Some(later) => rest = later,
                None => return false,
            }
        }
        !rest.is_empty()
    }

    /// Where the literals are in `text`, if it matches: where [`Self::matches`] finds them.
    pub(super) fn literals_in(&self, text: &str) -> Option<Vec<Range<usize>>> {
        if !self.matches(text) {
            return None;
        }
        let mut at = self.before.len();
        let mut found = Vec::with_capacity(1 + self.after.len());
        found.push(0..at);
        let Some((last, between)) = self.after.split_last() else { return Some(found) };
        for literal in between {
            let later = text.len() - after_one(&text[at..])?.len();
            let start = later + text[later..].find(&**literal)?;
            at = start + literal.len();
            found.push(start..at);
        }
        found.push(text.len() - last.len()..text.len());
        Some(found)
    }

    /// The literal before the first placeholder, and the one after each placeholder.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.before).chain(self.after.iter().map(|literal| &**literal))
    }

    /// Refuses a template that no channel can match.
    fn check_matchable(&self) -> Result<(), String> {
        if self.before.contains('#') && !(self.before.starts_with('#') && self.before.matches('#').count() == 1)
            || self.after.iter().any(|literal| literal.contains('#'))
        {
            return Err("has a `#` that is not its first character: no channel name has".into());
        }
        if self.shortest > MAX_NAME {
            return Err(format!("matches no channel: names have at most {MAX_NAME} characters"));
        }
        Ok(())
    }
}

/// Literal text of a template.
fn literal(text: &str) -> Result<Box<str>, String> {
    if text.contains('}') {
        return Err("has a closing brace without an opening one: write {name}, braces mean nothing else here".into());
    }
    match text.chars().find(|character| !u8::try_from(*character).is_ok_and(|byte| byte == b'#' || is_name_byte(byte)))
    {
        Some(odd) => Err(format!("holds {odd:?}: channel names are made of A-Za-z0-9_-=@,.; alone")),
        None => Ok(text.into()),
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// The text after the first `literal` in `text`. Names are short: the preparation of the general search would take
/// longer than this.
fn behind<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    let literal = literal.as_bytes();
    // The first bytes are compared inline; few windows need the call that compares the rest.
    let start = text
        .as_bytes()
        .windows(literal.len())
        .position(|window| window.first() == literal.first() && window == literal)?;
    text.get(start + literal.len()..)
}

/// The text after the first character.
fn after_one(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(template: &str, text: &str) -> bool {
        Template::parse(template).unwrap().matches(text)
    }

    #[test]
    fn placeholders_match_one_or_more_characters() {
        let hotel = "{hotelSlug}-room-{roomNumber}-chat";
        for name in [
            "hilton-room-12-chat",
            "a-room-b-chat",
            "a-room-room-x-chat",
            "-room--room-1-chat",
            "a-room-1-chat-chat",
            "x-room-y-room-z-chat",
        ] {
            assert!(matches(hotel, name), "{name}");
        }
        for name in [
            "",
            "-room-1-chat",
            "a-room--chat",
            "a-room-chat",
            "hilton-room-12",
            "hilton-room-12-chat2",
            "hilton-conversation-1-chat",
            "-room--chat",
        ] {
            assert!(!matches(hotel, name), "{name}");
        }
        assert!(matches("lobby", "lobby") && !matches("lobby", "lobby2") && !matches("lobby", "lobb"));
        assert!(matches("{all}", "x") && !matches("{all}", ""));
        assert!(matches("a{b}", "ab") && !matches("a{b}", "a"));
        assert!(matches("{a}b", "ab") && !matches("{a}b", "b"));
        // prefix and suffix must not share a character
        assert!(!matches("aba{x}aba", "ababa") && matches("aba{x}aba", "abaxaba"));
        assert!(matches("{a}-{b}", "é-é"));
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (template, reason) in [
            ("", "is empty"),
            ("{a", "no closing brace"),
            ("a}", "closing brace without"),
            ("{a}}", "closing brace without"),
            ("{}", "no placeholder"),
            ("{1a}", "no placeholder"),
            ("{a b}", "no placeholder"),
            ("{{a}", "no closing brace"),
            ("{a}{b}", "nothing between"),
            ("x{a}{b}y", "nothing between"),
            ("{a}-{a}", "stands twice"),
            ("room {a}", "holds ' '"),
            ("room/{a}", "holds '/'"),
            ("zimmer-ü-{a}", "holds 'ü'"),
            ("a#{b}", "not its first character"),
            ("##{b}", "not its first character"),
            ("{b}#", "not its first character"),
            ("cache-{a}", "cache channels"),
            ("presence-cache-{a}", "cache channels"),
            ("private-encrypted-{a}", "encrypted channels"),
        ] {
            let problem = Template::parse(template).unwrap_err();
            assert!(problem.contains(reason), "{template}: {problem}");
        }
        assert!(Template::parse(&format!("{}{{a}}", "x".repeat(200))).unwrap_err().contains("at most 200"));
        assert!(Template::parse(&format!("{}{{a}}", "x".repeat(199))).is_ok());
        assert!(Template::parse("#server-to-user-{id}").is_ok());
        assert!(
            Template::parse_any("cache-{a}").is_ok()
                && Template::parse_any("private-encrypted-{a}").is_ok()
                && Template::parse_any("{a").is_err()
        );
    }

    /// Every way to place the literals is tried; slow, and plainly right.
    fn matches_slowly(before: &str, after: &[&str], text: &str) -> bool {
        let Some(rest) = text.strip_prefix(before) else { return false };
        match after {
            [] => rest.is_empty(),
            [next, later @ ..] => (1..=rest.len()).any(|length| matches_slowly(next, later, &rest[length..])),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_way(literals in prop::collection::vec("[ab]{1,3}", 1..4), ends in "[ab]{0,2}", text in "[ab]{0,14}") {
            // literal {p0} literal {p1} … ends
            let mut template = String::new();
            let mut after: Vec<&str> = literals[1..].iter().map(String::as_str).collect();
            after.push(&ends);
            template.push_str(&literals[0]);
            for (index, literal) in after.iter().enumerate() {
                template.push_str(&format!("{{p{index}}}{literal}"));
            }
            prop_assert_eq!(matches(&template, &text), matches_slowly(&literals[0], &after, &text), "{} on {}", template, text);
        }

        #[test]
        fn never_panics(template in "[a{}#_-]{0,12}|\\PC{0,8}", text in "\\PC{0,12}") {
            if let Ok(template) = Template::parse(&template) {
                let _ = template.matches(&text);
            }
        }
    }
}
