//! Rules with `late_joiners = "forward"`: a redundant announcement goes on if somebody has subscribed to its channel since
//! the last one.

use crate::harness::websocket::{End, Far, Frame, handshake};
use crate::harness::{Client, Fake, Response, Setup, Usher, eventually};

const ROOM: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";
const FORWARD: &str = "late_joiners = \"forward\"\n";

/// The number of a connection's subscriptions that are counted.
const COUNTED: usize = 256;

/// Why an announcement of Anna goes on, or is dropped.
fn reason(client: &mut Client, room: &str) -> String {
    let response = client.announce(room, "Anna");
    assert_eq!(response.status, 200, "{response:?}");
    said(&response)
}

fn said(response: &Response) -> String {
    response.header("usher-reason").unwrap_or_default()
}

/// An usher that relays to `far`, with a rule that asks who comes.
fn relaying(fake: &Fake, far: &Far) -> Usher {
    Usher::start(fake, |setup| {
        setup.upstream += &far.key();
        setup.rule = FORWARD.to_owned();
    })
}

/// Subscribes a relayed guest: once the guest reads the confirmation, usher knows it.
fn enter((client, upstream): &mut (End, End), room: &str) {
    client.send(&Frame::text(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{room}"}}}}"#)));
    upstream.read();
    confirm((client, upstream), room);
}

fn confirm((client, upstream): (&mut End, &mut End), room: &str) {
    let text = format!(r#"{{"event":"pusher_internal:subscription_succeeded","data":"{{}}","channel":"{room}"}}"#);
    upstream.send(&Frame::text(&text));
    assert_eq!(client.read(), Frame::text(&text), "untouched");
}

#[test]
fn whoever_subscribes_through_the_relay_lets_one_announcement_through() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = relaying(&fake, &far);
    let mut caller = usher.client();
    assert_eq!(reason(&mut caller, ROOM), "nothing_known");
    assert_eq!(reason(&mut caller, ROOM), "late_joiner", "usher has seen no client, so anybody may have come");
    let mut guest = far.relayed(&usher, &handshake());
    assert_eq!(reason(&mut caller, ROOM), "same_assignment", "one is seen, and has not subscribed");
    enter(&mut guest, ROOM);
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["late_joiner", "same_assignment"]);
    assert_eq!(reason(&mut caller, OTHER), "nothing_known");
    assert_eq!(reason(&mut caller, OTHER), "same_assignment");
    // It leaves at once: whether it has read anything is its own affair.
    enter(&mut far.relayed(&usher, &handshake()), OTHER);
    assert_eq!([reason(&mut caller, OTHER), reason(&mut caller, OTHER)], ["late_joiner", "same_assignment"]);
    // One that nobody has asked for, and one beyond the bound on what is counted.
    confirm((&mut guest.0, &mut guest.1), OTHER);
    assert_eq!([reason(&mut caller, OTHER), reason(&mut caller, OTHER)], ["late_joiner", "same_assignment"]);
    for number in 0..COUNTED {
        enter(&mut guest, &format!("h-room-{}-chat", 100 + number));
    }
    let beyond = format!("h-room-{}-chat", 100 + COUNTED);
    reason(&mut caller, &beyond);
    enter(&mut guest, &beyond);
    assert_eq!([reason(&mut caller, &beyond), reason(&mut caller, &beyond)], ["late_joiner", "same_assignment"]);
}

#[test]
fn who_asks_with_json_in_a_string_has_subscribed_too() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = relaying(&fake, &far);
    let (mut caller, mut guest) = (usher.client(), far.relayed(&usher, &handshake()));
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["nothing_known", "same_assignment"]);
    let counted = |expected: f64| {
        eventually("it is counted", || {
            (usher.admin().metric("usher_relay_subscriptions", &[]) == expected).then_some(())
        });
    };
    let ask = |(client, upstream): &mut (End, End), event: &str| {
        let text = format!(r#"{{"event":"pusher:{event}","data":"{{\"channel\":\"{ROOM}\"}}"}}"#);
        client.send(&Frame::text(&text));
        assert_eq!(upstream.read(), Frame::text(&text), "untouched");
    };
    ask(&mut guest, "subscribe");
    confirm((&mut guest.0, &mut guest.1), ROOM);
    counted(1.0);
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["late_joiner", "same_assignment"]);
    ask(&mut guest, "unsubscribe");
    counted(0.0);
}

