//! Each rule of what late subscribers are handed, frame by frame.

use std::thread;

use serde_json::{Value, json};

use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Gate, Scene, Setup, Step, Usher, bodies, sign};

const CHANNEL: &str = "h-room-1-chat";

/// With a rule that hands late subscribers the last announcement.
fn replaying() -> Scene {
    replaying_with(|_| {})
}

fn replaying_with(adjust: impl FnOnce(&mut Setup)) -> Scene {
    Scene::with(|setup| {
        setup.rule = "late_joiners = \"replay\"\n".to_owned();
        adjust(setup);
    })
}

impl Scene {
    /// A guest with this socket id.
    fn guest(&self, socket: &str) -> Visit {
        let (client, upstream) = self.connect();
        let mut visit = Visit { client, upstream };
        let data = json!({ "socket_id": socket, "activity_timeout": 120 }).to_string();
        visit.pass(&json!({ "event": "pusher:connection_established", "data": data }));
        visit
    }

    fn announce(&self, staff: &str) {
        self.usher.client().announce(CHANNEL, staff).assert_forwarded();
    }

    fn repeat(&self, staff: &str) {
        self.usher.client().announce(CHANNEL, staff).assert_suppressed();
    }

    fn replayed(&self) -> f64 {
        self.usher.admin().metric("usher_replayed_total", &[])
    }
}

/// Both ends of a guest's connection.
struct Visit {
    client: End,
    upstream: End,
}

impl Visit {
    /// Upstream sends something, and the client gets it.
    fn pass(&mut self, frame: &Value) {
        let frame = Frame::text(&frame.to_string());
        self.upstream.send(&frame);
        assert_eq!(self.client.read(), frame);
    }

    /// The client asks for the channel, and upstream confirms it.
    fn subscribe(&mut self, more: &Value) {
        let mut data = json!({ "channel": CHANNEL });
        if !more.is_null() {
            data["filter"] = more.clone();
        }
        self.ask(&json!({ "event": "pusher:subscribe", "data": data }));
        self.pass(&json!({ "event": "pusher_internal:subscription_succeeded", "channel": CHANNEL, "data": "{}" }));
    }

    fn ask(&mut self, request: &Value) {
        let frame = Frame::text(&request.to_string());
        self.client.send(&frame);
        assert_eq!(self.upstream.read(), frame);
    }

    fn delivers(&mut self, staff: &str) {
        self.upstream.send(&Frame::text(&delivery(staff).to_string()));
    }

    /// The next text that the client gets.
    fn gets(&mut self) -> String {
        String::from_utf8(self.client.read().payload).unwrap()
    }

    /// Fails if the client has got anything but what upstream sends now.
    fn gets_no_more(&mut self) {
        self.pass(&json!({ "event": "pusher:pong", "data": "{}" }));
    }
}

fn delivery(staff: &str) -> Value {
    json!({ "event": "staff-assigned", "channel": CHANNEL, "data": bodies::staff(staff) })
}

