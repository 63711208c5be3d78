//! The end of usher with `server.drain_delay`: what is served meanwhile, and what signals do then.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::bodies::{announcement, message as body};
use crate::harness::cli;
use crate::harness::usher::{Signal, field, message};
use crate::harness::{Client, Fake, Gate, Request, Response, Setup, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

/// An usher with this delay.
fn delayed(fake: &Fake, delay: &str, fast_path: bool) -> Usher {
    Usher::start(fake, |setup| setup.server += &format!("drain_delay = \"{delay}\"\nfast_path = {fast_path}\n"))
}

/// Waits until the readiness endpoint says that the end is announced.
fn wait_announced(usher: &Usher) {
    eventually("/readyz is 503", || (usher.admin().call_openly("GET", "/readyz").status == 503).then_some(()));
}

fn wait_closed(usher: &Usher) {
    usher.wait_log(|event| message(event).starts_with("listeners closed"));
}

#[track_caller]
fn assert_last(mut client: Client, response: &Response) {
    assert_eq!(response.header("connection").as_deref(), Some("close"), "{response:?}");
    assert!(client.read_to_close().is_empty());
}

#[test]
fn everything_is_served_during_the_delay_and_each_answer_is_its_connections_last() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut usher = delayed(&fake, "4s", fast_path);
        let mut kept = usher.client();
        kept.announce(CHANNEL, "A").assert_forwarded();
        kept.announce(CHANNEL, "A").assert_suppressed();
        let mut idle = usher.client();
        idle.announce("h-room-2-chat", "A").assert_forwarded();
        let mut fresh = usher.client();
        let began = Instant::now();
        usher.signal(Signal::Term);
        wait_announced(&usher);
        assert_eq!(usher.admin().metric("usher_draining", &[]), 1.0);
        let overview = usher.admin().json("/overview");
        assert_eq!((&overview["draining"], &overview["phase"]), (&true.into(), &"leaving".into()));

        let response = kept.announce(CHANNEL, "A");
        response.assert_forwarded();
        assert_eq!(response.header("usher-reason").as_deref(), Some("draining"));
        assert_last(kept, &response);
        let calls: [(Request, u16); 4] = [
            (Request::events(&announcement(CHANNEL, "A")), 200),
            (Request::new("POST", "/apps/3/events", body(CHANNEL, "unsigned").as_bytes()), 401),
            (Request::new("POST", "/apps/9/events", b"{}"), 404),
            (Request::new("GET", "/apps/3/channels", b""), 200),
        ];
        for (request, status) in calls {
            let mut client = usher.client();
            let response = client.call(&request);
            assert_eq!(response.status, status, "{response:?}");
            assert_last(client, &response);
        }
        let response = fresh.announce("h-room-3-chat", "A");
        response.assert_forwarded();
        assert_last(fresh, &response);
        assert!(!usher.logs().contains("listeners closed"), "the test took longer than the delay");

        assert!(idle.read_to_close().is_empty());
        assert!(began.elapsed() >= Duration::from_secs(4), "an idle connection is kept for the whole delay");
        assert_eq!(usher.wait_exit(), 0);
        let drained = usher.wait_log(|event| message(event) == "drained");
        assert_eq!(field(&drained, "left"), 0);
        assert!(field(&drained, "seconds").as_f64().unwrap() >= 4.0, "{drained}");
        assert!(std::net::TcpStream::connect(usher.gateway()).is_err());
    }
}

