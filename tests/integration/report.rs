//! The report for the operator: the messages saved by suppression, late joiners, and misplaced events.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::admin::TOKEN;
use crate::harness::bodies::{Library, announcement, batch, item, message, staff};
use crate::harness::cli::Cli;
use crate::harness::usher::Signal;
use crate::harness::websocket::{End, Far, Frame, handshake};
use crate::harness::{Fake, Request, Setup, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";
const EVENTS: &str = "
[[events]]
name = \"staff-assigned\"
channel = \"{hotelSlug}-room-{roomNumber}-chat\"
[[events]]
name = \"new-staff-message\"
channel = \"{hotelSlug}-room-{roomNumber}-chat\"
[[events]]
name = \"new-message\"
channel = \"{hotelSlug}-conversation-{id}-chat\"
[[events]]
name = \"new-message\"
channel = \"{hotelSlug}-room-{roomNumber}-chat\"
";

/// The settings that the report compares.
const SETTINGS: [&str; 5] = [
    "late_joiners = \"ignore\"",
    "late_joiners = \"forward\"",
    "refresh_after = \"1m\"",
    "refresh_after = \"10m\"",
    "refresh_after = \"60m\"",
];

fn rule(usher: &Usher) -> Value {
    usher.admin().report()["rules"][0].clone()
}

/// These fields of the first rule.
fn told<const N: usize>(usher: &Usher, names: [&str; N]) -> [Value; N] {
    let rule = rule(usher);
    names.map(|name| rule[name].clone())
}

/// The memory stores times in tenths of a second: waits until the next one has begun.
fn let_a_tenth_pass() {
    let began = Instant::now();
    eventually("a tenth of a second passes", || (began.elapsed() > Duration::from_millis(110)).then_some(()));
}

fn subscriptions(usher: &Usher) -> f64 {
    usher.admin().metric("usher_relay_subscriptions", &[])
}

/// Subscribes a relayed guest to a channel, with the frames of both sides.
fn enter((client, upstream): &mut (End, End), channel: &str) {
    let asked = Frame::text(&format!(r#"{{"event":"pusher:subscribe","data":{{"auth":"","channel":"{channel}"}}}}"#));
    client.send(&asked);
    assert_eq!(upstream.read(), asked, "untouched");
    let confirmed = Frame::text(&format!(
        r#"{{"event":"pusher_internal:subscription_succeeded","data":"{{}}","channel":"{channel}"}}"#
    ));
    upstream.send(&confirmed);
    assert_eq!(client.read(), confirmed, "untouched");
}

#[test]
fn a_rule_tells_what_it_dropped_or_would_have() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.rule = "mode = \"observe\"\n".to_owned());
    let report = usher.admin().report();
    assert!(report["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{report}");
    assert_eq!(report["misplaced"], json!([]));
    let nothing = json!({
        "app": "3", "rule": "staff-assigned", "mode": "observe", "suppressed": 0, "would_suppress": 0, "messages_saved": 0,
        "audience_known": false, "first": null, "last": null, "late_joiners": 0, "top_channels": [],
        "differences": { "on_difference": "count", "compared": 0, "differing": 0, "unexplained": 0, "pointers": [] },
        "would_save": {
            "channels": 0, "announcements": 0, "sees_clients": false, "warning": null,
            "settings": SETTINGS.map(|setting| json!({ "setting": setting, "suppressed": 0, "messages_saved": 0 })),
            "proposal": "Nothing is proposed yet: 0 redundant announcements are too few, 100 are enough.",
        },
        "bypassed": { "count": 0, "channel": null, "last": null },
    });
    assert_eq!(report["rules"], json!([nothing]));

    let mut client = usher.client();
    for (channel, times) in [(CHANNEL, 4), ("h-room-2-chat", 2), ("h-room-3-chat", 1)] {
        for _ in 0..times {
            client.announce(channel, "Anna").assert_forwarded();
        }
    }
    assert_eq!(
        client
            .batch(&batch(&[
                item("staff-assigned", "h-room-4-chat", &staff("A")),
                item("staff-assigned", "h-room-4-chat", &staff("A"))
            ]))
            .status,
        200
    );
    // In enforce mode it would not be dropped either, so nothing is saved.
    assert_eq!(
        client.trigger(&announcement(CHANNEL, "Anna").replacen('{', "{\"info\":\"user_count\",", 1)).status,
        200
    );
    assert_eq!(
        told(&usher, ["suppressed", "would_suppress", "messages_saved", "audience_known"]),
        [json!(0), json!(5), json!(5), json!(false)]
    );
    let top = json!([
        { "channel": CHANNEL, "suppressed": 3 }, { "channel": "h-room-2-chat", "suppressed": 1 }, { "channel": "h-room-4-chat", "suppressed": 1 },
    ]);
    assert_eq!(told(&usher, ["top_channels", "late_joiners"]), [top, json!(0)]);
    let [first, last] = told(&usher, ["first", "last"]);
    assert!(first.is_string() && first.as_str() <= last.as_str(), "{first} {last}");
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &[]), 0.0, "nothing is dropped");

    usher.rewrite_config(&Setup::before(&fake).toml());
    usher.signal(Signal::Hup);
    usher.wait_log(|event| crate::harness::usher::message(event) == "the configuration was reloaded");
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(
        told(&usher, ["mode", "suppressed", "would_suppress", "messages_saved"]),
        [json!("enforce"), json!(1), json!(5), json!(6)]
    );
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &["app=\"3\"", "rule=\"staff-assigned\""]), 1.0);
}

