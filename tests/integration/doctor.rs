//! `usher doctor`: each possible fault is found and reported with a remedy.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::cli::{Cli, Finished};
use crate::harness::socket_server::{FakeSocketServer, Peer, Script};
use crate::harness::tls::{Identity, terminate};
use crate::harness::{Fake, Setup, Step, Usher, sign};

/// Runs it on this configuration; its exit code and its findings.
pub fn examined(toml: &str) -> (i32, Vec<Value>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usher.toml");
    std::fs::write(&path, toml).unwrap();
    let run = |more: &[&str]| -> Finished {
        let mut cli = Cli::new(&["doctor", "--config", path.to_str().unwrap()]);
        for argument in more {
            cli = cli.arg(argument);
        }
        cli.run()
    };
    let finished = run(&["--json", "--timeout", "15s"]);
    assert!(!finished.out.contains(sign::SECRET) && !finished.err.contains(sign::SECRET), "{finished:?}");
    let report = &finished.json()[0];
    assert_eq!(report["ok"], finished.code == 0, "{finished:?}");
    let findings = report["findings"].as_array().unwrap().clone();
    for finding in &findings {
        assert!(
            finding["verdict"] == "ok" || finding["advice"].as_str().is_some_and(|advice| !advice.is_empty()),
            "{finding}"
        );
    }
    (finished.code, findings)
}

/// The findings of a check.
pub fn of<'a>(findings: &'a [Value], check: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["check"] == check).collect()
}

/// Fails unless the first finding of this check has this severity and contains these texts, in the finding or in the
/// remedy.
#[track_caller]
pub fn assert_found(findings: &[Value], check: &str, verdict: &str, says: &[&str]) {
    let found = of(findings, check);
    let first = found.first().unwrap_or_else(|| panic!("nothing of {check}: {findings:?}"));
    let text = format!("{} {} {}", first["about"], first["found"], first["advice"]);
    assert!(first["verdict"] == verdict && says.iter().all(|part| text.contains(part)), "{first}");
}

/// The checks that found a problem.
fn problems(findings: &[Value]) -> Vec<&str> {
    let problems = findings.iter().filter(|finding| finding["verdict"] == "problem");
    problems.map(|finding| finding["check"].as_str().unwrap()).collect()
}

