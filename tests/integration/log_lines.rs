//! What goes wrong with a trigger is in the log: the cause, in plain words, with the id that the caller was answered
//! with, and nothing that is secret.

use std::io::{Read, Write};
use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;

use crate::harness::bodies::{self, announcement};
use crate::harness::cli::Cli;
use crate::harness::tls::{self, Authority, Identity};
use crate::harness::usher::{Signal, field, message, text};
use crate::harness::{Fake, Request, Response, Setup, Step, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";
const PATH: &str = "/apps/3/events";

/// A trigger with these credentials, signed at this time.
fn signed(path: &str, key: &str, secret: &str, timestamp: u64) -> Request {
    let body = announcement(CHANNEL, "A");
    let query = sign::query_of("POST", path, "", body.as_bytes(), key, secret, timestamp);
    Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
}

/// The WARN line about the trigger that was answered with `response`.
fn warning(usher: &Usher, response: &Response) -> Value {
    let id = response.header("usher-trigger").unwrap();
    usher.wait_log(|event| event["level"] == "WARN" && text(event, "trigger") == id)
}

/// Both readers of requests.
fn everywhere(test: impl Fn(&dyn Fn(&mut Setup))) {
    for fast_path in [true, false] {
        test(&|setup: &mut Setup| setup.server += &format!("fast_path = {fast_path}\n"));
    }
}

#[test]
fn every_refused_caller_is_in_the_log() {
    everywhere(|adjust| {
        let fake = Fake::start();
        let usher = Usher::start(&fake, adjust);
        let now = sign::now();
        let mut another_body = signed(PATH, sign::KEY, sign::SECRET, now);
        another_body.body[10] ^= 1;
        for (request, code, skew) in [
            (signed(PATH, sign::KEY, "wrong", now), "auth_signature_mismatch", None),
            (signed("/apps/77/events", "k", "s", now), "unknown_app", None),
            (signed(PATH, "another-key", sign::SECRET, now), "unknown_auth_key", None),
            (signed(PATH, sign::KEY, sign::SECRET, now - 7200), "auth_timestamp_too_old", Some(-7200)),
            (signed(PATH, sign::KEY, sign::SECRET, now + 3600), "auth_timestamp_too_new", Some(3600)),
            (another_body, "body_md5_mismatch", None),
        ] {
            let response = usher.client().call(&request);
            assert_eq!(response.error(), code);
            let line = warning(&usher, &response);
            assert_eq!((message(&line), text(&line, "code")), ("a trigger was refused", code));
            assert_eq!(text(&line, "app"), if code == "unknown_app" { "77" } else { "3" });
            assert_eq!(text(&line, "caller"), "127.0.0.1");
            assert_eq!(text(&line, "key"), if code == "unknown_auth_key" { "another-key" } else { "" });
            let logged = field(&line, "skew_seconds").as_i64();
            assert!(
                logged.zip(skew).is_none_or(|(logged, skew): (i64, i64)| logged.abs_diff(skew) < 60)
                    && logged.is_some() == skew.is_some(),
                "{line}"
            );
            assert!(text(&line, "error").len() > 20, "{line}");
        }
        assert_eq!(fake.count(), 0);
    });
}

/// A caller may have exchanged key and secret, or id and secret.
#[test]
fn no_secret_and_no_signature_is_in_the_log() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.level = "debug");
    let now = sign::now();
    let requests = [
        signed(PATH, sign::SECRET, sign::KEY, now),
        signed(&format!("/apps/{}/events", sign::SECRET), sign::KEY, sign::SECRET, now),
        signed(PATH, sign::KEY, "wrong", now),
    ];
    for request in &requests {
        let response = usher.client().call(request);
        assert!(text(&warning(&usher, &response), "code").len() > 5);
    }
    let logs = usher.logs();
    assert!(!logs.contains(sign::SECRET) && logs.contains("(the secret of an app"), "{logs}");
    for request in &requests {
        let signature = request.target.split("auth_signature=").nth(1).unwrap();
        assert!(!logs.contains(signature), "{logs}");
    }
}

