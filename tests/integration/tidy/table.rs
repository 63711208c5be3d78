//! The table of ARCHITECTURE.md "The rooms" is the one that the tests enforce.

use std::collections::BTreeSet;
use std::fs;

use super::{ALL, HOUSE, Room, assert_none, root};

/// The names in backticks in a cell of a table.
fn names(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// How the row of `room` differs from what the tests enforce.
fn difference(room: &Room, markdown: &str) -> Option<String> {
    let mut rows = markdown.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let Some((_, row)) = rows.find(|(name, _)| *name == room.name) else {
        return Some(format!("{} has no row", room.name));
    };
    let uses = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
    let written = names(uses);
    let enforced: BTreeSet<&str> = room.may_use.iter().copied().collect();
    let is_same = if room.may_use == ALL { uses == "all" } else { written == enforced };
    (!is_same).then(|| format!("{} may use {enforced:?}, its row says {uses}", room.name))
}

#[test]
fn the_document_has_the_table_that_is_enforced() {
    let markdown = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    // The binary and the crate's root have no row of their own.
    let rooms = HOUSE.iter().filter(|room| !["command", "main", "lib"].contains(&room.name));
    assert_none(&rooms.filter_map(|room| difference(room, &markdown)).collect::<Vec<_>>());
}

#[test]
fn a_row_that_differs_is_found() {
    let room = Room { name: "a", may_use: &["b", "c"], must_not: &[] };
    assert_eq!(difference(&room, "| `a` | x, `y` | `c`, `b` |"), None);
    for wrong in
        ["| `a` | x | `b` |", "| `a` | x | – |", "| `a` | `b`, `c` | `b`, `c`, `d` |", "| `b` | x | `b`, `c` |"]
    {
        assert!(difference(&room, wrong).is_some(), "{wrong}");
    }
    let room = Room { name: "a", may_use: ALL, must_not: &[] };
    assert_eq!(difference(&room, "| `a` | x | all |"), None);
    assert!(difference(&room, "| `a` | x | `b` |").is_some());
}
