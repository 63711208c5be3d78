//! One case of the corpus, read from its file (tests/corpus/README.md).

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::sign;

use super::expect::Expect;

/// An assignment on a channel, announced before a case or checked after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The app; `3` by default (`c1@4`: another one).
    pub app: String,
    /// `c1`, `c2`, …
    pub channel: String,
    /// The event's decoded `data`.
    pub data: String,
}

impl Memory {
    /// `c1 = A`, short for `c1 = {"staff_name":"A"}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (place, data) = text.split_once(" = ").ok_or_else(|| format!("not `channel = data`: {text}"))?;
        let (channel, app) = place.split_once('@').unwrap_or((place, sign::APP));
        let data = if data.starts_with('{') { data.to_owned() } else { format!("{{\"staff_name\":\"{data}\"}}") };
        Ok(Self { app: app.to_owned(), channel: channel.to_owned(), data })
    }
}

/// A step on the connection.
#[derive(Debug, Clone)]
pub enum Part {
    /// Writes a request (or a part of one), this many times.
    Send { body: Vec<String>, request: Vec<String>, times: usize },
    /// Reads the interim response with this status before anything more is written.
    Await(u16),
    /// Closes the runner's half of the connection.
    HalfClose,
}

/// The scripted response of upstream to the case's first request.
#[derive(Debug, Clone)]
pub struct Script {
    pub answer: Vec<String>,
    /// Whether the fake closes its connection afterwards.
    pub closes: bool,
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file's name without its extension, e.g. `H1-04-plus-sign`.
    pub id: String,
    /// Announced before the case.
    pub before: Vec<Memory>,
    pub parts: Vec<Part>,
    pub script: Option<Script>,
    pub expect: Expect,
}

impl Case {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(id, &text)
    }

    fn parse(id: String, text: &str) -> Result<Self, String> {
        let mut sections = sections(text).into_iter();
        let (_, head) = sections.next().ok_or("an empty file")?;
        let before = read_head(&head)?;
        let mut case = Self { id, before, parts: Vec::new(), script: None, expect: Expect::default() };
        let mut body = Vec::new();
        for (name, lines) in sections {
            let (kind, argument) = name.split_once(' ').unwrap_or((&name, ""));
            match kind {
                "body" => body = lines,
                "request" => {
                    let times = argument.strip_prefix('x').map_or(Ok(1), str::parse).map_err(|_| name.clone())?;
                    case.parts.push(Part::Send { body: body.clone(), request: lines, times });
                }
                "await" => case.parts.push(Part::Await(argument.parse().map_err(|_| name.clone())?)),
                "half-close" => case.parts.push(Part::HalfClose),
                "upstream" => case.script = Some(Script { answer: lines, closes: argument == "closes" }),
                "expect" => case.expect = Expect::parse(&lines)?,
                _ => return Err(format!("unknown section {name}")),
            }
        }
        if case.parts.is_empty() || case.expect.status.is_empty() {
            return Err("a case needs a request and what is expected".to_owned());
        }
        Ok(case)
    }
}

/// Title and source are required; `before` is optional and may occur several times.
fn read_head(lines: &[String]) -> Result<Vec<Memory>, String> {
    let mut before = Vec::new();
    let mut seen = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(": ").ok_or_else(|| format!("not `key: value`: {line}"))?;
        match key {
            "before" => before.push(Memory::parse(value)?),
            "title" | "source" | "note" => seen.push(key),
            _ => return Err(format!("unknown key {key}")),
        }
    }
    if seen.contains(&"title") && seen.contains(&"source") {
        Ok(before)
    } else {
        Err("a case needs a title and a source".to_owned())
    }
}

/// The head (without a name) and the sections, each begun by a line `--- name`.
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut sections = vec![(String::new(), Vec::new())];
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("--- ") {
            sections.push((name.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line.to_owned());
        }
    }
    sections
}

/// All case files below `directory`, in the order of their names.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "case") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_case_is_read_from_its_sections() {
    let text = "title: t\nsource: s\nbefore: c1@4 = A\n\n--- body\n{}\n\n--- request x2\nGET / HTTP/1.1\n\n--- await 100\n--- expect\nstatus: 200 x2\nupstream: 2\n";
    let case = Case::parse("X-01".to_owned(), text).unwrap();
    assert_eq!(
        case.before,
        [Memory { app: "4".to_owned(), channel: "c1".to_owned(), data: "{\"staff_name\":\"A\"}".to_owned() }]
    );
    let Part::Send { body, request, times: 2 } = &case.parts[0] else { panic!("{case:?}") };
    assert_eq!(
        (body.concat().as_str(), request.as_slice()),
        ("{}", ["GET / HTTP/1.1".to_owned(), String::new()].as_slice())
    );
    assert!(matches!(case.parts[1], Part::Await(100)));
    assert!(Case::parse("X".to_owned(), "title: t\n--- request\nGET\n--- expect\nstatus: 200\nupstream: 0\n").is_err());
}
