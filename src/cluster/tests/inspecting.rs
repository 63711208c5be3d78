//! What anybody may see of an app, and what the operator may change about it.

use super::*;
use crate::cluster::{Cause, Open, Seat};

impl Node {
    async fn inspect(&self) -> crate::cluster::Inspection {
        self.client.inspect(&keys()).await.expect("an answer")
    }
}

/// A member that is missing from the end of its lease on, which is a moment.
async fn lost(server: &Server, node: &str) {
    let mut lost = Node::new(server, node, Terms { lease: Duration::from_millis(1), ..LONG }).await;
    lost.enter(true, RULES).await;
}

#[tokio::test]
async fn an_app_is_shown_to_a_process_that_is_no_member() {
    let server = Server::start();
    let stranger = Node::new(&server, "stranger", LONG).await;
    let nothing = stranger.inspect().await;
    assert_eq!((nothing.open, nothing.open_until, nothing.members.len()), (Some(Open::History), 0, 0), "{nothing:?}");
    let second = Node::entered(&server, "b\u{1b}<i>", LONG).await;
    let first = Node::entered(&server, "a", LONG).await;
    let before = server.command(&["DUMP", &String::from_utf8(keys().members()).unwrap()]);
    let shown = stranger.inspect().await;
    let [a, b] = shown.members.as_slice() else { panic!("{shown:?}") };
    assert_eq!((a.node.as_str(), &a.generation), ("a", &first.tenure.generation));
    assert_eq!((b.node.as_str(), &b.generation), ("b\u{1b}<i>", &second.tenure.generation));
    for Seat { lease_left, missing_for, rules, version, .. } in [a, b] {
        assert!(*lease_left > Duration::from_secs(50) && missing_for.is_none(), "{shown:?}");
        assert_eq!((rules.as_str(), *version), (RULES, u64::from(first.client.version)));
    }
    assert_eq!((shown.open, shown.unfit), (Some(Open::History), None));
    assert!(shown.open_until > shown.now && shown.doubt_left <= LONG.doubt_period + Duration::from_millis(1));
    let read = first.read(&[]).await;
    assert_eq!((read.epoch, &shown.history), (shown.epoch, &first.tenure.history));
    assert_eq!(server.command(&["DUMP", &String::from_utf8(keys().members()).unwrap()]), before, "it writes nothing");
}

#[tokio::test]
async fn who_is_missing_is_shown_although_nobody_has_written_it() {
    let server = Server::start();
    close_history(&server).await;
    lost(&server, "lost").await;
    let stranger = Node::new(&server, "stranger", LONG).await;
    let shown = stranger.inspect().await;
    assert_eq!(shown.open, Some(Open::Missing));
    assert!(shown.members[0].missing_for.is_some() && shown.members[0].lease_left.is_zero(), "{shown:?}");
    assert_eq!(stranger.inspect().await.epoch, shown.epoch, "no epoch is made up");
}

#[tokio::test]
async fn a_server_that_answers_no_claims_says_so() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let replica = Server::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    replica.await_info("master_link_status:up");
    let stranger = Node::new(&replica, "stranger", LONG).await;
    let shown = stranger.inspect().await;
    assert_eq!((shown.unfit, shown.members.len()), (Some(Why::Role), 1), "{shown:?}");
    server.await_info("connected_slaves:1");
    assert_eq!(first.inspect().await.unfit, Some(Why::Replicas));
}

#[tokio::test]
async fn the_operator_closes_a_history() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    first.until("the doubt of the start ends", |read| read.doubt_left.is_zero()).await;
    let before = first.read(&[]).await;
    let stranger = Node::new(&server, "stranger", LONG).await;
    refused(stranger.change(Action::Close).await, Why::History);
    refused(first.change_by(before.now - 1, Action::Close).await, Why::Late);
    let closed = done(first.change(Action::Close).await);
    assert_eq!((closed.open, closed.open_until, closed.cause), (None, 0, Cause::Operator));
    assert!(closed.epoch != before.epoch && closed.doubt_left > Duration::ZERO, "{closed:?}");
    assert!(closed.lease_until > closed.now && (closed.present, closed.missing) == (1, 0), "{closed:?}");
    let again = done(first.change(Action::Close).await);
    assert_eq!(again.epoch, closed.epoch, "there is nothing to close any more");
    // Who is missing stays so: that is another word.
    lost(&server, "lost").await;
    first.until("the lease ends", |read| read.open == Some(Open::Missing)).await;
    assert_eq!(done(first.change(Action::Close).await).open, Some(Open::Missing));
}

