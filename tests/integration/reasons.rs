//! Each reason of a decision, given by a real request (docs/reasons.md).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use usher::decision::EventDecision;

use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, announcement_on, batch, item, message, staff};
use crate::harness::redis::Redis;
use crate::harness::usher::{Setup, Signal};
use crate::harness::{Client, Fake, Gate, Request, Response, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// The pairs of decision and reason that were seen.
#[derive(Debug, Default)]
struct Seen(BTreeSet<(String, String)>);

/// An usher before a fake upstream, and one caller.
struct Scene<'s> {
    seen: &'s mut Seen,
    fake: Fake,
    usher: Usher,
    client: Client,
}

impl<'s> Scene<'s> {
    fn start(seen: &'s mut Seen, adjust: impl FnOnce(&mut Setup)) -> Self {
        let fake = Fake::start();
        let usher = Usher::start(&fake, adjust);
        let client = usher.client();
        Self { seen, fake, usher, client }
    }

    /// Sends a trigger and checks the reason in its answer.
    #[track_caller]
    fn call(&mut self, request: &Request, reason: &str) {
        let response = self.client.call(request);
        self.answered(&response, reason);
    }

    /// Checks the reason in an answer, and that the record with its id has the same one.
    #[track_caller]
    fn answered(&mut self, response: &Response, reason: &str) {
        assert_eq!(response.head.header("usher-reason").as_deref(), Some(reason), "{response:?}");
        let id = response.head.header("usher-trigger").unwrap();
        // The record is made before the answer is sent.
        let record = self.usher.admin().json(&format!("/triggers/{id}"));
        assert_eq!((record["id"].as_str(), record["reason"].as_str()), (Some(&*id), Some(reason)), "{record}");
        assert_eq!(record["answer"]["status"], response.status, "{record}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.seen.0.insert((text(&record["decision"]), text(&record["reason"])));
        let rules = record["rules"].as_array().unwrap();
        self.seen.0.extend(rules.iter().map(|rule| (text(&rule["decision"]), text(&rule["reason"]))));
    }

    #[track_caller]
    fn announce(&mut self, channel: &str, name: &str, reason: &str) {
        self.call(&Request::events(&announcement(channel, name)), reason);
    }

    /// Sends a trigger that upstream holds back until the gate opens.
    fn hold(&mut self, body: &str) -> (Gate, Client) {
        let gate = Gate::new();
        self.fake.script([Step::hold(&gate, Step::ok())]);
        let mut holder = self.usher.client();
        let before = self.fake.count();
        holder.send(&Request::events(body).bytes());
        eventually("upstream has it", || (self.fake.count() > before).then_some(()));
        (gate, holder)
    }
}

fn data(data: &str) -> Request {
    Request::events(&Library::Node.body(ANNOUNCEMENT, &[CHANNEL], data))
}

#[test]
fn each_reason_is_given_by_a_request() {
    let mut seen = Seen::default();
    plain(&mut seen);
    unreadable(&mut seen);
    exempt(&mut seen);
    in_flight(&mut seen);
    in_doubt(&mut seen);
    batches(&mut seen);
    observing(&mut seen);
    drains(&mut seen);
    clusters(&mut seen);
    let pair = |decision: &EventDecision| (decision.action().label().to_owned(), decision.reason().to_owned());
    let all: BTreeSet<_> = EventDecision::ALL.iter().map(pair).collect();
    let missing: Vec<_> = all.difference(&seen.0).collect();
    assert!(missing.is_empty(), "no request gave {missing:?}");
}

fn plain(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |setup| {
        setup.server += "unknown_apps = \"forward\"\n";
        setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned();
    });
    scene.announce(CHANNEL, "Anna", "nothing_known");
    scene.announce(CHANNEL, "Anna", "same_assignment");
    scene.announce(CHANNEL, "Ben", "changed");
    scene.call(&Request::events(&message(CHANNEL, "hello")), "no_rule");
    scene.call(&Request::events(&Library::Node.body("conversation-closed", &[CHANNEL], "{}")), "released");
    let body = announcement(CHANNEL, "Anna").replace("\"name\"", "\"x\":1,\"name\"");
    scene.call(&Request::events(&body), "inexact");
    let foreign = Request::signed("POST", "/apps/4/events", "", announcement(CHANNEL, "Anna").as_bytes());
    scene.call(&foreign, "unknown_app");
    let mut differing = Scene::start(seen, |setup| setup.rule = "on_difference = \"forward\"\n".to_owned());
    differing.call(&data("{\"staff_id\":7,\"note\":1}"), "nothing_known");
    differing.call(&data("{\"staff_id\":7,\"note\":2}"), "changed_elsewhere");
    let mut old = Scene::start(seen, |setup| setup.rule = "refresh_after = \"1s\"\n".to_owned());
    old.announce(CHANNEL, "Anna", "nothing_known");
    let again = Request::events(&announcement(CHANNEL, "Anna"));
    let refresh = eventually("it is old", || {
        let response = old.client.call(&again);
        (response.head.header("usher-reason").as_deref() != Some("same_assignment")).then_some(response)
    });
    old.answered(&refresh, "refresh");
    // No client has connected through usher.
    let mut unseen = Scene::start(seen, |setup| setup.rule = "late_joiners = \"forward\"\n".to_owned());
    unseen.announce(CHANNEL, "Anna", "nothing_known");
    unseen.announce(CHANNEL, "Anna", "late_joiner");
    let mut others = Scene::start(seen, |_| {});
    let to_others = announcement(CHANNEL, "Anna").replacen('{', "{\"socket_id\":\"1.1\",", 1);
    others.call(&Request::events(&to_others), "nothing_known");
    others.announce(CHANNEL, "Anna", "left_out");
    let mut full = Scene::start(seen, |setup| setup.assignments = "max_channels = 1\n".to_owned());
    let (gate, mut holder) = full.hold(&announcement(CHANNEL, "Anna"));
    full.announce(OTHER, "Anna", "memory_full");
    gate.open();
    holder.response().assert_forwarded();
    let more = "[[rules]]\nname = \"note\"\nevent = \"staff-assigned\"\nchannel = \"{hotel}-room-{room}-chat\"\n\
                identity = [\"/note\"]\n";
    let mut two = Scene::start(seen, |setup| setup.more = more.to_owned());
    two.call(&data("{\"staff_id\":7,\"note\":1}"), "nothing_known");
    two.call(&data("{\"staff_id\":7,\"note\":2}"), "other_rule");
}

