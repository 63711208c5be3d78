//! The hotel story told by the real libraries: PyPI's `pusher` and npm's `pusher` (installed by `tests/run`), with nothing changed but host and port.

use std::path::Path;
use std::process::Command;

use crate::harness::bodies::ANNOUNCEMENT;
use crate::harness::{Fake, Recorded, Usher};

const CHANNEL: &str = "grand-room-101-chat";

/// A library, and how its story is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Library {
    Python,
    Node,
}

impl Library {
    /// Tells the story to the server at `port`; the library has raised nothing if this returns the number of its calls.
    #[track_caller]
    fn tell(self, port: u16, variant: &str) -> usize {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let (program, script, installed) = match self {
            Self::Python => (clients.join("python/.venv/bin/python"), clients.join("python/story.py"), clients.join("python/.venv")),
            Self::Node => ("node".into(), clients.join("node/story.mjs"), clients.join("node/node_modules")),
        };
        assert!(installed.exists(), "{} is missing: run tests/run once, which installs the client libraries", installed.display());
        let output = Command::new(program).arg(script).arg(port.to_string()).arg(variant).output().unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{self:?} {variant}: {said}{complained}");
        said.trim().parse().unwrap()
    }
}

/// Tells the story to usher and returns what reached upstream, and how many calls there were.
fn through_usher(library: Library, variant: &str) -> (Vec<Recorded>, usize) {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| {
        setup.more = "[[rules]]\nname = \"enveloped\"\nevent = \"realtime_event\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n\
                      identity = [\"/payload/staff_name\"]\nwhere = { \"/type\" = \"staff_assigned\" }\n"
            .to_owned();
    });
    let calls = library.tell(usher.gateway().port(), variant);
    let requests = fake.requests();
    assert!(requests.iter().all(Recorded::is_signed), "{library:?} {variant}");
    (requests, calls)
}

/// The staff announced on the story's channel, in order.
fn announced(requests: &[Recorded]) -> Vec<String> {
    let mut names = Vec::new();
    for request in requests {
        let body = request.json();
        let events = body["batch"].as_array().cloned().unwrap_or_else(|| vec![body]);
        for event in events.iter().filter(|event| event["name"] == ANNOUNCEMENT || event["name"] == "realtime_event") {
            if event["channel"] == CHANNEL || event["channels"].as_array().is_some_and(|channels| channels.contains(&CHANNEL.into())) {
                let data: serde_json::Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
                let staff = data.get("payload").unwrap_or(&data);
                names.push(staff["staff_name"].as_str().unwrap().to_owned());
            }
        }
    }
    names
}

fn messages(requests: &[Recorded]) -> usize {
    requests.iter().filter(|request| request.text().contains("new-staff-message")).count()
}

/// What a request is but for its signature and time.
fn told(request: &Recorded) -> (String, String, Vec<(String, String)>) {
    let path = request.target().split('?').next().unwrap_or_default().to_owned();
    let ours = ["host", "content-length", "connection"];
    let headers = request.head.headers().into_iter().filter(|(name, _)| !ours.contains(&name.to_lowercase().as_str())).collect();
    (format!("{} {path}", request.method()), request.text(), headers)
}

#[track_caller]
fn guests_hear_of_three_changes(library: Library) {
    for variant in ["plain", "images", "enveloped", "batch", "several"] {
        let (requests, calls) = through_usher(library, variant);
        assert_eq!(announced(&requests), ["Anna Byrne", "Boris Žák", "Anna Byrne"], "{library:?} {variant}");
        assert_eq!(messages(&requests), 60, "{library:?} {variant}");
        let expected = match variant {
            "batch" => 60,
            // Every announcement named a fresh channel as well.
            "several" => calls,
            _ => 63,
        };
        assert_eq!(requests.len(), expected, "{library:?} {variant}");
    }
}

/// With usher between, upstream gets just what it would get without, but for the repetitions.
#[track_caller]
fn all_else_is_untouched(library: Library) {
    let direct = Fake::start();
    library.tell(direct.address().port(), "plain");
    let mut last = String::new();
    let mut expected = Vec::new();
    for request in direct.requests() {
        let is_announcement = request.json()["name"] == ANNOUNCEMENT;
        if !is_announcement || request.text() != last {
            expected.push(told(&request));
        }
        if is_announcement {
            last = request.text();
        }
    }
    let (requests, _) = through_usher(library, "plain");
    let seen: Vec<_> = requests.iter().map(told).collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_python_library_is_satisfied() {
    guests_hear_of_three_changes(Library::Python);
    all_else_is_untouched(Library::Python);
}

#[test]
fn the_node_library_is_satisfied() {
    guests_hear_of_three_changes(Library::Node);
    all_else_is_untouched(Library::Node);
}
