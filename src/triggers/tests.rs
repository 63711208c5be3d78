//! The rings: their bounds, their readers, and what goes where.

use std::sync::Arc;
use std::thread;

use smallvec::smallvec;

use super::*;
use crate::decision::EventDecision;

fn head<'a>(triggers: &Triggers, app: &'a str, channel: &'a str) -> Head<'a> {
    Head {
        request: RequestRecord {
            number: triggers.next_id().number(),
            at: 7,
            app,
            caller: [192, 0, 2, 1].into(),
            method: "POST",
            path: "/apps/1/events",
            size: 100,
        },
        inexact: None,
        events: smallvec![EventRecord {
            name: "staff-assigned",
            channels: smallvec![channel],
            all_channels: 1,
            excludes_socket: false,
            asks_info: false,
            data: None,
            data_size: 0,
        }],
        all_events: 1,
        findings: smallvec![],
        all_findings: 0,
        filtered: smallvec![],
        decision: Some(EventDecision::NoRule),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}

fn push(triggers: &Triggers, kind: Kind, channel: &str) {
    triggers.push(Draft::new(kind, |_| head(triggers, "1", channel)), &Tail { status: 200, ..Tail::default() });
}

fn channels<'a>(encoded: impl IntoIterator<Item = &'a Encoded>) -> Vec<String> {
    encoded.into_iter().map(|encoded| encoded.record().unwrap().head.events[0].channels[0].to_owned()).collect()
}

fn triggers() -> Triggers {
    Triggers::new(MIN_CAPACITY, Payloads::None)
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let triggers = triggers();
    let mut written = head(&triggers, "1", "inn-1");
    written.findings.push(Finding {
        event: 0,
        channel: 0,
        rule: "staff",
        decision: EventDecision::Changed,
        assignment: Some(AssignmentRecord { pointer: "/id", identity: "\"7\"", context: smallvec![("/c", "null")] }),
        before: Some(AssignmentRecord { pointer: "/id", identity: "7", context: smallvec![] }),
        known_since: Some(3),
        differs: true,
    });
    written.filtered.push(Filtered { event: 0, rule: "other", pointer: "/type" });
    let tail = Tail {
        took: 12,
        status: 502,
        refusal: Some(("upstream_failed", "gone")),
        upstream: Some(UpstreamRecord { error: Some("gone"), outcome: "ambiguous", retries: 1, ..Default::default() }),
    };
    let mut own = Vec::new();
    written.clone().encode(&mut own);
    assert_eq!(own, postcard::to_allocvec(&written).unwrap());
    own.clear();
    tail.encode(&mut own);
    assert_eq!(own, postcard::to_allocvec(&tail).unwrap());
    let expected = (format!("{written:?}"), format!("{tail:?}"));
    triggers.push(Draft::new(Kind::Unmatched, |_| written.clone()), &tail);
    let page = triggers.list(10, None, &Filter::default());
    let record = page.records[0].record().unwrap();
    assert_eq!((format!("{:?}", record.head), format!("{:?}", record.tail)), expected);
    assert_eq!((record.decision(), record.reason(), record.has_failed()), ("failed", "upstream_failed", true));
    let id = triggers.id(record.head.request.number);
    assert_eq!(triggers.get(id), Some(page.records[0].clone()));
    assert_eq!(triggers.get(TriggerId { process: Process::new(0), ..id }), None);
}

#[test]
fn the_newest_of_all_kinds_come_first_and_a_page_goes_on_before_an_id() {
    let triggers = triggers();
    for (number, kind) in
        [Kind::Watched, Kind::Unmatched, Kind::Watched, Kind::Refused, Kind::Watched].iter().enumerate()
    {
        push(&triggers, *kind, &format!("c{number}"));
    }
    let first = triggers.list(3, None, &Filter::default());
    assert_eq!((channels(&first.records), first.more), (vec!["c4".into(), "c3".into(), "c2".into()], true));
    let before = triggers.id(first.records[2].record().unwrap().head.request.number);
    let second = triggers.list(3, Some(before), &Filter::default());
    assert_eq!((channels(&second.records), second.more), (vec!["c1".into(), "c0".into()], false));
}

#[test]
fn a_flood_of_one_kind_removes_no_other() {
    let triggers = triggers();
    push(&triggers, Kind::Watched, "watched");
    for _ in 0..40_000 {
        let draft = Draft::new(Kind::Watched, |_| head(&triggers, "scanner", "x"));
        triggers.push(draft, &Tail { status: 401, refusal: Some(("unknown_auth_key", "no")), ..Tail::default() });
        push(&triggers, Kind::Unmatched, "unmatched");
    }
    let filter = Filter { channel: Some("watched".into()), ..Filter::default() };
    let page = triggers.list(10, None, &filter);
    assert_eq!(channels(&page.records), ["watched"]);
    assert!(page.removed > 40_000, "{}", page.removed);
}