#[test]
fn many_refusals_make_few_lines_and_a_count() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for _ in 0..100 {
        client.call(&signed(PATH, sign::KEY, "wrong", sign::now())).assert_error(401, "auth_signature_mismatch");
    }
    // Names of a scanner's own, with control characters.
    for number in 0..300 {
        let path = format!("/apps/%1b[2J{number}/events");
        assert_eq!(usher.client().call(&signed(&path, "k", "s", sign::now())).status, 404);
    }
    let more = usher.wait_log(|event| message(event) == "more triggers were refused" && text(event, "app") == "3");
    let left_out = field(&more, "left_out").as_u64().unwrap();
    let lines = |app: &dyn Fn(&str) -> bool| {
        let of_callers = |event: &&Value| message(event) == "a trigger was refused" && app(text(event, "app"));
        usher.events().iter().filter(of_callers).count() as u64
    };
    let written = lines(&|app| app == "3");
    assert!(written <= 10 && written + left_out <= 100 && left_out >= 80, "{written} written, {left_out} left out");
    assert!(lines(&|app| app != "3") <= 160);
}

#[test]
fn what_upstream_says_of_a_trigger_is_in_the_log() {
    everywhere(|adjust| {
        let fake = Fake::start();
        let usher = Usher::start(&fake, adjust);
        let answer = |status, media: &str, body: &str| {
            Step::says(status, &format!("Content-Type: {media}\r\n"), body.as_bytes())
        };
        let page = "<h1>your request: staff-assigned</h1>";
        for (step, status, says, begins) in [
            (
                answer(401, "application/json", r#"{"error":"Unknown auth_key"}"#),
                401,
                "Unknown auth_key",
                "upstream refused",
            ),
            (answer(403, "text/plain", "Over quota\n"), 403, "an answer of 11 bytes, text/plain", "upstream refused"),
            (answer(500, "text/html", page), 500, "an answer of 37 bytes, text/html", "upstream failed"),
            (
                answer(200, "application/json", r#"{"code":403,"error":"a\u001b[2J\nb"}"#),
                200,
                "a\\u{1b}[2J\\nb",
                "upstream refused",
            ),
        ] {
            fake.script([step]);
            let response = usher.client().announce(CHANNEL, "A");
            assert_eq!(response.status, status);
            let line = warning(&usher, &response);
            assert!(message(&line).starts_with(begins), "{line}");
            assert_eq!((text(&line, "says"), field(&line, "status").as_u64()), (says, Some(status.into())), "{line}");
            assert_eq!(text(&line, "app"), "3");
        }
    });
}

#[test]
fn a_refused_connection_and_its_end_are_in_the_log() {
    everywhere(|adjust| {
        let fake = Fake::start();
        let usher = Usher::start(&fake, adjust);
        usher.client().announce(CHANNEL, "A").assert_forwarded();
        fake.refuse();
        for _ in 0..3 {
            let response = usher.client().announce(CHANNEL, "B");
            response.assert_error(502, "upstream_unreachable");
            assert!(response.text().contains(": connection refused;"), "{response:?}");
            let line = warning(&usher, &response);
            assert_eq!(message(&line), "a trigger was not answered by upstream");
            assert_eq!(text(&line, "code"), "upstream_unreachable");
            assert!(text(&line, "error").contains(": connection refused;"), "{line}");
        }
        fake.accept_again();
        for _ in 0..2 {
            usher.client().announce("h-room-2-chat", "B");
        }
        let again = usher.wait_log(|event| message(event).starts_with("upstream answers again after "));
        assert!(message(&again).ends_with("; 3 triggers failed") && again["level"] == "INFO", "{again}");
        let count = usher.events().iter().filter(|event| message(event).contains("answers again")).count();
        assert_eq!(count, 1);
    });
}

/// A certificate for localhost, changed, of `authority`.
fn certificate(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

#[test]
fn the_cause_of_a_failed_handshake_is_in_the_log_and_in_the_answer() {
    let fake = Fake::start();
    let expired = Identity::expired();
    let early = certificate("localhost", |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let named = certificate("elsewhere.example", |_| {});
    // As `openssl req -x509` makes it.
    let of_openssl = certificate("localhost", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let directory = tempfile::tempdir().unwrap();
    for (identity, is_trusted, cause) in [
        (expired, true, "the certificate expired"),
        (early, true, "the certificate is not valid yet"),
        (named, true, "for another name than localhost: it is for elsewhere.example"),
        (of_openssl, false, "the certificate is self-signed and not trusted"),
        (Identity::new(), false, "the certificate is self-signed and not trusted"),
        (Authority::new("an authority").issue(), false, "unknown issuer"),
    ] {
        let (ca_file, _) = identity.write_to(directory.path());
        let port = tls::terminate(fake.address(), &identity).port();
        let mut setup = Setup::before_url(&format!("https://localhost:{port}"));
        if is_trusted {
            setup.upstream += &format!("ca_file = {ca_file:?}\n");
        }
        refused_handshake(&Usher::start_with(&setup.toml()), cause);
    }
    // A server without TLS.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::before_url(&format!("https://localhost:{}", plain.local_addr().unwrap().port()));
    std::thread::spawn(move || {
        for mut stream in plain.incoming().map_while(Result::ok) {
            let _gone = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    refused_handshake(&Usher::start_with(&setup.toml()), "does this port speak plain http?");
    assert_eq!(fake.count(), 0);
}

fn refused_handshake(usher: &Usher, cause: &str) {
    let response = usher.client().announce(CHANNEL, "A");
    response.assert_error(502, "upstream_unreachable");
    assert!(response.text().contains(cause), "{cause}: {response:?}");
    let line = warning(usher, &response);
    assert_eq!(text(&line, "code"), "upstream_tls_failed");
    assert!(text(&line, "error").contains(cause), "{cause}: {line}");
}

#[test]
fn debug_has_one_line_for_each_trigger_and_no_noise_of_libraries() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.level = "debug");
    let mut client = usher.client();
    let mut answers = vec![client.announce(CHANNEL, "A"), client.announce(CHANNEL, "A")];
    answers.push(client.trigger(&bodies::message(CHANNEL, "hi")));
    fake.script([Step::status(403)]);
    answers.push(client.announce(CHANNEL, "B"));
    answers.push(usher.client().call(&signed(PATH, sign::KEY, "wrong", sign::now())));
    let expected = [
        ("forwarded", "nothing_known", Some(1)),
        ("suppressed", "same_assignment", Some(1)),
        ("forwarded", "no_rule", Some(1)),
        ("failed", "changed", Some(1)),
        ("refused", "auth_signature_mismatch", None),
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        let id = answer.header("usher-trigger").unwrap();
        let about = |event: &Value| message(event) == "a trigger was decided" && text(event, "trigger") == id;
        let line = usher.wait_log(about);
        let found = (text(&line, "decision"), text(&line, "reason"), field(&line, "channels").as_u64());
        assert_eq!((found, text(&line, "app"), line["level"].as_str()), (expected, "3", Some("DEBUG")));
        assert_eq!(usher.events().iter().filter(|event| about(event)).count(), 1);
        assert_eq!(answer.header("usher-reason").unwrap(), expected.1);
    }
    for event in usher.events() {
        assert!(event["target"].as_str().unwrap().starts_with("usher"), "{event}");
    }
}

#[test]
fn a_start_that_fails_says_so_in_json_if_the_log_is_json() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usher.toml");
    let serve = |toml: &str| {
        std::fs::write(&path, toml).unwrap();
        let finished = Cli::new(&["serve", "--config", path.to_str().unwrap()]).run();
        let lines: Vec<Value> = finished.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (finished.code, lines)
    };
    let setup = Setup::before(&fake);
    // Each fault in a line, however many.
    let unknown: String = (0..40).map(|number| format!("wrong_{number} = 1\n")).collect();
    let (code, lines) = serve(&setup.toml().replace("[admin]\n", &format!("[admin]\n{unknown}")));
    assert_eq!((code, lines.len()), (78, 40));
    for line in &lines {
        assert_eq!(line["level"], "ERROR");
        assert!(
            text(line, "origin").contains("usher.toml:") && text(line, "key").starts_with("admin.wrong_"),
            "{line}"
        );
        assert!(message(line).starts_with("There is no such key"), "{line}");
    }
    // An address that is in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let (code, lines) = serve(&setup.toml().replacen("listen = \"127.0.0.1:0\"", &listen, 1));
    // A line about the limit of open files may come before.
    let last = lines.last().unwrap();
    assert_eq!((code, message(last)), (1, "usher cannot start"), "{lines:?}");
    assert!(text(last, "error").contains("cannot listen on"), "{lines:?}");
    // Not TOML: the format comes from the environment.
    std::fs::write(&path, "[server\n").unwrap();
    let finished = Cli::new(&["serve", "--config", path.to_str().unwrap()]).env("USHER_LOG__FORMAT", "json").run();
    assert_eq!(finished.code, 78);
    let line: Value = serde_json::from_str(&finished.err).unwrap();
    assert!(message(&line).starts_with("This is not TOML"), "{line}");
}

#[test]
fn the_faults_of_a_refused_reload_are_a_list() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let from = usher.log_lines();
    usher.rewrite_config(&setup.toml().replace("[admin]\n", "[admin]\nwrong = 1\nmore = 2\n"));
    usher.signal(Signal::Hup);
    let faults = usher.wait_faults_after(from);
    let lines: Vec<&str> = faults.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("admin.wrong") && lines[1].contains("admin.more"), "{faults}");
}
