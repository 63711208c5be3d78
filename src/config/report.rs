//! Collects problems and warnings while the tree is read, and which keys exist.

use std::collections::BTreeMap;

use super::effective::{EffectiveValue, EffectiveValues};
use super::file::ReadMode;
use super::problem::{Origin, Problem, Warning, code, variable};

/// The smallest similarity (Jaro-Winkler) at which one name is suggested for another.
const MIN_SIMILARITY: f64 = 0.85;

/// Collected while the tree is read.
#[derive(Default)]
pub(super) struct Report {
    /// On which occasion the tree is read.
    pub(super) read_mode: ReadMode,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What is valid but probably a mistake.
    pub(super) warnings: Vec<Warning>,
    /// The value of each key that exists.
    values: EffectiveValues,
    keys: BTreeMap<String, Origin>,
    sections: BTreeMap<String, Origin>,
    unknown: Vec<(String, Origin)>,
}

impl Report {
    /// An empty report.
    pub(super) fn new(read_mode: ReadMode) -> Self {
        Self { read_mode, ..Self::default() }
    }

    /// Records that `key` exists, and the origin of its value.
    pub(super) fn record_key(&mut self, key: String, origin: Origin) {
        self.keys.insert(key, origin);
    }

    /// Records the effective value of `key`, as it is shown: a secret is masked already. A later value replaces the
    /// earlier one.
    pub(super) fn record_value(&mut self, key: String, value: serde_json::Value) {
        self.values.record(key, value);
    }

    /// Masks the value of `key`, unless it is empty.
    pub(super) fn mask_value(&mut self, key: &str) {
        self.values.mask(key);
    }

    /// The effective values, with their origins.
    pub(super) fn take_values(&mut self) -> Vec<EffectiveValue> {
        std::mem::take(&mut self.values).finish(|key| self.origin(key))
    }

    /// The value of `key` as it is shown, if it was read.
    pub(super) fn value(&self, key: &str) -> Option<serde_json::Value> {
        self.values.get(key).cloned()
    }

    /// Adds a warning about `key`.
    pub(super) fn warn(&mut self, key: &str, code: &'static str, message: impl Into<String>, cure: impl Into<String>) {
        let (origin, key) = (self.origin(key), key.to_owned());
        self.warnings.push(Warning { origin, key, code, message: message.into(), cure: cure.into() });
    }

    /// Records that a section or a list of sections exists, and where it begins.
    pub(super) fn record_section(&mut self, section: String, origin: Origin) {
        self.sections.insert(section, origin);
    }

    /// Records a key that no section reads.
    pub(super) fn record_unknown(&mut self, key: String, origin: Origin) {
        self.unknown.push((key, origin));
    }

    /// The origin of the key or section; the default if it is not given.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.keys.get(key).or_else(|| self.sections.get(key)).cloned().unwrap_or_default()
    }

    /// Every key that exists.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Whether `key` has a problem. Its consequences are not reported then.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.problems.iter().any(|known| known.key == key)
    }

    /// Adds a problem, unless this key has one already at the same origin.
    pub(super) fn problem(&mut self, problem: Problem) {
        if !self.problems.iter().any(|known| known.key == problem.key && known.origin == problem.origin) {
            self.problems.push(problem);
        }
    }

    /// Adds a problem of two keys whose values exclude each other, unless one of them has a problem already. It is
    /// reported for the one that was written, if the other has its default; else for the first.
    pub(super) fn conflict(&mut self, keys: [&str; 2], message: String) {
        if keys.iter().any(|key| self.is_faulty(key)) {
            return;
        }
        let key = keys.into_iter().find(|key| self.origin(key) != Origin::Default).unwrap_or(keys[0]);
        let (origin, key) = (self.origin(key), key.to_owned());
        self.problem(Problem { origin, key, message, suggestion: None, code: code::CONFLICT });
    }

    /// Adds a problem for each key that no section reads. Called when all sections are read.
    pub(super) fn refuse_unknown(&mut self) {
        for (key, origin) in std::mem::take(&mut self.unknown) {
            let suggestion = self.suggestion_for(&key).map(|suggestion_for| origin.spell(suggestion_for));
            let message = match &origin {
                Origin::Variable(name) if is_service_link(name) => {
                    "This variable names no key. Kubernetes and Docker set such variables for a service called \"usher\": \
                     rename the service, or set `enableServiceLinks: false` in the pod."
                        .to_owned()
                }
                Origin::Variable(_) => format!(
                    "This variable names no key. Sections and keys are joined by two underscores, as in `{}`; remove it or mend its name.",
                    variable("server.listen")
                ),
                _ => "There is no such key. Remove it or mend its name.".to_owned(),
            };
            self.problem(Problem { origin, key, message, suggestion, code: code::UNKNOWN });
        }
    }

    /// The key that was probably intended by an unknown one: a similar name in the same section, or else in another
    /// one.
    fn suggestion_for(&self, key: &str) -> Option<&str> {
        let (parent, name) = split_key(key);
        let keys = || self.keys.keys().map(String::as_str);
        let neighbours =
            keys().chain(self.sections.keys().map(String::as_str)).filter(|known| split_key(known).0 == parent);
        // At the top level, a dotted key may have been intended: `server_listen`, or USHER_SERVER_LISTEN.
        let paths = keys().filter(|_| parent.is_empty()).map(|known| (known.replace('.', "_"), known));
        // Keys in lists are left out: an unknown `name` elsewhere hardly means the `name` of a rule.
        let elsewhere =
            || keys().filter(|known| known.split('.').count() == 2).map(|known| (split_key(known).1.to_owned(), known));
        most_similar(name, neighbours.map(|known| (split_key(known).1.to_owned(), known)).chain(paths))
            .or_else(|| most_similar(name, elsewhere()))
    }
}

/// The candidate most similar to `name`, if one is similar enough.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    most_similar(name, candidates.map(|candidate| (candidate.to_owned(), candidate)))
}

/// Of pairs of a name and its meaning, the meaning of the name most similar to `name`.
fn most_similar<'k>(name: &str, candidates: impl Iterator<Item = (String, &'k str)>) -> Option<&'k str> {
    let scored = candidates.map(|(candidate, meaning)| (strsim::jaro_winkler(name, &candidate), meaning));
    scored
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, meaning)| meaning)
}

/// The section of a key, and its name in it.
fn split_key(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// Whether an orchestrator sets such a variable for a service called `usher`.
fn is_service_link(name: &str) -> bool {
    name == "USHER_PORT"
        || name == "USHER_NAME"
        || ["USHER_SERVICE_", "USHER_PORT_", "USHER_ENV_"].iter().any(|prefix| name.starts_with(prefix))
}
