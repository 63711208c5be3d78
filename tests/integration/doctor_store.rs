//! `usher doctor` and the store that several ushers share: a real `redis-server`.

use std::net::SocketAddr;

use serde_json::Value;

use crate::doctor::{assert_found, examined, of};
use crate::harness::redis::Redis;
use crate::harness::{Fake, Setup};

/// What is found of the store at this address.
fn store(server: SocketAddr, more: &str) -> Vec<Value> {
    let fake = Fake::start();
    let section = format!("\n[cluster]\nnode = \"a\"\nredis_url = \"redis://{server}\"\n{more}\n");
    let (_, findings) = examined(&(Setup::before(&fake).toml() + &section));
    of(&findings, "store").into_iter().cloned().collect()
}

#[test]
fn a_store_that_fits_is_found_so() {
    let server = Redis::start();
    // Four times as long as the default, for a machine that is busy.
    let findings = store(server.address(), "lease = \"20s\"\ntimeout = \"5s\"");
    assert!(findings.iter().all(|finding| finding["verdict"] == "ok"), "{findings:?}");
    let said = format!("{findings:?}");
    for part in ["Redis 7", "without TLS", "user default", "scripts run", "0 replicas", "noeviction"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(server.command(&["DBSIZE"]).starts_with(":0"), "nothing was written");
}

#[test]
fn what_does_not_fit_is_a_problem_with_a_cure() {
    let server = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let slow = "lease = \"20s\"\ntimeout = \"5s\"\n";
    let findings = store(server.address(), &format!("{slow}replicas = 2"));
    let problems: Vec<_> = findings.iter().filter(|finding| finding["verdict"] == "problem").cloned().collect();
    assert_eq!(problems.len(), 2, "{findings:?}");
    assert_found(&problems[..1], "store", "problem", &["0 replicas follow it", "cluster.replicas is 2"]);
    assert_found(&problems[1..], "store", "problem", &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);

    let user = "ACL SETUSER usher on >canary-5f1d resetkeys ~{usher:*}:* resetchannels &{usher:*}:* +@all -wait";
    assert!(server.command(&user.split(' ').collect::<Vec<_>>()).starts_with("+OK"));
    let login = "username = \"usher\"\npassword = \"canary-5f1d\"";
    let findings = store(server.address(), &format!("{slow}{login}"));
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    assert_found(&findings, "store", "problem", &["lacks rights: +wait", "docs/cluster.md"]);
    let findings = store(server.address(), &format!("{slow}username = \"usher\"\npassword = \"wrong\""));
    assert_found(&findings, "store", "problem", &["refuses the login", "cluster.username"]);
    let address = server.address();
    drop(server);
    assert_found(&store(address, slow), "store", "problem", &["cannot be reached: connection refused", "redis_url"]);
}

#[test]
fn without_a_cluster_nothing_is_said_of_a_store() {
    let (_, findings) = examined(&Setup::before(&Fake::start()).toml());
    assert_eq!(of(&findings, "store"), [] as [&Value; 0]);
}