#[test]
fn a_filter_applies_before_the_limit() {
    let triggers = triggers();
    for (app, channel) in [("1", "inn-1"), ("2", "inn-2"), ("1", "ritz-1")] {
        triggers.push(
            Draft::new(Kind::Watched, |_| head(&triggers, app, channel)),
            &Tail { status: 200, ..Tail::default() },
        );
    }
    let draft = Draft::new(Kind::Watched, |_| head(&triggers, "1", "refused"));
    triggers.push(draft, &Tail { status: 401, refusal: Some(("unknown_auth_key", "no")), ..Tail::default() });
    let found = |filter: Filter| channels(&triggers.list(10, None, &filter).records);
    let of = |edit: fn(&mut Filter)| {
        let mut filter = Filter::default();
        edit(&mut filter);
        found(filter)
    };
    assert_eq!(of(|filter| filter.app = Some("2".into())), ["inn-2"]);
    assert_eq!(of(|filter| filter.channel = Some("inn-".into())), ["inn-2", "inn-1"]);
    assert_eq!(of(|filter| filter.event = Some("staff".into())), [""; 0]);
    assert_eq!(of(|filter| filter.refused = Some(true)), ["refused"]);
    assert_eq!(of(|filter| filter.refused = Some(false)).len(), 3);
    assert_eq!(of(|filter| filter.status = Some("4xx".parse().unwrap())), ["refused"]);
    assert_eq!(of(|filter| filter.reason = Some("unknown_auth_key".into())), ["refused"]);
    assert_eq!(of(|filter| filter.decision = Some("forwarded".into())).len(), 3);
    assert_eq!(of(|filter| filter.caller = Some("192.0.2.".into())).len(), 4);
    assert_eq!(of(|filter| filter.caller = Some("10.".into())), [""; 0]);
}

#[test]
fn a_reader_learns_what_it_has_missed() {
    let triggers = triggers();
    let start = triggers.cursor();
    push(&triggers, Kind::Watched, "a");
    push(&triggers, Kind::Unmatched, "b");
    push(&triggers, Kind::Watched, "c");
    let news = triggers.since(start, 100);
    assert_eq!((channels(&news.records), news.missed), (vec!["a".into(), "b".into(), "c".into()], 0));
    for _ in 0..30_000 {
        push(&triggers, Kind::Watched, "flood");
    }
    let later = triggers.since(news.next, u64::MAX);
    assert_eq!(later.missed + later.records.len() as u64, 30_000);
    assert!(later.missed > 0);
    assert_eq!(triggers.since(later.next, 100).records, []);
}

#[test]
fn long_lists_are_cut_and_a_record_is_bounded() {
    let triggers = triggers();
    let long = "é".repeat(MAX_TEXT);
    let one = head(&triggers, "1", cut(&long, MAX_TEXT));
    let huge = |limits: Limits| {
        let channels = (0..limits.list).map(|_| cut(&long, MAX_TEXT)).collect();
        let event = EventRecord { channels, ..one.events[0].clone() };
        let events = (0..limits.list).map(|_| event.clone()).collect();
        Head { events, all_events: count(MAX_LIST), ..one.clone() }
    };
    triggers.push(Draft::new(Kind::Watched, huge), &Tail::default());
    let page = triggers.list(1, None, &Filter::default());
    let record = page.records[0].record().unwrap();
    assert_eq!((record.head.events.len(), record.head.more_events()), (1, 19));
    assert_eq!(cut("aé", 2), "a");
}

#[test]
fn nothing_is_recorded_without_bytes() {
    let triggers = Triggers::new(0, Payloads::All);
    push(&triggers, Kind::Watched, "a");
    assert!(!triggers.are_kept());
    assert!(triggers.list(10, None, &Filter::default()).records.is_empty());
}

#[tokio::test]
async fn a_reader_is_woken() {
    let triggers = Arc::new(triggers());
    let cursor = triggers.cursor();
    let writer = Arc::clone(&triggers);
    let waiting = triggers.pushed(cursor);
    let pushing = thread::spawn(move || push(&writer, Kind::Refused, "a"));
    waiting.await;
    pushing.join().unwrap();
    triggers.pushed(cursor).await;
}
