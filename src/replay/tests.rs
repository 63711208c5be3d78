//! Tests of what is held, found and given up.

use super::*;
use crate::assignment::{Announced, AppMemory, Assignment, Bounds, Claim, ClaimMode, Reservation, Value};
use crate::clock::VirtualTime;

const DOUBT: Duration = Duration::from_secs(30);
const ROOM: &str = "room-1";

/// The ticket of a request.
pub(super) struct Memory(Reservation);

impl Memory {
    pub(super) fn settle(self, outcome: Outcome) {
        self.0.settle(outcome);
    }
}

/// A rule of an app.
pub(super) fn rule_of(clock: Clock, doubt_period: Duration, max_bytes: usize) -> (Arc<Replays>, Arc<RuleReplays>) {
    let bounds = Bounds {
        max_channels: 1_000,
        max_waiters_per_channel: 9,
        max_waiters: 99,
        doubt_period,
        start_doubt: Duration::ZERO,
    };
    let memory = RuleMemory::new(AppMemory::new(clock, Arc::new(bounds)), Duration::MAX);
    let replays = Replays::new(clock, doubt_period);
    let rule = replays.configure(&[&memory], max_bytes).remove(0);
    (replays, rule)
}

/// Claims a channel. `None`: it is redundant, or would wait.
pub(super) fn claimed(rule: &RuleReplays, channel: &str, value: &Value, left_out: Option<Socket>) -> Option<Memory> {
    let announced = Announced { value, left_out };
    match rule.memory.claim(channel, announced, ClaimMode::MayWait, rule.replays.clock.now()) {
        Claim::Reserved { reservation, .. } => Some(Memory(reservation)),
        Claim::Redundant(_) | Claim::InFlight(_) => None,
        Claim::Full => panic!("the memory is full"),
    }
}

/// Settles a request, as the gateway does.
pub(super) fn held_by(candidates: Candidates, memory: Memory, outcome: Outcome) {
    candidates.settle(outcome);
    memory.settle(outcome);
}

fn socket(second: u64) -> Socket {
    Socket::of((1, second))
}

/// A rule of an app, and its time.
struct Stage {
    time: VirtualTime,
    replays: Arc<Replays>,
    rule: Arc<RuleReplays>,
}

impl Stage {
    fn new() -> Self {
        let time = VirtualTime::at(Moment::from_millis(1_000));
        let (replays, rule) = rule_of(Clock::showing(time), DOUBT, 64 * 1024);
        Self { time, replays, rule }
    }

    fn pass(&self, period: Duration) {
        self.time.advance_to(self.time.now().after(period));
    }

    /// Sends an announcement of `person`, with something else that makes it different.
    fn send(&self, channel: &str, person: &str, more: &str, left_out: Option<Socket>) -> (Candidates, Memory) {
        let assignment = Assignment::new(0, person, []);
        let value = Value::One(assignment.clone());
        let memory = claimed(&self.rule, channel, &value, left_out).expect("it goes on");
        let data = format!(r#"{{"staff":{person},"more":"{more}"}}"#);
        let token = serde_json::Value::from(data.as_str()).to_string();
        let assignment = Some(&assignment);
        let mut candidates = Candidates::default();
        let announcement = Announcement { event: "e", token: &token, data: Some(&data), assignment, left_out };
        candidates.send(&self.rule, channel, &announcement);
        (candidates, memory)
    }

    fn announce(&self, person: &str, more: &str) {
        let (candidates, memory) = self.send(ROOM, person, more, None);
        held_by(candidates, memory, Outcome::Accepted);
    }

    /// The staff and the rest of the announcement that a new subscriber gets.
    fn gets(&self, socket: Socket) -> Option<(String, Replayed)> {
        match self.rule.look_up(ROOM, Some(socket)) {
            LookUp::Replay(replayed) => {
                let frame: serde_json::Value = serde_json::from_str(&replayed.frame).unwrap();
                assert_eq!((frame["event"].as_str(), frame["channel"].as_str()), (Some("e"), Some(ROOM)));
                let data: serde_json::Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                Some((format!("{} {}", data["staff"], data["more"].as_str().unwrap()), replayed))
            }
            LookUp::Nothing => None,
            LookUp::Wait(_) => panic!("something is in flight"),
        }
    }

    fn text(&self, socket: Socket) -> Option<String> {
        self.gets(socket).map(|(text, _)| text)
    }

    fn is_redundant(&self, person: &str) -> bool {
        let claim = claimed(&self.rule, ROOM, &Value::One(Assignment::new(0, person, [])), None);
        claim.map(|memory| memory.settle(Outcome::Refused)).is_none()
    }
}

fn delivery(data: &str) -> String {
    serde_json::json!({ "data": data, "event": "e", "channel": ROOM }).to_string()
}

#[test]
fn the_last_accepted_one_is_handed_out_as_it_was_sent() {
    let stage = Stage::new();
    assert_eq!(stage.text(socket(1)), None);
    stage.announce("7", "a");
    let (_, replayed) = stage.gets(socket(1)).unwrap();
    assert_eq!(replayed.frame.as_str(), r#"{"event":"e","channel":"room-1","data":"{\"staff\":7,\"more\":\"a\"}"}"#);
    assert!(stage.is_redundant("7"), "who came has got it");
    stage.announce("8", "b");
    assert_eq!(stage.text(socket(1)).as_deref(), Some("8 b"));
    let (candidates, memory) = stage.send(ROOM, "9", "c", None);
    held_by(candidates, memory, Outcome::Refused);
    assert_eq!(stage.text(socket(1)).as_deref(), Some("8 b"));
    let (candidates, memory) = stage.send(ROOM, "9", "c", None);
    held_by(candidates, memory, Outcome::Partial);
    assert_eq!(stage.text(socket(1)), None);
    assert!(!stage.is_redundant("8"));
}

#[test]
fn who_comes_while_something_is_in_flight_is_looked_up_again() {
    let stage = Stage::new();
    stage.announce("7", "a");
    for (outcome, expected) in
        [(Outcome::Refused, Some("7 a")), (Outcome::Accepted, Some("8 b")), (Outcome::Ambiguous, None)]
    {
        let person = if outcome == Outcome::Ambiguous { "9" } else { "8" };
        let (candidates, memory) = stage.send(ROOM, person, "b", None);
        let LookUp::Wait(mut settlement) = stage.rule.look_up(ROOM, Some(socket(1))) else { panic!("{outcome:?}") };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut settlement).poll(&mut context).is_pending());
        held_by(candidates, memory, outcome);
        assert!(std::pin::Pin::new(&mut settlement).poll(&mut context).is_ready());
        assert_eq!(stage.text(socket(1)).as_deref(), expected);
    }
}

