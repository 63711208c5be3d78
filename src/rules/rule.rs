//! A checked rule, and the meaning of an event under it.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::Value;
use smallvec::SmallVec;

use super::contract::check_event_name;
use super::pointers::{PointerIndex, PointerValues, Pointers};
use super::remainder::{self, Collected, Leaf, RemainderKey};
use super::template::Template;
use super::{Fingerprint, Mode, OnDifference, RuleError, RuleSpec};
use crate::assignment::{Assignment, Remainder};
use crate::pusher::{ChannelKind, is_valid_name, json};

/// The longest JSON token of an identity or a context value, in bytes: the memory keeps it for every channel.
const MAX_TOKEN: usize = 1024;

/// A checked rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    spec: RuleSpec,
    channel: Template,
    pointers: Pointers,
    identity: Vec<PointerIndex>,
    context: Vec<PointerIndex>,
    filter: Vec<(PointerIndex, Value)>,
}

/// What an event means under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventMeaning {
    /// Nothing: it is another event.
    Unrelated,
    /// Nothing: the rule's event, but a value differs from the one that `where` expects. The index of this part of
    /// `where`.
    Filtered(usize),
    /// An announcement of this assignment.
    Announcement(Assignment),
    /// The rule's event, but its assignment cannot be read exactly.
    Unreadable(Unreadable),
    /// It ends the assignment.
    Release,
}

/// Why the assignment of an announcement cannot be read exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// `data` is no string that decodes.
    NotText,
    /// `data` is not JSON that all readers read in the same way.
    Inexact,
    /// Readers may disagree whether `where` matches.
    WhereUnclear,
    /// No identity pointer has a value.
    NoIdentity,
    /// The identity's value cannot be compared.
    Identity,
    /// A value of the context cannot be compared.
    Context,
}

/// The tokens of an assignment, borrowed from `data`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AssignmentTokens<'a> {
    /// The index of the identity pointer that has a value.
    pub(super) pointer: usize,
    /// The identity's token.
    pub(super) identity: &'a str,
    /// The context's tokens, `null` for absent ones.
    pub(super) context: SmallVec<[&'a str; 4]>,
}

/// What `data` of the rule's own event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extraction<'a> {
    /// The index of the part of `where` that does not match.
    Unrelated(usize),
    Unreadable(Unreadable),
    Assignment(AssignmentTokens<'a>),
}

/// How a value in `data` compares with the one that `where` expects.
#[derive(PartialEq, Eq)]
enum FilterMatch {
    Match,
    Mismatch,
    /// Two readers may differ about it.
    Uncertain,
}

/// What a pointer of a rule finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointerReading<'a> {
    /// The key of the rule that names the pointer: `identity`, `context` or `where`.
    pub key: &'static str,
    /// The pointer.
    pub pointer: &'a str,
    /// The JSON token that it finds; `None`: nothing is there.
    pub value: Option<&'a str>,
}