fn dated(status: &str, date: &str, body: &str) -> Step {
    Step::answer(&format!("HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn date(offset: i64) -> String {
    let seconds = u64::try_from(i64::try_from(sign::now()).unwrap() + offset).unwrap();
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// A WebSocket server that greets one client.
fn greeting() -> FakeSocketServer {
    FakeSocketServer::start(vec![Box::new(|peer: &mut Peer| {
        peer.establish();
        peer.wait_close();
    }) as Script])
}

fn before(fake: &Fake, websocket: &str) -> Setup {
    let mut setup = Setup::before(fake);
    setup.upstream += &format!("websocket_url = \"{websocket}\"\n");
    setup
}

#[test]
fn a_healthy_upstream_is_found_healthy() {
    let (fake, far) = (Fake::start(), greeting());
    fake.otherwise(|request| {
        assert!(
            request.target() == "/" || (request.target().starts_with("/apps/3/channels?") && request.is_signed()),
            "{}",
            request.target()
        );
        dated("200 OK", &date(0), "{\"channels\":{}}")
    });
    let (code, findings) = examined(&before(&fake, &far.url()).toml());
    assert_eq!(code, 0, "{findings:?}");
    for (check, says) in [
        ("connection", "connected"),
        ("dns", "127.0.0.1"),
        ("clock", "s"),
        ("signature", "takes it"),
        ("websocket", "greeted"),
    ] {
        assert_found(&findings, check, "ok", &[says]);
    }
    assert_found(&findings, "admin", "ok", &["this machine"]);
    assert_found(&findings, "clients", "ok", &["PUSHER_URL"]);
    assert_eq!(of(&findings, "listen").len(), 2);
    far.assert_played(1);
}

#[test]
fn a_refused_signature_and_a_wrong_clock_are_problems() {
    let (fake, far) = (Fake::start(), greeting());
    fake.otherwise(|request| {
        let signature = request.target().split("auth_signature=").nth(1).unwrap_or("none").to_owned();
        dated("401 Unauthorized", &date(-3600), &format!("Invalid signature \x1b[2J: you sent {signature}"))
    });
    let (code, findings) = examined(&before(&fake, &far.url()).toml());
    assert_eq!(code, 1);
    // The clock alone explains the refusal: it comes first.
    assert_found(&findings, "clock", "problem", &["ahead of", "NTP"]);
    assert!(findings[0]["check"] == "clock" && of(&findings, "signature").is_empty(), "{findings:?}");
    let refusing = Fake::start();
    refusing.otherwise(|request| {
        let signature = request.target().split("auth_signature=").nth(1).unwrap_or("none").to_owned();
        dated("401 Unauthorized", &date(0), &format!("Invalid signature \x1b[2J: you sent {signature}"))
    });
    let (_, findings) = examined(&before(&refusing, &far.url()).toml());
    assert_found(&findings, "signature", "problem", &["401", "Invalid signature", "secret", "you sent …"]);
    let late = Fake::start();
    late.otherwise(|_| dated("200 OK", &date(120), "{}"));
    let (_, findings) = examined(&before(&late, &far.url()).toml());
    assert_found(&findings, "clock", "warning", &["behind", "NTP"]);
    assert_found(&findings, "websocket", "problem", &["websocket_url"]);
}

/// soketi refuses with `200`; and a server that is no Pusher server may answer `200` to everything.
#[test]
fn a_refusal_that_looks_like_success_is_none() {
    let far = greeting();
    let examined = |body: &'static str| {
        let fake = Fake::start();
        fake.otherwise(move |_| dated("200 OK", &date(0), body));
        examined(&before(&fake, &far.url()).toml())
    };
    let (code, findings) = examined(r#"{"error":"The secret authentication failed","code":401}"#);
    assert_eq!(code, 1);
    assert_found(&findings, "signature", "problem", &["200", "The secret authentication failed", "secret"]);
    let (_, findings) = examined(r#"{"error":"Try again","code":500}"#);
    assert_found(&findings, "signature", "warning", &["Try again", "later"]);
    let (code, findings) = examined("<html>It works!</html>");
    assert_eq!(code, 1);
    assert_found(&findings, "signature", "problem", &["It works!", "no JSON object", "nothing can be suppressed"]);
}

#[test]
fn an_unreachable_upstream_is_reported() {
    let fake = Fake::start();
    fake.refuse();
    let (code, findings) = examined(&Setup::before(&fake).toml());
    assert_eq!(code, 1);
    assert_found(&findings, "connection", "problem", &["cannot connect", "firewall"]);
    assert_eq!(problems(&findings), ["connection"], "one cause, one finding");
    let (_, findings) = examined(&Setup::before_url("http://no-such-host.invalid").toml());
    assert_found(&findings, "dns", "problem", &["no-such-host.invalid", "name server"]);
    assert_eq!(problems(&findings), ["dns"]);
}

#[test]
fn a_server_without_websocket_or_with_another_key_is_reported() {
    let fake = Fake::start();
    let (code, findings) = examined(&Setup::before(&fake).toml());
    assert_eq!(code, 1);
    assert_found(&findings, "websocket", "problem", &["200", "load balancer"]);
    assert_found(&findings, "clock", "warning", &["no Date"]);
    let far = FakeSocketServer::start(vec![
        Box::new(|peer: &mut Peer| peer.close(4001, "App key not in this cluster")) as Script,
    ]);
    let (_, findings) = examined(&before(&fake, &far.url()).toml());
    assert_found(&findings, "websocket", "problem", &["4001", "not in this cluster", "key"]);
}

#[test]
fn expired_or_untrusted_certificates_are_reported() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let look = |identity: &Identity, trusted: bool| {
        std::fs::write(&ca, &identity.certificate).unwrap();
        let mut setup = Setup::before_url(&format!("https://localhost:{}", terminate(fake.address(), identity).port()));
        if trusted {
            setup.upstream += &format!("ca_file = \"{}\"\n", ca.display());
        }
        examined(&setup.toml()).1
    };
    let (good, expired) = (Identity::new(), Identity::expired());
    assert_found(&look(&good, true), "tls", "ok", &["localhost", "more days"]);
    let untrusted = look(&good, false);
    assert_found(&untrusted, "tls", "problem", &["upstream.ca_file"]);
    assert_eq!(problems(&untrusted), ["tls"]);
    assert_found(&look(&expired, true), "tls", "problem", &["expired", "renewed"]);
}

#[test]
fn the_other_scheme_is_advised_where_it_is_the_one_that_is_spoken() {
    let fake = Fake::start();
    let secure = terminate(fake.address(), &Identity::new()).port();
    let (_, findings) = examined(&Setup::before_url(&format!("http://localhost:{secure}")).toml());
    assert_found(&findings, "connection", "problem", &[&format!("try https://localhost:{secure}")]);
    assert_eq!(problems(&findings), ["connection"]);
    let usher = Usher::start(&fake, |_| {});
    let plain = usher.gateway().port();
    let (_, findings) = examined(&Setup::before_url(&format!("https://localhost:{plain}")).toml());
    assert_found(&findings, "tls", "problem", &["not TLS", &format!("try http://localhost:{plain}")]);
    assert_eq!(problems(&findings), ["tls"]);
}

#[test]
fn a_ca_file_of_another_server_is_told_with_what_to_put_in() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, Identity::new().certificate).unwrap();
    let port = terminate(fake.address(), &Identity::new()).port();
    let mut setup = Setup::before_url(&format!("https://localhost:{port}"));
    setup.upstream += &format!("ca_file = {ca:?}\n");
    let (_, findings) = examined(&setup.toml());
    assert_found(&findings, "tls", "problem", &["ca.pem", "openssl s_client", &format!("localhost:{port}")]);
}

#[test]
fn apps_with_the_same_trouble_share_one_finding() {
    let (fake, far) = (Fake::start(), greeting());
    fake.otherwise(|_| dated("403 Forbidden", &date(0), "over quota"));
    let mut setup = before(&fake, &far.url());
    setup.more = "[[apps]]\nid = \"4\"\nkey = \"k4\"\nsecret = \"of four\"\n".to_owned();
    let (_, findings) = examined(&setup.toml());
    let [finding] = of(&findings, "signature")[..] else { panic!("{findings:?}") };
    assert_eq!(finding["about"], "of app 3 and of app 4");
}

#[test]
fn our_own_certificate_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let look = |identity: &Identity| {
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, &identity.certificate).unwrap();
        std::fs::write(&key, &identity.key).unwrap();
        let mut setup = Setup::before_url("local");
        setup.server +=
            &format!("[server.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
        examined(&setup.toml())
    };
    let (code, findings) = look(&Identity::new());
    assert_found(&findings, "certificate", "ok", &["more days"]);
    assert_eq!(code, 0, "{findings:?}");
    let (code, findings) = look(&Identity::expired());
    assert_found(&findings, "certificate", "problem", &["has expired", "SIGHUP"]);
    assert!(
        !of(&findings, "configuration").iter().any(|finding| finding.to_string().contains("expired")),
        "{findings:?}"
    );
    assert_eq!(code, 1);
}