#[test]
fn what_a_ticket_for_something_else_hides_is_found_when_that_is_refused() {
    let stage = Stage::new();
    stage.announce("7", "a");
    let memory = claimed(&stage.rule, ROOM, &Value::Opaque, None).unwrap();
    let LookUp::Wait(settlement) = stage.rule.look_up(ROOM, Some(socket(1))) else { panic!("it is in flight") };
    memory.settle(Outcome::Refused);
    assert!(futures_util::FutureExt::now_or_never(settlement).is_some());
    assert_eq!(stage.text(socket(1)).as_deref(), Some("7 a"));
}

#[test]
fn a_connection_that_was_left_out_gets_nothing() {
    let stage = Stage::new();
    let (candidates, memory) = stage.send(ROOM, "7", "a", Some(socket(1)));
    held_by(candidates, memory, Outcome::Accepted);
    assert_eq!((stage.text(socket(1)), stage.text(socket(2)).as_deref()), (None, Some("7 a")));
    // Whose id is not known may be the one.
    assert!(matches!(stage.rule.look_up(ROOM, None), LookUp::Nothing));
    assert!(!stage.is_redundant("7"));
}

#[test]
fn what_is_given_up_goes_on_again() {
    let stage = Stage::new();
    stage.announce("7", "a");
    assert!(stage.replays.held().bytes > 100);
    for bytes in [0, 64 * 1024] {
        let rule = stage.replays.configure(&[&stage.rule.memory], bytes).remove(0);
        assert!(Arc::ptr_eq(&rule, &stage.rule));
    }
    assert_eq!(stage.replays.held(), HeldBytes { bytes: 0, evicted: 1 });
    assert!(stage.is_redundant("7"));
    assert_eq!(stage.text(socket(1)), None);
    assert!(!stage.is_redundant("7"));
    stage.announce("7", "b");
    assert_eq!(stage.text(socket(1)).as_deref(), Some("7 b"));
}

#[test]
fn bytes_are_bounded_and_the_oldest_channel_goes_first() {
    let stage = Stage::new();
    let long = "x".repeat(1_000);
    for number in 0..200 {
        let (candidates, memory) = stage.send(&format!("room-{number}"), "7", &long, None);
        assert!(stage.replays.held().bytes <= 64 * 1024);
        held_by(candidates, memory, Outcome::Accepted);
    }
    let HeldBytes { bytes, evicted } = stage.replays.held();
    let kept = 200 - usize::try_from(evicted).unwrap();
    assert!(bytes > 48 * 1024 && bytes <= 64 * 1024 && bytes > kept * 1_000, "{bytes} of {kept}");
    for number in 0..200 {
        let found = stage.rule.look_up(&format!("room-{number}"), Some(socket(1)));
        assert_eq!(matches!(found, LookUp::Replay(_)), number >= 200 - kept, "{number} of {kept}");
    }
    // What is too large for all of it takes no place of others.
    let (candidates, memory) = stage.send("large", "7", &"x".repeat(100_000), None);
    held_by(candidates, memory, Outcome::Accepted);
    assert!(matches!(stage.rule.look_up("large", Some(socket(1))), LookUp::Nothing));
    let held = stage.replays.held();
    assert!((1..=2).contains(&(held.evicted - evicted)) && held.bytes > bytes - 2_000, "{held:?}");
}

