//! The configuration as a tree of values with their origins, as read from the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem, Problems, code, quote};

/// The entries of a section.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and its origin. The value may be a secret: no `Debug`.
#[derive(Clone)]
pub(super) struct Node {
    /// The origin of its key; for an element of a list, its own.
    pub(super) origin: Origin,
    /// The value.
    pub(super) value: Value,
}

/// A value of any type.
#[derive(Clone)]
pub(super) enum Value {
    /// The text of a variable or flag. Its type depends on its key.
    Raw(String),
    /// `"…"`.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `[…]`, or the tables of a `[[…]]`.
    List(Vec<Node>),
    /// `{…}` or a section.
    Table(Table),
    /// A value of a type that no key has; the type in words.
    Other(&'static str),
}

/// Reads a TOML document.
///
/// # Errors
/// Every error of its syntax.
pub(super) fn parse(path: &Arc<Path>, text: &str) -> Result<Table, Problems> {
    let lines = LineIndex::new(path, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    // Only the message and the position of an error are shown: its `Display` quotes the line, which may contain a
    // secret.
    let problem = |error: &toml::de::Error| Problem {
        origin: lines.at(error.span().map_or(text.len(), |span| span.start)),
        key: String::new(),
        message: format!("This is not TOML: {}.", error.message()),
        suggestion: None,
        code: code::SYNTAX,
    };
    Problems::check(errors.iter().map(problem).collect())?;
    Ok(convert_table(table.into_inner(), &|offset| lines.at(offset)))
}

/// The built-in tables in `text`, with the default as their origin.
pub(super) fn built_in(text: &str) -> Table {
    let (table, _) = DeTable::parse_recoverable(text);
    convert_table(table.into_inner(), &|_| Origin::Default)
}

/// The origin of the byte at `offset` in `text`.
pub(super) fn origin_at(path: &Arc<Path>, text: &str, offset: usize) -> Origin {
    LineIndex::new(path, text).at(offset)
}

impl Value {
    /// The type of the value, in words.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Raw(_) | Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(type_name) => type_name,
        }
    }

    /// The text of a variable or flag read as a TOML value, everything in it with the same origin.
    pub(super) fn structured(raw: &str, origin: &Origin) -> Option<Self> {
        let value = DeValue::parse(raw.trim()).ok()?;
        Some(convert(value.into_inner(), &|_| origin.clone()))
    }

    /// The text, whether quoted in the file or bare in a variable.
    ///
    /// # Errors
    /// A sentence, without the value, which may be a secret.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Raw(text) | Self::Text(text) => Ok(text),
            Self::Integer(_) | Self::Float(_) | Self::Boolean(_) => {
                Err(format!("This must be text, but it is {}. Write it in quotes.", self.type_name()))
            }
            Self::List(_) | Self::Table(_) | Self::Other(_) => {
                Err(format!("This must be text in quotes, but it is {}.", self.type_name()))
            }
        }
    }

    /// A whole number, bare.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn whole_number(&self) -> Result<i64, String> {
        match self {
            Self::Integer(number) => Ok(*number),
            Self::Raw(text) => text.trim().parse().map_err(|_| format!("{} is not a whole number.", quote(text))),
            _ => Err(format!(
                "This must be a whole number without quotes or unit, e.g. 100, but it is {}.",
                self.type_name()
            )),
        }
    }

    /// `true` or `false`, bare.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self {
            Self::Boolean(boolean) => Ok(*boolean),
            Self::Raw(text) => text.trim().parse().map_err(|_| format!("{} is neither true nor false.", quote(text))),
            _ => Err(format!("This must be true or false, without quotes, but it is {}.", self.type_name())),
        }
    }

    /// The same value in JSON.
    ///
    /// # Errors
    /// A sentence, if JSON has no such value.
    pub(super) fn json(&self) -> Result<serde_json::Value, String> {
        use serde_json::Value as Json;
        Ok(match self {
            Self::Raw(text) | Self::Text(text) => Json::from(text.as_str()),
            Self::Integer(number) => Json::from(*number),
            Self::Float(number) if number.is_finite() => Json::from(*number),
            Self::Boolean(boolean) => Json::from(*boolean),
            Self::List(items) => Json::Array(items.iter().map(|item| item.value.json()).collect::<Result<_, _>>()?),
            Self::Table(table) => Json::Object(
                table.iter().map(|(key, node)| Ok((key.clone(), node.value.json()?))).collect::<Result<_, String>>()?,
            ),
            Self::Float(_) | Self::Other(_) => {
                return Err(format!(
                    "JSON has no {}. Write text, a number, true, false, a list or a table.",
                    self.type_name()
                ));
            }
        })
    }
}

/// Converts a byte offset to line and column.
struct LineIndex<'t> {
    path: &'t Arc<Path>,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    fn new(path: &'t Arc<Path>, text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, line_starts }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Origin::Line { path: Arc::clone(self.path), line, column }
    }
}

fn convert_table(table: DeTable<'_>, origin_at: &dyn Fn(usize) -> Origin) -> Table {
    let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let origin = origin_at(key.span().start);
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        (key.into_owned(), Node { origin, value: convert(value.into_inner(), origin_at) })
    };
    table.into_iter().map(entry).collect()
}

fn convert(value: DeValue<'_>, origin_at: &dyn Fn(usize) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("whole number beyond 64 bits"), Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other("unreadable number"), Value::Float),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => Value::Other("date or time"),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| convert_item(item, origin_at)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, origin_at)),
    }
}

fn convert_item(item: Spanned<DeValue<'_>>, origin_at: &dyn Fn(usize) -> Origin) -> Node {
    Node { origin: origin_at(item.span().start), value: convert(item.into_inner(), origin_at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json() {
        let json = |text: &str| Value::structured(text, &Origin::Default).unwrap().json();
        for (toml, expected) in [
            ("'a\"b'", "\"a\\\"b\""),
            ("0x10", "16"),
            ("1_000", "1000"),
            ("-7", "-7"),
            ("+7", "7"),
            ("1.5", "1.5"),
            ("true", "true"),
            ("[1, 'x', [2.5]]", "[1,\"x\",[2.5]]"),
            ("{ a = { b = 'c' } }", "{\"a\":{\"b\":\"c\"}}"),
        ] {
            assert_eq!(json(toml).unwrap().to_string(), expected, "{toml}");
        }
        for refused in ["nan", "inf", "2026-01-01", "99999999999999999999", "[2026-01-01]", "{ a = inf }"] {
            assert!(json(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        let path: Arc<Path> = Path::new("x.toml").into();
        let at = |text: &str, offset| origin_at(&path, text, offset).to_string();
        assert_eq!(
            [at("", 0), at("ab", 2), at("a\nb", 2), at("a\n\n", 3), at("\u{e9}b", 2)],
            ["x.toml:1:1", "x.toml:1:3", "x.toml:2:1", "x.toml:3:1", "x.toml:1:2"]
        );
    }
}