#[test]
fn the_audience_of_relayed_guests_and_its_late_joiners_are_counted() {
    for mode in ["enforce", "observe"] {
        let (fake, far) = (Fake::start(), Far::start());
        let usher = Usher::start(&fake, |setup| {
            setup.upstream += &far.key();
            setup.rule = format!("mode = \"{mode}\"\n");
        });
        let mut client = usher.client();
        let mut early = far.relayed(&usher, &handshake());
        enter(&mut early, CHANNEL);
        enter(&mut early, "h-room-2-chat");
        eventually("both subscriptions are seen", || (subscriptions(&usher) == 2.0).then_some(()));
        client.announce(CHANNEL, "Anna").assert_forwarded();
        client.announce(CHANNEL, "Anna");
        assert_eq!(
            told(&usher, ["messages_saved", "audience_known", "late_joiners"]),
            [json!(2), json!(true), json!(0)],
            "{mode}"
        );

        let_a_tenth_pass();
        let mut late = far.relayed(&usher, &handshake());
        enter(&mut late, CHANNEL);
        eventually("the third is seen", || (subscriptions(&usher) == 3.0).then_some(()));
        client.announce(CHANNEL, "Anna");
        client.announce(CHANNEL, "Anna");
        assert_eq!(told(&usher, ["messages_saved", "late_joiners"]), [json!(8), json!(2)], "{mode}");

        // A forwarded handoff reaches every subscriber.
        let_a_tenth_pass();
        client.announce(CHANNEL, "Ben").assert_forwarded();
        client.announce(CHANNEL, "Ben");
        assert_eq!(told(&usher, ["messages_saved", "late_joiners"]), [json!(11), json!(2)], "{mode}");

        early.0.send(&Frame::text(r#"{"event":"pusher:unsubscribe","data":{"channel":"h-room-1-chat"}}"#));
        early.1.read();
        eventually("one is gone", || (subscriptions(&usher) == 2.0).then_some(()));
        late.0.hang_up();
        eventually("and the other with its connection", || (subscriptions(&usher) == 1.0).then_some(()));
        client.announce(CHANNEL, "Ben");
        assert_eq!(told(&usher, ["messages_saved", "late_joiners"]), [json!(12), json!(2)], "{mode}");
    }
}

/// What each of [`SETTINGS`] would have dropped, and how many messages that is.
fn would_save(usher: &Usher) -> [(u64, u64); SETTINGS.len()] {
    let settings = rule(usher)["would_save"]["settings"].clone();
    SETTINGS.map(|name| {
        let found = settings.as_array().unwrap().iter().find(|setting| setting["setting"] == name).unwrap();
        (found["suppressed"].as_u64().unwrap(), found["messages_saved"].as_u64().unwrap())
    })
}

#[test]
fn the_report_says_what_each_setting_for_late_joiners_would_save() {
    for mode in ["enforce", "observe"] {
        let (fake, far) = (Fake::start(), Far::start());
        let usher = Usher::start(&fake, |setup| {
            setup.upstream += &far.key();
            setup.rule = format!("mode = \"{mode}\"\n");
        });
        let mut client = usher.client();
        // Without a client that usher sees, everybody may have come.
        for _ in 0..3 {
            client.announce(CHANNEL, "Anna");
        }
        assert_eq!(would_save(&usher), [(2, 2), (0, 0), (2, 2), (2, 2), (2, 2)], "{mode}");
        assert_eq!(rule(&usher)["would_save"]["sees_clients"], false);
        let mut early = far.relayed(&usher, &handshake());
        enter(&mut early, CHANNEL);
        // One of ten guests comes late; nobody waits for the end of a tenth of a second.
        for number in 0..100 {
            if number % 10 == 5 {
                enter(&mut far.relayed(&usher, &handshake()), CHANNEL);
            }
            client.announce(CHANNEL, "Anna");
        }
        let saved = would_save(&usher).map(|(announcements, _)| announcements);
        assert_eq!(saved, [102, 89, 102, 102, 102], "{mode}");
        let would_save = rule(&usher)["would_save"].clone();
        assert_eq!(
            [&would_save["channels"], &would_save["announcements"], &would_save["sees_clients"]],
            [&json!(1), &json!(102), &json!(true)]
        );
        let proposal = would_save["proposal"].as_str().unwrap();
        assert!(proposal.contains("late_joiners = \"replay\" would drop all 102"), "{proposal}");
        // News reaches whoever has come.
        enter(&mut early, "h-room-2-chat");
        client.announce("h-room-2-chat", "Anna").assert_forwarded();
        enter(&mut far.relayed(&usher, &handshake()), "h-room-2-chat");
        client.announce("h-room-2-chat", "Ben").assert_forwarded();
        client.announce("h-room-2-chat", "Ben");
        let [ignore, forward, ..] = self::would_save(&usher);
        assert_eq!((ignore.0, forward.0), (103, 90), "{mode}");
    }
}

#[test]
fn a_setting_that_drops_nothing_is_warned_of() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| {
        setup.upstream += &far.key();
        setup.rule = "late_joiners = \"forward\"\n".to_owned();
    });
    let warning = || rule(&usher)["would_save"]["warning"].clone();
    let mut client = usher.client();
    assert_eq!(warning(), Value::Null, "nothing was announced");
    for _ in 0..2 {
        client.announce(CHANNEL, "Anna").assert_forwarded();
    }
    assert!(warning().as_str().is_some_and(|text| text.contains("no client of the app")), "{}", warning());
    let check = || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("usher.toml");
        let mut setup = Setup::before(&fake);
        setup.rule = "late_joiners = \"forward\"\n".to_owned();
        std::fs::write(&file, setup.toml()).unwrap();
        let url = format!("http://{}", usher.admin().0);
        let check = Cli::new(&["check", "--config", file.to_str().unwrap(), "--admin", &url]);
        check.env("USHER_ADMIN__TOKEN", TOKEN).run().out
    };
    assert!(check().contains("no client of the app has connected through usher"), "{}", check());
    let mut guest = far.relayed(&usher, &handshake());
    enter(&mut guest, "h-room-2-chat");
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(warning(), Value::Null, "one is seen");
    assert!(!check().contains("no client of the app"), "{}", check());
}