impl Rule {
    /// Checks `spec`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(spec: RuleSpec) -> Result<Self, Vec<RuleError>> {
        let mut errors = RuleErrors(Vec::new());
        errors.check_names(&spec);
        if spec.remember_for.is_zero() {
            errors.note(
                "remember_for",
                "is zero: nothing would ever be redundant; write e.g. \"24h\", or mode = \"off\"".into(),
            );
        }
        if spec.refresh_after.is_some_and(|age| age.is_zero()) {
            errors.note(
                "refresh_after",
                "is zero: every announcement would go on; leave it out, or write e.g. \"10m\"".into(),
            );
        }
        if spec.identity.is_empty() {
            errors.note(
                "identity",
                "is empty: name at least one JSON pointer into data, e.g. [\"/staff_id\", \"/staff_name\"]".into(),
            );
        }
        let channel = Template::parse(&spec.channel).map_err(|problem| errors.note("channel", problem)).ok();
        let mut pointers = Pointers::default();
        // What is compared or ignored is no part of the remainder.
        let identity = errors.add_pointers("identity", &spec.identity, |pointer| pointers.add_excluded(pointer));
        let context = errors.add_pointers("context", &spec.context, |pointer| pointers.add_excluded(pointer));
        for pointer in &spec.ignore {
            pointers.exclude(pointer).unwrap_or_else(|problem| errors.note("ignore", problem));
        }
        let conditions = spec.filter.iter().map(|(pointer, _)| pointer);
        let expected = errors.add_pointers("where", conditions, |pointer| pointers.add(pointer));
        for (pointer, _) in spec.filter.iter().filter(|(_, value)| value.is_array() || value.is_object()) {
            let problem = format!(
                "`{pointer}` is compared with an array or an object: point at the strings, numbers or booleans in it instead"
            );
            errors.note("where", problem);
        }
        match channel {
            Some(channel) if errors.0.is_empty() => {
                let filter = expected.into_iter().zip(spec.filter.iter().map(|(_, value)| value.clone())).collect();
                Ok(Self { spec, channel, pointers, identity, context, filter })
            }
            _ => Err(errors.0),
        }
    }

    /// The rule as configured.
    #[must_use]
    pub const fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// The checked template of its channels.
    pub(super) const fn template(&self) -> &Template {
        &self.channel
    }

    /// The fingerprint of what decides which announcements are redundant. While it is the same, what is remembered for
    /// the rule stays comparable. The rule's name, its apps, `mode`, and what it does for late joiners
    /// and with time are no part of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        // The other fields are made from the specification.
        let Self { spec, channel: _, pointers: _, identity: _, context: _, filter: _ } = self;
        Fingerprint::of(spec)
    }

    /// The same rule for this app alone, in the given mode.
    #[must_use]
    pub fn adapted(&self, app: &str, mode: Mode) -> Self {
        let mut rule = self.clone();
        rule.spec.apps = vec![app.to_owned()];
        rule.spec.mode = mode;
        rule
    }

    /// The same rule in the given mode.
    #[must_use]
    pub fn in_mode(&self, mode: Mode) -> Self {
        let mut rule = self.clone();
        rule.spec.mode = mode;
        rule
    }

    /// Whether it is for the app with this id.
    #[must_use]
    pub fn is_for(&self, app: &str) -> bool {
        self.spec.apps.is_empty() || self.spec.apps.iter().any(|id| id == app)
    }

    /// Whether `channel` belongs to this rule's family: the template matches, the name is valid, and it is neither a
    /// cache nor an encrypted channel.
    #[must_use]
    pub fn watches(&self, channel: &str) -> bool {
        self.channel.matches(channel) && is_valid_name(channel) && ChannelKind::of(channel) == ChannelKind::Standard
    }

    /// Where the literal parts of the rule's template are in `channel`, if it matches the template, whatever kind of
    /// channel it is.
    #[must_use]
    pub fn literals_in(&self, channel: &str) -> Option<Vec<Range<usize>>> {
        self.channel.literals_in(channel)
    }

    /// Whether `event` is the rule's event, or releases. Always false for a rule that is off.
    #[must_use]
    pub fn concerns(&self, event: &str) -> bool {
        self.spec.mode != Mode::Off && (self.spec.event == event || self.releases(event))
    }

    /// What `event` with this decoded `data` means under this rule. `data` is `None` if it was not a string that
    /// decodes. `key`: that of the app's hashes.
    #[must_use]
    pub fn read(&self, event: &str, data: Option<&str>, key: &RemainderKey) -> EventMeaning {
        if self.spec.mode == Mode::Off {
            return EventMeaning::Unrelated;
        }
        // No event both announces and releases.
        if self.spec.event != event {
            return if self.releases(event) { EventMeaning::Release } else { EventMeaning::Unrelated };
        }
        let mut collected = Collected::default();
        let remainder = (self.spec.on_difference != OnDifference::Suppress).then_some(&mut collected);
        let extraction = data.map_or(Extraction::Unreadable(Unreadable::NotText), |data| self.extract(data, remainder));
        match extraction {
            Extraction::Unrelated(part) => EventMeaning::Filtered(part),
            Extraction::Unreadable(cause) => EventMeaning::Unreadable(cause),
            Extraction::Assignment(AssignmentTokens { pointer, identity, context }) => {
                let remainder = match self.spec.on_difference {
                    OnDifference::Suppress => Remainder::Ignored,
                    OnDifference::Count => Remainder::Noted(key.digest(&collected)),
                    OnDifference::Forward => Remainder::Compared(key.digest(&collected)),
                };
                EventMeaning::Announcement(Assignment::with_remainder(pointer, identity, context, remainder))
            }
        }
    }

    /// The first leaves of what `data` of the rule's event says beside the assignment, by which it can be told where two
    /// announcements differ.
    #[must_use]
    pub fn leaves(&self, data: &str, key: &RemainderKey) -> Vec<Leaf> {
        remainder::leaves(data, self.pointers.root(), key)
    }

    /// What each pointer of the rule finds in `data`, as JSON tokens, in the order of identity, context and `where`.
    /// `None`: readers may read `data` differently.
    #[must_use]
    pub fn read_pointers<'a>(&'a self, data: &'a str) -> Option<Vec<PointerReading<'a>>> {
        let found = self.pointers.read(data, None)?;
        let reading =
            |key, pointer: &'a String, index: &PointerIndex| PointerReading { key, pointer, value: found.get(*index) };
        let identity = self.spec.identity.iter().zip(&self.identity).map(|(it, index)| reading("identity", it, index));
        let context = self.spec.context.iter().zip(&self.context).map(|(it, index)| reading("context", it, index));
        let filter = self.spec.filter.iter().zip(&self.filter).map(|((it, _), (index, _))| reading("where", it, index));
        Some(identity.chain(context).chain(filter).collect())
    }

    /// What `data` of the rule's event says.
    pub(super) fn extract<'a>(&self, data: &'a str, remainder: Option<&mut Collected>) -> Extraction<'a> {
        // Unreadable rather than unrelated: it may be an announcement, and it is not known what guests show for it.
        let Some(found) = self.pointers.read(data, remainder) else {
            return Extraction::Unreadable(Unreadable::Inexact);
        };
        let mut uncertain = false;
        for (part, (index, expected)) in self.filter.iter().enumerate() {
            match found.get(*index).map_or(FilterMatch::Mismatch, |token| compare(token, expected)) {
                FilterMatch::Match => {}
                FilterMatch::Mismatch => return Extraction::Unrelated(part),
                FilterMatch::Uncertain => uncertain = true,
            }
        }
        if uncertain {
            return Extraction::Unreadable(Unreadable::WhereUnclear);
        }
        self.assignment(&found).map_or_else(Extraction::Unreadable, Extraction::Assignment)
    }

    fn assignment<'a>(&self, found: &PointerValues<'a>) -> Result<AssignmentTokens<'a>, Unreadable> {
        let present = |index: &PointerIndex| found.get(*index).filter(|token| !matches!(*token, "null" | "\"\""));
        let (pointer, identity) = self
            .identity
            .iter()
            .enumerate()
            .find_map(|(pointer, index)| present(index).map(|token| (pointer, token)))
            .ok_or(Unreadable::NoIdentity)?;
        let is_identity = matches!(identity.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
        let context: SmallVec<[&str; 4]> =
            self.context.iter().map(|index| found.get(*index).unwrap_or("null")).collect();
        if !is_identity || !is_exact(identity) {
            return Err(Unreadable::Identity);
        }
        if !context.iter().all(|token| is_exact(token)) {
            return Err(Unreadable::Context);
        }
        Ok(AssignmentTokens { pointer, identity, context })
    }

    fn releases(&self, event: &str) -> bool {
        self.spec.released_by.iter().any(|name| name == event)
    }
}

