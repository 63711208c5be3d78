//! Leases, histories, epochs and openness: each rule that the scripts keep.

use super::*;
use crate::cluster::Open;

#[tokio::test]
async fn an_empty_server_begins_a_history_that_is_open_and_in_doubt() {
    let server = Server::start();
    let terms = Terms { lease: Duration::from_secs(3), member_timeout: Duration::from_millis(200), ..TERMS };
    let mut node = Node::new(&server, "a", terms).await;
    refused(node.ask(&[]).await, Why::History);
    let entered = node.enter(true, RULES).await;
    assert_eq!(entered.open, Some(Open::History));
    assert_eq!((entered.lease_until - entered.now, entered.open_until - entered.now), (3_000, 3_200));
    assert!(entered.doubt_left >= terms.doubt_period, "{entered:?}");
    let before = node.read(&[]).await.epoch;
    // Once every process that the history does not name must be fenced: a new epoch, in doubt again.
    let renewing = async {
        loop {
            done(node.change(Action::Renew).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let closing = node.until("the history closes", |read| read.open.is_none());
    let closed = tokio::select! { closed = closing => closed, () = renewing => unreachable!() };
    assert_ne!(closed.epoch, before);
    assert!(closed.doubt_left > Duration::ZERO, "{closed:?}");
}

#[tokio::test]
async fn a_process_that_has_sent_nothing_enters_and_leaves_without_a_doubt() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let epoch = first.read(&[]).await.epoch;
    let second = Node::entered(&server, "b", LONG).await;
    let read = first.read(&[]).await;
    assert_eq!((&read.epoch, read.members.len()), (&epoch, 2));
    assert_eq!(done(second.change(Action::Leave).await).lease_until, 0);
    let read = first.read(&[]).await;
    assert_eq!((&read.epoch, read.members.len()), (&epoch, 1));
    refused(second.ask(&[]).await, Why::Unknown);
    refused(second.change(Action::Renew).await, Why::Unknown);
}

#[tokio::test]
async fn one_that_leaves_with_a_ticket_for_the_whole_app_leaves_a_doubt() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let second = Node::entered(&server, "b", LONG).await;
    let swap = Swap { taken: "wide".into(), ..Swap::default() };
    assert_eq!(second.swap(swap).await, Answer::Done(Swapped::Done));
    let held = first.until("the doubt of the start ends", |read| read.doubt_left.is_zero()).await;
    done(second.change(Action::Leave).await);
    let left = first.read(&[]).await;
    assert!(left.wide == 0 && left.doubt_left > Duration::ZERO && left.epoch != held.epoch, "{left:?}");
}

#[tokio::test]
async fn one_that_has_sent_something_enters_with_a_doubt() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let epoch = first.read(&[]).await.epoch;
    Node::new(&server, "b", LONG).await.enter(false, RULES).await;
    let read = first.read(&[]).await;
    assert_ne!(read.epoch, epoch);
    assert!(read.doubt_left > Duration::ZERO);
}

#[tokio::test]
async fn a_new_process_takes_its_predecessors_place_with_a_doubt() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let old = Node::entered(&server, "b", LONG).await;
    let epoch = first.read(&[]).await.epoch;
    Node::entered(&server, "b", LONG).await;
    let read = first.read(&[]).await;
    assert_ne!(read.epoch, epoch);
    assert!(read.doubt_left > Duration::ZERO && read.members.len() == 2, "{read:?}");
    refused(old.ask(&[]).await, Why::Generation);
    refused(old.change(Action::Renew).await, Why::Generation);
    refused(old.change(Action::Leave).await, Why::Generation);
    refused(old.swap(Swap::default()).await, Why::Generation);
}

#[tokio::test]
async fn a_lease_that_is_over_opens_the_app_and_only_an_entry_revives_the_member() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let terms = Terms { member_timeout: LONG.member_timeout, ..TERMS };
    let mut lost = Node::entered(&server, "b", terms).await;
    let read = first.until("the lease ends", |read| read.members.len() == 1).await;
    // A new history is open as well, which is named first.
    assert_eq!(read.open, Some(Open::History));
    refused(lost.change(Action::Renew).await, Why::Lease);
    refused(lost.ask(&[]).await, Why::Lease);
    refused(lost.swap(Swap::default()).await, Why::Lease);
    lost.enter(false, RULES).await;
    let back = first.read(&[]).await;
    assert_ne!(back.epoch, read.epoch, "what was known before the silence does not count");
    assert!(back.doubt_left > Duration::ZERO && back.members.len() == 2, "{back:?}");
}