/// A proxy uses its idle connections until it is told that they end, and opens new ones while usher is ready.
#[test]
fn a_pool_of_kept_connections_fails_no_request() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut usher = delayed(&fake, "1s", fast_path);
        let (address, is_ready) = (usher.gateway(), Arc::new(AtomicBool::new(true)));
        let callers: Vec<_> = (0..8)
            .map(|caller: u64| {
                let is_ready = Arc::clone(&is_ready);
                thread::spawn(move || {
                    let (mut kept, mut answered): (Option<Client>, u32) = (None, 0);
                    loop {
                        let mut client = match kept.take() {
                            Some(client) => client,
                            None if is_ready.load(Ordering::Acquire) => Client::connect(address),
                            None => return answered,
                        };
                        let response = client.trigger(&body(CHANNEL, "x"));
                        response.assert_forwarded();
                        answered += 1;
                        kept = (response.header("connection").as_deref() != Some("close")).then_some(client);
                        thread::sleep(Duration::from_millis(caller));
                    }
                })
            })
            .collect();
        eventually("triggers are forwarded", || (fake.count() > 100).then_some(()));
        usher.signal(Signal::Term);
        wait_announced(&usher);
        is_ready.store(false, Ordering::Release);
        let answered: u32 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert_eq!(usize::try_from(answered).unwrap(), fake.count());
        assert_eq!(usher.wait_exit(), 0);
    }
}

/// A connection that was accepted shortly before the listeners closed may still send its request.
#[test]
fn a_request_that_comes_as_the_listeners_close_is_answered() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut usher = delayed(&fake, "300ms", fast_path);
        usher.signal(Signal::Term);
        wait_announced(&usher);
        let (address, mut answered) = (usher.gateway(), 0);
        while let Ok(mut client) = Client::try_connect(address) {
            // A connection that the kernel took and usher did not is reset when the listener closes.
            match client.try_send(&Request::events(&body(CHANNEL, "x")).bytes()).and_then(|()| client.try_response()) {
                Ok(response) => {
                    response.assert_forwarded();
                    answered += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                    break;
                }
            }
        }
        assert!(answered > 0);
        assert_eq!(usher.wait_exit(), 0);
    }
}

#[test]
fn an_interrupt_has_no_delay() {
    let mut usher = delayed(&Fake::start(), "5m", true);
    usher.signal(Signal::Int);
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_second_signal_during_the_delay_ends_usher_at_once() {
    for second in [Signal::Term, Signal::Int] {
        let mut usher = delayed(&Fake::start(), "5m", true);
        usher.signal(Signal::Term);
        wait_announced(&usher);
        usher.signal(second);
        assert_eq!(usher.wait_exit(), 130);
    }
}

#[test]
fn a_reload_is_applied_during_the_delay_and_refused_once_the_listeners_are_closed() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let delayed = |setup: &Setup| setup.toml().replace("[server]\n", "[server]\ndrain_delay = \"3s\"\n");
    let mut usher = Usher::start_with(&delayed(&setup));
    usher.signal(Signal::Term);
    wait_announced(&usher);
    usher.rewrite_config(&delayed(&Setup { limits: "max_body = \"2KiB\"\n".to_owned(), ..setup }));
    usher.signal(Signal::Hup);
    usher.wait_log(|event| message(event) == "the configuration was reloaded");
    usher.client().trigger(&body(CHANNEL, &"x".repeat(3000))).assert_error(413, "body_too_large");
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut client = usher.client();
    client.send(&Request::events(&body(CHANNEL, "x")).bytes());
    fake.next_request();
    wait_closed(&usher);
    usher.signal(Signal::Hup);
    usher.wait_log(|event| message(event).starts_with("the configuration is not read again"));
    gate.open();
    client.response().assert_forwarded();
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_hang_up_during_the_start_does_not_end_usher() {
    let directory = tempfile::tempdir().unwrap();
    // usher waits for the configuration until it is written.
    let pipe = directory.path().join("usher.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = cli::program()
        .args(["serve", "--config"])
        .arg(&pipe)
        .env_clear()
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = child.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    let status = format!("/proc/{process}/status");
    eventually("SIGHUP is caught", || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        (u64::from_str_radix(caught.trim(), 16).unwrap() & 1 != 0).then_some(())
    });
    signal("-HUP");
    let fake = Fake::start();
    std::fs::File::create(&pipe).unwrap().write_all(Setup::before(&fake).toml().as_bytes()).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // A pipe is read once, so the reload is refused: it was asked for before usher listened.
    let refused = lines.by_ref().find(|line| line.contains("the old one stays"));
    assert!(refused.is_some(), "usher ended");
    signal("-TERM");
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
