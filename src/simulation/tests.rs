//! The simulation waits, doubts and forgets as the gateway does.

use std::time::Duration;

use super::{Micros, Settled, Setup, Simulation, Upstream, UpstreamOutcome, Verdict};
use crate::assignment::{Assignment, Bounds, Reach};
use crate::clock::Moment;
use crate::gateway::{KnownChannel, Limits, OfflineRequest, UnknownApps};
use crate::pusher::App;
use crate::rate::Rates;
use crate::recording::HeadForm;
use crate::rules::{LateJoiners, Mode, OnDifference, Rule, RuleSpec};

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        max_head: 8192,
        max_headers: 100,
        max_target: 4096,
        max_body: 65_536,
        head_timeout: SECOND,
        body_timeout: SECOND,
        idle_timeout: SECOND,
        max_connections: 10,
        max_connections_per_peer: 0,
        max_requests: 10,
        max_wait: 5 * SECOND,
        max_websocket_message: 1024,
        websocket_idle_timeout: SECOND,
        rates: Rates::default(),
    }
}

fn setup(mode: Mode) -> Setup {
    let rule = RuleSpec {
        name: "staff".to_owned(),
        event: "staff-assigned".to_owned(),
        channel: "{hotel}-room-{room}-chat".to_owned(),
        identity: vec!["/staff_id".to_owned(), "/staff_name".to_owned()],
        context: vec![],
        filter: vec![],
        ignore: vec![],
        on_difference: OnDifference::Suppress,
        released_by: vec!["closed".to_owned()],
        remember_for: 3600 * SECOND,
        late_joiners: LateJoiners::Ignore,
        refresh_after: None,
        detect_bypass: false,
        mode,
        apps: vec![],
    };
    let bounds = Bounds {
        max_channels: 1000,
        max_waiters_per_channel: 2,
        max_waiters: 10,
        doubt_period: 30 * SECOND,
        start_doubt: 45 * SECOND,
    };
    Setup {
        apps: vec![App::new("1", "key", "secret")],
        rules: vec![Rule::new(rule).unwrap()],
        bounds,
        limits: limits(),
        unknown_apps: UnknownApps::Reject,
        keeps_records: true,
    }
}

/// A simulation in which triggers are written shortly.
struct Play(Simulation);

impl Play {
    fn new() -> Self {
        Self(Simulation::new(setup(Mode::Enforce), Moment::default()))
    }

    /// An announcement of a person in room 1 at a second.
    fn announce(&mut self, second: u64, person: &str, outcome: UpstreamOutcome, takes: u64) -> u64 {
        let body = format!(
            r#"{{"name":"staff-assigned","channel":"h-room-1-chat","data":"{{\"staff_name\":\"{person}\"}}"}}"#
        );
        self.send(second, &body, outcome, takes)
    }

    fn send(&mut self, second: u64, body: &str, outcome: UpstreamOutcome, takes: u64) -> u64 {
        let request = OfflineRequest { app: "1", path: "/apps/1/events", body: body.as_bytes(), head: None };
        let upstream = Upstream { outcome, settled: Settled::After(Duration::from_secs(takes)) };
        self.0.arrive(Moment::from_millis(second * 1000), &request, upstream)
    }

    /// Number, second, decision and reason of each verdict.
    fn verdicts(&mut self) -> Vec<(u64, u64, &'static str, &'static str)> {
        let short = |verdict: Verdict| {
            (verdict.number, verdict.at.as_millis() / 1000, verdict.end.decision, verdict.end.reason)
        };
        self.0.take_verdicts().map(short).collect()
    }

    fn finished(mut self) -> Vec<(u64, u64, &'static str, &'static str)> {
        self.0.finish();
        self.verdicts()
    }
}

use UpstreamOutcome::{Accepted, Ambiguous, NotSent, Refused};

#[test]
fn what_a_rule_does_for_those_who_come_late() {
    let mut setup = setup(Mode::Enforce);
    let mut spec = setup.rules[0].spec().clone();
    (spec.late_joiners, spec.refresh_after) = (LateJoiners::Forward, Some(600 * SECOND));
    setup.rules = vec![Rule::new(spec).unwrap()];
    let mut play = Play(Simulation::new(setup, Moment::default()));
    let at = |second: u64| Moment::from_millis(second * 1000);
    play.announce(0, "Anna", Accepted, 0);
    play.announce(1, "Anna", Accepted, 0);
    play.0.join(at(2), "1", "h-room-2-chat");
    play.announce(2, "Anna", Accepted, 0);
    play.0.join(at(3), "1", "h-room-1-chat");
    play.announce(3, "Anna", Refused, 0);
    // Who has subscribed while it was in flight may have missed it.
    play.announce(4, "Anna", Accepted, 2);
    play.0.join(at(5), "1", "h-room-1-chat");
    play.announce(7, "Anna", Accepted, 0);
    play.announce(606, "Anna", Accepted, 0);
    play.announce(607, "Anna", Accepted, 0);
    assert_eq!(
        play.finished(),
        [
            (0, 0, "forwarded", "nothing_known"),
            (1, 1, "suppressed", "same_assignment"),
            (2, 2, "suppressed", "same_assignment"),
            (3, 3, "failed", "late_joiner"),
            (4, 6, "forwarded", "late_joiner"),
            (5, 7, "forwarded", "late_joiner"),
            (6, 606, "suppressed", "same_assignment"),
            (7, 607, "forwarded", "refresh"),
        ]
    );
}

