//! Reads one section of the tree: every typed getter takes its key out of the table, checks it and reports its
//! problems, so that one pass finds all problems. The remaining keys are unknown. A new key needs one getter in the
//! function that reads its section.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::effective::Shown;
use super::problem::{Origin, Problem, Warning, code, quote};
use super::report::{Report, nearest};
use super::tree::{Node, Table, Value};
use super::unit;

/// One table being read. A getter returns a usable value even for an invalid one, and reports the problem.
pub(super) struct Section<'r> {
    path: String,
    table: Table,
    origin: Origin,
    /// The value of this section is not a table: missing keys are not reported in addition.
    is_misplaced: bool,
    pub(super) report: &'r mut Report,
}

/// The value was refused, and the problem is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

impl<'r> Section<'r> {
    /// Reads the whole tree with `read`, and reports the remaining keys as unknown.
    pub(super) fn root<T>(tree: Table, report: &'r mut Report, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let mut root =
            Section { path: String::new(), table: tree, origin: Origin::Default, is_misplaced: false, report };
        let result = read(&mut root);
        root.report_unknown_keys();
        result
    }

    /// Reads the table `key` with `read`; an absent one is empty.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let path = self.key(key);
        let node = self
            .table
            .remove(key)
            .unwrap_or_else(|| Node { origin: Origin::Default, value: Value::Table(Table::new()) });
        self.report.record_section(path.clone(), node.origin.clone());
        self.read_table(path, node, read)
    }

    /// Reads the list of tables `key`, each with `read`.
    pub(super) fn sections<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let path = self.key(key);
        self.report
            .record_section(path.clone(), self.table.get(key).map_or(Origin::Default, |node| node.origin.clone()));
        let Some(node) = self.table.remove(key) else { return Vec::new() };
        let Value::List(items) = structured(node.value, &node.origin) else {
            let message = format!(
                "`{path}` is a list of tables. Write `[[{path}]]` above each, or set variables such as USHER_{}__0__….",
                path.to_uppercase()
            );
            let code = code::INVALID;
            self.report.problem(Problem { origin: node.origin, key: path, message, suggestion: None, code });
            return Vec::new();
        };
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| self.read_table(format!("{path}.{index}"), item, &mut read))
            .collect()
    }

    /// The full dotted name of `key`.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The origin of `key`; if it is absent, that of the section.
    pub(super) fn origin(&self, key: &str) -> Origin {
        match self.report.origin(&self.key(key)) {
            Origin::Default => self.origin.clone(),
            origin => origin,
        }
    }

    /// Reports a problem with `key`.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problem_at(self.origin(key), key, message.into(), None);
    }

    /// Reports a problem with `key` that has a code of its own.
    pub(super) fn problem_coded(&mut self, key: &str, code: &'static str, message: impl Into<String>) {
        let (origin, key, message) = (self.origin(key), self.key(key), message.into());
        self.report.problem(Problem { origin, key, message, suggestion: None, code });
    }

    /// Reports that `key` must be given, unless the whole section is misplaced.
    pub(super) fn missing(&mut self, key: &str, message: impl Into<String>) {
        if !self.is_misplaced {
            self.problem_coded(key, code::MISSING, message);
        }
    }

    /// Warns about `key`: it is valid, but probably a mistake.
    pub(super) fn warn(&mut self, key: &str, code: &'static str, message: impl Into<String>, cure: impl Into<String>) {
        let warning =
            Warning { origin: self.origin(key), key: self.key(key), code, message: message.into(), cure: cure.into() };
        self.report.warnings.push(warning);
    }

    /// Records another effective value of `key` than the one that is written, e.g. one that follows from other keys.
    pub(super) fn show(&mut self, key: &str, value: &impl Shown) {
        self.report.record_value(self.key(key), value.shown());
    }

    /// Reports a problem with a part of `key` whose origin is `origin`.
    pub(super) fn problem_at(&mut self, origin: Origin, key: &str, message: String, suggestion: Option<String>) {
        let key = self.key(key);
        self.report.problem(Problem { origin, key, message, suggestion, code: code::INVALID });
    }

    /// Takes the text of `key` and parses it.
    pub(super) fn parsed<T: Shown>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.value(key, default, |value| parse(value.text()?))
    }

    /// Takes text; empty if it is not given.
    pub(super) fn text(&mut self, key: &str) -> String {
        self.parsed(key, String::new(), |text| Ok(text.to_owned()))
    }

    /// Takes the path of a file; `None` if it is not given or empty.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// Takes text that must be given and pass `check`; `example` is a possible value for the message.
    pub(super) fn required(
        &mut self,
        key: &str,
        example: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> String {
        let missing = format!("`{}` is missing. Set it, e.g. {key} = \"{example}\".", self.key(key));
        if !self.table.contains_key(key) {
            self.report.record_key(self.key(key), Origin::Default);
            self.show(key, &String::new());
            self.missing(key, missing);
            return String::new();
        }
        let text = self.text(key);
        if text.is_empty() {
            self.problem_coded(key, code::MISSING, missing);
        } else if let Err(message) = check(&text) {
            self.problem(key, message);
        }
        text
    }

    /// Reports a key that was replaced, if it is given. `hint`: what to write instead.
    pub(super) fn replaced(&mut self, key: &str, hint: &str) {
        if let Some(node) = self.table.remove(key) {
            self.problem_at(node.origin, key, format!("This key is gone: {hint}"), None);
        }
    }

    /// Takes one of a few words.
    pub(super) fn choice<T: Copy + PartialEq, const N: usize>(
        &mut self,
        key: &str,
        choices: [(&str, T); N],
        default: T,
    ) -> T {
        let name = choices.iter().find(|(_, value)| *value == default).map_or("", |(name, _)| *name);
        self.show(key, &name.to_owned());
        self.one_of(key, choices).unwrap_or(default)
    }

    /// Takes one of a few words; `None` if it is not given or empty.
    pub(super) fn optional_choice<T: Copy, const N: usize>(&mut self, key: &str, choices: [(&str, T); N]) -> Option<T> {
        self.show(key, &String::new());
        self.one_of(key, choices)
    }

    fn one_of<T: Copy, const N: usize>(&mut self, key: &str, choices: [(&str, T); N]) -> Option<T> {
        let node = self.take(key).filter(|node| node.value.text() != Ok(""))?;
        let refused = match node.value.text() {
            Ok(text) => match choices.iter().find(|(name, _)| *name == text) {
                Some((name, value)) => {
                    self.show(key, &(*name).to_owned());
                    return Some(*value);
                }
                None => format!("{} is not possible here.", quote(text)),
            },
            Err(message) => message,
        };
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let suggestion = node.value.text().ok().and_then(|text| nearest(text, choices.iter().map(|(name, _)| *name)));
        self.problem_at(
            node.origin,
            key,
            format!("{refused} Write {}.", names.join(" or ")),
            suggestion.map(str::to_owned),
        );
        None
    }

    /// Takes a duration with its unit.
    pub(super) fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.value(key, default, |value| duration(value, range))
    }

    /// Takes a duration with its unit; `None` if it is not given or empty.
    pub(super) fn optional_duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(key, None, |value| match value {
            Value::Text(text) | Value::Raw(text) if text.is_empty() => Ok(None),
            value => duration(value, range).map(Some),
        })
    }

    /// Takes a size in bytes with its unit.
    pub(super) fn size(&mut self, key: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        let size = self.value(key, Bytes(default), |value| {
            check_bounds(amount(value, unit::SIZE_FORMS, unit::size)?, range, unit::format_size).map(Bytes)
        });
        size.0
    }

    /// Takes a bare whole number.
    pub(super) fn count(&mut self, key: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        self.value(key, default, |value| {
            let number = value.whole_number()?;
            // A negative number is below every range.
            usize::try_from(number)
                .map_err(|_| out_of_bounds(&range, |bound| bound.to_string()))
                .and_then(|count| check_bounds(count, range, |bound| bound.to_string()))
        })
    }

    /// Takes `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        self.value(key, default, Value::boolean)
    }

    /// Takes a list of texts, each with its origin. A single text is a list of one; a variable may separate texts by
    /// commas.
    pub(super) fn texts(&mut self, key: &str) -> Vec<(String, Origin)> {
        let texts = self.take_texts(key);
        self.show(key, &texts.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>());
        texts
    }

    fn take_texts(&mut self, key: &str) -> Vec<(String, Origin)> {
        let Some(Node { origin, value }) = self.take(key) else { return Vec::new() };
        let items = match value {
            Value::Text(text) => return vec![(text, origin)],
            Value::Raw(raw) if !raw.trim_start().starts_with('[') => {
                let items = raw.split(',').map(str::trim).filter(|item| !item.is_empty());
                return items.map(|item| (item.to_owned(), origin.clone())).collect();
            }
            value => match structured(value, &origin) {
                Value::List(items) => items,
                other => {
                    self.problem_at(
                        origin,
                        key,
                        format!("This must be a list of texts, e.g. [\"a\", \"b\"], but it is {}.", other.type_name()),
                        None,
                    );
                    return Vec::new();
                }
            },
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.value.text() {
                Ok(text) => texts.push((text.to_owned(), item.origin)),
                Err(message) => self.problem_at(item.origin, key, message, None),
            }
        }
        texts
    }

    /// Whether `key` is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where this section is.
    pub(super) fn place(&self) -> String {
        self.origin.to_string()
    }

    /// Takes a value of any type that JSON has; `None` if it is not given, or has no form in JSON.
    pub(super) fn json_value(&mut self, key: &str) -> Option<serde_json::Value> {
        let Node { origin, value } = self.take(key)?;
        match structured(value, &origin).json() {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem_at(origin, key, message, None);
                None
            }
        }
    }

    /// Takes a table of JSON values.
    pub(super) fn json(&mut self, key: &str) -> Vec<(String, serde_json::Value)> {
        let values = self.take_json(key);
        self.show(key, &values.iter().cloned().collect::<serde_json::Map<_, _>>());
        values
    }

    fn take_json(&mut self, key: &str) -> Vec<(String, serde_json::Value)> {
        let Some(Node { origin, value }) = self.take(key) else { return Vec::new() };
        let table = match structured(value, &origin) {
            Value::Table(table) => table,
            other => {
                let message = format!(
                    "This must be a table, e.g. {{ \"/type\" = \"staff_assigned\" }}, but it is {}.",
                    other.type_name()
                );
                self.problem_at(origin, key, message, None);
                return Vec::new();
            }
        };
        let mut values = Vec::with_capacity(table.len());
        for (name, node) in table {
            match node.value.json() {
                Ok(value) => values.push((name, value)),
                Err(message) => self.problem_at(node.origin, key, message, None),
            }
        }
        values
    }

    /// Takes two keys that exclude each other and returns the one that is given; if both are, the one from the source
    /// with the higher precedence.
    ///
    /// # Errors
    /// If one of them is no text, or both are from the same source.
    pub(super) fn either(
        &mut self,
        first: &'static str,
        second: &'static str,
    ) -> Result<Option<(&'static str, String)>, Refused> {
        let take_text = [self.take_text(first)?, self.take_text(second)?];
        match take_text {
            [None, None] => Ok(None),
            [Some(text), None] => Ok(Some((first, text))),
            [None, Some(text)] => Ok(Some((second, text))),
            [Some(one), Some(other)] => match self.origin(first).rank().cmp(&self.origin(second).rank()) {
                std::cmp::Ordering::Greater => Ok(Some((first, one))),
                std::cmp::Ordering::Less => Ok(Some((second, other))),
                std::cmp::Ordering::Equal => {
                    self.problem_coded(
                        second,
                        code::CONFLICT,
                        format!("Both `{first}` and `{second}` are given. Keep one of them."),
                    );
                    Err(Refused)
                }
            },
        }
    }

    fn take_text(&mut self, key: &str) -> Result<Option<String>, Refused> {
        let taken = self.take(key);
        let text = taken.as_ref().and_then(|node| node.value.text().ok()).unwrap_or_default();
        self.show(key, &text.to_owned());
        let Some(node) = taken else { return Ok(None) };
        match node.value.text() {
            Ok(text) => Ok((!text.is_empty()).then(|| text.to_owned())),
            Err(message) => {
                self.problem_at(node.origin, key, message, None);
                Err(Refused)
            }
        }
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let node = self.table.remove(key);
        self.report.record_key(self.key(key), node.as_ref().map_or(Origin::Default, |node| node.origin.clone()));
        node
    }

    fn value<T: Shown>(&mut self, key: &str, default: T, read: impl FnOnce(&Value) -> Result<T, String>) -> T {
        let value = match self.take(key).map(|node| read(&node.value)) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(message)) => {
                self.problem(key, message);
                default
            }
        };
        self.show(key, &value);
        value
    }

    fn read_table<T>(&mut self, path: String, node: Node, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let (table, is_misplaced) = match structured(node.value, &node.origin) {
            Value::Table(table) => (table, false),
            other => {
                let message =
                    format!("`{path}` is a section with keys of its own, but here it is {}.", other.type_name());
                self.report.problem(Problem {
                    origin: node.origin.clone(),
                    key: path.clone(),
                    message,
                    suggestion: None,
                    code: code::INVALID,
                });
                (Table::new(), true)
            }
        };
        let mut section = Section { path, table, origin: node.origin, is_misplaced, report: &mut *self.report };
        let result = read(&mut section);
        section.report_unknown_keys();
        result
    }

    fn report_unknown_keys(self) {
        for (key, node) in &self.table {
            self.report.record_unknown(self.key(key), node.origin.clone());
        }
    }
}

/// A size, which is shown with its unit.
struct Bytes(usize);

impl Shown for Bytes {
    fn shown(&self) -> serde_json::Value {
        unit::format_size(self.0).into()
    }
}

/// Parses the text of a variable as a list or table, if it is one; returns any other value unchanged.
fn structured(value: Value, origin: &Origin) -> Value {
    match value {
        Value::Raw(raw) => Value::structured(&raw, origin).unwrap_or(Value::Raw(raw)),
        value => value,
    }
}

fn amount<T>(value: &Value, forms: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    match value {
        Value::Text(text) | Value::Raw(text) => parse(text),
        other => Err(format!("The unit is missing: this is {}. {forms}", other.type_name())),
    }
}

fn duration(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    check_bounds(amount(value, unit::DURATION_FORMS, unit::duration)?, range, unit::format_duration)
}

fn check_bounds<T: PartialOrd + Copy>(
    value: T,
    range: RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(out_of_bounds(&range, show)) }
}

fn out_of_bounds<T: Copy>(range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> String {
    format!("This is out of bounds. Write a value from {} to {}.", show(*range.start()), show(*range.end()))
}
