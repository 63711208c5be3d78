//! `GET /record` and `usher record`: whole and redacted recordings of a running usher.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use usher::recording::{Entry, Header, RecordedOutcome, RecordedTrigger};

use crate::harness::actor::{output_of, python};
use crate::harness::admin::TOKEN;
use crate::harness::bodies::message as message_body;
use crate::harness::cli::{Cli, Finished, Running};
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Request, Setup, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

/// The rule for events in an envelope.
const ENVELOPED: &str = r#"
[[rules]]
name = "realtime-staff-assigned"
event = "realtime_event"
channel = "{hotelSlug}-room-{roomNumber}-chat"
identity = ["/payload/staff_name"]
ignore = ["/meta"]
on_difference = "forward"
where = { "/category" = "guest_chat", "/type" = "staff_assigned" }
"#;

/// A folder for recordings.
struct Folder(tempfile::TempDir);

/// A recording that was read.
struct Recording {
    text: String,
    lines: Vec<RecordedTrigger<'static>>,
    lost: u64,
}

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Begins a recording into `name`, and waits until it has begun.
    fn record(&self, usher: &Usher, name: &str, more: &[&str]) -> Running {
        let running = self.command(usher, name, more).start();
        eventually("the recording has begun", || self.text(name).ends_with("}\n").then_some(()));
        running
    }

    fn command(&self, usher: &Usher, name: &str, more: &[&str]) -> Cli {
        let url = format!("http://{}", usher.admin().0);
        let path = self.path(name);
        let all = [&["record", "--admin", &url, "-o", path.to_str().unwrap()], more].concat();
        Cli::new(&all).env("USHER_ADMIN__TOKEN", TOKEN)
    }

    /// Waits until the recording has this many triggers, and ends it.
    fn finish(&self, running: Running, name: &str, triggers: usize) -> Recording {
        let whole = || self.text(name).lines().filter(|line| line.starts_with("{\"id\"")).count() == triggers;
        eventually("all is recorded", || whole().then_some(()));
        running.interrupt();
        let told = running.finish();
        assert_eq!((told.code, told.out.as_str()), (0, ""), "{told:?}");
        let recording = self.read(name);
        let said = format!(": {triggers} triggers in ");
        assert!(told.err.contains(&said) && told.err.contains(&format!("; {} missed", recording.lost)), "{told:?}");
        recording
    }

    /// Reads a recording, each line as what it is.
    fn read(&self, name: &str) -> Recording {
        let text = self.text(name);
        let (mut lines, mut lost) = (Vec::new(), 0);
        let header = Header::read(text.lines().next().unwrap()).unwrap();
        assert_eq!(header, Header::new(header.redacted));
        for line in text.lines().skip(1) {
            match Entry::read(line).unwrap() {
                Entry::Lost(count) => lost += count,
                Entry::Trigger(trigger) => lines.push(owned(&trigger)),
            }
        }
        Recording { text, lines, lost }
    }

    /// The replay of a recording by the rules of `setup`.
    fn replay(&self, name: &str, setup: &Setup) -> Value {
        let config = self.path("replay.toml");
        std::fs::write(&config, setup.toml()).unwrap();
        let (path, config) = (self.path(name), config.to_str().unwrap().to_owned());
        let told = Cli::new(&["replay", path.to_str().unwrap(), "--config", &config, "--json"]).run();
        assert_eq!(told.code, 0, "{told:?}");
        told.json()[0].clone()
    }
}

