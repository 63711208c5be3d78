//! Channels against a simple model: which frames subscribers receive, and that counts stay exact while connections join
//! and leave.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use serde_json::Value;

use super::super::channel::MAX_MEMBERS;
use super::super::mailbox::{Outgoing, QueueLimits};
use super::*;
use crate::metrics::Metrics;

fn channels() -> Channels {
    with_counts(false)
}

fn with_counts(sends_count: bool) -> Channels {
    let channel_options = ChannelOptions { sends_count, cache_ttl: Duration::from_secs(60), max_cached: 64_000 };
    Channels::new(channel_options, Metrics::new().realtime("1001"))
}

fn mailbox(number: usize) -> Arc<Mailbox> {
    let id = SocketId::parse(&format!("{number}.1")).unwrap();
    Arc::new(Mailbox::new(id, QueueLimits { frames: 100_000, bytes: usize::MAX }, Arc::default(), Arc::default()))
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn identity(user: &str) -> Identity {
    Identity { user_id: user.into(), user_info: None }
}

fn join(
    channels: &Channels,
    name: &str,
    mailbox: &Arc<Mailbox>,
    user: Option<&str>,
    now: Moment,
) -> Result<(), ChannelFull> {
    channels.join(&name.into(), ChannelType::of(name).unwrap(), mailbox, user.map(identity), now, Vec::new)
}

fn publish(channels: &Channels, name: &str, data: &str, except: Option<SocketId>, now: Moment) {
    channels.publish(name, ChannelType::of(name).unwrap(), &Event::new("e", data), &data.into(), except, now);
}

/// The received events: the last part of the name, and the data.
fn read(mailbox: &Mailbox) -> Vec<(String, String)> {
    let mut read = Vec::new();
    while let Poll::Ready(Outgoing::Frame(frame)) = mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let event = frame["event"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        read.push((event, frame["data"].as_str().unwrap_or_default().to_owned()));
    }
    read
}

fn events(mailbox: &Mailbox) -> Vec<String> {
    read(mailbox).into_iter().map(|(event, _)| event).collect()
}

#[test]
fn an_event_reaches_all_but_the_excluded() {
    let channels = channels();
    let (one, two, other) = (mailbox(1), mailbox(2), mailbox(3));
    join(&channels, "c", &one, None, at(0)).unwrap();
    join(&channels, "c", &two, None, at(0)).unwrap();
    join(&channels, "d", &other, None, at(0)).unwrap();
    publish(&channels, "c", "x", None, at(0));
    publish(&channels, "c", "y", Some(two.id()), at(0));
    channels.relay("c", &"{\"event\":\"client-z\"}".into(), one.id());
    assert_eq!(events(&one), ["subscription_succeeded", "e", "e"]);
    assert_eq!(events(&two), ["subscription_succeeded", "e", "client-z"]);
    assert_eq!(events(&other), ["subscription_succeeded"]);
}

#[test]
fn one_event_is_one_buffer_for_all() {
    let channels = channels();
    let mailboxes: Vec<_> = (0..3).map(mailbox).collect();
    for mailbox in &mailboxes {
        join(&channels, "c", mailbox, None, at(0)).unwrap();
        let _ = read(mailbox);
    }
    publish(&channels, "c", "x", None, at(0));
    let places: BTreeSet<_> = mailboxes
        .iter()
        .map(|mailbox| match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(Outgoing::Frame(frame)) => frame.as_str().as_ptr(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places.len(), 1);
}

#[test]
fn a_cache_channel_begins_with_its_last_event() {
    let channels = channels();
    let (early, late, last) = (mailbox(1), mailbox(2), mailbox(3));
    join(&channels, "cache-c", &early, None, at(0)).unwrap();
    publish(&channels, "cache-c", "x", None, at(0));
    publish(&channels, "cache-c", "y", Some(early.id()), at(1_000));
    channels.relay("cache-c", &"{\"event\":\"client-z\"}".into(), late.id());
    assert_eq!(events(&early), ["subscription_succeeded", "cache_miss", "e", "client-z"]);
    // The event is kept while there are no subscribers.
    channels.leave(&"cache-c".into(), early.id(), at(2_000));
    assert!(!channels.snapshot("cache-c").occupied);
    join(&channels, "cache-c", &late, None, at(60_999)).unwrap();
    assert_eq!(read(&late)[1..], [("e".to_owned(), "y".to_owned())]);
    assert_eq!(channels.cached("cache-c", at(51_000)), Some(("y".into(), Duration::from_secs(10))));
    channels.sweep(at(61_000));
    assert_eq!(channels.cached("cache-c", at(61_000)), None);
    join(&channels, "cache-c", &last, None, at(61_000)).unwrap();
    assert_eq!(events(&last), ["subscription_succeeded", "cache_miss"]);
    // An event published before the first subscription is kept on a cache channel only.
    publish(&channels, "private-cache-d", "z", None, at(0));
    publish(&channels, "private-d", "z", None, at(0));
    assert!(channels.cached("private-cache-d", at(0)).is_some() && channels.cached("private-d", at(0)).is_none());
}

#[test]
fn a_user_with_two_connections_is_one_member() {
    let channels = channels();
    let (guest, first, second) = (mailbox(1), mailbox(2), mailbox(3));
    let name: Arc<str> = "presence-c".into();
    join(&channels, &name, &guest, Some("guest"), at(0)).unwrap();
    join(&channels, &name, &first, Some("anna"), at(0)).unwrap();
    join(&channels, &name, &second, Some("anna"), at(0)).unwrap();
    assert_eq!(channels.snapshot(&name).counts, Counts { subscriptions: 3, users: 2 });
    assert!(read(&second)[0].1.contains(r#""ids":["anna","guest"]"#));
    channels.leave(&name, first.id(), at(0));
    assert_eq!(events(&guest), ["subscription_succeeded", "member_added"]);
    channels.leave(&name, second.id(), at(0));
    assert_eq!(read(&guest), [("member_removed".to_owned(), r#"{"user_id":"anna"}"#.to_owned())]);
    assert_eq!(channels.users(&name), [Arc::from("guest")]);
}

#[test]
fn a_presence_channel_has_room_for_a_hundred() {
    let channels = channels();
    for number in 0..MAX_MEMBERS {
        join(&channels, "presence-c", &mailbox(number), Some(&number.to_string()), at(0)).unwrap();
    }
    let before = channels.snapshot("presence-c").counts;
    assert_eq!(join(&channels, "presence-c", &mailbox(1000), Some("one more"), at(0)), Err(ChannelFull));
    assert_eq!(channels.snapshot("presence-c").counts, before);
    join(&channels, "presence-c", &mailbox(1001), Some("7"), at(0)).unwrap();
    channels.leave(&"presence-c".into(), mailbox(8).id(), at(0));
    join(&channels, "presence-c", &mailbox(1000), Some("one more"), at(0)).unwrap();
}

#[test]
fn the_number_of_subscribers_is_sent_at_once_or_deferred() {
    let channels = with_counts(true);
    let watcher = mailbox(0);
    join(&channels, "c", &watcher, None, at(0)).unwrap();
    for number in 1..10 {
        join(&channels, "c", &mailbox(number), None, at(0)).unwrap();
    }
    let counts = |watcher: &Mailbox| -> Vec<u64> {
        let events = read(watcher).into_iter().filter(|(event, _)| event == "subscription_count");
        events
            .map(|(_, data)| serde_json::from_str::<Value>(&data).unwrap()["subscription_count"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(counts(&watcher), (1..=10).collect::<Vec<_>>());
    // Frequent joins do not send a count each, but all subscribers receive the final number.
    for number in 10..100 {
        join(&channels, "c", &mailbox(number), None, at(0)).unwrap();
    }
    assert_eq!(counts(&watcher), [0; 0]);
    channels.send_deferred_counts(at(500));
    channels.send_deferred_counts(at(500));
    assert_eq!(counts(&watcher), [100]);
    for number in 100..150 {
        join(&channels, "c", &mailbox(number), None, at(1_000)).unwrap();
    }
    channels.send_deferred_counts(at(5_499));
    assert_eq!(counts(&watcher), [0; 0]);
    channels.send_deferred_counts(at(5_500));
    channels.send_deferred_counts(at(20_000));
    assert_eq!(counts(&watcher), [150]);
    // After a pause the first change is sent at once, the next one is deferred.
    channels.leave(&"c".into(), mailbox(149).id(), at(30_000));
    channels.leave(&"c".into(), mailbox(148).id(), at(30_000));
    assert_eq!(counts(&watcher), [149]);
    // With few subscribers there is no pause of five seconds, and no number is sent twice.
    for number in 50..148 {
        channels.leave(&"c".into(), mailbox(number).id(), at(30_000));
    }
    channels.send_deferred_counts(at(31_000));
    assert_eq!(counts(&watcher), [50]);
    for number in (1..50).rev() {
        channels.leave(&"c".into(), mailbox(number).id(), at(31_000 + 100 * u64::try_from(50 - number).unwrap()));
    }
    channels.send_deferred_counts(at(60_000));
    assert_eq!(counts(&watcher), (1..50).rev().collect::<Vec<_>>());
    // Presence channels have member events instead.
    let member = mailbox(500);
    join(&channels, "presence-c", &member, Some("7"), at(0)).unwrap();
    assert_eq!(events(&member), ["subscription_succeeded"]);
}

#[test]
fn vacant_channels_leave_nothing() {
    let metrics = Metrics::new();
    let channel_options = ChannelOptions { sends_count: true, cache_ttl: Duration::from_secs(60), max_cached: 64 };
    let channels = Channels::new(channel_options, metrics.realtime("1001"));
    for number in 0..1_000 {
        let (name, mailbox): (Arc<str>, _) = (format!("c{number}").into(), mailbox(number));
        channels.join(&name, ChannelType::of(&name).unwrap(), &mailbox, None, at(0), Vec::new).unwrap();
        channels.leave(&name, mailbox.id(), at(0));
        // Leaving again, and leaving without a subscription, has no effect.
        channels.leave(&name, mailbox.id(), at(0));
    }
    assert_eq!(channels.list("").len(), 0);
    assert!(channels.occupied.is_empty());
    assert!(metrics.encode(&crate::metrics::Sample::default()).contains("usher_broker_channels{app=\"1001\"} 0"));
}

#[test]
fn channels_are_listed_by_their_beginning() {
    let channels = channels();
    for (number, name) in ["presence-a", "presence-b", "private-a", "#server-to-user-7"].into_iter().enumerate() {
        join(&channels, name, &mailbox(number), name.starts_with("presence-").then_some("7"), at(0)).unwrap();
    }
    let list = |prefix| channels.list(prefix).into_iter().map(|(name, _)| name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(list("presence-"), ["presence-a", "presence-b"].map(str::to_owned).into());
    assert_eq!(list("").len(), 3);
    assert_eq!(list("x").len(), 0);
}

/// An action in the model.
#[derive(Debug, Clone)]
enum Action {
    Join { connection: usize, channel: usize },
    Leave { connection: usize, channel: usize },
    Disconnect { connection: usize },
}

const USERS: usize = 4;

fn action() -> impl Strategy<Value = Action> {
    let (connection, channel) = (0..10_usize, 0..3_usize);
    prop_oneof![
        4 => (connection.clone(), channel.clone()).prop_map(|(connection, channel)| Action::Join { connection, channel }),
        3 => (connection.clone(), channel).prop_map(|(connection, channel)| Action::Leave { connection, channel }),
        1 => connection.prop_map(|connection| Action::Disconnect { connection }),
    ]
}

proptest! {
    /// A subscriber that replays the received events knows exactly the members, and the counts are exact, for any
    /// sequence of actions.
    #[test]
    fn presence_is_exact_under_churn(actions in proptest::collection::vec(action(), 1..200)) {
        let channels = channels();
        let names: [Arc<str>; 3] = ["presence-a".into(), "presence-b".into(), "presence-cache-c".into()];
        let mailboxes: Vec<_> = (0..10).map(mailbox).collect();
        let user = |connection: usize| (connection % USERS).to_string();
        let mut subscribed: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut seen: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
        for action in actions {
            match action {
                Action::Join { connection, channel } => {
                    if subscribed.insert((channel, connection)) {
                        join(&channels, &names[channel], &mailboxes[connection], Some(&user(connection)), at(0)).unwrap();
                    }
                }
                Action::Leave { connection, channel } => {
                    subscribed.remove(&(channel, connection));
                    channels.leave(&names[channel], mailboxes[connection].id(), at(0));
                }
                Action::Disconnect { connection } => {
                    for (channel, name) in names.iter().enumerate() {
                        subscribed.remove(&(channel, connection));
                        channels.leave(name, mailboxes[connection].id(), at(0));
                    }
                }
            }
            for (connection, mailbox) in mailboxes.iter().enumerate() {
                replay(mailbox, &names, connection, &mut seen);
            }
            for (channel, name) in names.iter().enumerate() {
                let connections: Vec<usize> = subscribed.iter().filter(|(of, _)| *of == channel).map(|(_, connection)| *connection).collect();
                let users: BTreeSet<String> = connections.iter().map(|connection| user(*connection)).collect();
                prop_assert_eq!(channels.snapshot(name).counts, Counts { subscriptions: connections.len(), users: users.len() });
                prop_assert_eq!(channels.users(name).iter().map(|id| id.to_string()).collect::<BTreeSet<_>>(), users.clone());
                for connection in connections {
                    prop_assert_eq!(&seen[&(channel, connection)], &users, "what {} knows of {}", connection, name);
                }
            }
        }
    }
}

/// The same with several threads: in the end all subscribers have seen the same history.
#[test]
fn presence_is_exact_for_several_threads() {
    let channels = channels();
    let name: Arc<str> = "presence-a".into();
    let mailboxes: Vec<_> = (0..16).map(mailbox).collect();
    std::thread::scope(|scope| {
        for (number, mailbox) in mailboxes.iter().enumerate() {
            let (channels, name) = (&channels, &name);
            scope.spawn(move || {
                let user = (number % USERS).to_string();
                for _ in 0..200 {
                    channels
                        .join(name, ChannelType::of(name).unwrap(), mailbox, Some(identity(&user)), at(0), Vec::new)
                        .unwrap();
                    channels.leave(name, mailbox.id(), at(0));
                }
                channels
                    .join(name, ChannelType::of(name).unwrap(), mailbox, Some(identity(&user)), at(0), Vec::new)
                    .unwrap();
            });
        }
    });
    let mut seen = BTreeMap::new();
    for (connection, mailbox) in mailboxes.iter().enumerate() {
        replay(mailbox, std::slice::from_ref(&name), connection, &mut seen);
    }
    let all_users: BTreeSet<String> = (0..USERS).map(|user| user.to_string()).collect();
    assert_eq!(channels.snapshot(&name).counts, Counts { subscriptions: 16, users: USERS });
    assert!(seen.values().all(|known| *known == all_users), "{seen:?}");
}

/// Applies the received events like pusher-js.
fn replay(
    mailbox: &Mailbox,
    names: &[Arc<str>],
    connection: usize,
    seen: &mut BTreeMap<(usize, usize), BTreeSet<String>>,
) {
    while let Poll::Ready(Outgoing::Frame(frame)) = mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let channel = names.iter().position(|name| **name == *frame["channel"].as_str().unwrap()).unwrap();
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap_or("{}")).unwrap();
        let known = seen.entry((channel, connection)).or_default();
        let user = || data["user_id"].as_str().unwrap().to_owned();
        match frame["event"].as_str().unwrap() {
            "pusher_internal:subscription_succeeded" => {
                *known = data["presence"]["ids"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|id| id.as_str().unwrap().to_owned())
                    .collect();
                assert_eq!(data["presence"]["count"], known.len());
            }
            "pusher_internal:member_added" => assert!(known.insert(user()), "added twice"),
            "pusher_internal:member_removed" => assert!(known.remove(&user()), "removed twice"),
            "pusher:cache_miss" => {}
            other => panic!("{other}"),
        }
    }
}
