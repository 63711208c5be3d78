//! `usher tail`: the triggers of a running usher in a terminal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

use crate::harness::admin::TOKEN;
use crate::harness::bodies::{announcement, message};
use crate::harness::cli::Cli;
use crate::harness::tls::{self, Identity};
use crate::harness::{Fake, Request, Setup, Step, Usher, eventually, sign};

const CHANNEL: &str = "h-room-1-chat";

/// A file with this content, and its directory.
fn file(content: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn url(usher: &Usher) -> String {
    format!("http://{}", usher.admin().0)
}

/// `usher tail` of this usher with the token of the tests.
fn tail(usher: &Usher, arguments: &[&str]) -> Cli {
    let url = url(usher);
    let all: Vec<&str> = ["tail", "--admin", &url].iter().chain(arguments).copied().collect();
    Cli::new(&all).env("USHER_ADMIN__TOKEN", TOKEN)
}

/// A trigger with a wrong secret.
fn forged() -> Request {
    let body = announcement(CHANNEL, "A");
    let query = sign::query_of("POST", "/apps/3/events", "", body.as_bytes(), sign::KEY, "wrong", sign::now());
    Request::new("POST", &format!("/apps/3/events?{query}"), body.as_bytes())
}

#[test]
fn each_trigger_is_one_aligned_line_with_its_cause() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    let running = tail(&usher, &[]).start();
    let backlog = running.wait_out("nothing_known");
    client.announce(CHANNEL, "Anna").assert_suppressed();
    let suppressed = running.wait_out("same_assignment");
    client.trigger(&message("lobby", "hi"));
    running.wait_out("no_rule");
    usher.client().call(&forged());
    let refused = running.wait_out("auth_signature_mismatch");
    assert!(refused.contains("the caller's secret is not that of the app"), "{refused}");
    fake.script([Step::says(403, "Content-Type: application/json\r\n", br#"{"error":"Over quota"}"#)]);
    client.announce(CHANNEL, "Ben");
    let failed = running.wait_out("failed");
    assert!(failed.ends_with("upstream 403: Over quota") && failed.contains("\"Anna\" → \"Ben\""), "{failed}");
    fake.refuse();
    client.announce(CHANNEL, "Cem");
    let refused = running.wait_out("upstream_unreachable");
    assert!(refused.contains(": connection refused; check that it runs"), "{refused}");
    running.interrupt();
    let finished = running.finish();
    assert_eq!((finished.code, finished.out.lines().count()), (0, 6), "{finished:?}");
    assert!(!finished.out.contains('\x1b'), "no colours in a pipe: {finished:?}");
    let columns = |line: &str| ["staff-assigned", CHANNEL, "\"Anna\""].map(|text| line.find(text).unwrap());
    assert_eq!(columns(&backlog), columns(&suppressed));
}

#[test]
fn triggers_are_filtered() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let filters: [(&[&str], &str); 7] = [
        (&["--refused"], "auth_signature_mismatch"),
        (&["--failed"], "failed"),
        (&["--channel", "lob"], "lobby"),
        (&["--event", "new-staff-message"], "lobby"),
        (&["--decision", "suppressed"], "same_assignment"),
        (&["--reason", "same_assignment"], "same_assignment"),
        (&["--app", "3", "--channel", "lobby"], "lobby"),
    ];
    let running = filters.map(|(arguments, wanted)| (tail(&usher, arguments).start(), arguments, wanted));
    let unknown = tail(&usher, &["--app", "77"]).start();
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna");
    client.announce(CHANNEL, "Anna");
    client.trigger(&message("lobby", "hi"));
    usher.client().call(&forged());
    fake.script([Step::status(500)]);
    client.announce(CHANNEL, "Ben");
    for (running, arguments, wanted) in running {
        running.wait_out(wanted);
        running.interrupt();
        let finished = running.finish();
        assert_eq!((finished.code, finished.out.lines().count()), (0, 1), "{arguments:?}: {finished:?}");
    }
    usher.client().call(&Request::new("POST", "/apps/77/events", b"{}"));
    unknown.wait_out("unknown_app");
    let wrong = tail(&usher, &["--decision", "surpressed"]).run();
    assert!(wrong.code == 2 && wrong.err.contains("suppressed_in_flight"), "{wrong:?}");
}

#[test]
fn whole_records_and_lines_of_json() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.admin += "payloads = \"all\"\n");
    let mut client = usher.client();
    let id = client.announce(CHANNEL, "Anna").header("usher-trigger").unwrap();
    client.trigger(&message("lobby", "hi"));
    let whole = tail(&usher, &["--verbose"]).start();
    whole.wait_out(&format!("id           {id}"));
    whole.wait_out("now        /staff_name = \"Anna\"");
    whole.wait_out("request      POST /apps/3/events, ");
    // The stream leaves out the rules that do not match.
    whole.wait_out("no match     staff-assigned, new-staff-message on lobby: ");
    whole.wait_out("upstream     sent untouched; 200 after ");
    let json = tail(&usher, &["--json"]).start();
    let line: Value = serde_json::from_str(&json.wait_out(&id)).unwrap();
    assert_eq!((line["id"].as_str(), line["decision"].as_str()), (Some(id.as_str()), Some("forwarded")));
    assert_eq!(usher.admin().json(&format!("/triggers/{id}"))["events"], line["events"]);
}

