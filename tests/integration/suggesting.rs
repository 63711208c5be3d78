//! `usher suggest`: from traffic without a rule to a rule that decides as the hotel's story needs it.

use serde_json::{Value, json};
use usher::recording::{Entry, Header, RecordedOutcome, RecordedTrigger, UnixTime};

use crate::documents::assert_documented;
use crate::harness::bodies::Library;
use crate::harness::cli::Cli;
use crate::harness::{Fake, Request, Setup, Usher};

const STAFF: [(&str, &str); 3] = [("7", "Anna Byrne"), ("9", "Ben Ortiz"), ("12", "Chi Ito")];

/// So many announcements of one staff member follow one another, each with a message.
const RUN: usize = 5;

/// What the backend sends in an evening: channel and data, of announcements and messages in turn.
fn evening() -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for hotel in ["seaview", "grand-hotel", "ritz", "harbour"] {
        for room in 1..3_usize {
            for message in 0..3 * RUN {
                let (id, name) = STAFF[(message / RUN + room) % STAFF.len()];
                let turn = events.len();
                let channel = format!("{hotel}-room-{room}-chat");
                let assigned = json!({
                    "conversation_id": format!("{room:08x}-1d2e-4f3a-8b4c-{:012x}", hotel.len()),
                    "staff_id": id, "staff_name": name, "staff_role": "Receptionist",
                    "staff_profile_image": format!("https://cdn.example/{id}.png?signature={turn}"),
                });
                events.push((channel.clone(), enveloped("staff_assigned", &assigned, turn)));
                let text = json!({ "text": format!("message {turn}"), "staff_name": name });
                events.push((channel, enveloped("new_message", &text, turn)));
            }
        }
    }
    events
}

fn enveloped(kind: &str, payload: &Value, turn: usize) -> Value {
    let id = format!("{turn:08x}-aaaa-4f3a-8b4c-{turn:012x}");
    json!({ "category": "guest_chat", "type": kind, "payload": payload, "meta": { "event_id": id, "ts": 1_764_457_199 + turn } })
}

fn body((channel, data): &(String, Value)) -> String {
    Library::Python.body("realtime_event", &[channel], &data.to_string())
}

/// The families of `usher suggest --json`.
fn suggested(arguments: &[&str]) -> Vec<Value> {
    let finished = Cli::new(&[&["suggest", "--json"], arguments].concat()).run();
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.json()[0]["families"].as_array().unwrap().clone()
}

fn of_kind<'f>(families: &'f [Value], kind: &str) -> &'f Value {
    families.iter().find(|family| family["where"]["/type"] == kind).unwrap()
}

/// Sends the evening to a usher with the proposed rule, and checks every decision.
fn decides_as_the_story_needs(rule: &str) {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more += &rule.replace("\"observe\"", "\"enforce\""));
    let mut client = usher.client();
    for (index, event) in evening().iter().enumerate() {
        let answer = client.call(&Request::events(&body(event)));
        let is_announcement = index % 2 == 0;
        let is_repeat = index / 2 % RUN > 0;
        if is_announcement && is_repeat { answer.assert_suppressed() } else { answer.assert_forwarded() }
    }
}

#[test]
fn the_story_becomes_a_rule_that_decides_it() {
    let fake = Fake::start();
    let usher = Usher::start_with(&Setup::before(&fake).toml());
    let mut client = usher.client();
    for event in evening() {
        client.call(&Request::events(&body(&event))).assert_forwarded();
    }
    let url = format!("http://{}", usher.admin().0);
    let families = suggested(&["--admin", &url]);
    let assigned = of_kind(&families, "staff_assigned");
    assert_eq!(assigned["channel"], "{…}-room-{…}-chat");
    assert_eq!(of_kind(&families, "new_message")["judgement"]["nothing"]["code"], "differs");
    assert_eq!(of_kind(&families, "new_message")["rule"], Value::Null);
    assert!(!json!(families).to_string().contains("Anna"), "no value is kept");
    assert_documented("/discovery", &[usher.admin().json("/discovery")]);
    decides_as_the_story_needs(assigned["rule"].as_str().unwrap());

    let printed = Cli::new(&["suggest", "--admin", &url]).run();
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    let file: toml::Table = printed.out.parse().unwrap();
    assert_eq!((file["rules"].as_array().unwrap().len(), file["tests"].as_array().unwrap().len()), (1, 1));
    assert!(printed.out.contains("# /payload/staff_id: 3 values"), "{}", printed.out);
    assert!(printed.out.contains("Nothing is proposed: their data differs nearly always"), "{}", printed.out);
}

#[test]
fn a_recording_suggests_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("evening.jsonl");
    let mut lines = vec![serde_json::to_string(&Header::new(false)).unwrap()];
    for (index, event) in evening().iter().enumerate() {
        let received = UnixTime(1_764_457_199_000_000 + index as u64 * 1_000_000);
        let trigger = RecordedTrigger {
            id: format!("a-{index}").into(),
            received,
            settled: Some(received),
            app: "3".into(),
            path: "/apps/3/events".into(),
            body: body(event).into(),
            head: None,
            outcome: RecordedOutcome::Accepted,
            decision: "forwarded".into(),
            reason: "no_rule".into(),
        };
        lines.push(Entry::Trigger(trigger).to_string());
    }
    // A line is written once its trigger is settled: the order may be another one.
    lines.swap(5, 6);
    std::fs::write(&path, lines.join("\n")).unwrap();
    let families = suggested(&["--recording", path.to_str().unwrap()]);
    assert_eq!(families.len(), 2, "{families:?}");
    decides_as_the_story_needs(of_kind(&families, "staff_assigned")["rule"].as_str().unwrap());
    assert_eq!(of_kind(&families, "new_message")["rule"], Value::Null);
}

#[test]
fn a_usher_that_does_not_look_says_so() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more += "[report]\ndiscover = false\n");
    usher.client().announce("h-room-1-chat", "Anna").assert_forwarded();
    let answer = usher.admin().json("/discovery");
    assert_eq!((&answer["discover"], &answer["families"]), (&json!(false), &json!([])));
    let url = format!("http://{}", usher.admin().0);
    let printed = Cli::new(&["suggest", "--admin", &url]).run();
    assert!(printed.err.contains("report.discover = false") && printed.out.contains("Nothing came"), "{printed:?}");
    let finished = Cli::new(&["suggest"]).run();
    assert!(finished.code == 1 && finished.err.contains("--recording FILE"), "{finished:?}");
}