#[test]
fn outcomes_decide_what_is_known() {
    let mut play = Play::new();
    play.announce(0, "Anna", Accepted, 0);
    play.announce(1, "Anna", Accepted, 0);
    play.announce(2, "Ben", Refused, 0);
    play.announce(3, "Anna", Accepted, 0);
    play.announce(4, "Ben", NotSent, 0);
    play.announce(5, "Anna", Accepted, 0);
    play.announce(6, "Ben", Ambiguous, 0);
    play.announce(7, "Ben", Accepted, 0);
    play.announce(38, "Ben", Accepted, 0);
    play.announce(39, "Ben", Accepted, 0);
    play.announce(3700, "Ben", Accepted, 0);
    assert_eq!(
        play.finished(),
        [
            (0, 0, "forwarded", "nothing_known"),
            (1, 1, "suppressed", "same_assignment"),
            (2, 2, "failed", "changed"),
            (3, 3, "suppressed", "same_assignment"),
            (4, 4, "failed", "changed"),
            (5, 5, "suppressed", "same_assignment"),
            (6, 6, "failed", "changed"),
            (7, 7, "forwarded", "in_doubt"),
            (8, 38, "forwarded", "nothing_known"),
            (9, 39, "suppressed", "same_assignment"),
            (10, 3700, "forwarded", "nothing_known"),
        ]
    );
}

#[test]
fn an_equal_announcement_waits_for_the_outcome_or_its_deadline() {
    let mut play = Play::new();
    play.announce(0, "Anna", Accepted, 2);
    play.announce(1, "Anna", Accepted, 0);
    play.announce(1, "Ben", Accepted, 0);
    assert_eq!(play.verdicts(), [(2, 1, "forwarded", "other_in_flight")]);
    play.0.advance_to(Moment::from_millis(2_000));
    // Ben came between, so nothing is known; the one that waited is sent.
    assert_eq!(play.verdicts(), [(0, 2, "forwarded", "nothing_known"), (1, 2, "forwarded", "nothing_known")]);
    play.announce(10, "Carl", Accepted, 1);
    play.announce(10, "Carl", Accepted, 0);
    play.announce(10, "Carl", Accepted, 0);
    play.announce(10, "Carl", Accepted, 0);
    play.0.advance_to(Moment::from_millis(11_000));
    assert_eq!(
        play.verdicts(),
        [
            (6, 10, "forwarded", "too_many_waiting"),
            (3, 11, "forwarded", "changed"),
            (4, 11, "suppressed_in_flight", "same_in_flight"),
            (5, 11, "suppressed_in_flight", "same_in_flight"),
        ]
    );
    play.announce(20, "Dora", Accepted, 9);
    play.announce(21, "Dora", Accepted, 0);
    assert_eq!(play.finished(), [(8, 26, "forwarded", "wait_over"), (7, 29, "forwarded", "changed")]);
}

#[test]
fn what_happens_within_a_millisecond_keeps_its_order() {
    let mut play = Play::new();
    let anna = r#"{"name":"staff-assigned","channel":"h-room-1-chat","data":"{\"staff_name\":\"Anna\"}"}"#;
    let ben = anna.replace("Anna", "Ben");
    let mut arrive = |micros, body: &str, settled| {
        let request = OfflineRequest { app: "1", path: "/apps/1/events", body: body.as_bytes(), head: None };
        play.0.arrive(Micros(micros), &request, Upstream { outcome: Accepted, settled: Settled::At(Micros(settled)) })
    };
    arrive(1_000_100, anna, 1_000_500);
    arrive(1_000_200, &ben, 1_000_400);
    arrive(1_000_600, &ben, 1_000_600);
    arrive(1_000_700, &ben, 1_000_700);
    let reasons: Vec<_> = play.finished().into_iter().map(|(number, _, _, reason)| (number, reason)).collect();
    assert_eq!(reasons, [(1, "other_in_flight"), (0, "nothing_known"), (2, "nothing_known"), (3, "same_assignment")]);
}

