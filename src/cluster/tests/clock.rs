//! Steps of the server's clock that no node has seen, since the only process that asks has just started. The clock is
//! the machine's, so the record is moved in the other direction.

use super::*;
use crate::cluster::Open;

/// Moves all times of the record by so many milliseconds.
const MOVE: &str = "local record = cmsgpack.unpack(redis.call('GET', KEYS[1])) \
     record.doubt = record.doubt + tonumber(ARGV[1]) \
     record.saved = record.saved + tonumber(ARGV[1]) \
     for _, member in pairs(record.members) do member.lease = member.lease + tonumber(ARGV[1]) end \
     redis.call('SET', KEYS[1], cmsgpack.pack(record)) return 1";

fn step(server: &Server, by: i64) {
    let key = String::from_utf8(keys().members()).expect("text");
    // The record's times go where the clock does not.
    let answer = server.command(&["EVAL", MOVE, "1", &key, &(-by).to_string()]);
    assert_eq!(answer.trim(), ":1", "{answer}");
}

/// What a process finds that starts after the clock has stepped by so many milliseconds, while another one is a member.
async fn found_after_a_step(by: i64) -> Option<Open> {
    let server = Server::start();
    close_history(&server).await;
    let _member = Node::entered(&server, "a", LONG).await;
    step(&server, by);
    Node::entered(&server, "b", LONG).await.read(&[]).await.open
}

#[tokio::test]
async fn a_step_ahead_gives_no_member_up_that_may_be_alive() {
    let hour = 3_600_000;
    assert!(found_after_a_step(hour).await.is_some(), "the other member is not given up");
}

#[tokio::test]
async fn a_step_ahead_begins_an_epoch_in_doubt() {
    let server = Server::start();
    close_history(&server).await;
    let before = Node::entered(&server, "a", LONG).await.read(&[]).await.epoch;
    step(&server, 3_600_000);
    let after = Node::entered(&server, "b", LONG).await.read(&[]).await;
    assert!(after.epoch != before && after.doubt_left > Duration::ZERO, "doubts may have ended too early: {after:?}");
}

#[tokio::test]
async fn a_clock_that_was_set_back_begins_a_history_whoever_enters() {
    assert_eq!(found_after_a_step(-3_600_000).await, Some(Open::History), "the lease means nothing any more");
}

#[tokio::test]
async fn the_doubt_in_which_a_place_is_taken_outlasts_the_lease_of_the_process_before() {
    let server = Server::start();
    let old = Node::entered(&server, "a", LONG).await;
    let left = Node::entered(&server, "a", LONG).await.read(&[]).await.doubt_left;
    assert!(left >= LONG.lease.saturating_sub(Duration::from_secs(5)) + LONG.doubt_period, "{left:?}");
    refused(old.ask(&[]).await, Why::Generation);
}

#[tokio::test]
async fn a_history_that_begins_with_old_data_is_open_for_no_longer_than_any_other() {
    let server = Server::start();
    let _member = Node::entered(&server, "a", LONG).await;
    let key = String::from_utf8(keys().members()).expect("text");
    let old = "local record = cmsgpack.unpack(redis.call('GET', KEYS[1])) record.history = 'another' \
               record.saved = record.saved - 3600000 redis.call('SET', KEYS[1], cmsgpack.pack(record)) return 1";
    server.command(&["EVAL", old, "1", &key]);
    let mut node = Node::new(&server, "b", LONG).await;
    let entered = node.enter(true, RULES).await;
    let open = Duration::from_millis(entered.open_until - entered.now);
    assert_eq!(open, LONG.lease + LONG.member_timeout);
}