fn owned(trigger: &RecordedTrigger<'_>) -> RecordedTrigger<'static> {
    let owned = |text: &str| text.to_owned().into();
    RecordedTrigger {
        id: owned(&trigger.id),
        received: trigger.received,
        settled: trigger.settled,
        app: owned(&trigger.app),
        path: owned(&trigger.path),
        body: owned(&trigger.body),
        head: trigger.head,
        outcome: trigger.outcome,
        decision: owned(&trigger.decision),
        reason: owned(&trigger.reason),
    }
}

/// A setup that may be recorded.
fn recordable(fake: &Fake) -> Setup {
    let mut setup = Setup::before(fake);
    setup.admin += "recording = true\n";
    setup
}

fn get(usher: &Usher, method: &str, target: &str, token: &str) -> (u16, Value) {
    let request = Request::new(method, target, b"").host("localhost");
    let answer = usher.admin().send(&request.header("Authorization", &format!("Bearer {token}")));
    (answer.status, if answer.body.is_empty() { Value::Null } else { answer.json()["code"].clone() })
}

/// The picture addresses of all announcements.
fn pictures(recording: &Recording) -> BTreeSet<String> {
    let pictures = recording.lines.iter().filter_map(|line| {
        let body: Value = serde_json::from_str(&line.body).unwrap();
        let data: Value = serde_json::from_str(body["data"].as_str()?).unwrap();
        data["staff_profile_image"].as_str().map(str::to_owned)
    });
    pictures.collect()
}

/// Records the story as the Python library tells it, as it is and redacted, and replays both.
fn story(variant: &str) -> (Recording, Recording) {
    let fake = Fake::start();
    let mut setup = recordable(&fake);
    setup.more = ENVELOPED.to_owned();
    let usher = Usher::start_with(&setup.toml());
    let folder = Folder::new();
    let plain = folder.record(&usher, "plain", &[]);
    let redacted = folder.record(&usher, "redacted", &["--redact"]);
    let calls = output_of(python("story.py").arg(usher.gateway().port().to_string()).arg(variant));
    let calls: usize = calls.trim().parse().unwrap();
    let (plain, redacted) = (folder.finish(plain, "plain", calls), folder.finish(redacted, "redacted", calls));
    assert_eq!((plain.lost, redacted.lost), (0, 0));
    let decided = |recording: &Recording| -> Vec<_> {
        let lines = recording.lines.iter();
        lines.map(|line| (line.id.clone(), line.decision.clone(), line.reason.clone(), line.outcome)).collect()
    };
    assert_eq!(decided(&plain), decided(&redacted), "{variant}");
    let replays = ["plain", "redacted"].map(|name| folder.replay(name, &setup));
    for replay in &replays {
        assert_eq!((&replay["triggers"], &replay["changed"]), (&calls.into(), &0.into()), "{variant}: {replay}");
    }
    assert_eq!(replays[0]["rules"], replays[1]["rules"], "{variant}");
    assert_eq!(replays.map(|replay| replay["redacted"].clone()), [Value::Bool(false), true.into()]);
    (plain, redacted)
}

#[test]
fn a_redacted_recording_of_the_hotel_story_gives_the_same_decisions() {
    for variant in ["images", "enveloped", "several", "batch"] {
        let (plain, redacted) = story(variant);
        for (value, is_in_plain) in [
            ("Anna", true),
            ("Boris", true),
            ("Conciergerie", true),
            ("images.example", variant == "images"),
            ("message 3", true),
            ("grand", true),
            ("annex", variant == "several"),
        ] {
            let is_part = value != "Conciergerie" || variant != "batch" || plain.text.contains(value);
            assert_eq!(plain.text.contains(value), is_in_plain && is_part, "{variant}: {value}");
            assert!(!redacted.text.contains(value), "{variant}: {value}");
        }
        for kept in ["-room-", "-chat", "staff_name", "new-staff-message"] {
            assert!(redacted.text.contains(kept), "{variant}: {kept}");
        }
        assert_eq!(redacted.text.contains("guest_chat"), variant == "enveloped", "what `where` reads is kept");
        assert_eq!(pictures(&plain).len(), pictures(&redacted).len(), "addresses that differ stay different");
        assert_eq!(pictures(&plain).len(), if variant == "images" { 63 } else { 0 });
    }
}

#[test]
fn outcomes_times_and_bodies_are_recorded_by_both_readers() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut setup = recordable(&fake);
        setup.admin += "payloads = \"none\"\ntriggers_bytes = \"0B\"\n";
        setup.server += &format!("fast_path = {fast_path}\n");
        let usher = Usher::start_with(&setup.toml());
        let folder = Folder::new();
        let running = folder.record(&usher, "day", &[]);
        let mut client = usher.client();
        let first = client.announce(CHANNEL, "Anna").header("usher-trigger").unwrap();
        client.announce(CHANNEL, "Anna").assert_suppressed();
        fake.script([Step::says(403, "Content-Type: application/json\r\n", br#"{"error":"Over quota"}"#)]);
        client.announce(CHANNEL, "Ben");
        fake.script([Step::status(500)]);
        client.announce(CHANNEL, "Cem");
        let text = message_body("lobby", "hi");
        client.call(&Request::events(&text).header("X-Idempotency-Key", "k"));
        fake.refuse();
        client.trigger(&text);
        // A caller that is not authentic is not recorded.
        usher.client().call(&Request::new("POST", "/apps/3/events", b"{}"));
        let day = folder.finish(running, "day", 6);
        let found: Vec<_> = day.lines.iter().map(|line| (line.outcome, &*line.decision, &*line.reason)).collect();
        assert_eq!(
            found,
            [
                (RecordedOutcome::Accepted, "forwarded", "nothing_known"),
                (RecordedOutcome::Suppressed, "suppressed", "same_assignment"),
                (RecordedOutcome::Refused, "failed", "changed"),
                (RecordedOutcome::Ambiguous, "failed", "changed"),
                (RecordedOutcome::Accepted, "forwarded", "no_rule"),
                (RecordedOutcome::NotSent, "failed", "upstream_unreachable"),
            ],
            "{fast_path}"
        );
        let line = &day.lines[0];
        assert_eq!((&*line.id, &*line.app, &*line.path), (first.as_str(), "3", "/apps/3/events"));
        assert_eq!(line.body, crate::harness::bodies::announcement(CHANNEL, "Anna"));
        assert!(line.settled.is_some_and(|settled| settled > line.received), "{line:?}");
        assert_eq!((day.lines[1].settled, day.lines[1].head), (None, None));
        assert_eq!(day.lines[4].head, Some(usher::recording::HeadForm::Keyed));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(line.received.as_millis() / 1000) < 600, "{line:?}");
    }
}

#[test]
fn it_is_off_by_default_and_needs_the_token_that_allows_everything() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.admin += "read_token = \"for-reading-alone\"\n";
    let usher = Usher::start_with(&setup.toml());
    let record = |token| get(&usher, "GET", "/record", token);
    assert_eq!(record(TOKEN), (403, "recording_off".into()));
    assert_eq!(record("wrong"), (401, "token_wrong".into()));
    assert_eq!(record("for-reading-alone"), (403, "token_reads_only".into()));
    assert_eq!(usher.admin().call_openly("GET", "/record").json()["code"], "token_missing");
    let folder = Folder::new();
    let told = folder.command(&usher, "day", &[]).run();
    assert!(told.code == 1 && told.err.contains("admin.recording = true"), "{told:?}");
    assert!(!folder.path("day").exists(), "nothing was recorded");
    // A reload switches it on, and off again.
    setup.admin += "recording = true\n";
    let reload = |setup: &Setup| {
        usher.rewrite_config(&setup.toml());
        let from = usher.log_lines();
        usher.signal(Signal::Hup);
        usher.wait_log_after(from, |event| message(event) == "the configuration was reloaded");
    };
    reload(&setup);
    assert_eq!(get(&usher, "GET", "/record?redact=maybe", TOKEN), (400, "bad_query".into()));
    assert_eq!(get(&usher, "POST", "/record", TOKEN), (405, "method_not_allowed".into()));
    let both = ["a", "b"].map(|name| folder.record(&usher, name, &[]));
    assert_eq!(get(&usher, "GET", "/record", TOKEN), (503, "too_many_recorders".into()));
    let [one, other] = both;
    other.interrupt();
    assert_eq!(other.finish().code, 0);
    setup.admin = setup.admin.replace("recording = true", "recording = false");
    reload(&setup);
    usher.client().announce(CHANNEL, "Anna");
    let told = one.finish();
    assert!(told.code == 1 && told.err.contains("the recording ended early"), "{told:?}");
    assert_eq!(folder.read("a").lines.len(), 0, "what comes once it is off is not recorded");
}

