//! Tests of the outbox: what is held back, what is put together, and what is lost.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event_kind::{EventKind, EventKinds};
use super::outbox::{Next, Outbox};
use crate::broker::Occurrence;
use crate::clock::Moment;

const ROOM: &str = "presence-room-1";

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn outbox() -> Outbox {
    Outbox::new(EventKind::ALL.into_iter().collect(), 1_000)
}

fn occupied(channel: &str) -> Occurrence<'_> {
    Occurrence::ChannelOccupied { channel }
}

fn vacated(channel: &str) -> Occurrence<'_> {
    Occurrence::ChannelVacated { channel }
}

fn count(before: usize, count: usize) -> Occurrence<'static> {
    Occurrence::SubscriptionCount { channel: "room", before, count }
}

/// Each event of a batch as its name, its channel, and what it says.
fn told(events: &[Box<str>]) -> Vec<String> {
    let texts = events.iter().map(|json| {
        let event: Value = serde_json::from_str(json).unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let more = event.get("subscription_count").map_or_else(|| text("user_id"), Value::to_string);
        format!("{} {} {more}", text("name"), text("channel")).trim_end().to_owned()
    });
    texts.collect()
}

/// All that is sent at `now`.
fn sent_at(outbox: &mut Outbox, now: u64) -> Vec<String> {
    let mut all = Vec::new();
    while let Next::Batch(batch) = outbox.next(at(now), false) {
        all.extend(told(&batch));
        outbox.sent();
    }
    all
}

#[test]
fn a_page_that_is_loaded_again_says_nothing() {
    let mut outbox = outbox();
    outbox.note(&occupied(ROOM), at(0));
    outbox.note(&Occurrence::MemberAdded { channel: ROOM, user_id: "7" }, at(0));
    assert_eq!(sent_at(&mut outbox, 250), ["channel_occupied presence-room-1", "member_added presence-room-1 7"]);
    outbox.note(&Occurrence::MemberRemoved { channel: ROOM, user_id: "7" }, at(1_000));
    outbox.note(&vacated(ROOM), at(1_000));
    outbox.note(&occupied(ROOM), at(3_999));
    outbox.note(&Occurrence::MemberAdded { channel: ROOM, user_id: "7" }, at(3_999));
    assert_eq!((sent_at(&mut outbox, 60_000), outbox.len()), (vec![], 0));
}

#[test]
fn who_stays_away_is_told_after_the_grace_and_before_who_comes_then() {
    let mut outbox = outbox();
    outbox.note(&Occurrence::MemberRemoved { channel: ROOM, user_id: "7" }, at(0));
    outbox.note(&vacated(ROOM), at(0));
    assert_eq!(outbox.next(at(2_999), false), Next::WaitUntil(Some(at(3_000))));
    outbox.note(&occupied(ROOM), at(3_000));
    assert_eq!(
        sent_at(&mut outbox, 3_250),
        ["member_removed presence-room-1 7", "channel_vacated presence-room-1", "channel_occupied presence-room-1"]
    );
}

#[test]
fn the_grace_holds_for_who_wants_one_half_alone() {
    for (kind, expected) in [
        (EventKind::ChannelOccupied, vec!["channel_occupied room"]),
        (EventKind::ChannelVacated, vec!["channel_vacated room"]),
    ] {
        let mut outbox = Outbox::new([kind].into_iter().collect(), 10);
        outbox.note(&occupied("room"), at(0));
        outbox.note(&vacated("room"), at(1));
        outbox.note(&occupied("room"), at(2));
        outbox.note(&vacated("room"), at(3));
        let mut all = sent_at(&mut outbox, 2_000);
        all.extend(sent_at(&mut outbox, 10_000));
        assert_eq!(all, expected, "{kind:?}");
    }
}

