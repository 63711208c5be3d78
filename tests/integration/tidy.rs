//! The project's checkable rules: which room may use which (ARCHITECTURE.md "The rooms"), the length of files,
//! forbidden names, and valid references.

mod references;
mod table;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms it may use, and the words that it must not contain: libraries (followed by `::`) and types.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
    must_not: &'static [&'static str],
}

/// Any room.
const ALL: &[&str] = &["*"];

/// The table of ARCHITECTURE.md "The rooms".
const HOUSE: &[Room] = &[
    Room {
        name: "pusher",
        may_use: &[],
        must_not: &["tokio", "hyper", "hyper_util", "SystemTime", "Instant", "TcpStream", "fs", "net"],
    },
    Room { name: "descriptors", may_use: &[], must_not: &["hyper", "http", "serde_json"] },
    Room { name: "clock", may_use: &[], must_not: &["hyper", "http", "serde_json"] },
    Room { name: "service_manager", may_use: &[], must_not: &["tokio", "hyper", "http", "serde_json"] },
    Room { name: "decision", may_use: &[], must_not: &["tokio", "hyper", "http", "serde_json"] },
    Room { name: "metrics", may_use: &["decision"], must_not: &["hyper"] },
    Room { name: "shutdown", may_use: &[], must_not: &["hyper", "http"] },
    Room { name: "tls", may_use: &["clock"], must_not: &["hyper", "http"] },
    Room { name: "log", may_use: &["config"], must_not: &["hyper", "http"] },
    Room { name: "triggers", may_use: &["decision"], must_not: &["hyper", "http", "serde_json"] },
    Room {
        name: "report",
        may_use: &["clock", "rules", "assignment", "discovery"],
        must_not: &["hyper", "http", "tokio", "serde_json"],
    },
    Room { name: "discovery", may_use: &["clock", "pusher"], must_not: &["hyper", "http", "fs", "net"] },
    Room {
        name: "audience",
        may_use: &["clock", "pusher", "metrics", "broker"],
        must_not: &["hyper", "http", "tokio"],
    },
    Room { name: "assignment", may_use: &["clock", "cluster", "shutdown"], must_not: &["serde_json", "http", "hyper"] },
    Room { name: "replay", may_use: &["clock", "assignment"], must_not: &["hyper", "http"] },
    Room { name: "cluster", may_use: &["shutdown", "tls"], must_not: &["serde_json", "http", "hyper"] },
    Room { name: "state", may_use: &["clock", "assignment"], must_not: &["tokio", "serde_json", "http", "hyper"] },
    Room {
        name: "rules",
        may_use: &["pusher", "assignment"],
        must_not: &["tokio", "hyper", "http", "SystemTime", "Instant", "fs", "net"],
    },
    Room { name: "rate", may_use: &["clock", "metrics"], must_not: &["hyper", "http"] },
    Room { name: "broker", may_use: &["clock", "pusher", "metrics", "rate", "shutdown"], must_not: &[] },
    Room {
        name: "upstream",
        may_use: &["clock", "descriptors", "pusher", "broker", "rate", "shutdown", "tls"],
        must_not: &[],
    },
    Room {
        name: "webhooks",
        may_use: &["clock", "pusher", "metrics", "broker", "upstream", "shutdown", "tls"],
        must_not: &[],
    },
    Room {
        name: "gateway",
        may_use: &[
            "clock",
            "pusher",
            "rules",
            "assignment",
            "upstream",
            "audience",
            "decision",
            "triggers",
            "report",
            "metrics",
            "rate",
            "shutdown",
            "recording",
            "discovery",
            "broker",
            "replay",
            "webhooks",
        ],
        must_not: &[],
    },
    Room { name: "recording", may_use: &["pusher", "rules"], must_not: &["hyper", "http"] },
    Room {
        name: "simulation",
        may_use: &["clock", "pusher", "rules", "assignment", "rate", "recording", "gateway"],
        must_not: &["tokio", "hyper", "http"],
    },
    Room {
        name: "admin",
        may_use: &[
            "clock",
            "descriptors",
            "pusher",
            "rules",
            "assignment",
            "decision",
            "triggers",
            "report",
            "metrics",
            "shutdown",
            "cluster",
            "recording",
            "discovery",
            "replay",
        ],
        must_not: &[],
    },
    Room {
        name: "config",
        may_use: &[
            "pusher",
            "rules",
            "assignment",
            "broker",
            "cluster",
            "gateway",
            "rate",
            "state",
            "upstream",
            "tls",
            "triggers",
            "decision",
            "simulation",
            "shutdown",
            "webhooks",
        ],
        must_not: &["tokio", "hyper"],
    },
    Room { name: "server", may_use: ALL, must_not: &[] },
    // The rest is the binary, which sees what the library makes public.
    Room { name: "command", may_use: &["command"], must_not: &[] },
    Room { name: "main", may_use: ALL, must_not: &[] },
    Room { name: "lib", may_use: ALL, must_not: &[] },
];