#[tokio::test]
async fn a_missing_member_opens_the_app_until_it_is_given_up() {
    let server = Server::start();
    close_history(&server).await;
    let patient = Terms { lease: LONG.lease, ..TERMS };
    let first = Node::entered(&server, "a", patient).await;
    assert_eq!(first.read(&[]).await.open, None);
    let lost = Node::new(&server, "b", TERMS).await;
    let entered = done(lost.change(Action::Enter { is_fresh: true, rules: RULES, has_stepped: false }).await);
    let missing = first.until("the lease ends", |read| read.open == Some(Open::Missing)).await;
    let given_up = first.until("it is given up", |read| read.open.is_none()).await;
    assert!(given_up.now >= entered.lease_until + 1_500, "after the member's time-out: {entered:?}");
    assert_ne!(given_up.epoch, missing.epoch);
    assert!(given_up.doubt_left > Duration::ZERO, "{given_up:?}");
}

#[tokio::test]
async fn what_runs_too_late_is_refused() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    let now = node.read(&[]).await.now;
    refused(node.change_by(now - 1, Action::Renew).await, Why::Late);
    let action = Action::Enter { is_fresh: false, rules: RULES, has_stepped: false };
    let epoch = node.read(&[]).await.epoch;
    refused(node.change_by(now - 1, action).await, Why::Late);
    assert_eq!(node.read(&[]).await.epoch, epoch, "nothing was done");
}

#[tokio::test]
async fn members_with_other_rules_open_the_app() {
    let server = Server::start();
    close_history(&server).await;
    let first = Node::entered(&server, "a", LONG).await;
    let closed = first.read(&[]).await;
    assert_eq!(closed.open, None);
    let other = Node::new(&server, "b", LONG).await;
    let entered = done(other.change(Action::Enter { is_fresh: true, rules: "other", has_stepped: false }).await);
    assert_eq!(entered.open, Some(Open::Rules));
    assert_ne!(entered.epoch, closed.epoch, "who has other rules forwards without tickets that count");
    let tenure = Tenure { history: entered.history, ..other.tenure.clone() };
    let other = Node { tenure, ..other };
    done(other.change(Action::Leave).await);
    let left = first.read(&[]).await;
    assert_ne!(left.epoch, entered.epoch, "and so it is when the rules in use change back");
    assert!(left.open.is_none() && left.doubt_left > Duration::ZERO, "{left:?}");
    // The record keeps the rules of the last member.
    done(first.change(Action::Leave).await);
    let mut next = Node::new(&server, "c", LONG).await;
    assert_eq!(next.enter(true, RULES).await.epoch, left.epoch);
    done(next.change(Action::Leave).await);
    let mut changed = Node::new(&server, "c", LONG).await;
    assert_ne!(changed.enter(true, "other").await.epoch, left.epoch);
}

#[tokio::test]
async fn an_entry_that_a_later_one_of_its_process_has_overtaken_is_refused() {
    let server = Server::start();
    let mut node = Node::new(&server, "a", LONG).await;
    let process = node.tenure.generation.clone();
    let enter = Action::Enter { is_fresh: true, rules: RULES, has_stepped: false };
    for (number, is_late) in [(2, false), (1, true), (2, false), (10, false), (9, true)] {
        node.tenure.generation = format!("{process}{number:016x}");
        match node.change(enter).await {
            Answer::Done(_) => assert!(!is_late, "{number}"),
            Answer::Refused(refusal) => assert!(is_late && refusal.why == Why::Late, "{number}: {refusal:?}"),
        }
    }
}

#[tokio::test]
async fn lost_data_is_a_new_history() {
    let mut server = Server::start();
    let mut node = Node::entered(&server, "a", LONG).await;
    let old = node.tenure.history.clone();
    server.command(&["FLUSHALL"]);
    refused(node.ask(&[]).await, Why::History);
    refused(node.change(Action::Renew).await, Why::History);
    assert_eq!(node.enter(false, RULES).await.open, Some(Open::History));
    server.restart();
    node.client.link().disconnected().await;
    assert!(node.client.link().connected().await);
    refused(node.ask(&[]).await, Why::History);
    let entered = node.enter(false, RULES).await;
    assert_ne!(entered.history, old);
    assert_eq!(entered.open, Some(Open::History));
}

