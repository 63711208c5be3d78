//! What a server must be: its version, its kind, and its answers in time.

use super::server::fake;
use super::*;
use crate::cluster::{Address, Login, Problem, Servers};

/// The problem of a link to `servers`.
pub(super) async fn problem(servers: Servers, more: impl FnOnce(&mut LinkOptions)) -> Problem {
    let mut options = LinkOptions {
        servers,
        tls: None,
        login: Login::default(),
        key: keys().members(),
        timeout: Duration::from_secs(20),
        max_calls: 64,
        max_pause: Duration::from_millis(200),
    };
    more(&mut options);
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect_err("a problem")
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    for (info, found) in [
        ("redis_version:6.2.14\r\n", "Redis 6.2.14"),
        ("redis_version:7.2.4\r\nvalkey_version:7.1.0\r\n", "Valkey 7.1.0"),
    ] {
        let answer = format!("${}\r\n{info}\r\n", info.len());
        let answers: &'static [_] = Box::leak(Box::new([("INFO\r\n", &*answer.leak())]));
        let server = fake(answers).await;
        let problem = problem(Servers::One(server.clone()), |_| {}).await;
        assert!(matches!(&problem, Problem::TooOld { found: it, .. } if it.to_string() == found), "{problem:?}");
        let text = problem.to_string();
        assert!(text.contains(&server.to_string()) && text.contains("Redis 7.0 or Valkey 7.2 is needed"), "{text}");
        assert!(problem.stays());
    }
}

#[tokio::test]
async fn what_is_no_redis_is_told() {
    let nonsense = fake(&[("INFO\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n")]).await;
    let problem = problem(Servers::One(nonsense), |_| {}).await;
    assert!(problem.to_string().contains("not Redis' protocol"), "{problem:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_in_time() {
    let silent = fake(&[]).await;
    let period = Duration::from_millis(50);
    let found = problem(Servers::One(silent.clone()), |options| options.timeout = period).await;
    assert_eq!(found, Problem::TimedOut { server: silent, period });
    assert!(!found.stays());
}

#[tokio::test]
async fn a_server_that_is_away_is_told() {
    let mut server = Server::start();
    server.kill();
    let found = problem(Servers::One(server.address()), |_| {}).await;
    assert!(found.to_string().contains("cannot be reached: connection refused"), "{found}");
    let address = Address { host: "nowhere.invalid".to_owned(), port: 6379 };
    let found = problem(Servers::One(address), |_| {}).await;
    assert!(matches!(found, Problem::Unreachable { .. }), "{found:?}");
}

#[tokio::test]
async fn another_kind_of_server_is_refused() {
    let standalone = Server::start();
    let twice = Servers::Cluster { nodes: vec![standalone.address(); 2] };
    let found = problem(twice, |_| {}).await.to_string();
    assert!(found.contains("is standalone, not a node of a Redis Cluster; write it alone"), "{found}");
    let node = Server::start_with(&["--cluster-enabled", "yes"]);
    let found = problem(Servers::One(node.address()), |_| {}).await.to_string();
    assert!(found.contains("is cluster, not a server by itself; write several of its nodes"), "{found}");
    let sentinel = server::Sentinel::start(&standalone, "");
    let found = problem(Servers::One(sentinel.address()), |_| {}).await.to_string();
    assert!(found.contains("is sentinel") && found.contains("redis+sentinel://"), "{found}");
}

#[tokio::test]
async fn a_link_knows_its_server() {
    let server = Server::start();
    let link = Link::new(server.options(), &Tasks::default());
    link.tried().await.expect("a connection");
    let (address, version) = link.server().expect("a server");
    assert_eq!((address, version.product), (server.address(), "Redis"));
    assert_eq!(link.problem(), None);
}

#[tokio::test]
async fn a_database_is_chosen_if_it_exists() {
    let server = Server::start();
    let at = |database| Login { database, ..Login::default() };
    let link = Link::new(LinkOptions { login: at(3), ..server.options() }, &Tasks::default());
    link.tried().await.expect("a connection");
    link.ask(redis::cmd("SET").arg("here").arg("1")).await.expect("an answer");
    assert!(server.command(&["INFO", "keyspace"]).contains("db3:keys=1"));
    let found = problem(Servers::One(server.address()), |options| options.login = at(99)).await;
    assert!(matches!(found, Problem::Database { database: 99, .. }), "{found:?}");
}
