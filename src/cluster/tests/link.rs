//! The connection: it comes back, and every call ends.

use super::*;
use crate::cluster::Failure;

#[tokio::test]
async fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    server.command(&["SCRIPT", "FLUSH"]);
    node.read(&[]).await;
    node.read(&[]).await;
}

#[tokio::test]
async fn a_connection_that_the_server_closes_comes_back() {
    let server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    node.client.link().disconnected().await;
    assert!(node.client.link().connected().await);
    node.read(&[]).await;
}

#[tokio::test]
async fn without_a_server_a_call_fails_at_once() {
    let mut server = Server::start();
    let node = Node::entered(&server, "a", LONG).await;
    server.kill();
    node.client.link().disconnected().await;
    let failure = node.client.read(&keys(), &node.tenure, &[]).await.expect_err("no server");
    assert!(matches!(failure, Failure::NotConnected), "{failure:?}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_ends_its_connection() {
    let server = Server::start();
    let period = Duration::from_millis(200);
    let link = Link::new(LinkOptions { timeout: period, ..server.options() }, &Tasks::default());
    assert!(link.connected().await);
    // The server answers nobody meanwhile.
    let halt = redis::cmd("CLIENT").arg("PAUSE").arg(1_000).arg("ALL").to_owned();
    link.ask(&halt).await.expect("it pauses");
    let failure = link.ask(&redis::cmd("PING")).await.expect_err("it does not answer");
    assert!(matches!(failure, Failure::TimedOut(it) if it == period), "{failure:?}");
    link.disconnected().await;
    // Once the server answers again.
    loop {
        assert!(link.connected().await);
        match link.ask(&redis::cmd("PING")).await {
            Ok(answer) => break assert_eq!(answer, redis::Value::SimpleString("PONG".into())),
            Err(failure) => assert!(!matches!(failure, Failure::Malformed), "{failure:?}"),
        }
    }
}

#[tokio::test]
async fn no_more_calls_wait_than_are_allowed() {
    let server = Server::start();
    let link = Link::new(LinkOptions { max_calls: 1, ..server.options() }, &Tasks::default());
    assert!(link.connected().await);
    let blocked = redis::cmd("BLPOP").arg("nothing").arg(0.3).to_owned();
    let ping = redis::cmd("PING");
    let (first, second) = tokio::join!(link.ask(&blocked), link.ask(&ping));
    assert_eq!(first.expect("an answer"), redis::Value::Nil);
    assert!(matches!(second, Err(Failure::TooManyCalls)), "{second:?}");
    link.ask(&ping).await.expect("an answer");
}

#[tokio::test]
async fn what_keeps_the_link_up_ends_with_it() {
    let server = Server::start();
    let tasks = Tasks::default();
    let link = Link::new(server.options(), &tasks);
    assert!(link.connected().await);
    assert_eq!(tasks.running(), 1);
    drop(link);
    assert_eq!(tasks.finish(Duration::from_secs(20)).await, 0);
}
