//! The files for several ushers that share their memory: the configuration of a member, HAProxy, the compose file, Redis
//! with Sentinel, Prometheus, and the systemd drop-in. They name each other's hosts, ports and times.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::compose::{services, texts};
use super::{default, longest_end, read, run, said, seconds, yaml};
use crate::harness::actor::project;
use crate::harness::cli::Cli;
use crate::harness::eventually;

pub(super) const COMPOSE: &str = "docker-compose.cluster.yml";
const MEMBER: &str = "config/cluster.toml";
/// For hosts, and for the containers of the compose file.
const HAPROXY: [&str; 2] = ["deploy/haproxy/cluster.cfg", "deploy/haproxy/cluster-compose.cfg"];
const REDIS: &str = "deploy/redis/redis.conf";
const SENTINEL: &str = "deploy/redis/sentinel.conf";

/// A key of a member's configuration.
fn member(section: &str, key: &str) -> toml::Value {
    read(MEMBER).parse::<toml::Table>().unwrap()[section][key].clone()
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

/// The services of the compose file whose names begin so.
fn named(begin: &str) -> BTreeMap<String, Value> {
    services(COMPOSE).into_iter().filter(|(name, _)| name.starts_with(begin)).collect()
}

/// The lines of a file without comments and indentation.
fn lines(file: &str) -> Vec<String> {
    let text = read(file);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_member_has_the_rule_and_the_ports_of_the_reference() {
    let (member, reference) = (read(MEMBER).parse::<toml::Table>().unwrap(), read("config/usher.toml"));
    let reference: toml::Table = reference.parse().unwrap();
    let rule = |table: &toml::Table| table["rules"][0].as_table().unwrap().clone();
    let (here, there) = (rule(&member), rule(&reference));
    assert!(here.iter().all(|(key, value)| there[key] == *value), "{here:?}");
    for section in ["server", "admin"] {
        let listen = |table: &toml::Table| table[section]["listen"].as_str().unwrap().to_owned();
        assert_eq!(port(&listen(&member)), port(&listen(&reference)), "{section}");
        assert!(listen(&member).starts_with("0.0.0.0:"), "HAProxy and Prometheus are on other machines");
    }
    let cluster = member["cluster"].as_table().unwrap();
    assert!(!["password", "node"].iter().any(|key| cluster.contains_key(*key)), "each has its own: {cluster:?}");
}

#[test]
fn haproxy_takes_its_files() {
    for file in HAPROXY {
        let output = run(Command::new("haproxy").args(["-c", "-f"]).arg(project(file)));
        assert!(output.status.success() && said(&output).contains("is valid"), "{file}: {}", said(&output));
    }
}

/// Every usher gets traffic, one that is not ready gets no more before it stops to serve, and nothing is sent twice.
#[test]
fn haproxy_spreads_the_traffic_over_ushers_that_are_ready() {
    let delay = seconds(member("server", "drain_delay").as_str().unwrap());
    let idle = default("limits", "websocket_idle_timeout");
    for file in HAPROXY {
        let lines = lines(file);
        for line in ["balance leastconn", "option httpchk GET /readyz", "retry-on conn-failure", "option redispatch 1"]
        {
            assert!(lines.iter().any(|other| other == line), "{file} has no {line:?}");
        }
        assert!(!lines.iter().any(|line| line.ends_with(" backup")), "{file}");
        let check = lines.iter().find_map(|line| line.strip_prefix("default-server check inter ")).unwrap();
        let (inter, rest) = check.split_once(" fall ").unwrap();
        let fall: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        assert!(seconds(inter) * fall < delay, "{file}: {check}");
        let tunnel = lines.iter().find_map(|line| line.strip_prefix("timeout tunnel ")).unwrap();
        assert!(idle.as_str() == Some("3m") && seconds(tunnel) > 180, "{file}: {tunnel} against {idle}");
    }
    // They differ in addresses, and in what a container needs beside them.
    let of_backend = |file: &str| -> Vec<String> {
        let lines = lines(file);
        let section = |name: &str| lines.iter().position(|line| line == name).unwrap();
        let shared =
            lines[section("defaults")..section("frontend public")].iter().chain(&lines[section("backend usher")..]);
        shared
            .filter(|line| !line.starts_with("server "))
            .map(|line| line.split(" resolvers ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of_backend(HAPROXY[0]), of_backend(HAPROXY[1]));
}

#[test]
fn the_members_in_compose_differ_in_their_names_alone() {
    let ushers = named("usher-");
    assert_eq!(ushers.len(), 2);
    let (gateway, admin) = (member("server", "listen"), member("admin", "listen"));
    let (gateway, admin) = (port(gateway.as_str().unwrap()), port(admin.as_str().unwrap()));
    let delay = seconds(member("server", "drain_delay").as_str().unwrap());
    let mut environments = Vec::new();
    for (name, usher) in &ushers {
        let mut environment = usher["environment"].as_object().unwrap().clone();
        assert_eq!(environment.remove("USHER_CLUSTER__NODE").unwrap(), name.as_str());
        assert_eq!(environment["USHER_CONFIG"], "/etc/usher/cluster.toml");
        assert_eq!(texts(&usher["volumes"]), ["./config:/etc/usher:ro"]);
        for (key, value) in &environment {
            let is_secret = ["TOKEN", "PASSWORD", "SECRET"].iter().any(|part| key.ends_with(part));
            assert!(!is_secret || value.as_str().is_some_and(|value| value.contains(":?")), "{key} is given by .env");
            assert!(!key.contains("LISTEN") && !key.contains("DRAIN"), "{key} is in {MEMBER}");
        }
        environments.push(environment);
        assert!(seconds(usher["stop_grace_period"].as_str().unwrap()) > longest_end(delay), "an end is not cut short");
        let [published] = texts(&usher["ports"])[..] else { panic!("{name}: the gateway is behind HAProxy") };
        assert_eq!(port(published), admin, "{name}");
        let server = format!("server {name} {name}:{gateway} port {admin}");
        assert!(lines(HAPROXY[1]).contains(&server), "{server}");
    }
    assert_eq!(environments[0], environments[1]);
    let one = &services("docker-compose.yml")["usher"];
    assert!(ushers.values().all(|usher| usher["ulimits"] == one["ulimits"] && usher["image"] == one["image"]));

    let haproxy = &services(COMPOSE)["haproxy"];
    let bound = lines(HAPROXY[1]).iter().find_map(|line| line.strip_prefix("bind :").map(str::to_owned)).unwrap();
    assert_eq!(texts(&haproxy["ports"]).into_iter().map(port).collect::<Vec<_>>(), [bound.as_str()]);
    let health = texts(&haproxy["healthcheck"]["test"]).last().unwrap().strip_prefix("http://").unwrap().to_owned();
    let (address, path) = health.split_once('/').unwrap();
    assert!(lines(HAPROXY[1]).contains(&format!("bind {address}")), "{address}");
    assert!(lines(HAPROXY[1]).contains(&format!("monitor-uri /{path}")), "{path}");

    let scraped = yaml("deploy/prometheus/cluster.yml")["scrape_configs"][0]["static_configs"][0]["targets"].clone();
    let targets: Vec<String> = ushers.keys().map(|name| format!("{name}:{admin}")).collect();
    assert_eq!(scraped, serde_json::json!(targets));
}

#[test]
fn the_members_find_the_primary_by_the_sentinels() {
    let url = member("cluster", "redis_url").as_str().unwrap().to_owned();
    let (hosts, primary) = url.strip_prefix("redis+sentinel://").unwrap().split_once('/').unwrap();
    let conf = lines(SENTINEL);
    let listens = conf.iter().find_map(|line| line.strip_prefix("port ")).unwrap();
    let (sentinels, servers) = (named("sentinel-"), named("redis-"));
    let named: Vec<String> = sentinels.keys().map(|name| format!("{name}:{listens}")).collect();
    assert_eq!(hosts.split(',').collect::<Vec<_>>(), named);
    for (name, sentinel) in &sentinels {
        // A Sentinel announces its host's name, and keeps what it has learnt.
        assert_eq!(sentinel["hostname"], name.as_str());
        let volumes = texts(&sentinel["volumes"]);
        assert_eq!(volumes[0], format!("./{SENTINEL}:/etc/redis/sentinel.conf:ro"));
        assert_eq!(volumes[1], format!("{name}:/data"));
        assert!(texts(&sentinel["healthcheck"]["test"]).contains(&listens), "{name}");
        let script = *texts(&sentinel["command"]).last().unwrap();
        assert!(script.contains(&format!("sentinel auth-pass {primary} ")), "{script}");
    }
    let watched = conf.iter().find_map(|line| line.strip_prefix("sentinel monitor ")).unwrap();
    let [name, host, server_port, quorum] = watched.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((name, server_port), (primary, "6379"));
    assert!(quorum.parse::<usize>().unwrap() * 2 > sentinels.len(), "a majority");
    let (replicas, primaries): (Vec<_>, Vec<_>) =
        servers.iter().partition(|(_, server)| texts(&server["command"]).contains(&"--replicaof"));
    assert_eq!(primaries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [host]);
    assert_eq!(member("cluster", "replicas").as_integer(), Some(i64::try_from(replicas.len()).unwrap()));
    for (name, server) in &servers {
        let command = texts(&server["command"]);
        assert_eq!(command[..2], ["redis-server", "/etc/redis/redis.conf"], "{name}");
        let after = |option: &str| command[command.iter().position(|word| *word == option).unwrap() + 1];
        assert_eq!(after("--replica-announce-ip"), name, "Sentinel and ushers know it by its name");
        assert_eq!(after("--requirepass"), after("--masterauth"), "either may become the primary");
    }
}

/// A server of Redis or a Sentinel on this machine. Killed when dropped.
struct Store {
    child: Child,
    address: SocketAddr,
}

impl Store {
    fn start(config: &Path, directory: &Path, arguments: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("redis-server");
        command.arg(config).args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.arg("--dir").arg(directory).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{error}; `tests/run` installs redis-server"));
        let store = Self { child, address };
        eventually("the store listens", || TcpStream::connect(address).ok());
        store
    }

    /// The answer to a command, as it comes.
    fn says(&self, command: &str) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        write!(connection, "AUTH secret\r\n{command}\r\n").unwrap();
        // It closes once it has read everything, and answered it.
        connection.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        // What a server says that closes sooner is not what is waited for.
        let _read = connection.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Real servers with the files as they are, but for ports and names.
#[test]
fn redis_and_sentinel_take_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let password = ["--requirepass", "secret", "--masterauth", "secret"];
    // Sentinel has a server rewrite its file when another one is promoted.
    let redis = directory.path().join("redis.conf");
    std::fs::copy(project(REDIS), &redis).unwrap();
    let primary = Store::start(&redis, directory.path(), &password);
    let of = format!("127.0.0.1 {}", primary.address.port());
    let replica = Store::start(&redis, directory.path(), &[&password[..], &["--replicaof", &of]].concat());
    eventually("the replica follows", || {
        let synchronised = primary.says("INFO replication").contains("connected_slaves:1")
            && replica.says("INFO replication").contains("master_link_status:up");
        synchronised.then_some(())
    });
    for (key, value) in [("maxmemory-policy", "noeviction"), ("save", ""), ("appendonly", "no")] {
        let answer = primary.says(&format!("CONFIG GET {key}"));
        assert!(answer.contains(&format!("\r\n{value}\r\n")), "{key}: {answer:?}");
    }
    let conf = read(SENTINEL).replace("redis-1 6379", &of).replace("port 26379\n", "");
    let copy = directory.path().join("sentinel.conf");
    std::fs::write(&copy, format!("{conf}sentinel auth-pass usher secret\nsentinel announce-ip localhost\n")).unwrap();
    let sentinel = Store::start(&copy, directory.path(), &["--sentinel"]);
    eventually("Sentinel knows both", || {
        let knows = sentinel.says("SENTINEL replicas usher").contains(&format!("127.0.0.1:{}", replica.address.port()))
            && sentinel
                .says("SENTINEL get-master-addr-by-name usher")
                .contains(&format!("\r\n{}\r\n", primary.address.port()));
        knows.then_some(())
    });
}

#[test]
fn the_drop_in_names_the_member_after_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("usher.service");
    let program = env!("CARGO_BIN_EXE_usher");
    std::fs::write(&unit, read("deploy/systemd/usher.service").replace("/usr/local/bin/usher", program)).unwrap();
    std::fs::create_dir(directory.path().join("usher.service.d")).unwrap();
    let drop_in = read("deploy/systemd/cluster.conf");
    std::fs::write(directory.path().join("usher.service.d/cluster.conf"), &drop_in).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    assert!(verified.status.success() && said(&verified).is_empty(), "{}", said(&verified));
    let variables: Vec<&str> =
        drop_in.lines().filter_map(|line| line.strip_prefix("Environment=USHER_CLUSTER__")).collect();
    assert_eq!(variables, ["NODE=%H", "PASSWORD_FILE=%d/redis-password"]);
}

#[test]
fn usher_accepts_a_members_configuration() {
    // With the variables of each member in the compose file.
    for (name, usher) in named("usher-") {
        let mut check = Cli::new(&["check", "--config", project(MEMBER).to_str().unwrap()]);
        for (variable, value) in usher["environment"].as_object().unwrap() {
            let Some(value) = value.as_str().filter(|_| variable != "USHER_CONFIG") else { continue };
            let value = if value.contains(":?") { "0123456789abcdef0123456789abcdef" } else { value };
            check = check.env(variable, value);
        }
        let checked = check.run();
        assert_eq!(checked.code, 0, "{name}: {checked:?}");
    }
    // What it sets beside the address is what the reference has by default, but for the replicas.
    let cluster = read(MEMBER).parse::<toml::Table>().unwrap()["cluster"].clone();
    for (key, value) in
        cluster.as_table().unwrap().iter().filter(|(key, _)| !["redis_url", "replicas"].contains(&key.as_str()))
    {
        assert_eq!(*value, default("cluster", key), "{key}");
    }
}
