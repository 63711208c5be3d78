//! `[cluster]`: the store that several ushers share.

use std::time::Duration;

use super::*;
use crate::cluster::{Address, Isolated, Servers};
use crate::config::Cluster;

const CANARY: &str = "canary-5f1d";
const URL: &str = "redis://10.0.0.1";

/// A file with `url`, and `more` below it.
fn with(url: &str, more: &str) -> Setup {
    file(&format!("{UPSTREAM}[cluster]\nredis_url = \"{url}\"\n{more}\n"))
}

fn read(url: &str, more: &str) -> Cluster {
    with(url, more).accepted().cluster.expect("a cluster")
}

fn address(host: &str, port: u16) -> Address {
    Address { host: host.to_owned(), port }
}

#[test]
fn there_is_none_without_an_address() {
    assert_eq!(nothing().accepted().cluster, None);
    assert_eq!(with("", "prefix = \"usher\"\nlease = \"2s\"\nreplicas = 0").accepted().cluster, None);
    for more in [
        "prefix = \"x\"",
        "node = \"a\"",
        "lease = \"3s\"",
        "replicas = 1",
        "isolated = \"refuse\"",
        "password = \"p\"",
    ] {
        let fault = file(&format!("{UPSTREAM}[cluster]\n{more}\n")).fault();
        assert!(fault.contains("cluster.redis_url") && fault.contains("would not be shared"), "{more}: {fault}");
    }
}

#[test]
fn one_server_has_the_defaults_of_everything_else() {
    let cluster = read(URL, "");
    assert_eq!(cluster.servers, Servers::One(address("10.0.0.1", 6379)));
    assert_eq!((cluster.tls.is_none(), cluster.login.database, &*cluster.prefix), (true, 0, "usher"));
    assert_eq!((&cluster.login.username, &cluster.login.password), (&None, &None));
    let terms = cluster.terms(Duration::from_secs(30), Duration::from_secs(3));
    assert_eq!((terms.lease, terms.member_timeout), (Duration::from_secs(2), Duration::from_secs(660)));
    assert_eq!((terms.replicas, terms.doubt_period), (0, Duration::from_secs(30)));
    assert_eq!((cluster.isolated, cluster.timeout), (Isolated::Forward, Duration::from_millis(500)));
    let host = rustix::system::uname();
    assert_eq!(cluster.node, host.nodename().to_string_lossy(), "the name of this machine");
    let shown = with(URL, "").accepted().values;
    assert!(shown.iter().any(|value| value.key == "cluster.node" && value.value == cluster.node.as_str()));
}

#[test]
fn each_form_of_an_address_is_read() {
    let (one, two) = (address("a.example", 6379), address("::1", 7000));
    for (url, servers, is_tls, database) in [
        ("redis://a.example", Servers::One(one.clone()), false, 0),
        ("valkey://a.example:6379/", Servers::One(one.clone()), false, 0),
        ("REDISS://a.example/3", Servers::One(one.clone()), true, 3),
        ("rediss://[::1]:7000", Servers::One(two.clone()), true, 0),
        ("redis://a.example,[::1]:7000", Servers::Cluster { nodes: vec![one.clone(), two.clone()] }, false, 0),
        ("rediss://a.example, [::1]:7000/0", Servers::Cluster { nodes: vec![one, two] }, true, 0),
        (
            "redis+sentinel://s1,s2:5000/mymaster",
            Servers::Sentinel {
                sentinels: vec![address("s1", 26_379), address("s2", 5000)],
                primary: "mymaster".to_owned(),
            },
            false,
            0,
        ),
        (
            "rediss+sentinel://s1/my-master/2",
            Servers::Sentinel { sentinels: vec![address("s1", 26_379)], primary: "my-master".to_owned() },
            true,
            2,
        ),
    ] {
        let cluster = read(url, "replicas = 1");
        assert_eq!(
            (cluster.servers, cluster.tls.is_some(), cluster.login.database),
            (servers, is_tls, database),
            "{url}"
        );
    }
    assert_eq!([address("::1", 1).to_string(), address("h", 2).to_string()], ["[::1]:1", "h:2"]);
}