/// Names without meaning.
const NAMELESS: &[&str] = &["util", "utils", "common", "core", "helper", "helpers", "manager", "handler", "misc"];

const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below these folders of the project.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut todo: Vec<PathBuf> =
        folders.iter().map(|folder| root().join(folder)).filter(|folder| folder.exists()).collect();
    let mut files = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| !["target", "node_modules", ".venv"].iter().any(|skipped| path.ends_with(skipped))),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The path below the project, for messages.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The room of a file of `src`, and how deep its module lies under the crate's root (1: a room itself).
fn room_of(path: &Path) -> (String, usize) {
    let inside = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut parts: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

/// The code without its comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at])).collect::<Vec<_>>().join("\n")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The first names behind every `prefix` (which ends in `::`) in `code`: `a`, or all of `{a, b::c}`.
fn names_behind(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].bytes().next_back();
        if before.is_some_and(|byte| is_word(byte) || byte == b':') {
            continue;
        }
        let behind = &code[at + prefix.len()..];
        let mut depth = 0;
        let mut expecting = true;
        for (position, byte) in behind.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 1 => expecting = true,
                _ if is_word(byte) && expecting && depth <= 1 => {
                    names.push(behind[position..].bytes().take_while(|byte| is_word(*byte)).map(char::from).collect());
                    expecting = false;
                }
                _ => {}
            }
            if depth == 0 && !expecting {
                break;
            }
        }
    }
    names
}

/// Whether `code` names a library (`word::`) or, if the word is capitalised or ends a path, a type or module.
fn mentions(code: &str, word: &str) -> bool {
    let is_type = word.starts_with(|first: char| first.is_ascii_uppercase());
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].bytes().next_back();
        let behind = &code[at + word.len()..];
        let whole = !before.is_some_and(is_word) && !behind.bytes().next().is_some_and(is_word);
        whole && (is_type || behind.starts_with("::"))
    })
}

/// The names behind `crate::`, or behind as many `super::` as lead to the crate's root, in a file whose module is at
/// `depth`.
fn rooms_used(code: &str, depth: usize) -> Vec<String> {
    let is_room = |name: &String| HOUSE.iter().any(|room| room.name == *name);
    let mut used = names_behind(code, "crate::");
    used.extend(names_behind(code, &"super::".repeat(depth)).into_iter().filter(is_room));
    used
}

/// The permissions of `room` in the table that its files do not use, given the names that they use.
fn unused(room: &Room, used: Option<&HashSet<String>>) -> Vec<String> {
    let is_unused = |name: &&&str| room.may_use != ALL && !used.is_some_and(|used| used.contains(**name));
    room.may_use.iter().filter(is_unused).map(|name| format!("{} does not use {name}", room.name)).collect()
}

/// The violations of the table in a file of `room`.
fn breaches(room: &Room, depth: usize, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found: Vec<String> = rooms_used(&code, depth)
        .into_iter()
        .filter(|name| name != room.name && room.may_use != ALL && !room.may_use.contains(&name.as_str()))
        .map(|name| format!("{} must not use {name}", room.name))
        .collect();
    found.extend(
        room.must_not
            .iter()
            .filter(|word| mentions(&code, word))
            .map(|word| format!("{} must not name {word}", room.name)),
    );
    found
}

/// The violations in a file's text that do not depend on its room.
fn untidiness(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") && !text.starts_with("#!") {
        found.push("does not open with what it is for (//!)".to_owned());
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{lines} lines, {LONGEST} is the wall"));
    }
    for (number, line) in text.lines().enumerate() {
        let mut report = |what: &str| found.push(format!("line {}: {what}", number + 1));
        for mark in ["todo!", "unimplemented!", "dbg!"] {
            if line.contains(mark) {
                report(mark);
            }
        }
        if ["TODO", "FIXME", "XXX"].iter().any(|mark| line.contains(mark)) && !line.contains("issue ") {
            report("a note without the number of its issue");
        }
        if line.contains("#[allow(") || line.contains("#![allow(") {
            report("allow, where expect with a reason says more");
        }
    }
    found
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let mut found = Vec::new();
    for path in sources(&["src"]) {
        let (name, depth) = room_of(&path);
        let Some(room) = HOUSE.iter().find(|room| room.name == name) else {
            found.push(format!("{}: the room {name} is not in the table", shown(&path)));
            continue;
        };
        found.extend(
            breaches(room, depth, &fs::read_to_string(&path).unwrap())
                .iter()
                .map(|breach| format!("{}: {breach}", shown(&path))),
        );
    }
    assert_none(&found);
}

