//! Announcements that come another way than through usher (`detect_bypass`): found in relayed deliveries, and nothing
//! that usher forwarded is taken for one, however late it is delivered.

use std::net::{SocketAddr, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::harness::bodies::{ANNOUNCEMENT, announcement, batch, item, staff};
use crate::harness::guest::Device;
use crate::harness::script::Gate;
use crate::harness::usher::message;
use crate::harness::websocket::{End, Far, Frame, handshake};
use crate::harness::{Client, Fake, Guest, Pusher, Request, Scene, Setup, Step, Usher, eventually};

const ROOM: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";
const DETECT: &str = "detect_bypass = true\nreleased_by = [\"staff-left\"]\n";

/// A relayed guest of the app with this key, and the server's end of the connection.
fn relayed(usher: &Usher, far: &Far, key: &str) -> (End, End) {
    far.relayed(usher, &handshake().line(&format!("GET /app/{key}?protocol=7 HTTP/1.1")))
}

/// Sends a guest an event: once the guest has it, usher has looked at it.
fn deliver((client, upstream): &mut (End, End), event: &str, room: &str, data: &str) {
    let text = json!({ "event": event, "channel": room, "data": data }).to_string();
    upstream.send(&Frame::text(&text));
    assert_eq!(client.read(), Frame::text(&text), "untouched");
}

fn deliver_staff(guest: &mut (End, End), room: &str, name: &str) {
    deliver(guest, ANNOUNCEMENT, room, &staff(name));
}

fn reason(client: &mut Client, room: &str, name: &str) -> String {
    client.announce(room, name).header("usher-reason").unwrap()
}

fn found(usher: &Usher) -> f64 {
    usher.admin().metric("usher_bypassed_total", &["app=\"3\""])
}

fn detecting() -> Scene {
    Scene::with(|setup| setup.rule = DETECT.to_owned())
}

#[test]
fn an_announcement_beside_usher_is_found_and_the_next_handoff_goes_on() {
    let scene = detecting();
    let (mut caller, mut guest) = (scene.usher.client(), scene.connect());
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "nothing_known");
    deliver_staff(&mut guest, ROOM, "Anna");
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "same_assignment");
    assert_eq!(
        scene.usher.admin().report()["rules"][0]["bypassed"],
        json!({ "count": 0, "channel": null, "last": null })
    );

    let lines = scene.usher.log_lines();
    deliver_staff(&mut guest, ROOM, "Ben");
    // Guests show Ben now: what usher knew is not so any more.
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "in_doubt");
    assert_eq!(found(&scene.usher), 1.0);
    let line = scene.usher.wait_log_after(lines, |event| message(event).starts_with("somebody announces beside usher"));
    assert_eq!([&line["channel"], &line["rule"], &line["app"]], [ROOM, ANNOUNCEMENT, "3"]);
    let bypassed = scene.usher.admin().report()["rules"][0]["bypassed"].clone();
    assert_eq!((&bypassed["count"], &bypassed["channel"]), (&json!(1), &json!(ROOM)));
    assert!(bypassed["last"].as_str().is_some_and(|last| last.ends_with('Z')), "{bypassed}");

    // Its other subscribers get the same, perhaps in other words.
    let mut second = scene.connect();
    deliver_staff(&mut second, ROOM, "Ben");
    let reordered = format!(r#"{{"channel":"{ROOM}","data":{},"event":"{ANNOUNCEMENT}"}}"#, Value::from(staff("Ben")));
    second.1.send(&Frame::text(&reordered));
    second.0.read();
    assert_eq!(found(&scene.usher), 1.0, "one announcement");
    deliver_staff(&mut second, ROOM, "Cleo");
    assert_eq!(found(&scene.usher), 2.0, "another one, while the channel is in doubt");
    // Anna was forwarded meanwhile.
    deliver_staff(&mut second, ROOM, "Anna");
    // Other events, other channels, and messages that only look alike.
    deliver(&mut second, "new-message", ROOM, &staff("Ben"));
    deliver_staff(&mut second, "h-lobby", "Ben");
    second.1.send(&Frame::text(ANNOUNCEMENT));
    second.0.read();
    assert_eq!(found(&scene.usher), 2.0);
}

