//! `usher subscribe` against a scripted server.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::cli::{Cli, Finished};
use crate::harness::socket_server::{FakeSocketServer, Peer, SOCKET_ID, Script};
use crate::harness::tls::{Identity, terminate};
use crate::harness::{Fake, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";

fn subscribe(server: &FakeSocketServer) -> Cli {
    Cli::new(&["subscribe", "--url", &server.url()])
}

fn serve(script: impl FnOnce(&mut Peer) + Send + 'static) -> FakeSocketServer {
    FakeSocketServer::start(vec![Box::new(script)])
}

/// The lines without their required timestamps.
fn timeless(finished: &Finished) -> Vec<Value> {
    let strip = |mut line: Value| {
        assert!(line["time_ms"].as_u64().is_some_and(|time| time > 1_700_000_000_000), "{line}");
        line.as_object_mut().unwrap().remove("time_ms");
        line
    };
    finished.json().into_iter().map(strip).collect()
}

#[test]
fn prints_events_and_ends_after_the_count() {
    let server = serve(|peer| {
        assert!(peer.target.starts_with("/app/usher-key?protocol=7&client=usher&version="), "{}", peer.target);
        peer.establish();
        assert_eq!(peer.confirm(), json!({ "channel": CHANNEL }));
        peer.event("staff-assigned", CHANNEL, r#"{"staff_name":"Zoë"}"#);
        peer.send(&json!({ "event": "pusher:ping" }));
        assert_eq!(peer.receive()["event"], "pusher:pong");
        peer.event("new-staff-message", CHANNEL, "hello \u{1b}[2J");
        assert_eq!(peer.wait_close(), Some(1000));
    });
    let heard = subscribe(&server).arg(CHANNEL).arg("--count=2").run();
    server.assert_played(1);
    assert_eq!(heard.code, 0, "{heard:?}");
    let lines: Vec<_> = heard.out.lines().map(|line| line.split_once("Z  ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "h-room-1-chat  staff-assigned  {\"staff_name\":\"Zoë\"}",
            "h-room-1-chat  new-staff-message  hello \\u{1b}[2J"
        ]
    );
    assert!(heard.err.contains("pusher:connection_established") && heard.err.contains("listening"), "{heard:?}");
}

#[test]
fn json_lines_hold_the_protocols_events_too() {
    let server = serve(|peer| {
        peer.establish();
        peer.confirm();
        peer.event("e", CHANNEL, r#"{"a": 1.0}"#);
        peer.wait_close();
    });
    let heard = subscribe(&server).arg(CHANNEL).arg("--json").arg("--count=1").run();
    assert_eq!((heard.code, heard.err.as_str()), (0, ""), "{heard:?}");
    let established = json!({ "socket_id": SOCKET_ID, "activity_timeout": 120 });
    assert_eq!(
        timeless(&heard),
        [
            json!({ "event": "pusher:connection_established", "channel": null, "data": established }),
            json!({ "event": "pusher_internal:subscription_succeeded", "channel": CHANNEL, "data": {} }),
            json!({ "event": "e", "channel": CHANNEL, "data": { "a": 1.0 } }),
        ]
    );
    assert!(heard.out.ends_with(r#""data":{"a": 1.0}}"#), "tokens as sent: {}", heard.out);
}

#[test]
fn only_the_wanted_events_are_printed_and_counted() {
    let server = serve(|peer| {
        peer.establish();
        peer.confirm();
        for (name, data) in [("other", "1"), ("wanted", "2"), ("other", "3"), ("wanted", "4")] {
            peer.event(name, CHANNEL, data);
        }
        peer.wait_close();
    });
    let heard = subscribe(&server).arg(CHANNEL).arg("--json").arg("--event=wanted").arg("--count=2").run();
    assert_eq!(
        timeless(&heard).iter().map(|line| line["data"].clone()).collect::<Vec<_>>(),
        [json!(2), json!(4)],
        "{heard:?}"
    );
}

#[test]
fn guarded_channels_are_signed_for() {
    let server = serve(|peer| {
        peer.establish();
        let private = peer.confirm();
        // pusher-protocol.md 8.7
        let auth = format!("{}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4", sign::KEY);
        assert_eq!(private, json!({ "channel": "private-foobar", "auth": auth }));
        let presence = peer.confirm();
        assert_eq!(presence["channel_data"], r#"{"user_id":"desk"}"#);
        assert!(presence["auth"].as_str().unwrap().starts_with(sign::KEY));
        peer.event("e", "private-foobar", "1");
        peer.wait_close();
    });
    let channels = ["private-foobar", "presence-foobar", "private-foobar", "--user-id=desk"];
    let cli = channels.iter().fold(subscribe(&server), |cli, argument| cli.arg(argument));
    let heard = cli.arg("--key").arg(sign::KEY).arg("--count=1").env("USHER_SECRET", sign::SECRET).run();
    server.assert_played(1);
    assert_eq!(heard.code, 0, "{heard:?}");

    let unsigned = Cli::new(&["subscribe", "--key", "other", "private-foobar"]).run();
    assert!(unsigned.code == 1 && unsigned.err.contains("private-foobar needs the secret"), "{unsigned:?}");
}

#[test]
fn a_lost_connection_is_made_again() {
    let first: Script = Box::new(|peer| {
        peer.establish();
        peer.confirm();
        peer.event("e", CHANNEL, "1");
        peer.close(4200, "restarting");
    });
    let second: Script = Box::new(|peer| {
        peer.establish();
        peer.confirm();
        peer.event("e", CHANNEL, "2");
        peer.close(4100, "too busy");
    });
    // Disconnected without a close frame.
    let third: Script = Box::new(Peer::establish);
    let fourth: Script = Box::new(|peer| {
        peer.establish();
        peer.confirm();
        peer.event("e", CHANNEL, "3");
        peer.wait_close();
    });
    let server = FakeSocketServer::start(vec![first, second, third, fourth]);
    let heard = subscribe(&server).arg(CHANNEL).arg("--json").arg("--event=e").arg("--count=3").run();
    server.assert_played(4);
    assert_eq!(
        timeless(&heard).iter().map(|line| line["data"].clone()).collect::<Vec<_>>(),
        [json!(1), json!(2), json!(3)],
        "{heard:?}"
    );
    assert!(heard.err.contains("4200 restarting; connecting again in 0 s"), "{heard:?}");
    assert!(heard.err.contains("4100 too busy; connecting again in 1 s"), "{heard:?}");
}

#[test]
fn a_final_refusal_ends_it() {
    let closing = serve(|peer| peer.close(4001, "app does not exist"));
    let refused = subscribe(&closing).arg(CHANNEL).run();
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert!(refused.err.contains("4001 app does not exist"), "{refused:?}");

    let erring = serve(|peer| {
        peer.establish();
        peer.receive();
        peer.send(
            &json!({ "event": "pusher:error", "data": { "code": 4009, "message": "Connection is unauthorized" } }),
        );
        peer.wait_close();
    });
    let refused = subscribe(&erring).arg("private-a").run();
    assert!(refused.code == 1 && refused.err.contains("error 4009: Connection is unauthorized"), "{refused:?}");
}

#[test]
fn a_server_without_the_protocol_is_reported_at_once() {
    let fake = Fake::start();
    let url = format!("ws://{}", fake.address());
    let plain = Cli::new(&["subscribe", "--url", &url, CHANNEL]).run();
    assert!(plain.code == 1 && plain.err.contains("opens no WebSocket: it answered 200 OK"), "{plain:?}");
    fake.refuse();
    let nobody = Cli::new(&["subscribe", "--url", &url, CHANNEL]).run();
    assert!(nobody.code == 1 && nobody.err.contains("cannot connect"), "{nobody:?}");
}

/// Also where the event of the refusal is the one that is waited for.
#[test]
fn a_refused_channel_ends_with_1_whatever_is_counted() {
    let server = serve(|peer| {
        peer.establish();
        peer.receive();
        peer.send(&json!({ "event": "pusher:error", "data": { "message": "refused", "code": null } }));
        peer.wait_close();
    });
    let refused = subscribe(&server).arg(CHANNEL).arg("--event=pusher:error").arg("--count=1").run();
    assert!(refused.code == 1 && refused.err.contains("refused"), "{refused:?}");
}

#[test]
fn the_other_scheme_is_advised() {
    let fake = Fake::start();
    let secure = terminate(fake.address(), &Identity::new()).port();
    let told = |url: &str| {
        let told = Cli::new(&["subscribe", "--url", url, CHANNEL]).run();
        assert_eq!(told.code, 1, "{told:?}");
        told.err
    };
    let plain = told(&format!("ws://localhost:{secure}"));
    assert!(plain.contains("speaks TLS") && plain.contains("wss://"), "{plain}");
    let usher = Usher::start(&fake, |_| {});
    let tls = told(&format!("wss://localhost:{}", usher.gateway().port()));
    assert!(tls.contains("no TLS") && tls.contains("ws://"), "{tls}");
    let untrusted = told(&format!("wss://localhost:{secure}"));
    assert!(untrusted.contains("--ca-file"), "{untrusted}");
}

#[test]
fn time_and_interruption_end_it() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let wanting = Cli::new(&["subscribe", "--url", &url, CHANNEL, "--timeout=50ms", "--count=1"]).run();
    assert!(wanting.code == 1 && wanting.err.contains("only 0 of 1 events came"), "{wanting:?}");
    let patient = Cli::new(&["subscribe", "--url", &url, CHANNEL, "--timeout=50ms"]).run();
    assert_eq!(patient.code, 0, "{patient:?}");

    let server = serve(|peer| {
        peer.establish();
        peer.confirm();
        peer.wait_close();
    });
    let running = subscribe(&server).arg(CHANNEL).start();
    running.wait_error("listening");
    running.interrupt();
    assert_eq!(running.finish().code, 0);
}

#[test]
fn the_commands_meet_at_ushers_own_broker() {
    let nobody = Fake::start();
    let usher = Usher::start(&nobody, |setup| setup.upstream = "url = \"local\"\n".to_owned());
    let (channel, signer) =
        ("private-h-room-1-chat", |cli: Cli| cli.arg("--key").arg(sign::KEY).env("USHER_SECRET", sign::SECRET));
    let listening = signer(Cli::new(&[
        "subscribe",
        "--url",
        &format!("ws://{}", usher.gateway()),
        CHANNEL,
        channel,
        "presence-desk",
        "--count=4",
    ]))
    .start();
    listening.wait_error("listening");
    for (staff, decision) in
        [("Anna", "forwarded"), ("Anna", "suppressed"), ("Boris", "forwarded"), ("Anna", "forwarded")]
    {
        let data = json!({ "staff_name": staff }).to_string();
        let url = format!("http://{}", usher.gateway());
        let sent =
            signer(Cli::new(&["trigger", "--app", sign::APP, "--url", &url, CHANNEL, "staff-assigned", &data])).run();
        assert!(sent.code == 0 && sent.out.contains(&format!("usher-decision: {decision}")), "{sent:?}");
    }
    let url = format!("http://{}", usher.gateway());
    let last =
        signer(Cli::new(&["trigger", "--app", sign::APP, "--url", &url, "presence-desk", "bell", "--also", channel]))
            .run();
    assert_eq!(last.code, 0, "{last:?}");
    let heard = listening.finish();
    assert_eq!(heard.code, 0, "{heard:?}");
    let names: Vec<_> = heard.out.lines().filter_map(|line| line.split("  ").nth(3)).collect();
    assert_eq!(
        names[..3],
        [r#"{"staff_name":"Anna"}"#, r#"{"staff_name":"Boris"}"#, r#"{"staff_name":"Anna"}"#],
        "{heard:?}"
    );
    assert!(heard.out.lines().last().is_some_and(|line| line.contains("  bell  {}")), "{heard:?}");
}
