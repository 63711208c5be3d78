//! References from files of the project to its documents: each one leads to an existing document and section.
//!
//! In any text file `docs/servers.md` has to exist, and behind a document's name its sections: by number or id
//! (`threats.md H1-05`, also several: `8.1 to 8.6`), or by heading (`README.md "Start"`). Links in Markdown must have a
//! target as well. External documents are referenced by their addresses.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{assert_none, root, shown};

/// Directories that do not belong to the project.
const FOREIGN: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];

/// The approximate number of referenced sections; far fewer would mean that the scanner misses them.
const FEWEST_SECTIONS: usize = 600;

/// A document that a text names.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'t> {
    /// As written, perhaps with a path.
    name: &'t str,
    sections: Vec<Section<'t>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Section<'t> {
    /// The first word of a heading: `2.4`, `H1-05`.
    Id(&'t str),
    /// A whole heading.
    Heading(&'t str),
}

impl Section<'_> {
    fn is(&self, heading: &str) -> bool {
        match self {
            Self::Id(id) => heading.split(' ').next() == Some(id),
            Self::Heading(text) => heading == *text,
        }
    }
}

/// All text in one line, without comment markers, so that references across line ends are found.
fn flat(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim();
        ["//!", "///", "//", "#"].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim()
    });
    lines.collect::<Vec<_>>().join(" ")
}

const fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'@' | b'%' | b'~')
}

/// The documents that a flat text names, but for those of other projects.
fn references(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices(".md") {
        let end = at + mark.len();
        if text[end..].starts_with(|next: char| next.is_alphanumeric() || next == '_') {
            continue;
        }
        let begin = text[..at].bytes().rposition(|byte| !is_of_address(byte)).map_or(0, |before| before + 1);
        // Texts that are put together begin a name with a slash.
        let name = text[begin..end].trim_start_matches('/');
        // An address of somewhere else, or a pattern of names.
        if name.contains("://") || Path::new(name).file_stem().is_none_or(|stem| stem == ".md") {
            continue;
        }
        found.push(Reference { name, sections: sections(&text[end..]) });
    }
    found
}

/// The sections that stand right behind a document's name.
fn sections(behind: &str) -> Vec<Section<'_>> {
    let behind = behind.strip_prefix('`').unwrap_or(behind);
    let Some(mut rest) = behind.strip_prefix(' ') else { return Vec::new() };
    if let Some((heading, _)) = rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
        return vec![Section::Heading(heading)];
    }
    let mut found = Vec::new();
    while let Some(id) = id(rest) {
        found.push(Section::Id(id));
        let behind = &rest[id.len()..];
        let Some(next) = [", ", " to ", " and "].iter().find_map(|joint| behind.strip_prefix(joint)) else { break };
        rest = next;
    }
    found
}

/// The word at the beginning of `text` if it is a section's: a number, or capitals with a number.
fn id(text: &str) -> Option<&str> {
    let length = text
        .bytes()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'-'))
        .unwrap_or(text.len());
    let word = text[..length].trim_end_matches(['.', '-']);
    let is_id = word.starts_with(|first: char| first.is_ascii_digit())
        || word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.contains(|digit: char| digit.is_ascii_digit());
    is_id.then_some(word)
}

/// The lines of a Markdown text that are no code.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    markdown.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

fn headings(markdown: &str) -> Vec<&str> {
    prose(markdown).filter_map(heading).collect()
}

/// The text of a line that is a heading.
fn heading(line: &str) -> Option<&str> {
    let behind = line.trim_start_matches('#');
    if behind.len() < line.len() { behind.strip_prefix(' ').map(str::trim) } else { None }
}

/// What leads to each heading, as GitHub makes it: words in lower case with hyphens between them, and a number behind
/// what stood before.
fn anchors(markdown: &str) -> HashSet<String> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut anchor = |heading: &str| {
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let plain = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let before = times.entry(plain.clone()).or_default();
        *before += 1;
        if *before == 1 { plain } else { format!("{plain}-{}", *before - 1) }
    };
    headings(markdown).into_iter().map(&mut anchor).collect()
}

/// Where the links and pictures of a Markdown text lead, but for other hosts.
fn links(markdown: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(markdown) {
        for (at, mark) in line.match_indices("](") {
            // An odd number of backticks before it: it is within code.
            let is_code = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + mark.len()..].split([')', ' ']).next().unwrap_or_default();
            if !is_code && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target);
            }
        }
    }
    found
}

/// The project's text files, by their paths below its root.
struct Project {
    texts: HashMap<PathBuf, String>,
}