#[tokio::test]
async fn the_operator_gives_a_missing_member_up_and_no_other() {
    let server = Server::start();
    close_history(&server).await;
    let first = Node::entered(&server, "a", LONG).await;
    let second = Node::entered(&server, "b", LONG).await;
    refused(first.change(Action::GiveUp { node: "nobody" }).await, Why::Absent);
    refused(first.change(Action::GiveUp { node: "b" }).await, Why::Leased);
    refused(first.change(Action::GiveUp { node: "a" }).await, Why::Leased);
    assert_eq!(second.read(&[]).await.members.len(), 2);
    lost(&server, "lost").await;
    let open = first.until("the lease ends", |read| read.open == Some(Open::Missing)).await;
    let given_up = done(first.change(Action::GiveUp { node: "lost" }).await);
    assert_eq!((given_up.open, given_up.cause), (None, Cause::GivenUp));
    assert_eq!((given_up.present, given_up.missing), (2, 0));
    assert!(given_up.epoch != open.epoch && given_up.doubt_left > Duration::ZERO, "{given_up:?}");
    refused(first.change(Action::GiveUp { node: "lost" }).await, Why::Absent);
}

#[tokio::test]
async fn a_member_that_may_have_a_lease_of_another_history_is_not_given_up() {
    let server = Server::start();
    let mut first = Node::entered(&server, "a", LONG).await;
    Node::entered(&server, "b", LONG).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    first.enter(false, RULES).await;
    refused(first.change(Action::GiveUp { node: "b" }).await, Why::Leased);
    let shown = first.inspect().await;
    assert_eq!(shown.members[1].missing_for, Some(Duration::ZERO));
}

#[tokio::test]
async fn an_epoch_keeps_its_cause() {
    let server = Server::start();
    let mut first = Node::entered(&server, "a", LONG).await;
    assert_eq!(first.inspect().await.cause, Cause::History);
    let second = Node::new(&server, "b", LONG).await;
    let entered = done(second.change(Action::Enter { is_fresh: false, rules: RULES, has_stepped: false }).await);
    assert_eq!(entered.cause, Cause::Entered);
    assert_eq!(first.enter(false, "others").await.cause, Cause::Entered);
    let swap = Swap { taken: "wide".into(), ..Swap::default() };
    assert_eq!(first.swap(swap).await, Answer::Done(Swapped::Done));
    assert_eq!(first.inspect().await.cause, Cause::Wide);
    let swap = Swap { is_unsure: true, ..Swap::default() };
    assert_eq!(first.swap(swap).await, Answer::Done(Swapped::Done));
    assert_eq!(done(first.change(Action::Renew).await).cause, Cause::Unsure);
    first.enter_as(Action::Enter { is_fresh: false, rules: RULES, has_stepped: true }).await;
    assert_eq!(first.inspect().await.cause, Cause::History, "also the entry's own doubt begins with it");
}

#[tokio::test]
async fn the_latest_switch_of_a_mode_counts_for_all_members() {
    let server = Server::start();
    let first = Node::entered(&server, "a", LONG).await;
    let mut second = Node::entered(&server, "b", LONG).await;
    let stranger = Node::new(&server, "stranger", LONG).await;
    let none = SwitchedModes::default();
    let off = none.with("joined", Some("off"));
    refused(
        stranger
            .client
            .change(&keys(), &stranger.tenure, u64::MAX >> 12, Action::Switch, &off)
            .await
            .expect("an answer"),
        Why::History,
    );
    assert_eq!(first.switch(&none).await, none);
    assert_eq!(first.switch(&off).await, off);
    assert_eq!(second.switch(&none).await, off, "the other one learns it");
    let overtaken = none.with("left", Some("observe"));
    assert_eq!(second.switch(&overtaken).await, off, "of two with one number the first one counts");
    let both = off.with("left", Some("observe"));
    assert_eq!(second.switch(&both).await, both);
    assert_eq!(done(first.change(Action::Renew).await).switched, both);
    // The data is lost, but a member that lives has it.
    server.command(&["FLUSHALL"]);
    let entered = second.enter(false, RULES).await;
    assert_eq!(entered.switched, none);
    assert_eq!(second.switch(&both).await, both);
    // All have left: nobody has it any more.
    let left = done(second.change(Action::Leave).await).switched;
    assert_eq!((left.number, left.modes.len()), (2, 0));
    let fresh = Node::entered(&server, "c", LONG).await;
    let first_of_many = done(fresh.change(Action::Renew).await).switched;
    assert_eq!((first_of_many.number, first_of_many.modes.len()), (2, 0));
}
