//! What is printed: a line, a whole record or a line of JSON for each trigger; for several ushers with the name of each.

use std::fmt::{self, Write as _};

use super::line::Lines;
use super::trigger::Trigger;
use super::whole;
use crate::command::terminal::{Printable, StdoutError, print, print_error};

/// The form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Line,
    Whole,
    Json,
}

/// Prints the records of all ushers.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) style: Style,
    has_colours: bool,
    lines: Lines,
    /// The width of the longest name of several ushers; `None` for one, whose lines need none.
    width: Option<usize>,
}

impl Printer {
    /// For the ushers of these names.
    pub(super) fn new(style: Style, has_colours: bool, names: &[&str]) -> Self {
        let longest = names.iter().map(|name| name.chars().count()).max();
        let width = longest.filter(|_| names.len() > 1);
        Self { style, has_colours, lines: Lines::new(has_colours), width }
    }

    /// Prints a record of the usher `name`. `json`: as it came.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn record(&mut self, name: &str, json: &str, trigger: &Trigger) -> Result<(), StdoutError> {
        match (self.style, self.width) {
            (Style::Json, _) => self.json(name, json),
            (Style::Line, None) => print(self.lines.line(trigger)),
            (Style::Line, Some(width)) => print(format_args!("{name:<width$}  {}", self.lines.line(trigger))),
            (Style::Whole, None) => print(whole::whole(trigger, self.has_colours)),
            (Style::Whole, Some(_)) => print(format_args!("{name}  {}", whole::whole(trigger, self.has_colours))),
        }
    }

    /// Prints what the usher `name` says in JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn json(&self, name: &str, json: &str) -> Result<(), StdoutError> {
        let line = json_line(json);
        print(self.width.and_then(|_| with_name(name, &line)).unwrap_or(line))
    }

    /// Says something of the usher `name` on standard error.
    pub(super) fn say(&self, name: &str, what: fmt::Arguments<'_>) {
        match self.width {
            Some(_) => print_error(format_args!("{name}: {what}")),
            None => print_error(what),
        }
    }
}

/// The JSON object with the field `usher` before the others; `None` if it is no object.
fn with_name(name: &str, object: &str) -> Option<String> {
    let fields = object.trim().strip_prefix('{')?;
    let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
    Some(format!("{{\"usher\":{}{comma}{fields}", serde_json::Value::from(name)))
}

/// JSON without characters that control a terminal. JSON has them in strings alone, where an escape means the same.
fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        if Printable::is_plain(character) {
            line.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}").expect("a string takes any text");
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_without_control_characters() {
        let json = "{\"a\":\"\u{9b}31m\u{202e}\u{7f}é👋\"}";
        let line = json_line(json);
        assert_eq!(line, "{\"a\":\"\\u009b31m\\u202e\\u007fé👋\"}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            serde_json::from_str::<serde_json::Value>(json).unwrap()
        );
    }

    #[test]
    fn an_object_gets_the_name_of_its_usher() {
        assert_eq!(with_name("[::1]", "{\"a\":1}").unwrap(), "{\"usher\":\"[::1]\",\"a\":1}");
        assert_eq!(with_name(":9601", " { } ").unwrap(), "{\"usher\":\":9601\" }");
        assert_eq!(with_name("a", "[1]"), None);
    }
}