#[test]
fn connections_of_other_apps_are_not_counted() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| setup.upstream += &far.key());
    let mut client = usher.client();
    client.send(&handshake().line("GET /app/of-nobody?protocol=7 HTTP/1.1").bytes());
    let upstream = far.next().accept();
    let mut guest = (End::switched(client), upstream);
    enter(&mut guest, CHANNEL);
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(told(&usher, ["messages_saved", "audience_known"]), [json!(1), json!(false)]);
}

#[test]
fn the_embedded_broker_knows_its_audience() {
    let usher = Usher::start_with(&Setup::before_url("local").toml());
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(told(&usher, ["messages_saved", "audience_known", "late_joiners"]), [json!(1), json!(true), json!(0)]);
    let_a_tenth_pass();
    let mut guest = usher.client();
    guest.send(&handshake().bytes());
    let mut guest = End::switched(guest);
    guest.read();
    guest.send(&Frame::text(r#"{"event":"pusher:subscribe","data":{"channel":"h-room-1-chat"}}"#));
    guest.read();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(told(&usher, ["messages_saved", "late_joiners"]), [json!(3), json!(1)]);
}

#[test]
fn misplaced_events_are_counted_and_forwarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more = EVENTS.to_owned());
    let mut client = usher.client();
    assert_eq!(usher.admin().metric("usher_misplaced_events_total", &["event=\"new-message\""]), 0.0);
    let counted =
        usher.admin().series().keys().filter(|series| series.starts_with("usher_misplaced_events_total{")).count();
    assert_eq!(counted, 3, "each at 0 from the start");
    let new_message = |channel: &str| message(channel, "x").replace("new-staff-message", "new-message");
    for (body, times) in [
        (announcement("h-conversation-7-chat", "Anna"), 2),
        (message("lobby", "hello"), 1),
        (new_message("h-conversation-7-chat"), 1),
        (new_message(CHANNEL), 1),
        (new_message("h-lobby"), 1),
        (announcement(CHANNEL, "Anna"), 2),
        (message("lobby", "x").replace("new-staff-message", "unheard-of"), 1),
    ] {
        for _ in 0..times {
            assert_eq!(client.call(&Request::events(&body)).status, 200);
        }
    }
    assert_eq!(fake.count(), 8, "all but the one redundant announcement");
    let misplaced = usher.admin().report()["misplaced"].clone();
    let told: Vec<_> = misplaced
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| json!([kind["event"], kind["channel_family"], kind["count"]]))
        .collect();
    let (room, conversation) = ("{hotelSlug}-room-{roomNumber}-chat", "{hotelSlug}-conversation-{id}-chat");
    assert_eq!(
        told,
        [
            json!(["new-message", "other", 1]),
            json!(["new-staff-message", "other", 1]),
            json!(["staff-assigned", conversation, 2])
        ]
    );
    assert_eq!(
        (&misplaced[0]["app"], &misplaced[0]["expected"]),
        (&json!("3"), &json!(format!("{conversation} or {room}")))
    );
    assert!(misplaced[2]["last"].as_str().is_some_and(|last| last.ends_with('Z')), "{misplaced}");
    assert_eq!(usher.admin().metric("usher_misplaced_events_total", &["app=\"3\"", "event=\"staff-assigned\""]), 2.0);
}