#[test]
fn a_batch_is_sent_when_it_is_full_or_its_first_event_is_old_enough() {
    let mut outbox = outbox();
    assert!(outbox.note(&occupied("0"), at(0)), "the sender has to be woken");
    for number in 1..19 {
        assert!(!outbox.note(&occupied(&number.to_string()), at(10)));
    }
    assert_eq!(outbox.next(at(249), false), Next::WaitUntil(Some(at(250))));
    assert!(outbox.note(&occupied("19"), at(100)));
    let Next::Batch(batch) = outbox.next(at(100), false) else { panic!("it is full") };
    assert_eq!((batch.len(), outbox.len()), (20, 20), "they count until they are sent");
    outbox.sent();
    assert_eq!((outbox.len(), outbox.next(at(1_000), false)), (0, Next::WaitUntil(None)));
}

#[test]
fn a_batch_is_bounded_in_events_and_bytes() {
    let mut outbox = outbox();
    for number in 0..250 {
        outbox.note(&occupied(&number.to_string()), at(0));
    }
    let data = RawValue::from_string(format!("\"{}\"", "x".repeat(10_000))).unwrap();
    for _ in 0..100 {
        outbox.note(
            &Occurrence::ClientEvent {
                channel: "private-a",
                event: "client-x",
                data: Some(&data),
                socket_id: "1.2",
                user_id: None,
            },
            at(0),
        );
    }
    let mut sizes = Vec::new();
    while let Next::Batch(batch) = outbox.next(at(300), false) {
        sizes.push((batch.len(), batch.iter().map(|json| json.len()).sum::<usize>() <= 512 * 1024));
        outbox.sent();
    }
    assert_eq!(sizes.iter().map(|(events, _)| events).sum::<usize>(), 350);
    assert!(sizes.iter().all(|(events, fits)| *events <= 100 && *fits), "{sizes:?}");
}

#[test]
fn what_finds_no_space_is_counted() {
    let mut outbox = Outbox::new(EventKind::ALL.into_iter().collect(), 3);
    for channel in ["a", "b"] {
        outbox.note(&occupied(channel), at(0));
    }
    outbox.note(&vacated("b"), at(0));
    outbox.note(&occupied("c"), at(0));
    outbox.note(&vacated("a"), at(0));
    assert_eq!((outbox.len(), outbox.take_lost(), outbox.take_lost()), (3, 2, 0));
    assert_eq!(sent_at(&mut outbox, 3_000), ["channel_occupied a", "channel_occupied b", "channel_vacated b"]);
    assert!(outbox.note(&occupied("c"), at(4_000)));
}

#[test]
fn the_number_of_subscribers_is_told_once_it_has_settled() {
    let mut outbox = outbox();
    for (before, now) in [(0, 1), (1, 2), (2, 1), (1, 2)] {
        outbox.note(&count(before, now), at(0));
    }
    assert_eq!(sent_at(&mut outbox, 600), ["subscription_count room 2"]);
    outbox.note(&count(2, 1), at(1_000));
    outbox.note(&count(1, 2), at(1_100));
    assert_eq!(sent_at(&mut outbox, 2_000), [""; 0], "it is back at what was told");
    // The last one leaves, and comes back within the grace.
    outbox.note(&count(2, 1), at(3_000));
    outbox.note(&count(1, 0), at(3_000));
    outbox.note(&count(0, 1), at(5_000));
    outbox.note(&count(1, 2), at(5_000));
    assert_eq!(sent_at(&mut outbox, 20_000), [""; 0]);
    outbox.note(&count(2, 0), at(30_000));
    assert_eq!(sent_at(&mut outbox, 32_999), [""; 0]);
    assert_eq!(sent_at(&mut outbox, 33_000), ["subscription_count room 0"]);
}

#[test]
fn many_subscribers_are_told_of_every_five_seconds() {
    let mut outbox = outbox();
    let mut all = Vec::new();
    for tick in 0..100_u64 {
        let number = 200 + usize::try_from(tick).unwrap();
        outbox.note(&count(number, number + 1), at(tick * 100));
        all.extend(sent_at(&mut outbox, tick * 100 + 50));
    }
    all.extend(sent_at(&mut outbox, 60_000));
    assert!(all.len() <= 3, "{all:?}");
    assert_eq!(all.last().unwrap(), "subscription_count room 300");
}