#[test]
fn what_is_no_address_is_refused_with_the_forms() {
    for (url, cause) in [
        ("10.0.0.1:6379", "no scheme"),
        ("http://10.0.0.1", "none of Redis"),
        ("redis://", "neither a name nor"),
        ("redis://a,,b", "neither a name nor"),
        ("redis://a b", "neither a name nor"),
        ("redis://::1", "neither a name nor"),
        ("redis://[::1", "ends with none"),
        ("redis://[a]:1", "neither a name nor"),
        ("redis://[::1]1", "only a port"),
        ("redis://a:0", "port"),
        ("redis://a:70000", "port"),
        ("redis://a:", "port"),
        ("redis://a/x", "number of a database"),
        ("redis://a/0/1", "number of a database"),
        ("redis://a?db=1", "query"),
        ("redis+sentinel://a", "the Sentinels watch"),
        ("redis+sentinel://a/", "the Sentinels watch"),
    ] {
        let fault = with(url, "").fault();
        assert!(fault.contains(cause) && fault.contains("redis+sentinel://host1:26379"), "{url}: {fault}");
    }
    assert!(with("redis://a,b/1", "replicas = 1").fault().contains("database 0 alone"));
    let many = vec!["h"; 33].join(",");
    assert!(with(&format!("redis://{many}"), "replicas = 1").fault().contains("more than 32"));
}

#[test]
fn no_output_has_the_password() {
    let setup = with(URL, "username = \"usher\"").variable("USHER_CLUSTER__PASSWORD", CANARY);
    let config = setup.accepted();
    assert_eq!(config.cluster.as_ref().expect("a cluster").login.password.as_deref(), Some(CANARY));
    let secret = written(format!("{CANARY}\n").as_bytes());
    let from_file = read(URL, &format!("password_file = \"{}\"", secret.path().display()));
    assert_eq!(from_file.login.password.as_deref(), Some(CANARY));
    let values: Vec<_> = config.values.iter().map(|value| value.json().to_string()).collect();
    assert!(values.iter().any(|value| value.contains("cluster.password") && value.contains("MASKED")), "{values:?}");
    let shown = [format!("{config:?} {config:#?} {from_file:?}"), values.join(""), warning_texts(&config).join("")];
    assert!(shown.iter().all(|shown| !shown.contains(CANARY)), "{shown:?}");
    for refused in [
        with(&format!("redis://usher:{CANARY}@10.0.0.1"), ""),
        with(&format!("redis://a,usher:{CANARY}@10.0.0.1/9"), ""),
        with(URL, &format!("password = \"{CANARY}\"\npassword_file = \"{CANARY}\"")),
        with(URL, &format!("password = \"{CANARY}\\n\"")),
        with(URL, "").flag("cluster.password", CANARY),
    ] {
        let fault = refused.fault();
        assert!(!fault.contains(CANARY) && fault.contains("cluster."), "{fault}");
    }
    assert!(with("redis://u:p@a", "").fault().contains("USHER_CLUSTER__PASSWORD"));
    let both = with(URL, "password = \"a\"\npassword_file = \"b\"").fault();
    assert!(both.contains("Both `password` and `password_file`"), "{both}");
}

#[test]
fn a_login_and_tls_are_whole() {
    assert!(with(URL, "username = \"usher\"").fault().contains("has no password"));
    assert!(with(URL, "username = \"a b\"\npassword = \"p\"").fault().contains("no spaces"));
    let authority = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
    let file = written(authority.cert.pem().as_bytes());
    let ca = format!("ca_file = \"{}\"", file.path().display());
    assert_eq!(read("rediss://a", &ca).tls.expect("TLS").ca_file().as_deref(), Some(file.path()));
    assert!(with(URL, &ca).fault().contains("asks for none"));
    assert!(with("rediss://a", "ca_file = \"/nowhere\"").fault().contains("cluster.ca_file"));
}

#[test]
fn names_have_no_braces() {
    for key in ["prefix", "node"] {
        for wrong in ["a{b", "a}", "a b", "ä", &"x".repeat(65)] {
            let fault = with(URL, &format!("{key} = \"{wrong}\"")).fault();
            assert!(fault.contains(&format!("cluster.{key}")) && fault.contains("no braces"), "{fault}");
        }
    }
    let cluster = read(URL, "prefix = \"hotel:usher\"\nnode = \"usher-1.example\"");
    assert_eq!((&*cluster.prefix, &*cluster.node), ("hotel:usher", "usher-1.example"));
    assert_eq!(&*read(URL, "prefix = \"\"").prefix, "usher");
    // Nor has the id of an app: no id with one is accepted, with a cluster or without.
    let app = "[[apps]]\nid = \"a{b\"\nkey = \"k\"\nsecret = \"s\"\n";
    assert!(with(URL, app).fault().contains("only ASCII letters, digits"));
}