#[test]
fn a_release_beside_usher_is_found_and_an_unknown_channel_is_doubted() {
    let scene = detecting();
    let (mut caller, mut guest) = (scene.usher.client(), scene.connect());
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "nothing_known");
    deliver(&mut guest, "staff-left", ROOM, "{}");
    assert_eq!((found(&scene.usher), reason(&mut caller, ROOM, "Anna")), (1.0, "in_doubt".to_owned()));
    // usher has forwarded nothing there.
    deliver_staff(&mut guest, OTHER, "Ben");
    assert_eq!((found(&scene.usher), reason(&mut caller, OTHER, "Anna")), (2.0, "in_doubt".to_owned()));
    // Its assignment cannot be read, and guests may show anything.
    deliver(&mut guest, ANNOUNCEMENT, "h-room-3-chat", "{");
    assert_eq!((found(&scene.usher), reason(&mut caller, "h-room-3-chat", "Anna")), (3.0, "in_doubt".to_owned()));
    // usher forwards a release, which is delivered late.
    let left = r#"{"name":"staff-left","channels":["h-room-4-chat"],"data":"{}"}"#;
    caller.trigger(left).assert_forwarded();
    deliver(&mut guest, "staff-left", "h-room-4-chat", "{}");
    assert_eq!(found(&scene.usher), 3.0);
}

#[test]
fn deliveries_before_between_and_after_the_answers_are_usher_s_own() {
    let scene = detecting();
    let mut guest = scene.connect();
    let announce = |name: &'static str, gate: &Gate| {
        scene.fake.script([Step::hold(gate, Step::ok())]);
        let mut caller = scene.usher.client();
        let answered = thread::spawn(move || reason(&mut caller, ROOM, name));
        scene.fake.next_request();
        answered
    };
    let gate = Gate::new();
    let anna = announce("Anna", &gate);
    deliver_staff(&mut guest, ROOM, "Anna");
    gate.open();
    assert_eq!(anna.join().unwrap(), "nothing_known");
    let (ben_gate, cleo_gate) = (Gate::new(), Gate::new());
    let ben = announce("Ben", &ben_gate);
    for name in ["Anna", "Ben"] {
        deliver_staff(&mut guest, ROOM, name);
    }
    let cleo = announce("Cleo", &cleo_gate);
    for name in ["Cleo", "Anna", "Ben"] {
        deliver_staff(&mut guest, ROOM, name);
    }
    ben_gate.open();
    assert_eq!(ben.join().unwrap(), "changed");
    deliver_staff(&mut guest, ROOM, "Ben");
    cleo_gate.open();
    assert_eq!(cleo.join().unwrap(), "other_in_flight");
    let mut caller = scene.usher.client();
    caller.announce(ROOM, "Dora").assert_forwarded();
    for name in ["Anna", "Ben", "Cleo", "Dora", "Anna"] {
        deliver_staff(&mut guest, ROOM, name);
    }
    // A batch, one that cannot be read, and one for which upstream says nothing that can be read.
    let items = [item(ANNOUNCEMENT, ROOM, &staff("Eve")), item(ANNOUNCEMENT, ROOM, &staff("Fay"))];
    assert_eq!(caller.batch(&batch(&items)).status, 200);
    for name in ["Fay", "Eve"] {
        deliver_staff(&mut guest, ROOM, name);
    }
    let unread = r#"{"name":"staff-assigned","name":"staff-assigned","channels":["h-room-2-chat"],"data":"{}"}"#;
    caller.trigger(unread);
    deliver_staff(&mut guest, OTHER, "Gus");
    scene.fake.script([Step::status(500)]);
    caller.announce("h-room-3-chat", "Hal");
    deliver_staff(&mut guest, "h-room-3-chat", "Hal");
    assert_eq!(found(&scene.usher), 0.0);
    assert_eq!(reason(&mut caller, ROOM, "Fay"), "same_assignment", "nothing was put in doubt");
}

#[test]
fn what_upstream_has_refused_and_clients_get_came_another_way() {
    let scene = detecting();
    let (mut caller, mut guest) = (scene.usher.client(), scene.connect());
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "nothing_known");
    scene.fake.script([Step::status(403)]);
    caller.announce(ROOM, "Ben");
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "same_assignment", "what was known before is known again");
    // The caller has sent it past usher instead.
    deliver_staff(&mut guest, ROOM, "Ben");
    assert_eq!((found(&scene.usher), reason(&mut caller, ROOM, "Anna")), (1.0, "in_doubt".to_owned()));
}

