//! Scarce file descriptors: connections beyond their number are not accepted, and accepted ones are served.

use std::net::TcpStream;

use serde_json::Value;

use crate::harness::cli::Cli;
use crate::harness::usher::{field, message};
use crate::harness::websocket::{End, Far, handshake};
use crate::harness::{Client, Fake, Request, Setup, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

/// With two workers: of 256 a reserve of 24 + 2 × 6 + 72 is taken, then 4 × 7 for idle connections to upstream; two for
/// each connection are left.
const LIMIT: u64 = 256;
const PLACES: usize = 60;

/// An upstream that closes after every response: each trigger needs its own descriptor.
fn closing() -> Fake {
    let fake = Fake::start();
    fake.otherwise(|_| Step::answer_and_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"));
    fake
}

fn gauge(usher: &Usher, name: &str) -> f64 {
    usher.admin().metric(name, &[])
}

#[track_caller]
fn assert_well(usher: &Usher) {
    for path in ["/livez", "/readyz"] {
        assert_eq!(usher.admin().call_openly("GET", path).status, 200, "{path}");
    }
    let open = usher.files().len();
    assert!(open as u64 <= LIMIT && !usher.logs().contains("wait to be accepted"), "{open} files are open");
}

#[test]
fn a_flood_beyond_the_descriptors_leaves_triggers_and_probes_alone() {
    for (soft, fast_path) in [(LIMIT, true), (LIMIT / 2, true), (LIMIT / 2, false)] {
        let fake = closing();
        let mut setup = Setup::before(&fake);
        setup.server += &format!("fast_path = {fast_path}\n");
        let usher = Usher::start_limited((soft, LIMIT), &setup.toml());
        let warned =
            usher.wait_log(|event| message(event).starts_with("too few file descriptors: 256 files may be open"));
        assert_eq!(
            (&warned["level"], field(&warned, "max_connections")),
            (&Value::from("WARN"), &Value::from(PLACES)),
            "{warned}"
        );
        for told in
            ["limits.max_connections = 10000 needs 21132", "no more than 60", "LimitNOFILE=21132", "`ulimit -n 21132`"]
        {
            assert!(message(&warned).contains(told), "{told}: {warned}");
        }
        assert_eq!((gauge(&usher, "process_max_fds"), gauge(&usher, "usher_max_connections")), (256.0, 60.0));

        let mut kept = usher.client();
        kept.announce(CHANNEL, "Anna").assert_forwarded();
        let flood: Vec<_> = (0..200).map(|_| usher.client()).collect();
        eventually("all places are taken, and some of the flood has made room", || {
            let closed = usher.admin().metric("usher_connections_closed_total", &["reason=\"no_request\""]);
            (closed > 0.0 && gauge(&usher, "usher_connections") > 58.0).then_some(())
        });
        kept.announce(CHANNEL, "Boris").assert_forwarded();
        assert!(gauge(&usher, "usher_connections") <= 60.0);
        assert_well(&usher);
        drop(flood);
        kept.announce(CHANNEL, "Anna").assert_forwarded();
        assert_eq!(fake.count(), 3);
    }
}

#[test]
fn a_trigger_is_forwarded_even_if_relays_and_operator_use_all_their_descriptors() {
    let (fake, far) = (closing(), Far::start());
    let mut setup = Setup::before(&fake);
    setup.upstream += &far.key();
    let usher = Usher::start_limited((LIMIT, LIMIT), &setup.toml());
    let mut kept = usher.client();
    kept.announce(CHANNEL, "Anna").assert_forwarded();
    let relays: Vec<_> = (1..PLACES)
        .map(|_| {
            let mut client = usher.client();
            client.send(&handshake().bytes());
            let upstream = far.next().accept();
            (End::switched(client), upstream)
        })
        .collect();
    let mut waiting: Vec<_> = (0..20).map(|_| usher.client()).collect();
    // More connections than the operator's listener accepts and queues.
    let asking: Vec<_> = (0..56)
        .map(|_| {
            let mut operator = Client::connect(usher.admin().0);
            assert_eq!(operator.call(&Request::new("GET", "/livez", b"").host("localhost")).status, 200);
            operator
        })
        .collect();
    let silent: Vec<_> = (0..100).map(|_| Client::connect(usher.admin().0)).collect();
    kept.announce(CHANNEL, "Boris").assert_forwarded();
    assert_well(&usher);
    assert_eq!((gauge(&usher, "usher_connections"), gauge(&usher, "usher_relay_connections")), (60.0, 59.0));
    drop((relays, asking, silent));
    waiting.pop().unwrap().announce("h-room-2-chat", "Anna").assert_forwarded();
}

#[test]
fn the_embedded_broker_needs_one_descriptor_for_a_connection() {
    let usher = Usher::start_limited((LIMIT, LIMIT), &Setup::before_url("local").toml());
    usher.wait_log(|event| message(event).contains("needs 10108 (1 for each connection"));
    assert_eq!(gauge(&usher, "usher_max_connections"), 148.0);
}

#[test]
fn enough_descriptors_are_not_spoken_of() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.limits = "max_connections = 20\n".to_owned();
    setup.upstream += "max_idle = 10\n";
    let usher = Usher::start_limited((64, LIMIT), &setup.toml());
    assert_eq!((gauge(&usher, "usher_max_connections"), gauge(&usher, "process_max_fds")), (20.0, 256.0));
    assert!(!usher.logs().contains("descriptors"), "{}", usher.logs());
}

#[test]
fn with_too_few_to_work_with_usher_does_not_start() {
    let refused = Cli::limited(
        (100, 100),
        &["serve", "--set", "server.workers=2", "--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"],
    )
    .run();
    assert_eq!(refused.code, 1, "{refused:?}");
    for told in ["100 files may be open", "fewer than 116", "LimitNOFILE=10108", "server.workers"] {
        assert_eq!(refused.err.matches(told).count(), 1, "{told}: {refused:?}");
    }
}

#[test]
fn check_and_doctor_tell_of_a_limit_that_is_too_low() {
    let free = ["--set", "server.workers=2", "--set", "server.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"];
    let run = |limits, command: &[&str]| Cli::limited(limits, &[command, &free].concat()).run();
    for hard in [LIMIT, 100] {
        let checked = run((64, hard), &["check"]);
        assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{checked:?}");
        let warning = checked.out.lines().next().unwrap();
        let told = [
            "warning: ",
            "too few file descriptors",
            &format!("{hard} files may be open"),
            "limits.max_connections = 10000",
            "LimitNOFILE=10108",
        ];
        assert!(told.iter().all(|part| warning.contains(part)), "{warning}");
        let examined = run((64, hard), &["doctor", "--json"]);
        assert_eq!(examined.code, 0, "{examined:?}");
        let report = &examined.json()[0];
        let finding =
            report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "descriptors").unwrap();
        assert_eq!(finding["verdict"], "warning", "{finding}");
        assert!(
            finding["found"].as_str().unwrap().contains("10000")
                && finding["advice"].as_str().unwrap().contains("LimitNOFILE=10108"),
            "{finding}"
        );
    }
    let enough = ["--set", "limits.max_connections=100"];
    assert!(!run((64, LIMIT), &[&["check"], &enough[..]].concat()).out.contains("descriptors"));
    let examined = run((64, LIMIT), &[&["doctor"], &enough[..]].concat());
    assert!(examined.out.contains("ok       descriptors: 256 files"), "{examined:?}");
}

