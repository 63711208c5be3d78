//! Redacted recordings: values are replaced by keyed hashes of them, so that types, structure and equality stay, and with
//! them the decisions of the rules.
//!
//! Kept are the keys of objects, the names of events, what a rule's `where` reads, white space, `null`, `true`, `false`
//! and empty strings. Of the names of channels the literal parts of the rules' templates are kept, and what the protocol
//! prescribes.

mod channel;
mod json;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};

use siphasher::sip128::SipHasher24;

use self::json::Body;
use super::RecordedTrigger;
use crate::rules::{Rule, unescaped};

/// Redacts the triggers of one recording, by the rules of its beginning.
pub struct Redactor {
    key: Key,
    /// Each with the id of its app.
    rules: Vec<(Box<str>, Rule)>,
}

/// The key of the hashes of one recording. It is shown nowhere, so that nobody can hash a guess.
struct Key([u8; 16]);

/// The rules of one app.
struct AppRules<'r> {
    key: &'r Key,
    rules: Vec<&'r Rule>,
}

impl Redactor {
    /// Redacts by these rules, each with the id of its app, and a new key.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = (Box<str>, Rule)>) -> Self {
        Self { key: Key::new(), rules: rules.into_iter().collect() }
    }

    /// The redacted form of `trigger`.
    #[must_use]
    pub fn redact<'t>(&self, trigger: &RecordedTrigger<'t>) -> RecordedTrigger<'t> {
        let rules = self.rules.iter().filter(|(app, _)| **app == *trigger.app).map(|(_, rule)| rule).collect();
        let app = AppRules { key: &self.key, rules };
        RecordedTrigger {
            path: app.path(&trigger.app, &trigger.path).into(),
            body: app.body(&trigger.body).into(),
            ..trigger.clone()
        }
    }
}

impl std::fmt::Debug for Redactor {
    /// Omits the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl AppRules<'_> {
    fn body(&self, body: &str) -> String {
        if crate::pusher::json::is_valid(body) { Body::redact(self, body) } else { no_json(self.key, body) }
    }

    /// The path, with the channel of the old endpoint redacted. A path that only some servers read as a trigger's may have
    /// anything in it: another one of that kind takes its place.
    fn path(&self, app: &str, path: &str) -> String {
        let is_of_app = |path: &str| path.strip_suffix(app).is_some_and(|path| path.ends_with("/apps/"));
        let path_of = |name: &str| path.strip_suffix(name).is_some_and(is_of_app);
        if path_of("/events") || path_of("/batch_events") {
            return path.to_owned();
        }
        let old = path.strip_suffix("/events").and_then(|rest| rest.rsplit_once("/channels/"));
        match old {
            Some((before, channel)) if is_of_app(before) && !channel.contains(['/', '%', ';']) => {
                format!("{before}/channels/{}/events", self.channel(channel))
            }
            _ => format!("/apps/{app}//events"),
        }
    }

    /// The values that some rule's `where` reads in the data of `event`, as the reference tokens of their pointers.
    fn conditions(&self, event: &str) -> Vec<Vec<String>> {
        let rules = self.rules.iter().map(|rule| rule.spec()).filter(|spec| spec.event == event);
        let pointers = rules.flat_map(|spec| spec.filter.iter().map(|(pointer, _)| pointer));
        pointers.map(|pointer| pointer.split('/').skip(1).map(unescaped).collect()).collect()
    }
}

impl Key {
    fn new() -> Self {
        // Keyed by the system's random bytes, and each state in another way.
        let half = || RandomState::new().hash_one(0_u8).to_ne_bytes();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half());
        key[8..].copy_from_slice(&half());
        Self(key)
    }

    fn hash(&self, text: &str) -> u64 {
        SipHasher24::new_with_key(&self.0).hash(text.as_bytes()).h1
    }

    /// A text of sixteen hexadecimal digits.
    fn text(&self, text: &str) -> String {
        let mut digits = String::with_capacity(16);
        write!(digits, "{:016x}", self.hash(text)).expect("a string takes any text");
        digits
    }
}

/// A text that is no JSON in place of `text`, which is none either. Empty stays empty.
fn no_json(key: &Key, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("h{}", key.text(text)) }
}

/// The text of a body as it is recorded: one that is not UTF-8 becomes a text that is no JSON.
#[must_use]
pub fn body_text(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(format!("\u{fffd}{}", String::from_utf8_lossy(body))),
    }
}

#[cfg(test)]
mod tests;
