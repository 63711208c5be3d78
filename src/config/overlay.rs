//! Builds the tree from the file, the variables `USHER_…` and the flags, each overriding the one before.
//! `USHER_LIMITS__MAX_HEAD` is `limits.max_head`, `USHER_APPS__0__SECRET` the secret of the first app.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::Sources;
use super::apps::default_lists;
use super::file;
use super::problem::{Origin, Problem, Problems, Warning, code};
use super::report::Report;
use super::tree::{self, Node, Table, Value};
use super::unit::MIB;

/// The variable that names the file. It is no key.
pub(super) const FILE_VARIABLE: &str = "USHER_CONFIG";

/// The variable with the secret for `usher trigger` and `usher subscribe`. It is no key either.
pub(super) const CLIENT_SECRET_VARIABLE: &str = "USHER_SECRET";

const PREFIX: &str = "USHER_";
/// The largest file: the limit ends the read of a device or a log that was given by mistake.
const MAX_FILE: usize = 4 * MIB;

/// The file's tree; without a file the built-in lists.
///
/// # Errors
/// If the file cannot be read or is not TOML: its keys cannot be checked then.
pub(super) fn read_file(path: Option<&Path>, report: &mut Report) -> Result<Table, Problems> {
    let Some(path) = path else { return Ok(tree::built_in(&default_lists())) };
    let path: Arc<Path> = path.into();
    let mut table = parse_file(&path, report)?;
    // With a file, the built-in lists do not apply: a rule that was removed is not replaced by the built-in one, and no
    // app is served that the file does not name.
    for list in ["apps", "rules"] {
        table
            .entry(list.to_owned())
            .or_insert_with(|| Node { origin: Origin::File(Arc::clone(&path)), value: Value::List(Vec::new()) });
    }
    Ok(table)
}

/// The tree of the file at `path`.
///
/// # Errors
/// If it cannot be read or is not TOML.
pub(super) fn parse_file(path: &Arc<Path>, report: &mut Report) -> Result<Table, Problems> {
    let unreadable =
        |origin, code, message| Problems::from(Problem { origin, key: String::new(), message, suggestion: None, code });
    let (bytes, metadata) = file::read(path, MAX_FILE, report.read_mode).map_err(|error| {
        // The system's error names a cause, but no remedy.
        let cure = if error.raw_os_error().is_some() { " Check the path and its permissions." } else { "" };
        unreadable(
            Origin::File(Arc::clone(path)),
            code::FILE,
            format!("The configuration file cannot be read: {error}.{cure}"),
        )
    })?;
    if !metadata.is_file() {
        report.warnings.push(Warning {
            origin: Origin::File(Arc::clone(path)),
            key: String::new(),
            code: "read_once",
            message: format!(
                "{} is no regular file and is read once, at the start: every reload (SIGHUP) is refused, of certificates as well.",
                path.display()
            ),
            cure: "Name a regular file if that is not meant.".to_owned(),
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => tree::parse(path, &text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            Err(unreadable(
                tree::origin_at(path, &text, valid),
                code::SYNTAX,
                "The file is not UTF-8 from here on. Save it as UTF-8.".to_owned(),
            ))
        }
    }
}

/// Sets the values of variables and flags in `tree`, and reports those whose key cannot be set.
pub(super) fn overlay(tree: &mut Table, sources: &Sources, report: &mut Report) {
    for (path, origin, value) in variables(&sources.environment, report).into_iter().chain(flags(&sources.flags)) {
        let key = path.join(".");
        let node = Node { origin: origin.clone(), value: Value::Raw(value) };
        if let Err(message) = set(tree, &path, node) {
            report.problems.push(Problem { origin, key, message, suggestion: None, code: code::INVALID });
        }
    }
}

type Override = (Vec<String>, Origin, String);

/// The variables with the prefix of usher, sections before their keys and list elements in their order.
fn variables(environment: &[(OsString, OsString)], report: &mut Report) -> Vec<Override> {
    let mut overrides = BTreeMap::new();
    for (name, value) in environment {
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
            || name == FILE_VARIABLE
            || name == CLIENT_SECRET_VARIABLE
        {
            continue;
        }
        let (Some(known), Some(value)) = (name.to_str(), value.to_str()) else {
            let message = "The variable is not UTF-8. Set it anew, or remove it.".to_owned();
            let origin = Origin::Variable(name.to_string_lossy().into_owned());
            let code = code::INVALID;
            report.problems.push(Problem { origin, key: String::new(), message, suggestion: None, code });
            continue;
        };
        let rest = known.strip_prefix(PREFIX).unwrap_or(known);
        let (name, origin) = (known, Origin::Variable(known.to_owned()));
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if rest.to_uppercase() == *rest {
            overrides.insert(
                path.iter().map(|name| (name.parse::<usize>().ok(), name.clone())).collect::<Vec<_>>(),
                (path, origin, value.to_owned()),
            );
        } else {
            let message = "The names of variables are upper-case.".to_owned();
            report.problems.push(Problem {
                origin,
                key: path.join("."),
                message,
                suggestion: Some(name.to_uppercase()),
                code: code::UNKNOWN,
            });
        }
    }
    overrides.into_values().collect()
}

fn flags(flags: &[(String, String)]) -> impl Iterator<Item = Override> {
    flags
        .iter()
        .map(|(key, value)| (key.split('.').map(str::to_owned).collect(), Origin::Flag(key.clone()), value.clone()))
}

fn set(table: &mut Table, path: &[String], node: Node) -> Result<(), String> {
    match path {
        [] => Ok(()),
        [name] => {
            table.insert(name.clone(), node);
            Ok(())
        }
        [name, rest @ ..] => set_below(
            table.entry(name.clone()).or_insert_with(|| empty_container(rest, &node.origin)),
            name,
            rest,
            node,
        ),
    }
}

/// Sets `new` at `path` below `node`, whose key is `name`.
fn set_below(node: &mut Node, name: &str, path: &[String], new: Node) -> Result<(), String> {
    let items = match &mut node.value {
        Value::Table(table) => return set(table, path, new),
        Value::List(items) => items,
        other => {
            return Err(format!(
                "`{name}` is {} elsewhere ({}) and holds no keys. Set it in one way only.",
                other.type_name(),
                node.origin
            ));
        }
    };
    let [index, rest @ ..] = path else { return Ok(()) };
    let count = items.len();
    let index = index.parse().ok().filter(|&index: &usize| index <= count).ok_or_else(|| {
        let example = new.origin.spell(&format!("{name}.{count}"));
        format!("`{name}` is a list of {count}: name an element by its number, from 0; {count} (`{example}`) makes a new one.")
    })?;
    if index == count {
        items.push(empty_container(rest, &new.origin));
    }
    match (items.get_mut(index), rest) {
        (Some(item), []) => *item = new,
        (Some(item), rest) => return set_below(item, name, rest, new),
        (None, _) => {}
    }
    Ok(())
}

/// An empty container for the first name of `path`: a list if that is a number, else a table.
fn empty_container(path: &[String], origin: &Origin) -> Node {
    let is_index = path.first().is_some_and(|name| name.parse::<usize>().is_ok());
    let value = if is_index { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
    Node { origin: origin.clone(), value }
}
