//! The quick start of README.md, as documented: its page in Chromium and its backends, with an usher that is started
//! without settings. Only the ports differ.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::Usher;
use crate::harness::actor::{Actor, clients, node, output_of};
use crate::harness::document::{assert_blocks_are_tested, block_for};

/// Ports that the system chooses, and logs that the tests read.
const FRESH: &[&str] = &["--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"];

/// A block of README.md, for this usher.
fn snippet(name: &str, usher: &Usher) -> String {
    block_for("README.md", name, usher)
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
    output_of(Command::new(python).arg(write("backend.py", &snippet("python", &usher))));
    let anna = ["Room 101", "Anna Byrne joined the chat", "Good evening!", "Your table is ready."];
    assert_eq!(lines(&page, "Your table is ready."), anna);

    // Node finds the library in this folder.
    let backend = snippet("node", &usher);
    let decisions = output_of(
        Command::new("node").args(["--input-type=module", "--eval", &backend]).current_dir(clients().join("node")),
    );
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
    assert_blocks_are_tested("README.md", &["html", "python", "js"]);
}
