//! A running usher, the simulation, `usher test`, `usher replay` and `usher explain` decide alike on random triggers.
//!
//! The triggers come one after the other, so nothing is in flight when one is decided; what upstream does with each is
//! scripted. Each history has channels of its own, so that doubts do not add up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use usher::admin::record_json;
use usher::clock::{Calendar, Moment};
use usher::config::{Config, Sources};
use usher::recording::{Entry, HeadForm, Header, Redactor};
use usher::rules::Rule;
use usher::simulation::{Request as Simulated, Settled, Simulation, Upstream, UpstreamOutcome, Verdict};

use super::{Folder, run};
use crate::harness::bodies::{ANNOUNCEMENT, LIBRARIES, batch, item, staff};
use crate::harness::{Fake, Random, Request, Setup, Step, Usher};

const HISTORIES: usize = 200;
const STEPS: usize = 10;

/// The rules beside that of the harness: one that overlaps with it, one with `where`, one that observes.
const RULES: &str = r#"
[[rules]]
name = "by-role"
event = "staff-assigned"
channel = "{hotelSlug}-room-2-chat"
identity = ["/staff_role"]

[[rules]]
name = "enveloped"
event = "realtime_event"
channel = "{hotelSlug}-room-{roomNumber}-chat"
identity = ["/payload/id"]
where = { "/type" = "assigned" }

[[rules]]
name = "observed"
event = "watched"
channel = "{hotelSlug}-room-{roomNumber}-chat"
identity = ["/id"]
mode = "observe"
"#;

