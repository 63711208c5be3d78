//! `usher doctor` and the store that several ushers share: a real `redis-server`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::doctor::{assert_found, examined, of};
use crate::harness::{Fake, Setup};

/// A running `redis-server` without persistence, ended when it is dropped.
struct Store {
    port: u16,
    process: Child,
}

impl Store {
    fn start(more: &[&str]) -> Self {
        // Another process may take the port in between: then the server ends, and another port is tried.
        for _ in 0..20 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            let process = command.args(more).stdout(Stdio::null()).spawn().expect("tests/run installs redis-server");
            let mut store = Self { port, process };
            while store.process.try_wait().unwrap().is_none() {
                if store.command("PING").is_some_and(|answer| answer.starts_with("+PONG")) {
                    return store;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("redis-server does not start");
    }

    /// The answer to a command, as it comes.
    fn command(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is found of the store at this port.
fn store(port: u16, more: &str) -> Vec<Value> {
    let fake = Fake::start();
    let section = format!("\n[cluster]\nnode = \"a\"\nredis_url = \"redis://127.0.0.1:{port}\"\n{more}\n");
    let (_, findings) = examined(&(Setup::before(&fake).toml() + &section));
    of(&findings, "store").into_iter().cloned().collect()
}

#[test]
fn a_store_that_fits_is_found_so() {
    let server = Store::start(&[]);
    // Four times as long as the default, for a machine that is busy.
    let findings = store(server.port, "lease = \"20s\"\ntimeout = \"5s\"");
    assert!(findings.iter().all(|finding| finding["verdict"] == "ok"), "{findings:?}");
    let said = format!("{findings:?}");
    for part in ["Redis 7", "without TLS", "user default", "scripts run", "0 replicas", "noeviction"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(server.command("DBSIZE").unwrap().starts_with(":0"), "nothing was written");
}

#[test]
fn what_does_not_fit_is_a_problem_with_a_cure() {
    let server = Store::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let slow = "lease = \"20s\"\ntimeout = \"5s\"\n";
    let findings = store(server.port, &format!("{slow}replicas = 2"));
    let problems: Vec<_> = findings.iter().filter(|finding| finding["verdict"] == "problem").cloned().collect();
    assert_eq!(problems.len(), 2, "{findings:?}");
    assert_found(&problems[..1], "store", "problem", &["0 replicas follow it", "cluster.replicas is 2"]);
    assert_found(&problems[1..], "store", "problem", &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);

    let user = "ACL SETUSER usher on >canary-5f1d resetkeys ~{usher:*}:* resetchannels &{usher:*}:* +@all -wait";
    assert!(server.command(user).unwrap().starts_with("+OK"));
    let login = "username = \"usher\"\npassword = \"canary-5f1d\"";
    let findings = store(server.port, &format!("{slow}{login}"));
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    assert_found(&findings, "store", "problem", &["lacks rights: +wait", "docs/cluster.md"]);
    let findings = store(server.port, &format!("{slow}username = \"usher\"\npassword = \"wrong\""));
    assert_found(&findings, "store", "problem", &["refuses the login", "cluster.username"]);
    let port = server.port;
    drop(server);
    assert_found(&store(port, slow), "store", "problem", &["cannot be reached: connection refused", "redis_url"]);
}

#[test]
fn without_a_cluster_nothing_is_said_of_a_store() {
    let (_, findings) = examined(&Setup::before(&Fake::start()).toml());
    assert_eq!(of(&findings, "store"), [] as [&Value; 0]);
}