#[test]
fn nothing_that_callers_send_controls_the_terminal() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.admin += "payloads = \"all\"\n");
    let running = ["", "--verbose", "--json"].map(|style| {
        let arguments: Vec<&str> = [style].into_iter().filter(|style| !style.is_empty()).collect();
        tail(&usher, &arguments).start()
    });
    let evil = "\\u001b[2J\\u009b31m\\u202e";
    let data = "{\\\"a\\\":\\\"\u{9b}31m\u{7f}\\\"}";
    let body = format!("{{\"name\":\"e{evil}\",\"channels\":[\"c\"],\"data\":\"{data}\"}}");
    usher.client().trigger(&body);
    usher.client().call(&Request::new("POST", "/apps/\u{9b}31m/events", b"{}"));
    for running in running {
        running.wait_out("no_rule");
        running.interrupt();
        let finished = running.finish();
        let controls = |text: &str| text.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}');
        assert!(!controls(&finished.out) && finished.code == 0, "{finished:?}");
    }
}

#[test]
fn it_goes_on_after_a_restart_and_prints_nothing_twice() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    // A fixed port for the admin listener.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    setup.admin = setup.admin.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let first = Usher::start_with(&setup.toml());
    let running = tail(&first, &["--json"]).start();
    let before = first.client().announce(CHANNEL, "Anna").header("usher-trigger").unwrap();
    running.wait_out(&before);
    drop(first);
    running.wait_error("connection refused");
    let second = Usher::start_with(&setup.toml());
    // Before the command has connected again.
    let after = second.client().announce(CHANNEL, "Ben").header("usher-trigger").unwrap();
    running.wait_out(&after);
    running.wait_error("connected again");
    running.interrupt();
    let finished = running.finish();
    assert_eq!((finished.code, finished.json().len()), (0, 2), "{finished:?}");
}

/// A proxy before the admin listener that can close its connections.
struct Proxy {
    address: SocketAddr,
    opened: mpsc::Receiver<TcpStream>,
}

impl Proxy {
    fn before(admin: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, opened) = mpsc::channel();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(admin).unwrap();
                sender.send(near.try_clone().unwrap()).unwrap();
                for (mut from, mut to) in
                    [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far.try_clone().unwrap(), near)]
                {
                    thread::spawn(move || {
                        let _gone = std::io::copy(&mut from, &mut to);
                        let _closed = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, opened }
    }
}