#[test]
fn at_the_end_everything_is_sent_at_once() {
    let mut outbox = outbox();
    outbox.note(&occupied("a"), at(0));
    outbox.note(&vacated("b"), at(0));
    outbox.note(&count(2, 1), at(0));
    let Next::Batch(batch) = outbox.next(at(1), true) else { panic!("nothing waits any more") };
    assert_eq!(told(&batch), ["channel_occupied a", "subscription_count room 1", "channel_vacated b"]);
    assert_eq!(outbox.end(), 3);
    outbox.note(&occupied("c"), at(2));
    assert_eq!((outbox.len(), outbox.end(), outbox.take_lost()), (0, 0, 1));
}

#[test]
fn an_event_of_a_client_has_its_data_as_it_was_sent() {
    let mut outbox = outbox();
    let data = RawValue::from_string("{\"message\": \"h\\u00e9llo\"}".to_owned()).unwrap();
    for (data, user_id) in [(Some(&*data), Some("7")), (None, None)] {
        outbox.note(
            &Occurrence::ClientEvent {
                channel: "presence-a",
                event: "client-greeting",
                data,
                socket_id: "1.2",
                user_id,
            },
            at(0),
        );
    }
    let Next::Batch(batch) = outbox.next(at(250), false) else { panic!("it is due") };
    assert_eq!(
        batch.iter().map(|json| &**json).collect::<Vec<_>>(),
        [
            r#"{"name":"client_event","channel":"presence-a","event":"client-greeting","data":{"message": "h\u00e9llo"},"socket_id":"1.2","user_id":"7"}"#,
            r#"{"name":"client_event","channel":"presence-a","event":"client-greeting","socket_id":"1.2"}"#,
        ]
    );
}

#[test]
fn a_set_of_kinds_has_those_that_it_was_made_of() {
    let kinds: EventKinds = [EventKind::MemberAdded, EventKind::SubscriptionCount].into_iter().collect();
    for kind in EventKind::ALL {
        let is_in = matches!(kind, EventKind::MemberAdded | EventKind::SubscriptionCount);
        assert_eq!((kinds.has(kind), EventKind::of(kind.name())), (is_in, Some(kind)));
    }
    assert_eq!(EventKind::of("member"), None);
    assert!(EventKinds::default().is_empty());
}

proptest! {
    /// Whatever the clients do, a receiver that follows the events knows in the end which channels are occupied, and is
    /// never told the same of a channel twice in a row.
    #[test]
    fn a_receiver_knows_which_channels_are_occupied(
        steps in prop::collection::vec((0_usize..4, 0_u64..5_000), 0..60)
    ) {
        let names = ["a", "b", "c", "d"];
        let (mut outbox, mut now) = (outbox(), 0);
        let (mut real, mut known) = (BTreeSet::new(), BTreeSet::new());
        let mut learn = |sent: Vec<String>| {
            for event in sent {
                let (name, channel) = event.split_once(' ').unwrap();
                let changed = match name {
                    "channel_occupied" => known.insert(channel.to_owned()),
                    _ => known.remove(channel),
                };
                assert!(changed, "told twice: {event}");
            }
            known.clone()
        };
        for (index, pause) in steps {
            now += pause;
            let name = names[index];
            if real.remove(name) {
                outbox.note(&vacated(name), at(now));
            } else {
                real.insert(name.to_owned());
                outbox.note(&occupied(name), at(now));
            }
            learn(sent_at(&mut outbox, now));
        }
        learn(sent_at(&mut outbox, now + 3_000));
        let last = learn(sent_at(&mut outbox, now + 3_500));
        prop_assert_eq!(last, real);
        prop_assert_eq!(outbox.len(), 0);
    }
}