#[test]
fn a_reload_changes_the_contract() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.more = EVENTS.to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut client = usher.client();
    client.announce("lobby", "Anna");
    assert_eq!(client.trigger(&message("lobby", "x")).status, 200);
    assert_eq!(usher.admin().report()["misplaced"].as_array().unwrap().len(), 2);
    setup.more = "[[events]]\nname = \"staff-assigned\"\nchannel = \"lobby\"\n\n[[events]]\nname = \"new-staff-message\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n".to_owned();
    usher.rewrite_config(&setup.toml());
    usher.signal(Signal::Hup);
    usher.wait_log(|event| crate::harness::usher::message(event) == "the configuration was reloaded");
    client.announce("lobby", "Anna");
    assert_eq!(client.trigger(&message("lobby", "x")).status, 200);
    let misplaced = usher.admin().report()["misplaced"].clone();
    let told: Vec<_> = misplaced
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| json!([kind["event"], kind["channel_family"], kind["count"]]))
        .collect();
    // Events that the new contract does not contain are forgotten; the lobby is a separate family now.
    assert_eq!(told, [json!(["new-staff-message", "lobby", 1]), json!(["new-staff-message", "other", 1])]);
}

#[test]
fn the_report_is_the_operators() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    assert_eq!(usher.admin().call("POST", "/report").status, 405);
    let rebound = Request::new("GET", "/report", b"").host("evil.example");
    assert_eq!(usher.admin().send(&rebound).status, 421);
}

#[test]
fn observing_is_recommended_before_a_server_that_guests_depend_on() {
    let fake = Fake::start();
    let recommended = |event: &Value| crate::harness::usher::message(event).contains("mode = \"observe\"");
    let usher = Usher::start(&fake, |_| {});
    let said = usher.wait_log(recommended);
    assert_eq!(said["level"], "INFO", "{said}");
    let observing = Usher::start(&fake, |setup| setup.rule = "mode = \"observe\"\n".to_owned());
    let local = Usher::start_with(&Setup::before_url("local").toml());
    for quiet in [observing, local] {
        assert!(!quiet.logs().contains("first deployment"), "{}", quiet.logs());
    }
}

