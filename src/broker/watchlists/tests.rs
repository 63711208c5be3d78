//! Watchlists against a simple model: the events of watchers stay exact while connections sign in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use serde_json::Value;

use super::super::mailbox::{Outgoing, QueueLimits};
use super::*;

fn mailbox(number: usize) -> Arc<Mailbox> {
    let id = SocketId::parse(&format!("{number}.1")).unwrap();
    Arc::new(Mailbox::new(id, QueueLimits { frames: 1_000_000, bytes: usize::MAX }, Arc::default(), Arc::default()))
}

fn list(users: &[&str]) -> Vec<Arc<str>> {
    users.iter().copied().map(Arc::from).collect()
}

/// The received events: for each frame its groups, as `+` or `-` and the users.
fn read(mailbox: &Mailbox) -> Vec<String> {
    let mut read = Vec::new();
    while let Poll::Ready(Outgoing::Frame(frame)) = mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!((&frame["event"], &frame["channel"]), (&"pusher_internal:watchlist_events".into(), &Value::Null));
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
        let groups = data["events"].as_array().unwrap().iter().map(|event| {
            let sign = if event["name"] == "online" { '+' } else { '-' };
            let users: Vec<&str> =
                event["user_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            assert!(!users.is_empty());
            format!("{sign}{}", users.join(","))
        });
        read.push(groups.collect::<Vec<_>>().join(" "));
    }
    read
}

#[test]
fn the_first_and_the_last_connection_cause_events() {
    let lists = Arc::new(Watchlists::default());
    let [anna, phone, tablet, zoe] = [0, 1, 2, 3].map(mailbox);
    let mut watching = lists.sign_in("anna".into(), &anna);
    watching.watch(list(&["boris", "zoe"]));
    let first = lists.sign_in("boris".into(), &phone);
    let second = lists.sign_in("boris".into(), &tablet);
    let mut late = lists.sign_in("zoe".into(), &zoe);
    late.watch(list(&["anna", "nobody", "boris"]));
    drop(first);
    drop(second);
    assert_eq!(read(&anna), ["-boris,zoe", "+boris", "+zoe", "-boris"]);
    assert_eq!(read(&zoe), ["+anna,boris -nobody", "-boris"]);
    // A closed connection and a connection without a watchlist receive nothing.
    drop(watching);
    let _again = lists.sign_in("boris".into(), &phone);
    assert_eq!((read(&anna).len(), read(&phone).len(), read(&tablet).len()), (0, 0, 0));
    assert_eq!(read(&zoe), ["-anna", "+boris"]);
}

#[test]
fn a_user_may_watch_itself() {
    let lists = Arc::new(Watchlists::default());
    let [one, two] = [0, 1].map(mailbox);
    let mut first = lists.sign_in("7".into(), &one);
    first.watch(list(&["7", "7"]));
    let mut second = lists.sign_in("7".into(), &two);
    second.watch(list(&["7"]));
    drop(first);
    assert_eq!((read(&one), read(&two)), (vec!["+7".to_owned()], vec!["+7".to_owned()]));
}

#[test]
fn a_watchlist_takes_the_place_of_the_one_before() {
    let lists = Arc::new(Watchlists::default());
    let [anna, boris, zoe] = [0, 1, 2].map(mailbox);
    let mut watching = lists.sign_in("anna".into(), &anna);
    watching.watch(list(&["boris"]));
    watching.watch(list(&["zoe"]));
    let there = [lists.sign_in("boris".into(), &boris), lists.sign_in("zoe".into(), &zoe)];
    watching.watch(Vec::new());
    drop(there);
    assert_eq!(read(&anna), ["-boris", "-zoe", "+zoe"]);
}