fn unreadable(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |setup| setup.rule = "where = { \"/version\" = 1 }\n".to_owned());
    let body = announcement(CHANNEL, "Anna");
    let (_, text) = body.split_once("\"data\":").unwrap();
    let end = text.find(",\"channels\"").unwrap();
    scene.call(&Request::events(&body.replace(&text[..end], "{\"version\":1}")), "data_not_text");
    scene.call(&data("no JSON"), "data_inexact");
    scene.call(&data("{\"version\":1.0,\"staff_id\":7}"), "where_unclear");
    scene.call(&data("{\"version\":1}"), "no_identity");
    scene.call(&data("{\"version\":1,\"staff_id\":[7]}"), "identity_unusable");
    scene.call(&data("{\"version\":1,\"staff_id\":7,\"conversation_id\":{}}"), "context_unusable");
    // Neither a rule nor `where` of one.
    scene.call(&data("{\"version\":2,\"staff_id\":7}"), "no_rule");
    let newest = &scene.usher.admin().triggers()[0];
    let id = newest["id"].as_str().unwrap();
    let not_matched = scene.usher.admin().json(&format!("/triggers/{id}"))["not_matched"].clone();
    assert_eq!((&not_matched[0]["cause"], &not_matched[0]["rule"]), (&"where".into(), &"staff-assigned".into()));
}

fn exempt(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |_| {});
    scene.announce(CHANNEL, "Anna", "nothing_known");
    let with = |member: &str| announcement(CHANNEL, "Anna").replacen('{', &format!("{{{member},"), 1);
    scene.call(&Request::events(&with("\"info\":\"user_count\"")), "asks_info");
    scene.call(&Request::events(&with("\"socket_id\":\"1.x\"")), "excludes_socket");
    scene.call(&Request::events(&announcement(CHANNEL, "Anna")).header("X-Idempotency-Key", "k"), "idempotency_key");
}

fn in_flight(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |_| {});
    let (gate, mut holder) = scene.hold(&announcement(CHANNEL, "Anna"));
    scene.announce(CHANNEL, "Ben", "other_in_flight");
    gate.open();
    holder.response().assert_forwarded();
    let (gate, mut holder) = scene.hold(&announcement(OTHER, "Anna"));
    scene.call(&Request::events(&announcement_on(&["h-room-3-chat", OTHER], "Anna")), "nothing_known");
    gate.open();
    holder.response().assert_forwarded();
    let (gate, mut holder) = scene.hold(&announcement("h-room-4-chat", "Anna"));
    scene.client.send(&Request::events(&announcement("h-room-4-chat", "Anna")).bytes());
    eventually("it waits", || (scene.usher.admin().metric("usher_waiters", &[]) == 1.0).then_some(()));
    gate.open();
    holder.response().assert_forwarded();
    let response = scene.client.response();
    scene.answered(&response, "same_in_flight");
    let mut brief = Scene::start(seen, |setup| setup.max_wait = "50ms");
    let (gate, mut holder) = brief.hold(&announcement(CHANNEL, "Anna"));
    brief.announce(CHANNEL, "Anna", "wait_over");
    gate.open();
    holder.response().assert_forwarded();
    let mut crowded = Scene::start(seen, |setup| setup.assignments = "max_waiters = 0\n".to_owned());
    let (gate, mut holder) = crowded.hold(&announcement(CHANNEL, "Anna"));
    crowded.announce(CHANNEL, "Anna", "too_many_waiting");
    gate.open();
    holder.response().assert_forwarded();
}