/// A trigger, and what upstream does with it.
#[derive(Debug, Clone)]
struct Planned {
    path: &'static str,
    body: String,
    is_keyed: bool,
    outcome: UpstreamOutcome,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
struct Decided {
    /// `forwarded`, `reduced` or `suppressed`.
    fate: String,
    decision: String,
    reason: String,
    /// What each rule found, without times.
    rules: Vec<Value>,
}

struct Author {
    random: Random,
    channels: [String; 3],
}

impl Author {
    fn data(&mut self) -> String {
        let name = self.random.pick(&["Anna", "Anna", "Ben"]);
        match self.random.below(12) {
            0 => r#"{"staff_role":"Porter"}"#.to_owned(),
            1 => r#"{"staff_id":7,"staff_id":8}"#.to_owned(),
            2 => r#"{"staff_id":[7]}"#.to_owned(),
            3 => "no JSON".to_owned(),
            4 => format!(r#"{{"staff_id":7,"staff_name":"{name}","conversation_id":4}}"#),
            5 => format!(r#"{{"staff_name":"{name}","conversation_id":{{}}}}"#),
            _ => staff(name),
        }
    }

    fn item(&mut self) -> String {
        let channel = self.random.pick(&self.channels);
        let data = self.data();
        match self.random.below(5) {
            0 => item("new-staff-message", &channel, "{}"),
            1 => item("conversation-closed", &channel, "{}"),
            _ => item(ANNOUNCEMENT, &channel, &data),
        }
    }

    fn body(&mut self) -> (&'static str, String) {
        let library = self.random.pick(&LIBRARIES);
        let channel = self.random.pick(&self.channels);
        let data = self.data();
        let id = self.random.below(2);
        let events = "/apps/3/events";
        let single = library.body(ANNOUNCEMENT, &[&channel], &data);
        match self.random.below(28) {
            0..=7 => (events, single),
            8..=10 => {
                let channels: Vec<&str> = self.channels.iter().map(String::as_str).collect();
                (events, library.body(ANNOUNCEMENT, &channels[self.random.below(3)..], &data))
            }
            11 | 12 => {
                let items: Vec<String> = (0..=self.random.below(3)).map(|_| self.item()).collect();
                ("/apps/3/batch_events", batch(&items))
            }
            13 | 24..=27 => {
                let socket = self.random.pick(&["1.2", "1.2", "3.4", "5.x"]);
                (events, single.replacen('{', &format!(r#"{{"socket_id":"{socket}","#), 1))
            }
            14 => (events, single.replacen('{', r#"{"info":"user_count","#, 1)),
            15 => (events, single.replacen('{', r#"{"surprise":[1],"#, 1)),
            16 => (events, library.body("conversation-closed", &[&channel], "{}")),
            17..=20 => (events, library.body("watched", &[&self.channels[0]], &format!(r#"{{"id":{id}}}"#))),
            _ => {
                let kind = self.random.pick(&["assigned", "assigned", "message"]);
                let data = format!(r#"{{"type":"{kind}","payload":{{"id":{id}}},"meta":{}}}"#, self.random.below(99));
                (events, library.body("realtime_event", &[&channel], &data))
            }
        }
    }

    fn planned(&mut self) -> Planned {
        let (path, body) = self.body();
        let outcome = match self.random.below(12) {
            0 => UpstreamOutcome::Refused,
            1 => UpstreamOutcome::Ambiguous,
            _ => UpstreamOutcome::Accepted,
        };
        Planned { path, body, is_keyed: self.random.below(50) == 0, outcome }
    }
}

/// Random histories.
fn histories() -> Vec<Vec<Planned>> {
    let history = |number: usize| {
        let channels = [1, 2, 3].map(|room| format!("h{number}-room-{room}-chat"));
        let mut author = Author { random: Random(7 + number as u64 * 1_000_003), channels };
        (0..STEPS).map(|_| author.planned()).collect()
    };
    (0..HISTORIES).map(history).collect()
}

/// The findings of a record as `/triggers/<id>` shows it, without times.
fn findings(record: &Value) -> Vec<Value> {
    let mut rules = record["rules"].as_array().unwrap().clone();
    rules.iter_mut().for_each(|rule| drop(rule.as_object_mut().unwrap().remove("known_since")));
    rules
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What a running usher decides on each trigger, and what it knows in the end.
fn running(usher: &Usher, fake: &Fake, all: &[&Planned]) -> (Vec<Decided>, Vec<Value>) {
    let next: Arc<Mutex<UpstreamOutcome>> = Arc::default();
    let scripted = Arc::clone(&next);
    fake.otherwise(move |_| match *scripted.lock().unwrap() {
        UpstreamOutcome::Refused => Step::status(403),
        UpstreamOutcome::Ambiguous => Step::status(500),
        UpstreamOutcome::Accepted | UpstreamOutcome::NotSent => Step::ok(),
    });
    let mut client = usher.client();
    let mut headers = Vec::new();
    for planned in all {
        *next.lock().unwrap() = planned.outcome;
        let mut request = Request::signed("POST", planned.path, "", planned.body.as_bytes());
        if planned.is_keyed {
            request = request.header("X-Idempotency-Key", "k");
        }
        let response = client.call(&request);
        headers.push((response.head.header("usher-trigger").unwrap(), response.decision()));
    }
    let records = usher.admin().triggers();
    let decided = headers.into_iter().map(|(id, fate)| {
        let record = records.iter().find(|record| record["id"] == id.as_str()).unwrap();
        Decided { fate, decision: text(&record["decision"]), reason: text(&record["reason"]), rules: findings(record) }
    });
    let decided = decided.collect();
    let entries = usher.admin().json("/assignments?limit=10000");
    let known = entries.as_array().unwrap().iter().map(|entry| {
        json!([
            entry["rule"],
            entry["channel"],
            entry["identity"],
            entry["context"],
            entry["announced"],
            entry["suppressed"],
            entry["in_doubt"]
        ])
    });
    (decided, known.collect())
}

/// The same of a simulation.
fn simulated(config: &Config, all: &[&Planned]) -> (Vec<Decided>, Vec<Value>) {
    let mut simulation = Simulation::new(config.simulated().with_records(), Moment::default());
    let calendar = Calendar::new(simulation.clock());
    let mut decided = Vec::new();
    for (number, planned) in all.iter().enumerate() {
        let head = planned.is_keyed.then_some(HeadForm::Keyed);
        let request = Simulated { app: "3", path: planned.path, body: planned.body.as_bytes(), head };
        let upstream = Upstream { outcome: planned.outcome, settled: Settled::After(Duration::ZERO) };
        simulation.arrive(Moment::from_millis(number as u64), &request, upstream);
        let verdicts: Vec<Verdict> = simulation.take_verdicts().collect();
        let [verdict] = &verdicts[..] else { panic!("{verdicts:?}") };
        decided.push(judged(&calendar, verdict, &config.rules));
    }
    let token = |token: &str| serde_json::from_str::<Value>(token).unwrap();
    let known = simulation.known();
    let known = known.iter().map(|(_, rule, entry)| {
        let identity = entry.known.as_ref().map(|known| token(known.identity()));
        let context: Vec<Value> = entry.known.iter().flat_map(|known| known.context()).map(token).collect();
        json!([**rule, entry.channel, identity, context, entry.announced, entry.suppressed, entry.in_doubt])
    });
    (decided, known.collect())
}

fn judged(calendar: &Calendar, verdict: &Verdict, rules: &[Rule]) -> Decided {
    let (id, encoded) = verdict.end.record.as_ref().unwrap();
    let record: Value =
        serde_json::from_str(&record_json(calendar, *id, &encoded.record().unwrap(), rules).unwrap()).unwrap();
    assert_eq!((&record["decision"], &record["reason"]), (&json!(verdict.end.decision), &json!(verdict.end.reason)));
    Decided {
        fate: verdict.fate().label().to_owned(),
        decision: text(&record["decision"]),
        reason: text(&record["reason"]),
        rules: findings(&record),
    }
}

const fn outcome(outcome: UpstreamOutcome) -> &'static str {
    match outcome {
        UpstreamOutcome::Accepted => "accepted",
        UpstreamOutcome::Refused => "refused",
        UpstreamOutcome::Ambiguous => "ambiguous",
        UpstreamOutcome::NotSent => "not_sent",
    }
}

/// A recording of what was decided.
fn recording(all: &[(&Planned, &Decided)]) -> String {
    let header = "{\"usher_recording\":1,\"version\":\"0.1.0\",\"redacted\":false}\n".to_owned();
    let lines = all.iter().enumerate().map(|(number, (planned, decided))| {
        let received = 1_764_457_199.0 + number as f64 / 1000.0;
        let is_sent = decided.fate != "suppressed";
        let mut line = json!({
            "id": format!("0000000a-{number}"), "received": received, "settled": is_sent.then_some(received), "app": "3",
            "path": planned.path, "body": planned.body,
            "outcome": if is_sent { outcome(planned.outcome) } else { "suppressed" },
            "decision": decided.decision, "reason": decided.reason,
        });
        if planned.is_keyed {
            line["head"] = json!("keyed");
        }
        format!("{line}\n")
    });
    std::iter::once(header).chain(lines).collect()
}

/// The recording as usher redacts it.
fn redacted(recording: &str, config: &Config) -> String {
    let redactor = Redactor::new(config.rules.iter().map(|rule| ("3".into(), rule.clone())));
    let lines = recording.lines().skip(1).map(|line| match Entry::read(line).unwrap() {
        Entry::Trigger(trigger) => {
            let redacted = redactor.redact(&trigger);
            assert_ne!(redacted.body, trigger.body);
            format!("{}\n", Entry::Trigger(redacted))
        }
        Entry::Lost(_) => panic!("{line}"),
    });
    let header = serde_json::to_string(&Header::new(true)).unwrap();
    std::iter::once(header + "\n").chain(lines).collect()
}

/// A test for each history without an idempotency key, which tests have no key for; and how many there are.
fn tests(histories: &[Vec<(&Planned, &Decided)>]) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for (number, history) in histories.iter().enumerate() {
        if history.iter().any(|(planned, _)| planned.is_keyed) {
            continue;
        }
        count += 1;
        text.push_str(&format!("[[tests]]\nname = \"history {number}\"\n"));
        for (planned, decided) in history {
            let (body, Decided { fate, reason, .. }) = (json!(planned.body), decided);
            let upstream = outcome(planned.outcome);
            text.push_str(&format!("[[tests.steps]]\nbody = {body}\nupstream = \"{upstream}\"\n"));
            // In tests every rule enforces.
            if decided.rules.iter().all(|rule| rule["rule"] != "observed") {
                text.push_str(&format!("expect = \"{fate}\"\nreason = \"{reason}\"\n"));
            }
        }
    }
    (text, count)
}

#[test]
fn all_decide_alike_on_random_triggers() {
    let histories = histories();
    let all: Vec<&Planned> = histories.iter().flatten().collect();
    assert_eq!(all.len(), 2000);
    let folder = Folder::new();
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.doubt_period = "1h";
    setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned();
    setup.more = RULES.to_owned();
    let config_file = folder.write("usher.toml", &setup.toml());
    let sources = Sources { file: Some(folder.path("usher.toml")), ..Sources::default() };
    let config = Config::without_files(&sources).unwrap();
    let usher = Usher::start_with(&setup.toml());

    let (decided, known) = running(&usher, &fake, &all);
    let (offline, known_offline) = simulated(&config, &all);
    for (number, (online, offline)) in decided.iter().zip(&offline).enumerate() {
        assert_eq!(online, offline, "{number}: {:?}", all[number]);
    }
    assert_eq!(known, known_offline);
    for word in ["suppressed", "reduced", "would_suppress", "failed"] {
        let count = decided.iter().filter(|decided| decided.decision == word).count();
        assert!(count >= 15, "{word}: {count}");
    }

    let pairs: Vec<(&Planned, &Decided)> = all.iter().copied().zip(&decided).collect();
    let recorded = recording(&pairs);
    let day = folder.write("day.jsonl", &recorded);
    let replayed = run(&["replay", &day, "--config", &config_file, "--json"]);
    let json = &replayed.json()[0];
    assert_eq!(
        (&json["triggers"], &json["compared"], &json["changed"]),
        (&json!(2000), &json!(2000), &json!(0)),
        "{json}"
    );
    let day = folder.write("redacted.jsonl", &redacted(&recorded, &config));
    let of_redacted = &run(&["replay", &day, "--config", &config_file, "--json"]).json()[0];
    assert_eq!((&of_redacted["changed"], &of_redacted["rules"]), (&json!(0), &json["rules"]), "{of_redacted}");
    let report = usher.admin().report();
    for rule in json["rules"].as_array().unwrap() {
        let told = report["rules"].as_array().unwrap().iter().find(|it| it["rule"] == rule["rule"]).unwrap();
        for key in ["suppressed", "would_suppress", "messages_saved"] {
            assert_eq!(rule[key], told[key], "{key}: {rule} {told}");
        }
    }

    let grouped: Vec<Vec<_>> = pairs.chunks(STEPS).map(<[_]>::to_vec).collect();
    let (text, count) = tests(&grouped);
    assert!(count > 100, "{count}");
    let file = folder.write("tests.toml", &text);
    let tested = run(&["test", "--config", &config_file, &file]);
    assert!(tested.code == 0 && tested.out.contains(&format!("{count} test(s), {count} passed")), "{tested:?}");

    let lines: Vec<&str> = recorded.lines().collect();
    for number in (0..all.len()).step_by(97).filter(|number| !all[*number].is_keyed) {
        let before = folder.write("before.jsonl", &lines[..=number].join("\n"));
        let body = folder.write("body.json", &all[number].body);
        let explained = run(&["explain", &body, "--config", &config_file, "--after", &before, "--json"]);
        let json = &explained.json()[0];
        assert_eq!(json["trigger"]["reason"], decided[number].reason, "{number}: {json}");
        assert_eq!(findings(&json["trigger"]), decided[number].rules, "{number}");
    }
}
