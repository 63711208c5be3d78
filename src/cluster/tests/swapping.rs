//! Swaps: nothing is changed that is not as it was read.

use super::*;
use crate::cluster::{Open, Record, SwappedChannel, VERSION};

fn swapped(channel: &str, read: Option<u64>, version: u64) -> SwappedChannel {
    let value = Record { announced: 7, ..Record::default() }.encode(version);
    let (key, read) = (keys().channel("joined", channel), read.map(u64::to_be_bytes));
    SwappedChannel { key, read, value, lifetime: REMEMBERED, publishes: false }
}

fn own(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(Record::decode(bytes).expect("a record").1)
}

#[tokio::test]
async fn a_channel_is_swapped_only_if_it_is_as_it_was_read() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let Read { stamp, channels, .. } = node.read(&["1", "2"]).await;
    assert_eq!(channels, [Vec::<u8>::new(), Vec::new()]);
    let swap = |channels| Swap { stamp: stamp.clone(), channels, ..Swap::default() };
    let both = vec![swapped("1", None, 1), swapped("2", None, 2)];
    assert_eq!(node.swap(swap(both.clone())).await, Answer::Done(Swapped::Done));
    assert_eq!(node.swap(swap(both)).await, Answer::Done(Swapped::Conflict), "they are there now");
    // One of two that has changed: neither is swapped.
    let both = vec![swapped("1", Some(1), 3), swapped("2", Some(9), 4)];
    assert_eq!(node.swap(swap(both)).await, Answer::Done(Swapped::Conflict));
    let read = node.read(&["1", "2"]).await;
    assert_eq!((own(&read.channels[0]), own(&read.channels[1])), (1, 2));
    let removed = SwappedChannel { value: Vec::new(), ..swapped("1", Some(1), 0) };
    assert_eq!(node.swap(swap(vec![removed])).await, Answer::Done(Swapped::Done));
    assert_eq!(node.read(&["1"]).await.channels, [Vec::<u8>::new()]);
    let ttl = server.command(&["PTTL", &String::from_utf8(keys().channel("joined", "2")).expect("text")]);
    let ttl: u64 = ttl.trim_start_matches(':').trim().parse().expect("a number");
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_read_prolongs_what_is_remembered_now_and_then() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let channels = vec![swapped("1", None, 1), SwappedChannel { lifetime: REMEMBERED / 3, ..swapped("2", None, 2) }];
    assert_eq!(node.swap(Swap { channels, ..Swap::default() }).await, Answer::Done(Swapped::Done));
    server.command(&["CONFIG", "RESETSTAT"]);
    node.read(&["1", "2", "3"]).await;
    node.read(&["1", "2", "3"]).await;
    let statistics = server.command(&["INFO", "commandstats"]);
    assert!(statistics.contains("cmdstat_pexpire:calls=1,"), "one of the two was old: {statistics}");
}

#[tokio::test]
async fn a_swapped_channel_that_is_awaited_is_published() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let mut subscriber = server.subscribe(&keys().settled());
    let silent = vec![swapped("1", None, 1)];
    assert_eq!(node.swap(Swap { channels: silent, ..Swap::default() }).await, Answer::Done(Swapped::Done));
    let channels = vec![SwappedChannel { publishes: true, ..swapped("2", None, 2) }];
    assert_eq!(node.swap(Swap { channels, ..Swap::default() }).await, Answer::Done(Swapped::Done));
    let message = subscriber.message();
    assert!(
        message.ends_with(&format!("{}\r\n", String::from_utf8_lossy(&keys().channel("joined", "2")))),
        "{message}"
    );
}

#[tokio::test]
async fn a_claim_rests_on_the_apps_state_and_a_settlement_does_not() {
    let server = Server::start();
    let mut node = Node::entered(&server, "a", LONG).await;
    let Read { stamp, .. } = node.read(&["1"]).await;
    node.enter(false, RULES).await;
    let claim = Swap { stamp, channels: vec![swapped("1", None, 1)], ..Swap::default() };
    assert_eq!(node.swap(claim.clone()).await, Answer::Done(Swapped::Conflict), "another epoch and doubt");
    assert_eq!(node.swap(Swap { stamp: Vec::new(), ..claim }).await, Answer::Done(Swapped::Done));
}

#[tokio::test]
async fn a_claim_does_not_rest_on_members_that_are_missing_meanwhile() {
    let server = Server::start();
    close_history(&server).await;
    let node = Node::entered(&server, "a", LONG).await;
    // Its lease is over at once, which the next script notices.
    let Read { stamp, open: None, epoch, .. } = node.read(&["1"]).await else { panic!("nothing opens the app") };
    Node::entered(&server, "b", Terms { lease: Duration::ZERO, ..LONG }).await;
    let claim = Swap { stamp, channels: vec![swapped("1", None, 1)], ..Swap::default() };
    assert_eq!(node.swap(claim).await, Answer::Done(Swapped::Conflict));
    let read = node.read(&["1"]).await;
    assert_eq!((read.open, read.epoch), (Some(Open::Missing), epoch));
}