#[test]
fn parts_are_dropped_and_records_say_what_was_read() {
    let mut play = Play::new();
    let body = r#"{"name":"staff-assigned","channels":["h-room-1-chat","h-room-2-chat"],"data":"{\"staff_id\":7}"}"#;
    play.send(0, &body.replace(",\"h-room-2-chat\"", ""), Accepted, 0);
    play.send(1, body, Accepted, 0);
    let verdicts: Vec<Verdict> = play.0.take_verdicts().collect();
    let reduced = String::from_utf8(verdicts[1].end.reduced.clone().unwrap()).unwrap();
    assert_eq!(reduced, body.replace("\"h-room-1-chat\",", ""));
    let (_, encoded) = verdicts[1].end.record.as_ref().unwrap();
    let record = encoded.record().unwrap();
    assert_eq!((record.decision(), record.reason(), record.head.findings.len()), ("reduced", "nothing_known", 2));
    assert_eq!(record.head.findings[0].assignment.as_ref().unwrap().identity, "7");
    let figures = play.0.rules();
    assert_eq!((&*figures[0].rule, figures[0].summary.suppressed, figures[0].summary.messages_saved), ("staff", 1, 1));
    assert_eq!(figures[0].decisions.iter().map(|(_, count)| count).sum::<u64>(), 3);
}

#[test]
fn what_a_running_usher_knows_is_taken_over() {
    let mut play = Play::new();
    play.0.advance_to(Moment::from_millis(100_000));
    let known = |room, shown: Option<&str>, is_in_flight, is_in_doubt| KnownChannel {
        app: "1",
        rule: "staff",
        channel: room,
        shown: shown.map(|name| Assignment::new(1, name, [])),
        reach: Reach::All,
        since: Moment::from_millis(50_000),
        seen: Moment::from_millis(60_000),
        is_in_flight,
        is_in_doubt,
    };
    assert!(play.0.know(&known("h-room-1-chat", Some("\"Anna\""), false, false)));
    assert!(play.0.know(&known("h-room-2-chat", None, false, true)));
    assert!(play.0.know(&known("h-room-3-chat", None, true, false)));
    assert!(!play.0.know(&KnownChannel { rule: "other", ..known("h-room-3-chat", None, true, false) }));
    play.announce(101, "Anna", Accepted, 0);
    for room in ["2", "3"] {
        let body = format!(
            r#"{{"name":"staff-assigned","channel":"h-room-{room}-chat","data":"{{\"staff_name\":\"Anna\"}}"}}"#
        );
        play.send(102, &body, Accepted, 0);
    }
    assert_eq!(
        play.finished(),
        [
            (0, 101, "suppressed", "same_assignment"),
            (1, 102, "forwarded", "in_doubt"),
            (2, 102, "forwarded", "other_in_flight")
        ]
    );
}

#[test]
fn heads_paths_and_apps_are_read_as_by_a_listener() {
    let mut play = Play::new();
    let body = br#"{"name":"staff-assigned","channel":"h-room-1-chat","data":"{\"staff_id\":7}"}"#;
    for (app, path, head) in [
        ("1", "/apps/1/events", None),
        ("1", "/apps/1/events", Some(HeadForm::Keyed)),
        ("1", "/apps/1/events", Some(HeadForm::OtherType)),
        ("1", "/apps/1/events", Some(HeadForm::QueryParameters)),
        ("1", "/apps/1/channels/h-room-1-chat/events", None),
        ("2", "/apps/2/events", None),
    ] {
        let request = OfflineRequest { app, path, body, head };
        play.0.arrive(Moment::default(), &request, Upstream::default());
    }
    assert_eq!(
        play.verdicts().iter().map(|(.., decision, reason)| (*decision, *reason)).collect::<Vec<_>>(),
        [
            ("forwarded", "nothing_known"),
            ("forwarded", "idempotency_key"),
            ("forwarded", "inexact"),
            ("forwarded", "inexact"),
            ("forwarded", "inexact"),
            ("refused", "unknown_app"),
        ]
    );
}

#[test]
fn observing_rules_forward_unless_they_are_to_enforce() {
    let twice = |setup: Setup| {
        let mut play = Play(Simulation::new(setup, Moment::default()));
        play.announce(0, "Anna", Accepted, 0);
        play.announce(1, "Anna", Accepted, 0);
        play.finished()[1].2
    };
    assert_eq!(twice(setup(Mode::Observe)), "would_suppress");
    assert_eq!(twice(setup(Mode::Observe).enforcing()), "suppressed");
}