fn in_doubt(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |_| {});
    scene.fake.script([Step::status(500)]);
    assert_eq!(scene.client.call(&Request::events(&announcement(CHANNEL, "Anna"))).status, 500);
    scene.announce(CHANNEL, "Anna", "in_doubt");
    // A body from which no channel can be read may touch any.
    let (gate, mut holder) = scene.hold("[");
    scene.announce(OTHER, "Anna", "app_in_flight");
    gate.open();
    assert_eq!(holder.response().status, 200);
    scene.fake.script([Step::status(500)]);
    assert_eq!(scene.client.call(&Request::events("[")).status, 500);
    scene.announce("h-room-3-chat", "Anna", "app_in_doubt");
    let mut started = Scene::start(seen, |setup| setup.start_doubt = "1h");
    started.announce(CHANNEL, "Anna", "just_started");
    let mut silent = Scene::start(seen, |_| {});
    silent.fake.otherwise(|_| Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    for room in 0..6 {
        silent.client.announce(&format!("h-room-{room}-chat"), "A").assert_forwarded();
    }
    silent.announce("h-room-0-chat", "A", "no_success_format");
}

fn batches(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |_| {});
    let anna = || item(ANNOUNCEMENT, CHANNEL, &staff("Anna"));
    scene.call(&Request::batch(&batch(&[anna(), anna(), item(ANNOUNCEMENT, OTHER, &staff("Anna"))])), "nothing_known");
    let unreadable = item(ANNOUNCEMENT, CHANNEL, "{}");
    scene.call(&Request::batch(&batch(&[unreadable, anna()])), "no_identity");
}

fn observing(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |setup| setup.rule = "mode = \"observe\"\n".to_owned());
    scene.announce(CHANNEL, "Anna", "nothing_known");
    scene.announce(CHANNEL, "Anna", "same_assignment");
    let (gate, mut holder) = scene.hold(&announcement(OTHER, "Anna"));
    scene.announce(OTHER, "Anna", "same_in_flight");
    gate.open();
    holder.response().assert_forwarded();
    let ben = || item(ANNOUNCEMENT, CHANNEL, &staff("Ben"));
    scene.call(&Request::batch(&batch(&[ben(), ben()])), "changed");
}

fn drains(seen: &mut Seen) {
    let mut scene = Scene::start(seen, |_| {});
    scene.announce(CHANNEL, "Anna", "nothing_known");
    let request = Request::events(&announcement(CHANNEL, "Anna")).header("Expect", "100-continue");
    assert_eq!(scene.client.send(&request.head()).response().status, 100);
    scene.usher.signal(Signal::Term);
    eventually("it drains", || (scene.usher.admin().call("GET", "/readyz").status == 503).then_some(()));
    let response = scene.client.send(&request.body).response();
    assert_eq!(response.head.header("usher-reason").as_deref(), Some("draining"));
    scene.seen.0.insert(("forwarded".to_owned(), "draining".to_owned()));
}

fn clusters(seen: &mut Seen) {
    let mut redis = Redis::start();
    let cluster = format!("[cluster]\nredis_url = \"redis://{}\"\nnode = \"a\"\n", redis.address());
    let mut scene = Scene::start(seen, |setup| setup.more = cluster.clone());
    scene.announce(CHANNEL, "Anna", "cluster_open");
    redis.kill();
    scene.announce(CHANNEL, "Anna", "cluster_unreached");
    // One that never enters holds announcements back for 30 s, longer than the harness waits for anything.
    let alone = Scene::start(seen, |setup| setup.more = cluster);
    let mut stream = TcpStream::connect(alone.usher.gateway()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(&Request::events(&announcement(CHANNEL, "Anna")).bytes()).unwrap();
    let mut answer = [0; 1_024];
    let length = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.contains("usher-reason: cluster_isolated\r\n"), "{answer}");
    alone.seen.0.insert(("forwarded".to_owned(), "cluster_isolated".to_owned()));
}

/// The document has each decision with its reason, and no other.
#[test]
fn the_document_names_each_reason() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reasons.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let documented: BTreeSet<(String, String)> =
        rows.filter_map(|(decision, rest)| Some((decision.to_owned(), rest.split_once('`')?.0.to_owned()))).collect();
    let pair = |decision: &EventDecision| (decision.action().label().to_owned(), decision.reason().to_owned());
    let known: BTreeSet<_> = EventDecision::ALL.iter().map(pair).collect();
    assert_eq!(documented, known);
}
