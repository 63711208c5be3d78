//! The log: its bound, its filters, and those who follow it.

use std::time::Duration;

use super::*;

fn record(app: &str, channel: &str) -> Record {
    Record {
        at: Moment::from_millis(1),
        app: app.into(),
        rule: "staff-assigned".into(),
        channel: channel.into(),
        identity: Some("\"Anna\"".into()),
        decision: Decision::Suppressed,
        reason: Reason::Words("known"),
    }
}

fn channels(decisions: &Decisions, limit: usize, filter: Filter<'_>) -> Vec<String> {
    decisions.latest(limit, filter).iter().map(|record| record.channel.to_string()).collect()
}

#[test]
fn the_newest_come_first_and_the_oldest_give_way() {
    let decisions = Decisions::new(3);
    for channel in ["a", "b", "c", "d"] {
        decisions.push(record("1", channel));
    }
    assert_eq!(channels(&decisions, 10, Filter::default()), ["d", "c", "b"]);
    assert_eq!(channels(&decisions, 2, Filter::default()), ["d", "c"]);
    assert_eq!(channels(&decisions, 0, Filter::default()), [""; 0]);
}

#[test]
fn no_capacity_keeps_nothing() {
    let decisions = Decisions::new(0);
    decisions.push(record("1", "a"));
    assert!(!decisions.are_kept());
    assert!(decisions.latest(10, Filter::default()).is_empty());
}

#[test]
fn a_filter_applies_before_the_limit() {
    let decisions = Decisions::new(10);
    for (app, channel) in [("1", "inn-room-1-chat"), ("2", "inn-room-2-chat"), ("1", "ritz-room-1-chat"), ("1", "inn-room-3-chat"), ("2", "x")] {
        decisions.push(record(app, channel));
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
    let mut long_record = record("1", &long);
    long_record.identity = Some(long.as_str().into());
    decisions.push(long_record);
    let kept = &decisions.latest(1, Filter::default())[0];
    let expected = "x".repeat(MAX_TEXT - 1);
    assert_eq!((&*kept.channel, kept.identity.as_deref()), (&*expected, Some(&*expected)));
}

#[test]
fn exactly_the_longest_text_is_kept_whole() {
    let decisions = Decisions::new(1);
    let longest = "x".repeat(MAX_TEXT);
    decisions.push(record("1", &longest));
    assert_eq!(channels(&decisions, 1, Filter::default()), [longest]);
}

fn numbers(news: &News) -> (u64, u64, Vec<String>) {
    (news.missed, news.first, news.records.iter().map(|record| record.channel.to_string()).collect())
}

#[test]
fn a_reader_goes_on_where_it_was() {
    let decisions = Decisions::new(3);
    assert_eq!(numbers(&decisions.since(0, 9)), (0, 0, vec![]));
    for channel in ["a", "b", "c"] {
        decisions.push(record("1", channel));
    }
    assert_eq!(numbers(&decisions.since(0, 2)), (0, 0, vec!["a".into(), "b".into()]));
    assert_eq!(numbers(&decisions.since(2, 2)), (0, 2, vec!["c".into()]));
    assert_eq!((numbers(&decisions.since(3, 2)), decisions.next()), ((0, 3, vec![]), 3));
}

#[test]
fn a_slow_reader_is_told_what_it_missed() {
    let decisions = Decisions::new(2);
    for channel in ["a", "b", "c", "d", "e"] {
        decisions.push(record("1", channel));
    }
    assert_eq!(numbers(&decisions.since(1, 9)), (2, 3, vec!["d".into(), "e".into()]));
}

#[tokio::test]
async fn a_push_wakes_every_follower() {
    let decisions = Decisions::new(2);
    // Polled in this order: both wait when the push comes.
    let all = async { tokio::join!(decisions.pushed(0), decisions.pushed(0), async { decisions.push(record("1", "a")) }) };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    decisions.pushed(0).await;
    let waits = tokio::time::timeout(Duration::ZERO, decisions.pushed(1)).await;
    assert!(waits.is_err(), "nothing has come since");
}