#[test]
fn a_slow_reader_is_told_how_many_it_missed() {
    let fake = Fake::start();
    let usher = Usher::start_with(&recordable(&fake).toml());
    let folder = Folder::new();
    let running = folder.record(&usher, "day", &[]);
    running.signal("STOP");
    let mut client = usher.client();
    let body = message_body("lobby", &"x".repeat(500_000));
    // More than what may wait, and what the connection's buffers hold.
    let sent = 100;
    (0..sent).for_each(|_| client.trigger(&body).assert_forwarded());
    running.signal("CONT");
    let all = || {
        let text = folder.text("day");
        let whole = text.ends_with('\n').then(|| folder.read("day"))?;
        (whole.lines.len() as u64 + whole.lost == sent).then_some(whole)
    };
    let day = eventually("all is recorded or said to be lost", all);
    assert!(day.lost > 0 && day.lines.len() > 20, "{} lost", day.lost);
    client.trigger(&body);
    let next = || folder.text("day").ends_with('\n') && folder.read("day").lines.len() == day.lines.len() + 1;
    eventually("it goes on", || next().then_some(()));
    running.interrupt();
    let told = running.finish();
    assert!(told.code == 0 && told.err.contains(&format!("; {} missed", day.lost)), "{told:?}");
}

#[test]
fn the_file_is_private_whole_and_bounded() {
    let fake = Fake::start();
    let usher = Usher::start_with(&recordable(&fake).toml());
    let folder = Folder::new();
    let mode = |name: &str| folder.path(name).metadata().unwrap().permissions().mode() & 0o777;
    let refused = |told: &Finished, text: &str| assert!(told.code == 1 && told.err.contains(text), "{told:?}");
    let bounded = folder.record(&usher, "bounded", &["--max-size", "1KiB"]);
    let mut client = usher.client();
    for _ in 0..10 {
        client.announce(CHANNEL, "Anna");
    }
    let told = bounded.finish();
    assert!(told.code == 0 && told.err.contains("--max-size"), "{told:?}");
    let length = folder.text("bounded").len();
    assert!((500..=1024).contains(&length) && !folder.read("bounded").lines.is_empty(), "{length}");
    assert_eq!(mode("bounded"), 0o600);
    refused(&folder.command(&usher, "bounded", &[]).run(), "is there already");
    assert_eq!(folder.text("bounded").len(), length, "it is as it was");
    std::fs::set_permissions(folder.path("bounded"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = folder.command(&usher, "bounded", &["--force", "--for", "50ms"]).run();
    assert!(
        told.code == 0 && told.err.contains("0 triggers in 0 s") && told.err.contains("the time is over"),
        "{told:?}"
    );
    assert_eq!((mode("bounded"), folder.read("bounded").lines.len()), (0o600, 0));
    refused(&folder.command(&usher, "none/day", &[]).run(), "cannot be written");
    let whole = folder.record(&usher, "whole", &[]);
    client.announce(CHANNEL, "Anna");
    eventually("a trigger is recorded", || (folder.read("whole").lines.len() == 1).then_some(()));
    drop(usher);
    refused(&whole.finish(), "the recording ended early, and the file has what came before");
    assert_eq!(folder.read("whole").lines.len(), 1);
}