/// A rule on an event that carries the agent's messages.
fn messages(fake: &Fake, ignore: &str, on_difference: &str) -> Setup {
    let mut setup = Setup::before(fake);
    setup.rule = format!("ignore = {ignore}\non_difference = \"{on_difference}\"\n");
    setup
}

/// Anna writes twice, each time in two triggers, whose `meta` is new each time.
fn second_message(on_difference: &str) -> (Usher, Fake, Value) {
    let fake = Fake::start();
    let usher = Usher::start_with(&messages(&fake, "[\"/meta\"]", on_difference).toml());
    let mut client = usher.client();
    let mut decisions = Vec::new();
    for (number, text) in ["hello", "hello", "how can I help?", "how can I help?"].into_iter().enumerate() {
        let data = json!({ "staff_name": "Anna", "message": text, "meta": { "id": number } }).to_string();
        let answer = client.trigger(&Library::Node.body("staff-assigned", &[CHANNEL], &data));
        decisions.push(answer.header("usher-decision").unwrap() + " " + &answer.header("usher-reason").unwrap());
    }
    (usher, fake, json!(decisions))
}

#[test]
fn what_else_differs_in_a_dropped_announcement_is_counted_and_warned_of() {
    let (usher, _fake, decisions) = second_message("count");
    let dropped = "suppressed same_assignment";
    assert_eq!(decisions, json!(["forwarded nothing_known", dropped, dropped, dropped]));
    let differences = &rule(&usher)["differences"];
    let expected = json!({
        "on_difference": "count", "compared": 3, "differing": 2, "unexplained": 0,
        "pointers": [{ "pointer": "/message", "count": 2 }],
    });
    assert_eq!(differences, &expected);
    let differs: Vec<_> =
        usher.admin().triggers().iter().map(|trigger| trigger["rules"][0]["differs"].clone()).collect();
    assert_eq!(differs, [json!(true), json!(true), Value::Null, Value::Null], "the newest first");
    assert_eq!(usher.admin().metric("usher_differing_announcements_total", &["rule=\"staff-assigned\""]), 2.0);
    let switched = usher.admin().switch("staff-assigned", "enforce");
    assert_eq!(switched.status, 200);
    let warning = switched.json()["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.starts_with("/message differed in 2 of 3 redundant announcements"), "{warning}");
    assert_eq!(usher.admin().switch("staff-assigned", "observe").json()["warnings"], json!([]));
}

#[test]
fn what_else_differs_is_forwarded_if_the_rule_says_so() {
    let (usher, fake, decisions) = second_message("forward");
    let dropped = "suppressed same_assignment";
    assert_eq!(decisions, json!(["forwarded nothing_known", dropped, "forwarded changed_elsewhere", dropped]));
    assert_eq!(fake.requests().len(), 2);
    let differences = &rule(&usher)["differences"];
    assert_eq!((&differences["compared"], &differences["differing"]), (&json!(3), &json!(1)));
    assert_eq!(differences["pointers"], json!([{ "pointer": "/message", "count": 1 }]));
    assert_eq!(usher.admin().switch("staff-assigned", "enforce").json()["warnings"], json!([]));
}

#[test]
fn nobody_looks_if_the_rule_says_so() {
    let (usher, _fake, _decisions) = second_message("suppress");
    let differences = &rule(&usher)["differences"];
    assert_eq!((&differences["on_difference"], &differences["compared"]), (&json!("suppress"), &json!(0)));
}

#[test]
fn check_asks_a_running_usher_what_else_differed() {
    let (usher, fake, _decisions) = second_message("count");
    let admin = usher.admin().0.to_string();
    let check = |ignore: &str| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("usher.toml");
        std::fs::write(&file, messages(&fake, ignore, "count").toml()).unwrap();
        let url = format!("http://{admin}");
        Cli::new(&["check", "--config", file.to_str().unwrap(), "--admin", &url])
            .env("USHER_ADMIN__TOKEN", TOKEN)
            .run()
            .out
    };
    let said = check("[\"/meta\"]");
    assert!(said.contains("/message differed in 2 of 3"), "{said}");
    let said = check("[\"/meta\", \"/message\"]");
    assert!(!said.contains("differed in"), "{said}");
}