/// As usher writes it.
fn handed(staff: &str) -> String {
    let data = Value::from(bodies::staff(staff)).to_string();
    format!(r#"{{"event":"staff-assigned","channel":"{CHANNEL}","data":{data}}}"#)
}

#[test]
fn who_comes_late_is_handed_the_last_one_and_repeats_stay_dropped() {
    let scene = replaying();
    let mut first = scene.guest("1.1");
    first.subscribe(&Value::Null);
    first.gets_no_more();
    scene.announce("Anna");
    first.delivers("Anna");
    assert_eq!(first.gets(), delivery("Anna").to_string());
    let mut second = scene.guest("1.2");
    second.subscribe(&Value::Null);
    assert_eq!(second.gets(), handed("Anna"));
    second.gets_no_more();
    scene.repeat("Anna");
    scene.announce("Boris");
    let mut third = scene.guest("1.3");
    third.subscribe(&Value::Null);
    assert_eq!(third.gets(), handed("Boris"));
    scene.repeat("Boris");
    assert_eq!(scene.fake.count(), 2);
    assert_eq!(scene.replayed(), 2.0);
    assert!(scene.usher.admin().metric("usher_replay_bytes", &[]) > 100.0);
    // The same client again, behind another subscription.
    third.ask(&json!({ "event": "pusher:unsubscribe", "data": { "channel": CHANNEL } }));
    third.subscribe(&Value::Null);
    assert_eq!(third.gets(), handed("Boris"));
}

#[test]
fn what_upstream_delivers_late_is_not_passed_on_behind_something_newer() {
    let scene = replaying();
    scene.announce("Anna");
    scene.announce("Boris");
    let mut guest = scene.guest("1.1");
    guest.subscribe(&Value::Null);
    assert_eq!(guest.gets(), handed("Boris"));
    guest.delivers("Anna");
    guest.delivers("Boris");
    assert_eq!(guest.gets(), delivery("Boris").to_string(), "a second copy, and not Anna");
    scene.announce("Anna");
    guest.delivers("Anna");
    assert_eq!(guest.gets(), delivery("Anna").to_string(), "she serves again");
}

#[test]
fn who_comes_while_something_is_in_flight_waits_for_its_outcome() {
    let scene = replaying();
    scene.announce("Anna");
    for (step, expected) in [(Step::status(400), "Anna"), (Step::ok(), "Boris")] {
        let gate = Gate::new();
        scene.fake.script([Step::hold(&gate, step)]);
        let count = scene.fake.count();
        thread::scope(|scope| {
            scope.spawn(|| scene.usher.client().announce(CHANNEL, "Boris"));
            crate::harness::eventually("it is in flight", || (scene.fake.count() > count).then_some(()));
            let mut guest = scene.guest("1.1");
            guest.subscribe(&Value::Null);
            guest.gets_no_more();
            gate.open();
            assert_eq!(guest.gets(), handed(expected));
        });
    }
}

#[test]
fn in_doubt_nothing_is_handed_out_and_the_next_one_goes_on() {
    let scene = replaying();
    scene.announce("Anna");
    scene.fake.script([Step::status(500)]);
    scene.usher.client().announce(CHANNEL, "Boris").assert_status(500);
    let mut guest = scene.guest("1.1");
    guest.subscribe(&Value::Null);
    guest.gets_no_more();
    scene.announce("Anna");
}

#[test]
fn a_subscription_with_a_filter_gets_none_and_the_next_one_goes_on() {
    let scene = replaying();
    let mut guest = scene.guest("1.1");
    scene.announce("Anna");
    scene.repeat("Anna");
    guest.subscribe(&json!({ "key": "staff_name", "cmp": "eq", "val": "Anna" }));
    guest.gets_no_more();
    scene.announce("Anna");
    scene.repeat("Anna");
    guest.ask(&json!({ "event": "pusher:unsubscribe", "data": { "channel": CHANNEL } }));
    guest.subscribe(&Value::Null);
    assert_eq!(guest.gets(), handed("Anna"));
}

#[test]
fn what_was_given_up_for_lack_of_space_goes_on_again() {
    let scene = replaying_with(|setup| setup.assignments = "replay_bytes = \"0B\"\n".to_owned());
    let mut guest = scene.guest("1.1");
    scene.announce("Anna");
    scene.repeat("Anna");
    guest.subscribe(&Value::Null);
    guest.gets_no_more();
    scene.announce("Anna");
    scene.repeat("Anna");
    assert_eq!(scene.usher.admin().metric("usher_replay_evictions_total", &[]), 2.0);
}

#[test]
fn other_rules_hand_out_nothing() {
    for rule in ["late_joiners = \"ignore\"\n", "late_joiners = \"replay\"\nmode = \"observe\"\n"] {
        let scene = replaying_with(|setup| setup.rule = rule.to_owned());
        scene.announce("Anna");
        let mut guest = scene.guest("1.1");
        guest.subscribe(&Value::Null);
        guest.gets_no_more();
        assert_eq!((scene.replayed(), scene.usher.admin().metric("usher_replay_bytes", &[])), (0.0, 0.0), "{rule}");
    }
}

#[test]
fn a_connection_that_was_left_out_gets_none_and_another_one_of_the_same_client_does() {
    let scene = replaying();
    let mut own = scene.guest("7.1");
    own.subscribe(&Value::Null);
    let body =
        json!({ "name": "staff-assigned", "channel": CHANNEL, "data": bodies::staff("Anna"), "socket_id": "7.1" });
    scene.usher.client().trigger(&body.to_string()).assert_forwarded();
    own.ask(&json!({ "event": "pusher:unsubscribe", "data": { "channel": CHANNEL } }));
    own.subscribe(&Value::Null);
    own.gets_no_more();
    let mut again = scene.guest("7.2");
    again.subscribe(&Value::Null);
    assert_eq!(again.gets(), handed("Anna"));
}

/// The embedded broker, with guests on every kind of channel that a rule watches.
#[test]
fn the_embedded_broker_hands_it_out_on_public_private_and_presence_channels() {
    let mut setup = Setup::before_url("local");
    setup.rule = "late_joiners = \"replay\"\n".to_owned();
    setup.more = ["private", "presence"]
        .map(|kind| {
            format!(
                "[[rules]]\nname = \"{kind}\"\nevent = \"staff-assigned\"\nchannel = \"{kind}-{{x}}\"\nidentity = [\"/staff_name\"]\n\
                 late_joiners = \"replay\"\n"
            )
        })
        .concat();
    let usher = Usher::start_with(&setup.toml());
    for channel in [CHANNEL, "private-room", "presence-room"] {
        usher.client().announce(channel, "Anna").assert_forwarded();
        let mut client = usher.client();
        client.send(&handshake().bytes());
        let mut guest = End::switched(client);
        let text = |guest: &mut End| String::from_utf8(guest.read().payload).unwrap();
        let established: Value = serde_json::from_str(&text(&mut guest)).unwrap();
        let data: Value = serde_json::from_str(established["data"].as_str().unwrap()).unwrap();
        let socket = data["socket_id"].as_str().unwrap();
        let user = r#"{"user_id":"1"}"#;
        let mut data = json!({ "channel": channel });
        if channel.starts_with("private") {
            data["auth"] = sign::token(&format!("{socket}:{channel}")).into();
        } else if channel.starts_with("presence") {
            data["auth"] = sign::token(&format!("{socket}:{channel}:{user}")).into();
            data["channel_data"] = user.into();
        }
        let request = |filter: Value| {
            let mut data = data.clone();
            data["filter"] = filter;
            Frame::text(&json!({ "event": "pusher:subscribe", "data": data }).to_string())
        };
        guest.send(&request(Value::Null));
        assert!(text(&mut guest).contains("subscription_succeeded"));
        assert_eq!(text(&mut guest), handed("Anna").replace(CHANNEL, channel));
        usher.client().announce(channel, "Anna").assert_suppressed();
        let leave = json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } });
        guest.send(&Frame::text(&leave.to_string())).send(&request(json!({ "key": "a" })));
        while !text(&mut guest).contains("subscription_succeeded") {}
        usher.client().announce(channel, "Anna").assert_forwarded();
    }
}
