//! `usher replay`.

use serde_json::{Value, json};

use super::{Folder, hotel, run, staff};

/// A line of a recording.
fn line(id: u64, received: f64, took: Option<f64>, body: &str, outcome: &str, decision: &str) -> String {
    let settled = took.map(|took| received + took);
    let reason = if decision.contains("suppress") { "same_assignment" } else { "nothing_known" };
    let line = json!({
        "id": format!("0000000a-{id}"), "received": received, "settled": settled, "app": "1001", "path": "/apps/1001/events",
        "body": body, "outcome": outcome, "decision": decision, "reason": reason,
    });
    format!("{line}\n")
}

const HEADER: &str = "{\"usher_recording\":1,\"version\":\"0.1.0\",\"redacted\":false}\n";
const CHANNEL: &str = "h-room-1-chat";

fn anna() -> String {
    staff(CHANNEL, r#"{"staff_name":"Anna","staff_role":"Porter"}"#)
}

/// Anna, twice more, then as a manager, then Ben, who is refused, and Ben again.
fn evening() -> String {
    let manager = staff(CHANNEL, r#"{"staff_name":"Anna","staff_role":"Manager"}"#);
    let ben = staff(CHANNEL, r#"{"staff_name":"Ben","staff_role":"Porter"}"#);
    let lines = [
        line(1, 100.0, Some(0.5), &anna(), "accepted", "forwarded"),
        // Written before the one that it came behind.
        line(3, 102.0, None, &anna(), "suppressed", "suppressed"),
        line(2, 101.0, Some(5.0), &staff("lobby", "{}"), "accepted", "forwarded"),
        line(4, 107.0, None, &manager, "suppressed", "suppressed"),
        line(5, 108.0, Some(0.1), &ben, "refused", "failed"),
        "{\"lost\":2}\n".to_owned(),
        line(6, 109.25, Some(0.1), &ben, "accepted", "forwarded"),
    ];
    lines.concat()
}

#[test]
fn the_same_rules_decide_as_they_did() {
    let folder = Folder::new();
    let day = folder.write("day.jsonl", &format!("{HEADER}{}", evening()));
    let told = run(&["replay", &day, "--config", &hotel()]);
    let expected = "6 triggers in 9 s: 4 forwarded, 0 reduced, 2 suppressed, 0 refused
2 triggers are missing in the recording: what guests saw in between is not known

rule                     app   mode     announcements  suppressed  would suppress  forwarded  unreadable  messages saved  else differed  late joiners
staff-assigned           1001  enforce              5           2               0          3           0               2              0             -
staff-assigned-enveloped 1001  enforce              0           0               0          0           0               0              0             -
staff-assigned forwarded: changed 2, nothing_known 1
- is not known: a recording has no subscriptions, and the messages saved are calls, without their subscribers.

0 of 6 triggers are decided otherwise than when they were recorded
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((told.code, squeezed(&told.out), &*told.err), (0, squeezed(expected), ""), "{told:?}");
}

#[test]
fn other_rules_are_compared_with_the_old_ones() {
    let folder = Folder::new();
    let day = folder.write("day.jsonl", &format!("{HEADER}{}", evening()));
    let old = std::fs::read_to_string(hotel()).unwrap();
    let new =
        folder.write("new.toml", &old.replacen(r#"context = ["/conversation_id"]"#, r#"context = ["/staff_role"]"#, 1));
    let told = run(&["replay", &day, "--config", &new, "--against", &hotel(), "--list"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("1 of 6 triggers are decided otherwise than by "), "{told:?}");
    assert!(told.out.contains("  suppressed -> forwarded: 1\n"), "{told:?}");
    let listed =
        "  0000000a-4  107.000  staff-assigned on h-room-1-chat: suppressed (same_assignment) -> forwarded (changed)";
    assert!(told.out.contains(listed), "{told:?}");
    let json = &run(&["replay", &day, "--config", &new, "--against", &hotel(), "--json"]).json()[0];
    assert_eq!((&json["triggers"], &json["lost"], &json["changed"]), (&json!(6), &json!(2), &json!(1)), "{json}");
    assert_eq!(json["kinds"], json!([{ "old": "suppressed", "new": "forwarded", "count": 1 }]));
    assert_eq!(json["changes"][0]["new"], json!({ "decision": "forwarded", "reason": "changed" }));
    assert_eq!(json["rules"][0]["forwarded"], json!({ "nothing_known": 1, "changed": 3 }), "{json}");
    let recorded = &run(&["replay", &day, "--config", &new, "--json"]).json()[0];
    assert_eq!((&recorded["against"], &recorded["changed"]), (&Value::Null, &json!(1)), "{recorded}");
}

#[test]
fn rules_that_observe_are_replayed_so_or_as_if_they_enforced() {
    let folder = Folder::new();
    let day = folder.write("day.jsonl", &format!("{HEADER}{}", evening()));
    let old = std::fs::read_to_string(hotel()).unwrap();
    let observing = folder.write("observing.toml", &format!("observe = true\n{old}"));
    let decisions = |more: &[&str]| {
        let told = run(&[&["replay", &day, "--config", &observing, "--json"], more].concat());
        let json = told.json()[0].clone();
        let rule = &json["rules"][0];
        (rule["suppressed"].clone(), rule["would_suppress"].clone(), json["changed"].clone())
    };
    assert_eq!(decisions(&[]), (json!(0), json!(2), json!(2)));
    assert_eq!(decisions(&["--enforce"]), (json!(2), json!(0), json!(0)));
}

#[test]
fn what_is_no_recording_is_refused() {
    let folder = Folder::new();
    for (content, expected) in [
        ("", "the recording is empty"),
        ("{\"name\":\"x\"}\n", "no recording of usher"),
        ("{\"usher_recording\":9,\"version\":\"9\",\"redacted\":false}\n", "format 9"),
        (&format!("{HEADER}{}half", line(1, 1.0, None, &anna(), "suppressed", "suppressed")), "line 3"),
    ] {
        let day = folder.write("day.jsonl", content);
        let told = run(&["replay", &day, "--config", &hotel()]);
        assert!(told.code == 1 && told.err.contains(expected), "{content:?}: {told:?}");
    }
    assert_eq!(run(&["replay", "/nowhere", "--config", &hotel()]).code, 1);
    assert_eq!(run(&["replay", "/nowhere", "--config", "/nowhere.toml"]).code, 78);
}