/// What was known in it would count again.
#[tokio::test]
async fn an_epoch_does_not_come_back_when_the_record_alone_is_lost() {
    let server = Server::start();
    let mut node = Node::entered(&server, "a", LONG).await;
    let before = node.read(&[]).await.epoch;
    server.command(&["DEL", &String::from_utf8(keys().members()).expect("text")]);
    assert_ne!(node.enter(true, RULES).await.epoch, before);
}

#[tokio::test]
async fn the_members_of_another_history_are_missing() {
    let server = Server::start();
    let mut first = Node::entered(&server, "a", LONG).await;
    let second = Node::entered(&server, "b", LONG).await;
    let before = first.read(&[]).await.epoch;
    // As a promotion does: other data may have been acknowledged meanwhile.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    refused(second.ask(&[]).await, Why::History);
    let entered = first.enter(false, RULES).await;
    assert_eq!(entered.open, Some(Open::History));
    assert_ne!(entered.epoch, before);
    let read = first.read(&[]).await;
    assert_eq!(read.members.len(), 1, "what the record says of the other is hearsay: {read:?}");
    refused(second.ask(&[]).await, Why::History);
}

#[tokio::test]
async fn a_history_begins_an_epoch_whoever_enters_it() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let before = first.read(&[]).await.epoch;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    let entered = Node::new(&server, "b", LONG).await.enter(true, RULES).await;
    assert_ne!(entered.epoch, before, "also a process that has sent nothing");
}

#[tokio::test]
async fn members_that_write_other_versions_open_the_app() {
    let server = Server::start();
    close_history(&server).await;
    let first = Node::entered(&server, "a", LONG).await;
    let before = first.read(&[]).await;
    assert_eq!(before.open, None);
    let mut later = Node::new(&server, "b", LONG).await;
    later.client.version += 1;
    let entered = later.enter(true, RULES).await;
    assert_eq!(entered.open, Some(Open::Versions));
    assert_ne!(entered.epoch, before.epoch);
    done(later.change(Action::Leave).await);
    let left = first.read(&[]).await;
    assert_ne!(left.epoch, entered.epoch);
    assert!(left.open.is_none() && left.doubt_left > Duration::ZERO, "{left:?}");
}

#[tokio::test]
async fn a_step_of_the_servers_clock_is_a_new_history() {
    let server = Server::start();
    let mut first = Node::entered(&server, "a", LONG).await;
    let second = Node::entered(&server, "b", LONG).await;
    let before = first.read(&[]).await.epoch;
    let entered = first.enter_as(Action::Enter { is_fresh: false, rules: RULES, has_stepped: true }).await;
    assert_eq!(entered.open, Some(Open::History));
    assert_ne!(entered.epoch, before);
    refused(second.ask(&[]).await, Why::Lease);
}

#[tokio::test]
async fn a_replica_and_a_primary_with_more_replicas_than_expected_answer_nothing() {
    let primary = Server::start();
    let replica = Server::start();
    let counted = Terms { replicas: 1, ..LONG };
    let node = Node::entered(&primary, "a", LONG).await;
    assert!(
        !Node::new(&primary, "b", counted).await.client.reached(Duration::from_millis(20)).await.expect("an answer")
    );
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    primary.await_info("connected_slaves:1");
    replica.await_info("master_link_status:up");
    refused(node.ask(&[]).await, Why::Replicas);
    refused(node.swap(Swap::default()).await, Why::Replicas);
    let action = Action::Enter { is_fresh: false, rules: RULES, has_stepped: false };
    refused(node.change(action).await, Why::Replicas);
    let counting = Node::entered(&primary, "b", counted).await;
    assert!(counting.client.reached(Duration::from_secs(20)).await.expect("an answer"));
    let stale = Node::new(&replica, "b", counted).await;
    let error = stale.client.read(&keys(), &counting.tenure, &[]).await.expect_err("a replica refuses the script");
    assert!(error.to_string().contains("READONLY") || error.to_string().contains("read only"), "{error}");
}
