//! The effective values: every key with its value and its origin, as `usher check --show` and `GET /config` show them.
//!
//! The getters of `section` record the value of each key that they read, so a key that is read is shown. Secrets are
//! masked, and so are credentials in addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use serde_json::{Map, Value, json};

use super::Config;
use super::problem::Origin;
use super::unit;

/// What is shown in place of a secret.
pub(super) const MASKED: &str = "MASKED";

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveValue {
    /// The key with the names of its sections, e.g. `limits.max_head` or `apps.0.secret`.
    pub key: String,
    /// The value as it is shown: durations and sizes with their units, secrets masked.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// The value of a key in a running process.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningValue {
    /// The value that is in effect.
    pub current: EffectiveValue,
    /// The value that was reloaded and takes effect only after a restart.
    pub pending: Option<EffectiveValue>,
}

/// Keys that say the same as another key, which is the one that a reload compares.
const OTHER_FORMS: [(&str, &str); 3] = [
    ("upstream.cluster", "upstream.url"),
    ("admin.token_file", "admin.token"),
    ("cluster.password_file", "cluster.password"),
];

/// Secrets whose change is told without their values.
const SECRETS: [&str; 4] = ["admin.token", "admin.token_file", "cluster.password", "cluster.password_file"];

impl Config {
    /// The values of a process that started with this configuration and has loaded `reloaded` since.
    #[must_use]
    pub fn running_values(&self, reloaded: &Self) -> Vec<RunningValue> {
        let unapplied = self.reloadable_difference(reloaded);
        let waits = |key: &str| {
            let compared = OTHER_FORMS.iter().find(|(form, _)| *form == key).map_or(key, |(_, compared)| compared);
            unapplied
                .iter()
                .any(|name| compared.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        // A secret is masked before and after, so that it cannot be seen to differ.
        let is_secret =
            |value: &EffectiveValue| SECRETS.contains(&value.key.as_str()) && value.value.as_str() != Some("");
        let running = |new: &EffectiveValue| {
            let started = self.values.iter().find(|value| value.key == new.key).filter(|_| waits(&new.key));
            match started.filter(|old| old.value != new.value || is_secret(new)) {
                Some(old) => RunningValue { current: old.clone(), pending: Some(new.clone()) },
                None => RunningValue { current: new.clone(), pending: None },
            }
        };
        reloaded.values.iter().map(running).collect()
    }
}

/// A value that can be shown.
pub(super) trait Shown {
    /// The value in JSON, without credentials.
    fn shown(&self) -> Value;
}

/// The values of the keys that were read so far.
#[derive(Default)]
pub(super) struct EffectiveValues(BTreeMap<String, (usize, Value)>);

impl EffectiveValues {
    /// Sets the value of `key`.
    pub(super) fn record(&mut self, key: String, value: Value) {
        let index = self.0.len();
        self.0.entry(key).or_insert_with(|| (index, Value::Null)).1 = without_secrets(value);
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).map(|(_, value)| value)
    }

    /// Replaces the value of `key` by [`MASKED`], unless it is empty: a secret that is not set may be seen to be none.
    pub(super) fn mask(&mut self, key: &str) {
        if let Some((_, value)) = self.0.get_mut(key).filter(|(_, value)| value.as_str() != Some("")) {
            *value = MASKED.into();
        }
    }

    /// All values in the order in which their keys were first read, with the origins that `origin` tells.
    pub(super) fn finish(self, origin: impl Fn(&str) -> Origin) -> Vec<EffectiveValue> {
        let mut values: Vec<_> = self.0.into_iter().collect();
        values.sort_by_key(|(_, (index, _))| *index);
        let value = |(key, (_, value)): (String, (usize, Value))| EffectiveValue { origin: origin(&key), key, value };
        values.into_iter().map(value).collect()
    }
}

impl EffectiveValue {
    /// As JSON: `key`, `value`, and `source` (`default`, `file`, `variable` or `flag`) with its `file` and `line`, or the
    /// name of its `variable`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut shown = json!({ "key": self.key, "value": self.value, "source": self.origin.label() });
        if let Some(file) = self.origin.file() {
            shown["file"] = file.display().to_string().into();
        }
        if let Some(line) = self.origin.line() {
            shown["line"] = line.into();
        }
        if let Some(variable) = self.origin.variable() {
            shown["variable"] = variable.into();
        }
        shown
    }

    /// Where it comes from, in words.
    #[must_use]
    pub fn source(&self) -> String {
        match &self.origin {
            Origin::Default => "default".to_owned(),
            origin => origin.to_string(),
        }
    }
}

impl RunningValue {
    /// As JSON: that of the value in effect, and if another one waits for a restart, that one as `pending`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut shown = self.current.json();
        if let Some(pending) = &self.pending {
            shown["pending"] = pending.json();
        }
        shown
    }
}

/// `value` without credentials in the addresses that it holds.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::String(text) => without_credentials(&text).into(),
        Value::Array(items) => items.into_iter().map(without_secrets).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, without_secrets(value))).collect::<Map<_, _>>().into()
        }
        value => value,
    }
}

/// `text` with whatever stands before the `@` of an address masked: `redis://user:pass@host` becomes
/// `redis://MASKED@host`. The credentials end at the last `@` before the path (RFC 3986 3.2; a password may be written
/// with an `@` that is not escaped).
pub(super) fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let authority = after.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        rest = match authority.rfind('@') {
            Some(at) => {
                shown.push_str(MASKED);
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    shown + rest
}

impl Shown for String {
    fn shown(&self) -> Value {
        self.as_str().into()
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> Value {
        self.as_slice().into()
    }
}

impl Shown for Map<String, Value> {
    fn shown(&self) -> Value {
        self.clone().into()
    }
}

impl Shown for SocketAddr {
    fn shown(&self) -> Value {
        self.to_string().into()
    }
}

impl Shown for Uri {
    fn shown(&self) -> Value {
        // `Uri` writes an address without a path with a slash at its end.
        self.to_string().trim_end_matches('/').into()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Value {
        self.as_ref().map_or_else(|| "".into(), Shown::shown)
    }
}

impl Shown for Duration {
    fn shown(&self) -> Value {
        unit::format_duration(*self).into()
    }
}

impl Shown for usize {
    fn shown(&self) -> Value {
        (*self).into()
    }
}

impl Shown for bool {
    fn shown(&self) -> Value {
        (*self).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_masked() {
        for (text, shown) in [
            ("redis://user:pass@host:6379/0", "redis://MASKED@host:6379/0"),
            ("https://token@host", "https://MASKED@host"),
            ("redis://:p@ss@host", "redis://MASKED@host"),
            ("a https://u:p@h and wss://v:q@i/x", "a https://MASKED@h and wss://MASKED@i/x"),
            ("https://host/@path", "https://host/@path"),
            ("user@host", "user@host"),
            ("https://host", "https://host"),
            ("://@", "://MASKED@"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
        let nested = json!({ "/a": ["https://u:p@h"], "b": 7 });
        assert_eq!(without_secrets(nested), json!({ "/a": ["https://MASKED@h"], "b": 7 }));
    }
}