#[tokio::test]
async fn a_ticket_for_the_whole_app_begins_an_epoch_and_is_part_of_what_claims_rest_on() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let other = Node::entered(&server, "b", LONG).await;
    let before = node.read(&[]).await;
    let taken = Swap { stamp: before.stamp.clone(), taken: "wide".into(), ..Swap::default() };
    assert_eq!(node.swap(taken).await, Answer::Done(Swapped::Done));
    let held = other.read(&[]).await;
    assert_eq!(held.wide, 1);
    assert_ne!(held.epoch, before.epoch);
    let claim = Swap { stamp: before.stamp, channels: vec![swapped("1", None, 1)], ..Swap::default() };
    assert_eq!(other.swap(claim).await, Answer::Done(Swapped::Conflict));
    let doubt = other.until("the doubt of the start ends", |read| read.doubt_left.is_zero()).await.epoch;
    assert_eq!(node.swap(Swap { ended: "wide".into(), ..Swap::default() }).await, Answer::Done(Swapped::Done));
    let ended = other.read(&[]).await;
    assert_eq!((ended.wide, ended.doubt_left, &ended.epoch), (0, Duration::ZERO, &doubt));
    // Settled a second time: its ticket is gone, whatever the reason is.
    assert_eq!(node.swap(Swap { ended: "wide".into(), ..Swap::default() }).await, Answer::Done(Swapped::Done));
    let gone = other.read(&[]).await;
    assert!(gone.doubt_left > Duration::ZERO && gone.epoch != ended.epoch, "{gone:?}");
}

#[tokio::test]
async fn a_claim_rests_on_the_epoch_also_if_all_else_is_as_it_was() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let Read { stamp, .. } = node.read(&["1"]).await;
    // Of a ticket for the whole app that was taken and has ended, nothing is left but its epoch.
    let taken = Swap { taken: "wide".into(), ..Swap::default() };
    for swap in [taken, Swap { ended: "wide".into(), ..Swap::default() }] {
        assert_eq!(node.swap(swap).await, Answer::Done(Swapped::Done));
    }
    let claim = Swap { stamp, channels: vec![swapped("1", None, 1)], ..Swap::default() };
    assert_eq!(node.swap(claim).await, Answer::Done(Swapped::Conflict));
}

#[tokio::test]
async fn an_ambiguous_outcome_of_such_a_ticket_puts_the_app_in_doubt() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let before = node.until("the doubt of the start ends", |read| read.doubt_left.is_zero()).await;
    assert_eq!(node.swap(Swap { taken: "wide".into(), ..Swap::default() }).await, Answer::Done(Swapped::Done));
    let ended = Swap { ended: "wide".into(), is_unsure: true, ..Swap::default() };
    assert_eq!(node.swap(ended).await, Answer::Done(Swapped::Done));
    let after = node.read(&[]).await;
    assert!(after.doubt_left > Duration::ZERO && after.epoch != before.epoch, "{after:?}");
}

#[tokio::test]
async fn the_tickets_of_a_node_that_comes_back_are_dropped_with_a_doubt() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let mut other = Node::entered(&server, "b", LONG).await;
    assert_eq!(other.swap(Swap { taken: "wide".into(), ..Swap::default() }).await, Answer::Done(Swapped::Done));
    assert_eq!(node.read(&[]).await.wide, 1);
    other.enter(false, RULES).await;
    let read = node.read(&[]).await;
    assert!(read.wide == 0 && read.doubt_left > Duration::ZERO, "{read:?}");
}

#[tokio::test]
async fn a_channel_in_a_later_version_is_not_changed() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let mut later = swapped("1", None, 1);
    later.value[0] = VERSION + 1;
    let swap = |channels| Swap { channels, ..Swap::default() };
    assert_eq!(node.swap(swap(vec![later])).await, Answer::Done(Swapped::Done));
    refused(node.swap(swap(vec![swapped("2", None, 1), swapped("1", Some(1), 2)])).await, Why::Newer);
    assert_eq!(node.read(&["2"]).await.channels, [Vec::<u8>::new()], "nothing is written then");
}

#[tokio::test]
async fn a_full_server_refuses_all_scripts_and_changes_nothing() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = node.client.read(&keys(), &node.tenure, &[]).await.expect_err("it is full");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    node.read(&[]).await;
}
