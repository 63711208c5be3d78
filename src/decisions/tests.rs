//! The log: its bound, its filters, and those who follow it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::clock::Moment;
use crate::metrics::EventDecision;

/// A decision, whose names the log shares with whoever else has them.
#[derive(Debug, Clone)]
struct Told {
    app: Arc<str>,
    rule: Arc<str>,
    channel: String,
    identity: Option<String>,
}

impl Told {
    fn decided(&self) -> Decided<'_> {
        Decided {
            at: Moment::from_millis(1),
            app: &self.app,
            rule: &self.rule,
            channel: &self.channel,
            identity: self.identity.as_deref(),
            decision: EventDecision::Suppressed,
            reason: Reason::Words("known"),
        }
    }
}

fn told(app: &str, channel: &str) -> Told {
    Told { app: app.into(), rule: "staff-assigned".into(), channel: channel.into(), identity: Some("\"Anna\"".into()) }
}

fn push(decisions: &Decisions, app: &str, channel: &str) {
    decisions.push(&told(app, channel).decided());
}

fn channels(decisions: &Decisions, limit: usize, filter: Filter<'_>) -> Vec<String> {
    decisions.latest(limit, filter).iter().map(|record| record.channel().to_owned()).collect()
}

#[test]
fn the_newest_come_first_and_the_oldest_give_way() {
    let decisions = Decisions::new(3);
    for channel in ["a", "b", "c", "d"] {
        push(&decisions, "1", channel);
    }
    assert_eq!(channels(&decisions, 10, Filter::default()), ["d", "c", "b"]);
    assert_eq!(channels(&decisions, 2, Filter::default()), ["d", "c"]);
    assert_eq!(channels(&decisions, 0, Filter::default()), [""; 0]);
}

#[test]
fn no_capacity_keeps_nothing() {
    let decisions = Decisions::new(0);
    push(&decisions, "1", "a");
    assert!(!decisions.are_kept());
    assert!(decisions.latest(10, Filter::default()).is_empty());
}

#[test]
fn a_filter_applies_before_the_limit() {
    let decisions = Decisions::new(10);
    for (app, channel) in [
        ("1", "inn-room-1-chat"),
        ("2", "inn-room-2-chat"),
        ("1", "ritz-room-1-chat"),
        ("1", "inn-room-3-chat"),
        ("2", "x"),
    ] {
        push(&decisions, app, channel);
    }
    let filter = Filter { app: Some("1"), channel_prefix: "inn-" };
    assert_eq!(channels(&decisions, 2, filter), ["inn-room-3-chat", "inn-room-1-chat"]);
    assert_eq!(channels(&decisions, 1, Filter { app: None, channel_prefix: "inn-" }), ["inn-room-3-chat"]);
    assert_eq!(channels(&decisions, 9, Filter { app: Some("11"), channel_prefix: "" }), [""; 0]);
}

#[test]
fn long_texts_are_cut_at_a_characters_end() {
    let decisions = Decisions::new(1);
    let long = format!("{}é{}", "x".repeat(MAX_TEXT - 1), "y".repeat(1 << 20));
    decisions.push(&Told { identity: Some(long.clone()), ..told("1", &long) }.decided());
    let expected = "x".repeat(MAX_TEXT - 1);
    assert_eq!(texts(&decisions), (expected.clone(), Some(expected)));
}

fn texts(decisions: &Decisions) -> (String, Option<String>) {
    let newest = &decisions.latest(1, Filter::default())[0];
    (newest.channel().to_owned(), newest.identity().map(str::to_owned))
}

#[test]
fn a_place_shows_nothing_of_what_was_there_before() {
    let decisions = Decisions::new(1);
    let (short, long) = ("a", "x".repeat(MAX_TEXT));
    for (channel, identity) in [
        (short, None),
        (&long, Some(&*long)),
        (short, Some("7")),
        ("", Some("")),
        (&long, None),
        ("é", Some(&long)),
        (short, None),
    ] {
        let told = Told { identity: identity.map(Into::into), ..told("1", channel) };
        decisions.push(&told.decided());
        assert_eq!(texts(&decisions), (told.channel, told.identity));
    }
}

#[test]
fn a_place_shares_the_names_that_it_is_given() {
    let decisions = Decisions::new(1);
    let (one, other) = (told("1", "a"), Told { rule: "other".into(), ..told("2", "b") });
    for told in [&one, &one, &other, &one] {
        decisions.push(&told.decided());
        let newest = decisions.latest(1, Filter::default()).remove(0);
        assert!(Arc::ptr_eq(&newest.app, &told.app) && Arc::ptr_eq(&newest.rule, &told.rule));
    }
    assert_eq!((Arc::strong_count(&other.app), Arc::strong_count(&other.rule)), (1, 1), "no longer held");
}

