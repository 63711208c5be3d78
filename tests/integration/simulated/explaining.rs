//! `usher explain`.

use serde_json::{Value, json};

use super::{Folder, hotel, run, staff};
use crate::harness::admin::TOKEN;
use crate::harness::cli::{Cli, Finished};
use crate::harness::{Fake, Setup, Step, Usher};

const CHANNEL: &str = "h-room-1-chat";

#[test]
fn a_payload_is_explained_one_fact_a_line() {
    let folder = Folder::new();
    let body = staff(CHANNEL, r#"{"staff_name":"Anna","conversation_id":4}"#);
    let file = folder.write("body.json", &body);
    let told = run(&["explain", &file, "--config", &hotel()]);
    let expected = "event        staff-assigned on h-room-1-chat
  read by    staff-assigned
    identity /staff_id = nothing
    identity /staff_name = \"Anna\"
    context  /conversation_id = 4
rule         staff-assigned: staff-assigned on h-room-1-chat
  now        /staff_name = \"Anna\", /conversation_id = 4
  decision   forwarded (nothing_known): nothing was known of this channel
no match     staff-assigned-enveloped: staff-assigned on h-room-1-chat: the rule is for the event `realtime_event`
decision     forwarded (nothing_known): nothing was known of this channel
sent         as received
memory       empty: nothing came before (--after, --admin)";
    assert_eq!((told.code, &*told.out, &*told.err), (0, expected, ""), "{told:?}");
    let piped = Cli::new(&["explain", "--config", &hotel()]).input(&body).run();
    assert_eq!(piped.out, told.out);
    let flags = ["explain", "--config", &hotel(), "--event", "staff-assigned", "--channel", CHANNEL, "--data"];
    let made = Cli::new(&flags).arg(r#"{"staff_name":"Anna","conversation_id":4}"#).run();
    assert_eq!(made.out, told.out);
}

#[test]
fn what_came_before_and_what_would_be_sent_are_shown() {
    let folder = Folder::new();
    let anna = staff(CHANNEL, r#"{"staff_id":7}"#);
    let before = folder.write("before.jsonl", &format!("{anna}\n\n{anna}\n"));
    let data = r#"{"staff_id":7}"#;
    let arguments = [
        "explain",
        "--config",
        &hotel(),
        "--after",
        &before,
        "--event",
        "staff-assigned",
        "--channel",
        CHANNEL,
        "--data",
        data,
    ];
    let told = run(&arguments);
    for expected in [
        "before     /staff_id = 7",
        "decision     suppressed (same_assignment)",
        "sent         nothing",
        "after 2 earlier triggers",
    ] {
        assert!(told.out.contains(expected), "{expected}: {told:?}");
    }
    let several = Cli::new(&arguments).arg("--channel").arg("h-room-2-chat").arg("--json").run();
    let json = &several.json()[0];
    assert_eq!((&json["sent"], &json["trigger"]["decision"]), (&json!("reduced"), &json!("reduced")), "{json}");
    let sent: Value = serde_json::from_str(json["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent["channels"], json!(["h-room-2-chat"]));
    assert_eq!(json["memory"], json!({ "triggers": 2, "assignments": 0 }));
    assert_eq!(
        json["pointers"][0],
        json!({ "rule": "staff-assigned", "position": 0, "key": "identity", "pointer": "/staff_id", "value": 7 })
    );
    let excluded = Cli::new(&arguments).arg("--socket-id").arg("1.2").run();
    assert!(excluded.out.contains("suppressed (same_assignment)"), "{excluded:?}");
    let excluded = Cli::new(&arguments).arg("--socket-id").arg("1").run();
    assert!(excluded.out.contains("forwarded (excludes_socket)"), "{excluded:?}");
}

/// The trigger of these arguments, explained with the memory of a running usher.
fn asked(usher: &Usher, arguments: &[&str]) -> Finished {
    let url = format!("http://{}", usher.admin().0);
    Cli::new(&[&["explain", "--admin", &url], arguments].concat()).env("USHER_ADMIN__TOKEN", TOKEN).run()
}

#[test]
fn the_memory_of_a_running_usher_is_asked_and_its_records_are_opened() {
    let folder = Folder::new();
    let fake = Fake::start();
    let config = folder.write("u.toml", &Setup::before(&fake).toml());
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    fake.script([Step::status(500)]);
    client.announce("h-room-2-chat", "Anna");
    let explain = |channel: &str, name: &str| {
        let data = format!("{{\"staff_name\":\"{name}\"}}");
        asked(
            &usher,
            &["--config", &config, "--json", "--event", "staff-assigned", "--channel", channel, "--data", &data],
        )
    };
    for (channel, name, reason) in [
        (CHANNEL, "Anna", "same_assignment"),
        (CHANNEL, "Ben", "changed"),
        ("h-room-2-chat", "Anna", "in_doubt"),
        ("h-room-3-chat", "Anna", "nothing_known"),
    ] {
        let told = explain(channel, name);
        assert_eq!(told.json()[0]["trigger"]["reason"], reason, "{channel} {name}: {told:?}");
    }
    let answer = client.announce(CHANNEL, "Anna");
    let id = answer.head.header("usher-trigger").unwrap();
    let record = asked(&usher, &[&id]);
    assert!(record.code == 0 && record.out.contains("suppressed (same_assignment)"), "{record:?}");
    let json = asked(&usher, &[&id, "--json"]);
    assert_eq!(json.json()[0]["id"], id.as_str(), "{json:?}");
    let unknown = asked(&usher, &["00000000-1"]);
    assert!(unknown.code == 1 && unknown.err.contains("has no record of 00000000-1"), "{unknown:?}");
    let nowhere = run(&["explain", "00000000-1"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("--admin"), "{nowhere:?}");
    let other = asked(&usher, &["--config", &hotel(), "--app", "3", "--event", "e", "--channel", CHANNEL]);
    assert!(other.code == 1 && other.err.contains("explain with its configuration"), "{other:?}");
}
