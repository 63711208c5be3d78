//! The quick start of README.md, as documented: its page in Chromium and its backends, with an usher that is started
//! without settings. Only the ports differ.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::Usher;
use crate::harness::actor::{Actor, clients, node};

/// Ports that the system chooses, and logs that the tests read.
const FRESH: &[&str] = &["--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"];

/// The block of code under the comment `<!-- test: name -->`, for this usher.
fn snippet(name: &str, usher: &Usher) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, behind) = readme
        .split_once(&format!("<!-- test: {name} -->\n```"))
        .unwrap_or_else(|| panic!("README.md has no snippet {name}"));
    let (code, _) = behind.split_once("\n```").unwrap();
    let (_language, code) = code.split_once('\n').unwrap();
    let (gateway, admin) = (usher.gateway().port().to_string(), usher.admin().0.port().to_string());
    code.replace("6001", &gateway).replace("9601", &admin)
}

/// Runs a program to its end and returns its output.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs the client libraries"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The page's lines, once it shows `last`.
fn lines(page: &Actor, last: &str) -> Vec<String> {
    page.ask("see", json!([last]));
    let body = page.ask("read", json!(["body"]));
    body[0].as_str().unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_quick_start_works_as_printed() {
    let usher = Usher::serve(FRESH, &[], "");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, code: &str| {
        let file = folder.path().join(name);
        fs::write(&file, code).unwrap();
        file
    };
    let mut browser = node("browser.mjs");
    browser.arg("{}").arg(write("page.html", &snippet("page", &usher)));
    let page = Actor::start(browser);
    assert_eq!(lines(&page, "Room 101"), ["Room 101"]);

    let python = clients().join("python/.venv/bin/python");
    run(Command::new(python).arg(write("backend.py", &snippet("python", &usher))));
    let anna = ["Room 101", "Anna Byrne joined the chat", "Good evening!", "Your table is ready."];
    assert_eq!(lines(&page, "Your table is ready."), anna);

    // Node finds the library in this folder.
    let backend = snippet("node", &usher);
    let decisions =
        run(Command::new("node").args(["--input-type=module", "--eval", &backend]).current_dir(clients().join("node")));
    assert_eq!(decisions, "suppressed\nsuppressed\n");
    let boris = ["Boris Novak joined the chat", "I take over from Anna.", "Dessert?"];
    assert_eq!(lines(&page, "Dessert?"), [&anna[..], &boris[..]].concat());

    assert_eq!(usher.admin().metric("usher_triggers_total", &["decision=\"suppressed\""]), 4.0);
    for command in snippet("sh", &usher).lines() {
        let url = command.strip_prefix("curl ").unwrap();
        let path = url.strip_prefix(&format!("http://{}", usher.admin().0)).unwrap();
        let response = usher.admin().call_openly("GET", path);
        assert_eq!(response.status, 200, "{path}");
    }
    let newest = usher.admin().decisions().into_iter().find(|decision| decision["decision"] == "suppressed");
    assert!(
        newest.is_some_and(|decision| decision["channel"] == "grand-room-101-chat"),
        "the first suppression is to be seen"
    );
}

#[test]
fn every_snippet_that_can_be_run_is_run() {
    let readme = fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))).unwrap();
    for language in ["html", "python", "js"] {
        let blocks = readme.matches(&format!("```{language}\n")).count();
        let tested = readme.matches(&format!("-->\n```{language}\n")).count();
        assert_eq!(blocks, tested, "a block of {language} without its comment `<!-- test: … -->`");
    }
}
