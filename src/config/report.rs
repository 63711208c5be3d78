//! What reading the tree brings to light: problems, warnings, and which keys there are at all.

use std::collections::BTreeMap;

use super::file::ReadMode;
use super::problem::{Origin, Problem, variable};

/// Least likeness (Jaro-Winkler) of two names of which one is suggested for the other.
const MIN_SIMILARITY: f64 = 0.85;

/// Collected while the tree is read.
#[derive(Default)]
pub(super) struct Report {
    /// When the tree is read.
    pub(super) read_mode: ReadMode,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What works, but hardly as meant.
    pub(super) warnings: Vec<String>,
    keys: BTreeMap<String, Origin>,
    sections: BTreeMap<String, Origin>,
    unknown: Vec<(String, Origin)>,
}

impl Report {
    /// A report of what is read then.
    pub(super) fn new(read_mode: ReadMode) -> Self {
        Self { read_mode, ..Self::default() }
    }

    /// Notes that `key` exists, and where its value stands.
    pub(super) fn record_key(&mut self, key: String, origin: Origin) {
        self.keys.insert(key, origin);
    }

    /// Notes that a section or a list of sections exists, and where it begins.
    pub(super) fn record_section(&mut self, section: String, origin: Origin) {
        self.sections.insert(section, origin);
    }

    /// Notes a key that nothing asked for.
    pub(super) fn record_unknown(&mut self, key: String, origin: Origin) {
        self.unknown.push((key, origin));
    }

    /// Where the value of the key or section stands; the default if it was not given.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.keys.get(key).or_else(|| self.sections.get(key)).cloned().unwrap_or_default()
    }

    /// Every key that was asked for.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Whether something is wrong with `key`: then what else its value would lead to is not said of it.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.problems.iter().any(|known| known.key == key)
    }

    /// Adds a problem, unless this key has one already at the same place: one fault is reported once.
    pub(super) fn problem(&mut self, problem: Problem) {
        if !self.problems.iter().any(|known| known.key == problem.key && known.origin == problem.origin) {
            self.problems.push(problem);
        }
    }

    /// Turns the keys that nothing asked for into problems; called when every key is known.
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
            self.problem(Problem { origin, key, message, suggestion });
        }
    }

    /// The key that was probably meant by an unknown one: a neighbour of a like name, or a like name in another
    /// section.
    fn suggestion_for(&self, key: &str) -> Option<&str> {
        let (parent, name) = split_key(key);
        let keys = || self.keys.keys().map(String::as_str);
        let neighbours =
            keys().chain(self.sections.keys().map(String::as_str)).filter(|known| split_key(known).0 == parent);
        // At the top a dotted path may have been meant: `server_listen`, or USHER_SERVER_LISTEN.
        let paths = keys().filter(|_| parent.is_empty()).map(|known| (known.replace('.', "_"), known));
        // Not in the lists: the `name` of a rule is not what a stray `name` elsewhere means.
        let elsewhere =
            || keys().filter(|known| known.split('.').count() == 2).map(|known| (split_key(known).1.to_owned(), known));
        most_similar(name, neighbours.map(|known| (split_key(known).1.to_owned(), known)).chain(paths))
            .or_else(|| most_similar(name, elsewhere()))
    }
}

/// The candidate most like `name`, if any is like it.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    most_similar(name, candidates.map(|candidate| (candidate.to_owned(), candidate)))
}

/// Of pairs of a name and what it stands for, the meaning of the name most like `name`.
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