#[test]
fn the_table_allows_nothing_that_no_room_uses() {
    let mut used: HashMap<String, HashSet<String>> = HashMap::new();
    for path in sources(&["src"]) {
        let (name, depth) = room_of(&path);
        let code = code(&fs::read_to_string(&path).unwrap());
        used.entry(name).or_default().extend(rooms_used(&code, depth));
    }
    assert_none(&HOUSE.iter().flat_map(|room| unused(room, used.get(room.name))).collect::<Vec<_>>());
}

#[test]
fn errors_without_a_type_stay_in_the_commands() {
    let mut found = Vec::new();
    for path in sources(&["src"]) {
        if !["main", "command"].contains(&room_of(&path).0.as_str())
            && mentions(&code(&fs::read_to_string(&path).unwrap()), "anyhow")
        {
            found.push(format!("{}: anyhow", shown(&path)));
        }
    }
    assert_none(&found);
}

#[test]
fn every_file_is_tidy() {
    let mut found = Vec::new();
    for path in sources(&["src", "tests", "benches"]).iter().filter(|path| !path.ends_with("integration/tidy.rs")) {
        found.extend(
            untidiness(&fs::read_to_string(path).unwrap()).iter().map(|what| format!("{}: {what}", shown(path))),
        );
    }
    let own = fs::read_to_string(root().join("tests/integration/tidy.rs")).unwrap();
    assert!(own.lines().count() <= LONGEST);
    assert_none(&found);
}

#[test]
fn nothing_is_called_by_a_name_that_says_nothing() {
    let mut found = Vec::new();
    for path in sources(&["src", "tests", "benches"]) {
        let below = path.strip_prefix(root()).unwrap().with_extension("");
        if below.iter().any(|part| NAMELESS.contains(&part.to_string_lossy().as_ref())) {
            found.push(shown(&path));
        }
        let code = code(&fs::read_to_string(&path).unwrap());
        for name in names_behind(&code, "mod ").iter().filter(|name| NAMELESS.contains(&name.as_str())) {
            found.push(format!("{}: mod {name}", shown(&path)));
        }
    }
    assert_none(&found);
}

#[test]
fn the_scanner_finds_what_it_looks_for() {
    let room = |name: &str| HOUSE.iter().find(|room| room.name == name).unwrap();
    let finds = |name: &str, depth: usize, text: &str| breaches(room(name), depth, text).len();
    assert_eq!(finds("pusher", 2, "use crate::clock::Moment;"), 1);
    assert_eq!(finds("pusher", 2, "use std::time::{Duration, Instant};"), 1);
    assert_eq!(finds("pusher", 2, "// use crate::clock, tokio::time\nlet instants = 1;"), 0);
    assert_eq!(finds("pusher", 2, "fn f() { ::tokio::task::yield_now() }"), 1);
    assert_eq!(finds("rules", 1, "use super::gateway::Limits;"), 1);
    assert_eq!(
        finds("gateway", 2, "use crate::{\n    assignment::{Claim, Value},\n    config::Config, server,\n};"),
        2
    );
    assert_eq!(finds("gateway", 2, "use super::super::admin::Service; use super::plan::Plan;"), 1);
    assert_eq!(finds("gateway", 2, "use crate::gateway::plan; use crate::rules::Rule;"), 0);
    assert_eq!(finds("server", 1, "use crate::config::Config;"), 0);
    let only_clock = HashSet::from(["clock".to_owned()]);
    assert_eq!(unused(room("rate"), Some(&only_clock)), ["rate does not use metrics"]);
    assert_eq!(unused(room("rate"), None).len(), 2);
    assert_eq!(unused(room("server"), None).len(), 0);
    let module = "mod ";
    assert_eq!(names_behind(&format!("{module}utils;\n{module}a;"), module), ["utils", "a"]);
    assert_eq!(untidiness("fn main() {}").len(), 1);
    assert_eq!(untidiness("//! x\n// TODO: y\n#[allow(dead_code)]\nfn f() { todo!() }").len(), 3);
    assert_eq!(untidiness(&format!("//! x{}", "\n".repeat(600))).len(), 1);
}