#[test]
fn what_says_nothing_any_more_takes_no_place_of_frames() {
    let stage = Stage::new();
    let announce = |channel: &str| {
        let (candidates, memory) = stage.send(channel, "7", "a", None);
        held_by(candidates, memory, Outcome::Accepted);
    };
    (0..500).for_each(|number| announce(&format!("room-{number}")));
    assert!(stage.replays.held().evicted > 100);
    stage.pass(DOUBT);
    (0..50).for_each(|number| announce(&format!("other-{number}")));
    for number in 0..50 {
        let found = stage.rule.look_up(&format!("other-{number}"), Some(socket(1)));
        assert!(matches!(found, LookUp::Replay(_)), "{number}: {:?}", stage.replays.held());
    }
}

#[test]
fn a_rule_that_goes_takes_everything_with_it() {
    let stage = Stage::new();
    stage.announce("7", "a");
    let (candidates, memory) = stage.send(ROOM, "8", "b", None);
    let (_, other) = rule_of(Clock::showing(stage.time), DOUBT, 0);
    let rules = stage.replays.configure(&[&other.memory], 64 * 1024);
    assert_eq!((rules.len(), stage.replays.held().bytes), (1, 0));
    held_by(candidates, memory, Outcome::Accepted);
    let (candidates, memory) = stage.send(ROOM, "9", "c", None);
    held_by(candidates, memory, Outcome::Accepted);
    assert_eq!(stage.replays.held(), HeldBytes::default());
    assert_eq!(stage.text(socket(1)), None);
}

#[test]
fn late_deliveries_of_what_is_older_are_recognised() {
    let stage = Stage::new();
    stage.announce("7", "é");
    stage.announce("8", "b");
    let (_, replayed) = stage.gets(socket(1)).unwrap();
    assert!(replayed.guarded_until.is_some());
    let overtaken = |delivery: &str| stage.rule.is_overtaken(ROOM, replayed.sequence, delivery);
    let (older, newer) = (r#"{"staff":7,"more":"é"}"#, r#"{"staff":8,"more":"b"}"#);
    assert!(overtaken(&delivery(older)));
    let spelt = r#"{"event":"e","channel":"room-1","data":"{\"staff\":7,\"more\":\"\u00e9\"}"}"#;
    assert!(overtaken(spelt));
    assert!(!overtaken(&delivery(newer)));
    for other in [delivery("{}"), older.to_owned(), "x".to_owned(), delivery(older).replace(ROOM, "room-2")] {
        assert!(!overtaken(&other), "{other}");
    }
    // It may be the next one.
    let (candidates, memory) = stage.send(ROOM, "7", "é", None);
    assert!(!overtaken(&delivery(older)));
    held_by(candidates, memory, Outcome::Refused);
    assert!(overtaken(&delivery(older)));
    stage.pass(DOUBT);
    assert!(!overtaken(&delivery(older)), "it does not come so late");
    let (_, replayed) = stage.gets(socket(1)).unwrap();
    assert_eq!(replayed.guarded_until, None);
}

#[test]
fn nothing_is_handed_out_while_something_older_would_not_be_recognised() {
    let stage = Stage::new();
    for number in 0..60 {
        stage.announce(&number.to_string(), "a");
    }
    assert_eq!(stage.text(socket(1)), None);
    assert!(!stage.is_redundant("59"), "the next one goes on");
    stage.announce("59", "b");
    stage.pass(DOUBT);
    assert_eq!(stage.text(socket(1)).as_deref(), Some("59 b"));
    let mut unread = Candidates::default();
    unread.send_unread(&stage.rule, ROOM);
    let memory = claimed(&stage.rule, ROOM, &Value::Opaque, None).unwrap();
    held_by(unread, memory, Outcome::Accepted);
    stage.announce("61", "a");
    assert_eq!(stage.text(socket(1)), None);
    stage.pass(DOUBT);
    assert_eq!(stage.text(socket(1)).as_deref(), Some("61 a"));
    let mut any = Candidates::default();
    any.send_any(&stage.rule);
    any.settle(Outcome::Accepted);
    assert_eq!(stage.text(socket(1)), None);
}