#[test]
fn exactly_the_longest_text_is_kept_whole() {
    let decisions = Decisions::new(1);
    let longest = "x".repeat(MAX_TEXT);
    push(&decisions, "1", &longest);
    assert_eq!(channels(&decisions, 1, Filter::default()), [longest]);
}

fn since(decisions: &Decisions, next: u64, most: u64) -> (u64, Vec<(u64, String)>, u64) {
    let news = decisions.since(next, most, Filter::default());
    (
        news.missed,
        news.records.iter().map(|(number, record)| (*number, record.channel().to_owned())).collect(),
        news.next,
    )
}

fn named(number: u64, channel: &str) -> (u64, String) {
    (number, channel.to_owned())
}

#[test]
fn a_reader_goes_on_where_it_was() {
    let decisions = Decisions::new(3);
    assert_eq!(since(&decisions, 0, 9), (0, vec![], 0));
    for channel in ["a", "b", "c"] {
        push(&decisions, "1", channel);
    }
    assert_eq!(since(&decisions, 0, 2), (0, vec![named(0, "a"), named(1, "b")], 2));
    assert_eq!(since(&decisions, 2, 2), (0, vec![named(2, "c")], 3));
    assert_eq!((since(&decisions, 3, 2), decisions.next()), ((0, vec![], 3), 3));
    assert_eq!(since(&decisions, 7, 2), (0, vec![], 7), "not there yet");
}

#[test]
fn a_slow_reader_is_told_what_it_missed() {
    let decisions = Decisions::new(2);
    for channel in ["a", "b", "c", "d", "e"] {
        push(&decisions, "1", channel);
    }
    assert_eq!(since(&decisions, 1, 9), (2, vec![named(3, "d"), named(4, "e")], 5));
}

#[test]
fn a_reader_goes_on_behind_what_it_does_not_want() {
    let decisions = Decisions::new(1000);
    for number in 0..500 {
        push(&decisions, if number % 100 == 0 { "1" } else { "2" }, &number.to_string());
    }
    let filter = Filter { app: Some("1"), channel_prefix: "" };
    let news = decisions.since(0, 256, filter);
    assert_eq!(
        (news.records.iter().map(|(number, _)| *number).collect::<Vec<_>>(), news.next),
        (vec![0, 100, 200], 256)
    );
    let news = decisions.since(401, 256, filter);
    assert_eq!((news.records.len(), news.next), (0, 500));
}

/// Capacities around those of a page and of one hold of the lock.
#[test]
fn a_full_log_is_overwritten_in_its_order() {
    for capacity in [1, 2, 63, 64, 65, 1000, 1023, 1024, 1025, 2048, 3000] {
        let decisions = Decisions::new(capacity);
        for pushed in 0..capacity as u64 * 2 + 3 {
            push(&decisions, "1", &pushed.to_string());
            // Full looks are dear: at some moments only.
            if pushed % (capacity as u64 / 4 + 1) != 0 {
                continue;
            }
            let oldest = (pushed + 1).saturating_sub(capacity as u64);
            let numbers: Vec<_> = (oldest..=pushed).map(|number| named(number, &number.to_string())).collect();
            let newest_first: Vec<_> = numbers.iter().rev().map(|(_, channel)| channel.clone()).collect();
            assert_eq!(channels(&decisions, usize::MAX, Filter::default()), newest_first, "{capacity}");
            assert_eq!(since(&decisions, 0, u64::MAX), (oldest, numbers, pushed + 1), "{capacity}");
        }
    }
}

#[test]
fn who_reads_while_decisions_are_pushed_misses_nothing_without_being_told() {
    const LAST: u64 = 60_000;
    // More than one hold, and less than is pushed while a few are copied.
    let decisions = Decisions::new(200);
    thread::scope(|scope| {
        scope.spawn(|| (0..=LAST).for_each(|number| push(&decisions, "1", &number.to_string())));
        scope.spawn(|| {
            while decisions.next() <= LAST {
                let numbers: Vec<u64> = channels(&decisions, 150, Filter::default())
                    .iter()
                    .map(|channel| channel.parse().unwrap())
                    .collect();
                assert!(numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "{numbers:?}");
            }
        });
        let mut next = 0;
        while next <= LAST {
            let news = decisions.since(next, 256, Filter::default());
            let first = next + news.missed;
            assert!(news.records.iter().map(|(number, _)| *number).eq(first..news.next), "{next}: {news:?}");
            assert!(news.records.iter().all(|(number, record)| record.channel() == number.to_string()));
            next = news.next;
        }
    });
}

#[tokio::test]
async fn a_push_wakes_every_follower() {
    let decisions = Decisions::new(2);
    // Polled in this order: both wait when the push comes.
    let all = async { tokio::join!(decisions.pushed(0), decisions.pushed(0), async { push(&decisions, "1", "a") }) };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    decisions.pushed(0).await;
    let waits = tokio::time::timeout(Duration::ZERO, decisions.pushed(1)).await;
    assert!(waits.is_err(), "nothing has come since");
}
