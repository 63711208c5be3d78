//! What an operator is told of the servers.

use super::server::Sentinel;
use super::*;
use crate::cluster::{Login, Problem, Scripted, Servers, survey};

#[tokio::test]
async fn a_server_is_seen_as_it_is() {
    let server = Server::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let seen = survey(server.options(), &keys()).await.expect("a survey");
    assert_eq!((seen.server, seen.version.product, seen.sighting.is_primary), (server.address(), "Redis", true));
    assert_eq!((seen.sighting.replicas, seen.sighting.online, seen.sighting.memory.max_memory), (0, 0, 100 << 20));
    assert_eq!(
        (&*seen.sighting.memory.name, seen.scripted, seen.sentinels),
        ("allkeys-lru", Scripted::Runs(Vec::new()), Vec::new())
    );
    assert!(seen.sighting.round_trip < Duration::from_secs(20));
    assert!(server.command(&["DBSIZE"]).starts_with(":0"), "nothing was written");
}

#[tokio::test]
async fn replicas_and_sentinels_are_counted() {
    let primary = Server::start();
    let replica = Server::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    primary.await_info("state=online");
    replica.await_info("master_link_status:up");
    let sentinel = Sentinel::start(&primary, "");
    sentinel.await_answer(&["SENTINEL", "REPLICAS", "main"], &replica.port().to_string());
    let nobody = server::nobody();
    let servers = Servers::Sentinel { sentinels: vec![sentinel.address(), nobody.clone()], primary: "main".to_owned() };
    let seen = survey(LinkOptions { servers, ..primary.options() }, &keys()).await.expect("a survey");
    assert_eq!((seen.server, seen.sighting.replicas, seen.sighting.online), (primary.address(), 1, 1));
    let [(first, Ok(watch)), (second, Err(Problem::Unreachable { .. }))] = &seen.sentinels[..] else {
        panic!("{:?}", seen.sentinels);
    };
    assert_eq!((first, second), (&sentinel.address(), &nobody));
    assert_eq!(
        (watch.down_after, watch.replicas, watch.sentinels, watch.quorum),
        (Duration::from_millis(300), 1, 1, 1)
    );
    let seen = survey(replica.options(), &keys()).await.expect("a survey");
    assert!(
        !seen.sighting.is_primary && matches!(&seen.scripted, Scripted::Refused(answer) if answer.contains("READONLY")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let server = Server::start();
    let login = Login { username: Some("usher".into()), password: Some("secret".into()), database: 0 };
    let with = async |rights: &str| {
        let mut words = vec!["ACL", "SETUSER", "usher", "reset", "on", ">secret"];
        words.extend(rights.split_whitespace());
        assert_eq!(server.command(&words), "+OK\r\n");
        survey(LinkOptions { login: login.clone(), ..server.options() }, &keys()).await
    };
    assert_eq!(with(login::RIGHTS).await.expect("a survey").scripted, Scripted::Runs(Vec::new()));
    let fewer = login::RIGHTS.replace("+wait ", "").replace("+publish", "").replace("+time", "");
    let missing = ["+time", "+wait", "+publish (with the channels)"].map(str::to_owned).to_vec();
    assert_eq!(with(&fewer).await.expect("a survey").scripted, Scripted::Runs(missing));
    let channels = login::RIGHTS.replace("&{usher:*}:*", "");
    let seen = with(&channels).await.expect("a survey").scripted;
    assert!(matches!(&seen, Scripted::Runs(missing) if missing.len() == 2), "{seen:?}");
    for lacking in ["+eval ", "~{usher:*}:*"] {
        let seen = with(&login::RIGHTS.replace(lacking, "")).await.expect("a survey").scripted;
        assert!(matches!(seen, Scripted::NotPermitted(_)), "{seen:?}");
    }
    let problem = with("+@all -info").await.expect_err("INFO is needed");
    assert!(matches!(problem, Problem::NotPermitted { .. }), "{problem:?}");
}