#[test]
fn one_change_is_one_buffer_for_all() {
    let lists = Arc::new(Watchlists::default());
    let mailboxes: Vec<_> = (0..3).map(mailbox).collect();
    let mut watching: Vec<_> = mailboxes.iter().map(|mailbox| lists.sign_in("anna".into(), mailbox)).collect();
    watching.iter_mut().for_each(|watching| watching.watch(list(&["boris"])));
    mailboxes.iter().for_each(|mailbox| drop(read(mailbox)));
    let _boris = lists.sign_in("boris".into(), &mailbox(3));
    let place = |mailbox: &Arc<Mailbox>| match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        Poll::Ready(Outgoing::Frame(frame)) => frame.as_str().as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(mailboxes.iter().map(place).collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn closed_connections_leave_no_entries() {
    let lists = Arc::new(Watchlists::default());
    let users: Vec<String> = (0..MAX_WATCHED).map(|user| user.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut signed_in: Vec<_> = (0..50).map(|number| lists.sign_in(users[number].into(), &mailbox(number))).collect();
    signed_in.iter_mut().for_each(|signed_in| signed_in.watch(list(&users)));
    assert_eq!(lists.lock().0.len(), MAX_WATCHED);
    // The text of an id is stored once for all watchers.
    assert!(signed_in.iter().all(|other| Arc::ptr_eq(&other.watched[7], &signed_in[7].user)));
    drop(signed_in);
    assert!(lists.lock().0.is_empty());
}

const PEOPLE: usize = 4;

/// The user of a connection; several connections have the same user.
fn user(connection: usize) -> String {
    (connection % PEOPLE).to_string()
}

/// An action of a connection: it signs in, possibly again, with a watchlist, or it closes.
#[derive(Debug, Clone)]
enum Act {
    Watch { connection: usize, users: Vec<usize> },
    Go { connection: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let users = proptest::collection::vec(0..PEOPLE + 1, 0..4);
    prop_oneof![
        3 => (0..10_usize, users).prop_map(|(connection, users)| Act::Watch { connection, users }),
        2 => (0..10_usize).prop_map(|connection| Act::Go { connection }),
    ]
}

/// Applies the received events: which users are online and which are offline. No state may be sent twice.
fn replay(events: &[String], known: &mut BTreeMap<String, bool>) {
    for group in events.iter().flat_map(|frame| frame.split(' ')) {
        let online = group.starts_with('+');
        for user in group[1..].split(',') {
            assert_ne!(known.insert(user.to_owned(), online), Some(online), "{user} in {events:?}");
        }
    }
}

proptest! {
    /// A client that replays the received events knows exactly which users are online, for any sequence of actions.
    #[test]
    fn watchers_know_exactly_who_is_online(acts in proptest::collection::vec(act(), 1..200)) {
        let lists = Arc::new(Watchlists::default());
        let mailboxes: Vec<_> = (0..10).map(mailbox).collect();
        let mut there: BTreeMap<usize, (SignedIn, BTreeSet<String>)> = BTreeMap::new();
        let mut known: Vec<BTreeMap<String, bool>> = vec![BTreeMap::new(); 10];
        for act in acts {
            match act {
                Act::Watch { connection, users } => {
                    let mailbox = &mailboxes[connection];
                    let (signed_in, watched) = there.entry(connection).or_insert_with(|| (lists.sign_in(user(connection).into(), mailbox), BTreeSet::new()));
                    *watched = users.iter().map(ToString::to_string).collect();
                    known[connection].clear();
                    signed_in.watch(users.iter().map(|user| user.to_string().into()).collect());
                }
                Act::Go { connection } => drop(there.remove(&connection)),
            }
            let online: BTreeSet<String> = there.keys().copied().map(user).collect();
            for (connection, mailbox) in mailboxes.iter().enumerate() {
                let events = read(mailbox);
                prop_assert!(there.contains_key(&connection) || events.is_empty(), "{} has closed and received {:?}", connection, events);
                replay(&events, &mut known[connection]);
            }
            for (connection, (_, watched)) in &there {
                let expected: BTreeMap<String, bool> = watched.iter().map(|user| (user.clone(), online.contains(user))).collect();
                prop_assert_eq!(&known[*connection], &expected, "what {} knows", connection);
            }
        }
    }
}

/// The same with several threads: all watchers see the same history, in which each user alternates between online and
/// offline.
#[test]
fn all_see_one_history_from_several_threads() {
    let lists = Arc::new(Watchlists::default());
    let users: Vec<Arc<str>> = (0..PEOPLE).map(|user| user.to_string().into()).collect();
    let watchers = [100, 101, 102].map(mailbox);
    let watching = watchers.each_ref().map(|mailbox| {
        let mut signed_in = lists.sign_in("watcher".into(), mailbox);
        signed_in.watch(users.clone());
        signed_in
    });
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (lists, users, mailbox) = (&lists, &users, mailbox(number));
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut signed_in = lists.sign_in(user(number).into(), &mailbox);
                    signed_in.watch(users.clone());
                    drop(signed_in);
                    // The events are complete and without repetition.
                    replay(&read(&mailbox), &mut BTreeMap::new());
                }
            });
        }
    });
    drop(watching);
    let [first, second, third] = watchers.each_ref().map(|mailbox| read(mailbox));
    assert!(first == second && second == third);
    let mut known = BTreeMap::new();
    replay(&first, &mut known);
    assert!(known.len() == PEOPLE && known.values().all(|online| !online), "{known:?}");
    assert!(lists.lock().0.is_empty());
}