#[test]
fn a_reload_begins_and_ends_it_for_open_connections_and_one_app_alone() {
    let (fake, far) = (Fake::start(), Far::start());
    let mut setup = Setup::before(&fake);
    setup.upstream += &far.key();
    (setup.timeout, setup.doubt_period) = ("1s", "1100ms");
    setup.rule = "apps = [\"3\"]\n".to_owned();
    setup.more = "[[apps]]\nid = \"7\"\nkey = \"other-key\"\nsecret = \"other-secret\"\n\
                  [[rules]]\nname = \"other\"\nevent = \"staff-assigned\"\nchannel = \"h-room-{n}-chat\"\n\
                  identity = [\"/staff_name\"]\napps = [\"7\"]\n"
        .to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut caller = usher.client();
    let (mut guest, mut other) = (relayed(&usher, &far, crate::harness::sign::KEY), relayed(&usher, &far, "other-key"));
    let mut number = 0;
    let mut next = || {
        number += 1;
        format!("Ben {number}")
    };
    deliver_staff(&mut guest, ROOM, &next());
    assert_eq!(found(&usher), 0.0, "no rule asks for it");

    setup.rule += DETECT;
    usher.reload(&setup.toml());
    eventually("what comes another way is found on a connection that was open", || {
        deliver_staff(&mut guest, ROOM, &next());
        (found(&usher) > 0.0).then_some(())
    });
    eventually("what is announced is known again after the doubt", || {
        (reason(&mut caller, ROOM, "Anna") == "same_assignment").then_some(())
    });
    let before = found(&usher);
    deliver_staff(&mut other, ROOM, &next());
    assert_eq!((found(&usher), usher.admin().metric("usher_bypassed_total", &["app=\"7\""])), (before, 0.0));
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "same_assignment");
    // A reload that changes nothing about it.
    usher.reload(&setup.toml());
    assert_eq!(reason(&mut caller, ROOM, "Anna"), "same_assignment");
    deliver_staff(&mut guest, ROOM, &next());
    assert_eq!((found(&usher), reason(&mut caller, ROOM, "Anna")), (before + 1.0, "in_doubt".to_owned()));

    setup.rule = setup.rule.replace("detect_bypass = true\n", "");
    usher.reload(&setup.toml());
    deliver_staff(&mut guest, ROOM, &next());
    assert_eq!(found(&usher), before + 1.0, "no rule asks for it any more");
}

/// The announcements that a guest in a room has got, by name.
fn heard(guest: &Guest) -> Vec<String> {
    let heard = guest.heard(ROOM).into_iter().filter(|(event, _)| event == ANNOUNCEMENT);
    heard.map(|(_, data)| data["staff_name"].as_str().unwrap().to_owned()).collect()
}

/// A worker that still talks to the server behind usher: Anna, Ben past usher, and Anna again, whom the guest has to see.
pub fn a_worker_bypasses(server: &Pusher) {
    let mut setup = Setup::before_url(&server.url());
    setup.rule = DETECT.to_owned();
    let usher = Usher::start_with(&setup.toml());
    let guest = Guest::connect(Device::Node, usher.gateway().port());
    guest.enter(ROOM);
    let mut caller = usher.client();
    caller.announce(ROOM, "Anna").assert_forwarded();
    caller.announce(ROOM, "Anna").assert_suppressed();
    let address: SocketAddr = server.url().trim_start_matches("http://").parse().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    assert_eq!(Client::connect(address).call(&Request::events(&announcement(ROOM, "Ben"))).status, 200);
    eventually("the guest reads Ben", || (heard(&guest) == ["Anna", "Ben"]).then_some(()));
    caller.announce(ROOM, "Anna").assert_forwarded();
    eventually("and then Anna", || (heard(&guest) == ["Anna", "Ben", "Anna"]).then_some(()));
    assert_eq!(found(&usher), 1.0);
}

#[test]
fn a_worker_that_bypasses_usher_loses_no_handoff() {
    a_worker_bypasses(&Pusher::small());
}
