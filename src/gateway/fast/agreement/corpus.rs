//! What tests/corpus says in bytes, as far as its directives are known here: what has others is left out.

use std::fs;
use std::path::{Path, PathBuf};

use super::{APP, NOW};
use crate::pusher::{App, sign_query};

/// Most bytes that are of use: changes have to hit what matters.
const LONGEST: usize = 6 * 1024;

/// All sections of the corpus with this name (tests/corpus/README.md): `request`, `upstream` or `body`; none twice.
///
/// # Panics
/// The corpus is not there.
#[must_use]
pub fn sections(wanted: &str) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for path in cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")) {
        let text = fs::read_to_string(&path).expect("the corpus can be read");
        let mut body = Vec::new();
        for section in text.split("\n--- ").skip(1) {
            let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
            let name = name.split(' ').next().unwrap_or_default();
            let bytes = if name == "body" { joined(lines) } else { message(lines, &body) };
            if name == "body" {
                body = bytes.clone().unwrap_or_default();
            }
            found.extend(bytes.filter(|bytes| name == wanted && bytes.len() <= LONGEST));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The bytes of a body: its lines, joined with nothing between them.
fn joined(lines: &str) -> Option<Vec<u8>> {
    expand(&lines.lines().collect::<String>(), &[])
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the corpus is there").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { cases(&path) } else { vec![path] }).collect()
}

/// The bytes of a message's lines.
fn message(lines: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines.lines() {
        let (line, end) = line.strip_suffix('\\').map_or((line, "\r\n"), |line| (line, ""));
        bytes.extend(expand(line, body)?);
        bytes.extend(end.as_bytes());
    }
    Some(bytes)
}

/// `text` with its escapes and directives replaced; `None` if one is not known.
fn expand(text: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '\\']) {
        bytes.extend(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some((directive, behind)) = rest.strip_prefix("{{").and_then(|rest| rest.split_once("}}")) {
            bytes.extend(self::directive(directive, body)?);
            rest = behind;
        } else if let Some(hex) = rest.strip_prefix("\\x").and_then(|hex| hex.get(..2)) {
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &rest[4..];
        } else {
            bytes.push(rest.as_bytes()[0]);
            rest = &rest[1..];
        }
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}

fn directive(directive: &str, body: &[u8]) -> Option<Vec<u8>> {
    let text = match directive {
        "body" => return Some(body.to_vec()),
        "length" => body.len().to_string(),
        "key" => APP[1].to_owned(),
        "now" => NOW.to_string(),
        "c1" | "c2" => format!("inn-room-{}-chat", &directive[1..]),
        _ => signed(directive.strip_prefix("signed ")?, body)?,
    };
    Some(text.into_bytes())
}

/// The request line of a well signed request.
fn signed(argument: &str, body: &[u8]) -> Option<String> {
    let mut words = argument.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next().unwrap_or("HTTP/1.1"));
    if path.contains('?') || words.next().is_some() {
        return None;
    }
    let [id, key, secret] = APP;
    let body = Some(body).filter(|body| !body.is_empty());
    let query = sign_query(&App::new(id, key, secret), method, path, &[], body, NOW);
    Some(format!("{method} {path}?{query} {version}"))
}