#[test]
fn an_usher_that_serves_is_known_from_any_other_program() {
    let usher = Usher::start_with(&Setup::before_url("local").toml());
    let mut setup = Setup::before_url("local");
    setup.server = format!("listen = \"{}\"\n", usher.gateway());
    setup.admin = format!("listen = \"{}\"\n", usher.admin().0);
    let (code, findings) = examined(&setup.toml());
    assert_eq!(code, 0, "{findings:?}");
    assert_found(&findings, "upstream", "ok", &["its own broker"]);
    let [gateway, admin] = of(&findings, "listen")[..] else { panic!("{findings:?}") };
    assert!(gateway["found"].as_str().unwrap().contains("served by an usher"), "{gateway}");
    assert!(admin["found"].as_str().unwrap().contains("ready"), "{admin}");

    let other = Fake::start();
    setup.server = format!("listen = \"{}\"\n", other.address());
    let (code, findings) = examined(&setup.toml());
    assert_eq!(code, 1);
    assert_found(&findings, "listen", "problem", &["server.listen", "does not answer as usher", "another port"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    setup.server = format!("listen = \"{free}\"\n");
    assert_found(&examined(&setup.toml()).1, "listen", "ok", &["is free"]);
}

#[test]
fn an_exposed_operators_listener_and_unusual_ids_are_reported() {
    let mut setup = Setup::before_url("local");
    setup.admin = "listen = \"0.0.0.0:0\"\ntoken = \"0123456789abcdef0123\"\n".to_owned();
    setup.more = "[[apps]]\nid = \"hotel\"\nkey = \"hotel-key\"\nsecret = \"of the hotel\"\n".to_owned();
    let (code, findings) = examined(&setup.toml());
    assert_eq!(code, 0, "warnings are no problems: {findings:?}");
    assert_found(&findings, "admin", "warning", &["/metrics", "admin.token", "plain HTTP"]);
    assert_found(&findings, "configuration", "warning", &["digits"]);
}

#[test]
fn a_broken_configuration_is_a_finding_and_people_read_lines() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    let (code, findings) = examined(&format!("[server]\nlisten = \"here\"\n[admin]\nlisten = \"there\"\n{app}"));
    assert_eq!((code, findings.len()), (1, 2), "{findings:?}");
    assert_found(&findings, "configuration", "problem", &["server.listen"]);
    let told = Cli::new(&["doctor", "--set", "server.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"]).run();
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(
        told.out.contains("ok       upstream: usher is its own broker") && told.out.contains("\n         → "),
        "{told:?}"
    );
}