#[test]
fn the_demo_raises_its_soft_limit() {
    let shown = Cli::limited((24, 512), &["demo", "--fast"]).run();
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{shown:?}");
}

#[test]
fn a_want_of_descriptors_is_not_taken_for_an_upstream_that_is_away() {
    for fast_path in [true, false] {
        let fake = closing();
        let mut setup = Setup::before(&fake);
        setup.server += &format!("fast_path = {fast_path}\n");
        let usher = Usher::start_limited((LIMIT, LIMIT), &setup.toml());
        let mut kept = usher.client();
        assert_eq!(kept.call(&Request::new("POST", "/apps/3/events", b"{}")).status, 401);
        let files = usher.files();
        kept.announce(CHANNEL, "Anna").assert_forwarded();
        eventually("the connection to upstream is closed", || (usher.files() == files).then_some(()));
        // A file's number is the lowest one that is free, and below the limit.
        usher.limit_files((0..LIMIT).find(|number| !files.contains(number)).unwrap());
        let refused = kept.announce(CHANNEL, "Boris");
        refused.assert_error(503, "out_of_descriptors");
        let said = refused.text();
        assert!(said.contains("LimitNOFILE") && !said.contains("check that it runs"), "{said}");
        usher.wait_log(|event| {
            field(event, "error").as_str().is_some_and(|error| error.contains("no file descriptor left"))
        });
        let _waiting = [usher.gateway(), usher.admin().0].map(|address| TcpStream::connect(address).unwrap());
        for listener in ["server.listen", "admin.listen"] {
            let told = usher.wait_log(|event| {
                message(event).starts_with("connections wait to be accepted") && field(event, "listener") == listener
            });
            assert!(message(&told).contains("LimitNOFILE"), "{told}");
        }
        usher.limit_files(LIMIT);
        kept.announce(CHANNEL, "Boris").assert_forwarded();
        assert_eq!(usher.admin().metric("usher_upstream_failures_total", &["reason=\"out_of_descriptors\""]), 1.0);
        assert_eq!(usher.admin().metric("usher_trigger_outcomes_total", &["outcome=\"not_sent\""]), 1.0);
    }
}