impl Project {
    fn read(root: &Path) -> Self {
        let mut todo = vec![root.to_owned()];
        let mut texts = HashMap::new();
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                let inside = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
                todo.extend(inside.filter(|path| !FOREIGN.iter().any(|foreign| path.ends_with(foreign))));
            } else if let Ok(text) = fs::read_to_string(&path) {
                texts.insert(path.strip_prefix(root).unwrap().to_owned(), text);
            }
        }
        Self { texts }
    }

    /// The document that `file` means by `name`: beside it, below the root, or in `docs`.
    fn document(&self, file: &Path, name: &str) -> Option<&str> {
        let places = [folder(file), Path::new(""), Path::new("docs")];
        places.iter().find_map(|place| self.texts.get(&plain(&place.join(name)))).map(String::as_str)
    }

    /// The dangling references of `file`, and the number of sections that it references.
    fn lost(&self, file: &Path, text: &str) -> (Vec<String>, usize) {
        let flat = flat(text);
        let mut found = Vec::new();
        let mut count = 0;
        for Reference { name, sections } in references(&flat) {
            let Some(document) = self.document(file, name) else {
                found.push(format!("there is no {name}"));
                continue;
            };
            let headings = headings(document);
            count += sections.len();
            let absent = sections.iter().filter(|section| !headings.iter().any(|heading| section.is(heading)));
            found.extend(absent.map(|section| format!("{name} has no {section:?}")));
        }
        if file.extension().is_some_and(|extension| extension == "md") {
            found.extend(
                links(text)
                    .into_iter()
                    .filter(|link| !self.has(file, text, link))
                    .map(|link| format!("the link {link} leads nowhere")),
            );
        }
        (found, count)
    }

    /// Whether a link in the Markdown file `from` leads to something.
    fn has(&self, from: &Path, text: &str, link: &str) -> bool {
        let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
        let target = plain(&folder(from).join(path));
        let text = if path.is_empty() { Some(text) } else { self.texts.get(&target).map(String::as_str) };
        match anchor {
            Some(anchor) => text.is_some_and(|text| anchors(text).contains(anchor)),
            // Pictures and folders were not read.
            None => text.is_some() || root().join(target).exists(),
        }
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new(""))
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else if part != "." {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn every_reference_leads_to_a_section() {
    let project = Project::read(root());
    let mut found = Vec::new();
    let mut sections = 0;
    // The examples below are not references.
    for (file, text) in project.texts.iter().filter(|(file, _)| !file.ends_with("tidy/references.rs")) {
        let (lost, count) = project.lost(file, text);
        sections += count;
        found.extend(lost.iter().map(|what| format!("{}: {what}", shown(file))));
    }
    found.sort();
    assert_none(&found);
    assert!(sections >= FEWEST_SECTIONS, "only {sections} sections are named: are they all seen?");
}

#[test]
fn references_are_seen_in_every_form() {
    let seen = |text: &str| {
        let flat = flat(text);
        let told = |section: &Section<'_>| match section {
            Section::Id(id) => (*id).to_owned(),
            Section::Heading(heading) => format!("\"{heading}\""),
        };
        let found = references(&flat);
        found
            .iter()
            .map(|Reference { name, sections }| (name.to_string(), sections.iter().map(told).collect::<Vec<_>>()))
            .collect::<Vec<_>>()
    };
    let one = |text: &str| {
        let mut found = seen(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let (name, sections) = found.remove(0);
        format!("{name} {}", sections.join(" ")).trim_end().to_owned()
    };
    assert_eq!(one("/// What is refused (threats.md H1-05)."), "threats.md H1-05");
    assert_eq!(one("//! The vectors (`a/b.md` 8.1 to 8.6), and more 3"), "a/b.md 8.1 8.6");
    assert_eq!(one("source: threats.md H1-04, RFC 9110 5.6.3"), "threats.md H1-04");
    assert_eq!(one("// (b.md 4.3, 5.1 and 6.)"), "b.md 4.3 5.1 6");
    assert_eq!(one("/// over a line's end (b.md\n    /// 2.5), 7"), "b.md 2.5");
    assert_eq!(one("x (B.md \"What it\n/// does\")"), "B.md \"What it does\"");
    assert_eq!(one("see docs/b.md: 7 of them"), "docs/b.md");
    assert_eq!(one("b.md H1-05b"), "b.md H1-05b");
    assert_eq!(one("include_str!(\"../B.md\")"), "../B.md");
    assert_eq!(seen("a.md 1, b.md 2").len(), 2);
    for text in ["body.md5()", "{name}.md", "*.md", "https://example.com/b.md 7", "a.mdx"] {
        assert_eq!(seen(text), [], "{text}");
    }
}

#[test]
fn what_leads_nowhere_is_found() {
    let texts = [
        (
            "docs/b.md",
            "# B\n## 2.5 JSON that differs\n### H1-05 Codings, `x`\n```\n# 9 no heading\n```\n## Twice\n## Twice\n[x](../README.md#a) [y](#25-json-that-differs)",
        ),
        (
            "README.md",
            "# A\n[b](docs/b.md#h1-05-codings-x) `[c](gone.md)` [d](https://x.example/gone.md#e) [t](docs/b.md#twice-1)",
        ),
        ("src/a.rs", "// b.md H1-05, 2.5; README.md \"A\"; docs/b.md"),
        ("docs/wrong.md", "[x](c.png) [x](b.md#gone) [x](#gone) [x](../src/a.rs)"),
        ("src/wrong.rs", "// b.md 2, H1-5; b.md \"Twic\" `b.md` 9; gone.md, src/b.md 1; README.md\n// 2.5"),
    ];
    let texts = texts.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    let project = Project { texts: texts.into_iter().collect() };
    let lost = |path: &str| project.lost(Path::new(path), &project.texts[Path::new(path)]);
    let good: Vec<_> = ["docs/b.md", "README.md", "src/a.rs"].map(lost).into_iter().collect();
    let gone: Vec<_> = good.iter().flat_map(|(found, _)| found).collect();
    assert_eq!(gone, ["there is no gone.md"], "a link in code is none, a name in it is");
    assert_eq!(good[2].1, 3);
    assert_eq!(
        lost("docs/wrong.md").0,
        ["c.png", "b.md#gone", "#gone"].map(|link| format!("the link {link} leads nowhere"))
    );
    let wrong = lost("src/wrong.rs").0;
    let expected = [
        "b.md has no Id(\"2\")",
        "b.md has no Id(\"H1-5\")",
        "b.md has no Heading(\"Twic\")",
        "b.md has no Id(\"9\")",
        "there is no gone.md",
        "there is no src/b.md",
        "README.md has no Id(\"2.5\")",
    ];
    assert_eq!(wrong, expected);
}