/// Whether the token can be remembered and compared: neither an array nor an object, no string that does not decode,
/// and not longer than [`MAX_TOKEN`].
fn is_exact(token: &str) -> bool {
    token.len() <= MAX_TOKEN
        && match token.as_bytes().first() {
            Some(b'[' | b'{') => false,
            // Only a string with escapes is decoded here.
            Some(b'"') => json::string(token).is_some(),
            _ => true,
        }
}

/// Compares a token with the value that `where` expects.
fn compare(token: &str, expected: &Value) -> FilterMatch {
    match token.as_bytes().first() {
        Some(b'[' | b'{') => return FilterMatch::Mismatch,
        Some(b'"') => return compare_text(token, expected),
        _ => {}
    }
    match (serde_json::from_str(token), expected) {
        (Ok(Value::Number(found)), Value::Number(expected)) if found == *expected => FilterMatch::Match,
        // JavaScript does not distinguish 1, 1.0 and 1e0.
        (Ok(Value::Number(found)), Value::Number(expected)) if found.as_f64() == expected.as_f64() => {
            FilterMatch::Uncertain
        }
        (Ok(found), expected) if found == *expected => FilterMatch::Match,
        (Ok(_), _) => FilterMatch::Mismatch,
        // A number that serde_json refuses.
        (Err(_), _) => FilterMatch::Uncertain,
    }
}

/// Compares a token that is a string with the value that `where` expects.
fn compare_text(token: &str, expected: &Value) -> FilterMatch {
    match (json::string(token), expected) {
        (Some(found), Value::String(expected)) if found == *expected => FilterMatch::Match,
        (Some(_), _) => FilterMatch::Mismatch,
        (None, _) => FilterMatch::Uncertain,
    }
}

/// The errors of a rule, collected by its checks.
struct RuleErrors(Vec<RuleError>);

impl RuleErrors {
    fn note(&mut self, key: &'static str, problem: String) {
        self.0.push(RuleError { key, problem });
    }

    fn check_names(&mut self, spec: &RuleSpec) {
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&spec.name.len()) || !spec.name.bytes().all(is_label) {
            let problem = format!(
                "{:?} is no name of a rule: use 1 to 64 characters of A-Za-z0-9_-, it is a metric label",
                spec.name
            );
            self.note("name", problem);
        }
        self.check_event("event", &spec.event);
        let mut seen = HashSet::new();
        for event in &spec.released_by {
            self.check_event("released_by", event);
            if *event == spec.event {
                self.note(
                    "released_by",
                    format!("{event:?} is the event that announces: it cannot end what it begins; take it out"),
                );
            }
            if !seen.insert(event) {
                self.note("released_by", format!("{event:?} stands twice: once is enough"));
            }
        }
    }

    fn check_event(&mut self, key: &'static str, event: &str) {
        if let Err(problem) = check_event_name(event) {
            self.note(key, problem);
        }
    }

    /// Adds the pointers of one key by `add`. The result has an index for each of them unless one was wrong.
    fn add_pointers<'s>(
        &mut self,
        key: &'static str,
        list: impl IntoIterator<Item = &'s String>,
        mut add: impl FnMut(&str) -> Result<PointerIndex, String>,
    ) -> Vec<PointerIndex> {
        let mut slots = Vec::new();
        for pointer in list {
            match add(pointer) {
                Ok(index) if slots.contains(&index) => {
                    self.note(key, format!("`{pointer}` stands twice: once is enough"))
                }
                Ok(index) => slots.push(index),
                Err(problem) => self.note(key, problem),
            }
        }
        slots
    }
}