#[test]
fn it_goes_on_where_a_connection_broke() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let proxy = Proxy::before(usher.admin().0);
    let url = format!("http://{}", proxy.address);
    let running =
        Cli::new(&["tail", "--admin", &url, "--json", "--backlog", "0"]).env("USHER_ADMIN__TOKEN", TOKEN).start();
    let mut client = usher.client();
    let connection = proxy.opened.recv().unwrap();
    // The stream begins where it was opened: the first triggers may come before.
    eventually("the stream is open", || {
        client.announce(CHANNEL, "A");
        running.out_lines().first().cloned()
    });
    let last = client.announce(CHANNEL, "B").header("usher-trigger").unwrap();
    running.wait_out(&last);
    connection.shutdown(std::net::Shutdown::Both).unwrap();
    let missed: Vec<String> =
        ["C", "D"].map(|name| client.announce(CHANNEL, name).header("usher-trigger").unwrap()).to_vec();
    for id in &missed {
        running.wait_out(id);
    }
    running.interrupt();
    let finished = running.finish();
    let mut seen: Vec<String> =
        finished.json().iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "printed twice: {finished:?}");
}

#[test]
fn what_was_missed_is_said() {
    // A listener that sends what usher would to a slow client.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _read = stream.read(&mut [0; 4096]);
            let _written = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\nevent: missed\ndata: {\"missed\":41}\n\n",
            );
            let _gone = stream.read(&mut [0; 1]);
        }
    });
    let url = format!("http://{address}");
    Cli::new(&["tail", "--admin", &url]).start().wait_error("missed: 41 triggers");
    Cli::new(&["tail", "--admin", &url, "--json"]).start().wait_out("{\"missed\":41}");
}

#[test]
fn what_keeps_it_from_following_is_said_with_the_right_party() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.admin = setup.admin.replace("127.0.0.1:0", "0.0.0.0:0"));
    let admin = SocketAddr::from(([127, 0, 0, 1], usher.admin().0.port()));
    let (_directory, wrong) = file("not-the-token-of-this-usher\n");
    let encrypted = tls::terminate(admin, &Identity::new());
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for (url, arguments, expected) in [
        (format!("http://{admin}"), vec!["--token-file", &wrong], "refuses the token"),
        (format!("http://{admin}"), vec![], "asks for its token"),
        (format!("http://{closed}"), vec![], "cannot be reached: connection refused; does usher run"),
        (format!("http://{encrypted}"), vec![], "try https://"),
        (format!("https://localhost:{}", encrypted.port()), vec![], "the certificate is self-signed"),
        (format!("https://{admin}"), vec![], "try http://"),
        (format!("http://{}", usher.gateway()), vec![], "is this the admin listener"),
        (admin.to_string(), vec![], "like http://127.0.0.1:9601"),
        (format!("http://{admin}/triggers"), vec![], "like http://127.0.0.1:9601"),
        (format!("http://{admin}"), vec!["--token-file", "/nowhere"], "cannot be read from /nowhere"),
    ] {
        let all: Vec<&str> = ["tail", "--admin", &url].into_iter().chain(arguments).collect();
        let finished = Cli::new(&all).run();
        assert_eq!((finished.code, finished.out.as_str()), (1, ""), "{url}: {finished:?}");
        assert!(finished.err.contains(expected), "{expected:?}: {finished:?}");
        assert!(!finished.err.contains("upstream"), "{finished:?}");
        assert_eq!(finished.err.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn the_admin_listener_and_its_token_come_from_the_configuration() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let id = usher.client().announce(CHANNEL, "Anna").header("usher-trigger").unwrap();
    let setup = Setup::before(&fake);
    let (_directory, path) = file(&setup.toml().replacen(
        &setup.admin,
        &setup.admin.replace("127.0.0.1:0", &usher.admin().0.to_string()),
        1,
    ));
    let running = Cli::new(&["tail", "--config", &path, "--json"]).start();
    running.wait_out(&id);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    usher.client().announce(CHANNEL, "Anna");
    for arguments in [&[][..], &["--backlog", "0"]] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let running = tail(&usher, arguments).stdout(writer).start();
        if arguments.is_empty() {
            // It has printed something, and has nothing more to print.
            reader.read_exact(&mut [0]).unwrap();
        }
        drop(reader);
        let finished = running.finish();
        assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{finished:?}");
    }
}