#[test]
fn whoever_subscribes_at_the_broker_lets_one_announcement_through() {
    let mut setup = Setup::before_url("local");
    setup.rule = FORWARD.to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut caller = usher.client();
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["nothing_known", "same_assignment"]);
    let mut guest = usher.client();
    guest.send(&handshake().bytes());
    let mut guest = End::switched(guest);
    guest.read();
    guest.send(&Frame::text(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{ROOM}"}}}}"#)));
    guest.read();
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["late_joiner", "same_assignment"]);
}

#[test]
fn open_connections_tell_the_rules_of_the_present_configuration() {
    let (fake, far) = (Fake::start(), Far::start());
    let mut setup = Setup::before(&fake);
    setup.upstream += &far.key();
    // A second app, for which the rule is as well.
    setup.more = "[[apps]]\nid = \"7\"\nkey = \"other-key\"\nsecret = \"other-secret\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut caller = usher.client();
    let mut guest = far.relayed(&usher, &handshake());
    let mut other = usher.client();
    other.send(&handshake().line("GET /app/other-key?protocol=7 HTTP/1.1").bytes());
    let upstream = far.next().accept();
    let mut other = (End::switched(other), upstream);
    assert_eq!(reason(&mut caller, ROOM), "nothing_known");
    enter(&mut guest, ROOM);
    assert_eq!(reason(&mut caller, ROOM), "same_assignment", "late joiners are ignored");

    // Taken into force while the connections are open; what is known stays known.
    setup.rule = FORWARD.to_owned();
    usher.reload(&setup.toml());
    assert_eq!(reason(&mut caller, ROOM), "same_assignment", "nobody has come since");
    enter(&mut other, ROOM);
    assert_eq!(reason(&mut caller, ROOM), "same_assignment", "that is another app's channel");
    enter(&mut guest, OTHER);
    assert_eq!(reason(&mut caller, ROOM), "same_assignment");
    confirm((&mut guest.0, &mut guest.1), ROOM);
    assert_eq!([reason(&mut caller, ROOM), reason(&mut caller, ROOM)], ["late_joiner", "same_assignment"]);

    setup.rule = String::new();
    usher.reload(&setup.toml());
    reason(&mut caller, ROOM);
    confirm((&mut guest.0, &mut guest.1), ROOM);
    assert_eq!(reason(&mut caller, ROOM), "same_assignment", "late joiners are ignored again");
}

#[test]
fn each_rule_that_watches_the_channel_is_told() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| {
        setup.upstream += &far.key();
        setup.rule = FORWARD.to_owned();
        setup.more = "[[rules]]\nname = \"again\"\nevent = \"staff-assigned\"\nchannel = \"h-room-{n}-chat\"\n\
                      identity = [\"/staff_name\"]\nlate_joiners = \"forward\"\nmode = \"observe\"\n"
            .to_owned();
    });
    let mut caller = usher.client();
    let mut guest = far.relayed(&usher, &handshake());
    let mut reasons = |is_new| {
        if is_new {
            enter(&mut guest, ROOM);
        }
        caller.announce(ROOM, "Anna").assert_forwarded();
        let newest = usher.admin().triggers().remove(0);
        let rules = newest["rules"].as_array().unwrap().clone();
        rules.iter().map(|rule| rule["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(false), ["nothing_known"; 2]);
    assert_eq!(reasons(true), ["late_joiner"; 2], "in observe mode as in enforce mode");
    assert_eq!(reasons(false), ["other_rule", "same_assignment"], "the second only observes");
}