#[test]
fn times_that_do_not_fit_each_other_are_refused() {
    for (more, key, cause) in [
        ("timeout = \"501ms\"", "cluster.timeout", "a quarter of `cluster.lease` (2s)"),
        ("lease = \"1900ms\"", "cluster.lease", "a quarter of `cluster.lease` (1900ms)"),
        ("isolated = \"refuse\"\nmember_timeout = \"5s\"", "cluster.member_timeout", "three times `cluster.lease`"),
        ("member_timeout = \"659s\"", "cluster.member_timeout", "is below 11m"),
        ("lease = \"99ms\"", "cluster.lease", "out of bounds"),
    ] {
        let fault = with(URL, more).fault();
        assert!(fault.contains(key) && fault.contains(cause), "{more}: {fault}");
    }
    let short = "lease = \"400ms\"\ntimeout = \"100ms\"\nmember_timeout = \"1200ms\"\nisolated = \"refuse\"";
    assert_eq!((read(URL, short).isolated, read(URL, short).lease), (Isolated::Refuse, Duration::from_millis(400)));
    assert_eq!(read(URL, "member_timeout = \"660s\"").member_timeout, Duration::from_mins(11));
}

#[test]
fn a_failover_needs_replicas() {
    for url in ["redis+sentinel://a/m", "redis://a,b"] {
        let fault = with(url, "").fault();
        assert!(fault.contains("cluster.redis_url") && fault.contains("`cluster.replicas` is 0"), "{fault}");
        assert_eq!(read(url, "replicas = 2").replicas, 2);
    }
    assert_eq!(read(URL, "replicas = 1").replicas, 1, "one server may have replicas that somebody promotes");
}

#[test]
fn the_embedded_broker_has_no_cluster() {
    let fault = file(&format!("[cluster]\nredis_url = \"{URL}\"\n")).fault();
    assert!(fault.contains("cluster.redis_url") && fault.contains("guests of its own"), "{fault}");
}

#[test]
fn what_is_not_used_with_it_is_warned_of() {
    let codes = |setup: Setup| setup.accepted().warnings.iter().map(|warning| warning.code).collect::<Vec<_>>();
    assert_eq!(codes(with(URL, "node = \"a\"")), [""; 0]);
    let others = "node = \"a\"\n[state]\npath = \"/var/lib/usher\"\n[assignments]\nstart_doubt = \"0s\"\n[limits.rates]\napp_triggers = 5";
    assert_eq!(codes(with(URL, others)), ["start_doubt_with_cluster", "state_with_cluster", "rates_per_member"]);
    assert_eq!(codes(with(URL, "node = \"a\"\n[assignments]\nstart_doubt = \"\"")), [""; 0]);
    assert_eq!(with(URL, others).accepted().state.path, None);
}

#[test]
fn a_reload_leaves_all_of_it() {
    let changed = |more: &str| {
        let old = with(URL, "node = \"a\"").accepted();
        old.reloadable_difference(&with(URL, more).accepted())
    };
    assert_eq!(changed("node = \"a\""), [""; 0]);
    assert_eq!(changed("node = \"b\"\nreplicas = 2"), ["cluster.node", "cluster.replicas"]);
    assert_eq!(changed("node = \"a\"\npassword = \"p\""), ["cluster.password"]);
    let (without, one) = (file(UPSTREAM).accepted(), with(URL, "node = \"a\"").accepted());
    assert_eq!(without.reloadable_difference(&one), ["cluster"]);
    let elsewhere = with("rediss://10.0.0.1", "node = \"a\"").accepted();
    assert_eq!(one.reloadable_difference(&elsewhere), ["cluster.redis_url"]);
    let secret = with(URL, "node = \"a\"\npassword = \"p\"").accepted();
    let pending: Vec<_> =
        one.running_values(&secret).into_iter().filter_map(|value| value.pending.map(|_| value.current.key)).collect();
    assert_eq!(pending, ["cluster.password"]);
}
