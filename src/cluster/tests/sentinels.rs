//! Sentinel: the primary is found, and followed.

use tokio::time::timeout;

use super::greeting::problem;
use super::server::{Sentinel, fake, nobody};
use super::*;
use crate::cluster::{Address, Login, Problem, Servers};

/// A bound for a failover: 300 ms until the primary is taken for down, and then a few seconds at most.
const FAILOVER: Duration = Duration::from_secs(30);

fn watched(sentinels: Vec<Address>) -> Servers {
    Servers::Sentinel { sentinels, primary: "main".to_owned() }
}

fn replica_of(primary: &Server) -> Server {
    let replica = Server::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    replica.await_info("master_link_status:up");
    replica
}

#[tokio::test]
async fn a_failover_is_followed() {
    let mut primary = Server::start();
    let replica = replica_of(&primary);
    let sentinel = Sentinel::start(&primary, "");
    sentinel.await_answer(&["SENTINEL", "REPLICAS", "main"], &replica.port().to_string());
    let servers = watched(vec![nobody(), sentinel.address()]);
    let options = LinkOptions { servers, ..primary.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    assert_eq!(link.server().expect("a server").0, primary.address());
    primary.kill();
    link.disconnected().await;
    timeout(FAILOVER, link.connected()).await.expect("the failover is followed");
    assert_eq!(link.server().expect("a server").0, replica.address());
    let mut node = Node::on(link, "a", LONG);
    node.enter(true, RULES).await;
    assert_eq!(node.client.link().problem(), None);
}

/// The former primary is alive, and becomes a replica: Sentinel closes its connections.
#[tokio::test]
async fn a_switch_by_hand_is_followed() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    let sentinel = Sentinel::start(&primary, "");
    sentinel.await_answer(&["SENTINEL", "REPLICAS", "main"], &replica.port().to_string());
    let options = LinkOptions { servers: watched(vec![sentinel.address()]), ..primary.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    sentinel.await_answer(&["SENTINEL", "FAILOVER", "main"], "+OK");
    let follow = async {
        while link.server().is_none_or(|(server, _)| server != replica.address()) {
            // A write is refused by a replica, which ends the connection.
            let (Ok(_) | Err(_)) = link.ask(redis::cmd("SET").arg("a").arg("b")).await;
            link.connected().await;
        }
    };
    timeout(FAILOVER, follow).await.expect("the switch is followed");
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_told() {
    let primary = Server::start();
    let sentinel = Sentinel::start(&primary, "");
    let servers = Servers::Sentinel { sentinels: vec![sentinel.address(), nobody()], primary: "mian".to_owned() };
    let found = problem(servers, |_| {}).await;
    assert!(matches!(found, Problem::UnknownPrimary { .. }) && found.to_string().contains("\"mian\""), "{found:?}");
    let found = problem(watched(vec![nobody(), nobody()]), |_| {}).await;
    assert!(matches!(found, Problem::Unreachable { .. }), "{found:?}");
}

/// A Sentinel whose view is old names a server that is a replica by now.
#[tokio::test]
async fn what_is_no_primary_is_not_taken() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    let port = replica.port().to_string();
    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    let answers: &'static [_] = Box::leak(Box::new([("MAIN\r\n", &*answer.leak())]));
    let stale = fake(answers).await;
    let found = problem(watched(vec![stale.clone()]), |_| {}).await;
    assert_eq!(found, Problem::NoPrimary { server: replica.address() });
    // Another one knows better.
    let sentinel = Sentinel::start(&primary, "");
    let options = LinkOptions { servers: watched(vec![stale, sentinel.address()]), ..primary.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    assert_eq!(link.server().expect("a server").0, primary.address());
}

/// Sentinel is given the password only if it asks for one.
#[tokio::test]
async fn a_sentinel_may_have_a_password() {
    let primary = Server::start_with(&["--requirepass", "secret"]);
    let login = || Login { password: Some("secret".to_owned()), ..Login::default() };
    for more in ["sentinel auth-pass main secret", "sentinel auth-pass main secret\nrequirepass secret"] {
        let sentinel = Sentinel::start(&primary, more);
        let servers = watched(vec![sentinel.address()]);
        let options = LinkOptions { servers: servers.clone(), login: login(), ..primary.options() };
        let link = Link::new(options, &Tasks::default());
        link.tried().await.expect("a connection");
        if more.contains("requirepass") {
            let found = problem(servers, |_| {}).await;
            assert_eq!(found, Problem::LoginNeeded { server: sentinel.address() });
        }
    }
}
