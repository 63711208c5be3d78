//! What the operator's page shows of single triggers: rows of all kinds, whole records, the first minute; that none of
//! it is markup; and that axe finds nothing.

use serde_json::{Value, json};

use crate::harness::bodies::{announcement, batch, item, message};
use crate::harness::{Client, Fake, Operator, Request, Setup, Step, Usher, sign};

const ROOM: &str = "grand-room-101-chat";
const MARKUP: &str =
    "<img src=x onerror=\"document.title='evil'\"></bdi></summary><script>document.title='evil'</script>";

/// An usher before `fake` that records data and has a contract.
fn start(fake: &Fake) -> Usher {
    Usher::start(fake, |setup: &mut Setup| {
        setup.admin += "payloads = \"all\"\n";
        setup.more = "[[events]]\nname = \"note\"\nchannel = \"{hotelSlug}-desk\"\n".to_owned();
    })
}

/// A trigger of one event.
fn trigger(event: &str, channel: &str, data: &Value) -> String {
    json!({ "name": event, "channels": [channel], "data": data.to_string() }).to_string()
}

/// A signed trigger for any app; the path is not encoded for the signature.
fn refused(client: &mut Client, path: &str, target: &str, body: &str) -> u16 {
    let query = sign::query("POST", path, "", body.as_bytes());
    client.call(&Request::new("POST", &format!("{target}?{query}"), body.as_bytes())).status
}

/// One trigger of each kind.
fn every_kind(fake: &Fake, client: &mut Client) {
    client.announce(ROOM, "Anna").assert_forwarded();
    client.announce(ROOM, "Anna").assert_suppressed();
    assert_eq!(client.trigger(&message(ROOM, "hello")).status, 200);
    assert_eq!(client.trigger(&trigger("note", "lobby", &json!({ "text": "hi" }))).status, 200);
    let items =
        [item("staff-assigned", ROOM, &json!({ "staff_name": "Anna" }).to_string()), item("note", "a-desk", "{}")];
    assert_eq!(client.batch(&batch(&items)).status, 200);
    fake.script([
        Step::says(401, "Content-Type: application/json\r\n", b"{\"error\":\"the secret was rotated\"}"),
        Step::status(500),
    ]);
    assert_eq!(client.announce("grand-room-401-chat", "Boris").status, 401);
    assert_eq!(client.trigger(&message("grand-room-500-chat", "x")).status, 500);
    assert_eq!(refused(client, "/apps/3/batch_events", "/apps/3/events", &announcement(ROOM, "Zoë")), 401);
    assert_eq!(refused(client, "/apps/99/events", "/apps/99/events", &announcement(ROOM, "Zoë")), 404);
}

#[test]
fn refused_unmatched_and_failed_triggers_are_rows() {
    let fake = Fake::start();
    let usher = start(&fake);
    every_kind(&fake, &mut usher.client());
    let operator = Operator::open(usher.admin());
    operator.sees("#shown", "9 triggers");
    let rows = operator.reads("#triggers > li");
    let row = |text: &str| {
        rows.iter().find(|row| row.contains(text)).unwrap_or_else(|| panic!("{text} is not in {rows:#?}")).clone()
    };
    for (at, texts) in [
        ("grand-room-401-chat", ["Failed upstream", "Upstream answered 401: The secret was rotated."]),
        ("grand-room-500-chat", ["Failed upstream", "Upstream answered 500"]),
        ("Answered 401", ["Refused", "/apps/3/events"]),
        ("Answered 404", ["Refused", "/apps/99/events"]),
        ("lobby", ["No rule matched", "No rule watches this event on this channel."]),
        ("and 1 more event", ["Reduced", "app 3"]),
    ] {
        let row = row(at);
        assert!(texts.iter().all(|text| row.contains(text)), "{texts:?} are not in {row}");
        assert!(!row.contains("Forwarded"), "{row}");
    }
    let colors: std::collections::BTreeSet<String> = ["forwarded", "suppressed", "failed", "refused", "unmatched"]
        .map(|kind| operator.ask("color", json!([format!("#triggers .is-{kind} .badge")])).to_string())
        .into();
    assert_eq!(colors.len(), 5, "each kind has a color of its own: {colors:?}");
    operator.selects("Decision", "refused");
    operator.sees("#shown", "2 triggers that match");
    operator.selects("Decision", "failed");
    operator.sees("#shown", "2 triggers that match");
    operator.selects("Decision", "no_rule");
    operator.misses("#triggers .badge", "Failed");
    operator.selects("Decision", "forwarded");
    operator.misses("#triggers .badge", "Failed");
    operator.sees("#triggers .badge", "Forwarded");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

/// A trigger with these credentials, signed at `time`.
fn signed_as(key: &str, secret: &str, time: u64, body: &str) -> Request {
    let path = "/apps/3/events";
    let query = sign::query_of("POST", path, "", body.as_bytes(), key, secret, time);
    Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
}

#[test]
fn each_cause_of_a_refusal_and_of_a_failure_is_in_its_row() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    let body = announcement(ROOM, "Zoë");
    let mut other_digest = Request::events(&body);
    other_digest.body = announcement(ROOM, "Zoé").into_bytes();
    let refusals = [
        signed_as(sign::KEY, "wrong", sign::now(), &body),
        signed_as("unknown", sign::SECRET, sign::now(), &body),
        signed_as(sign::KEY, sign::SECRET, sign::now() - 3600, &body),
        other_digest,
    ];
    let operator = Operator::open(usher.admin());
    let newest = |badge: &str, texts: &[&str]| {
        let record = usher.admin().triggers().remove(0);
        operator.ask("see-row", json!([record["id"], badge]));
        let row = operator.reads(&format!("#triggers > li[data-id='{}']", record["id"].as_str().unwrap())).remove(0);
        let why = &record["why"].as_str().unwrap()[1..];
        assert!(row.contains(why) && texts.iter().all(|text| row.contains(text)), "{why}, {texts:?} are not in {row}");
    };
    for request in refusals {
        assert_eq!(client.call(&request).status, 401);
        newest("Refused", &["Answered 401"]);
    }
    assert_eq!(refused(&mut client, "/apps/99/events", "/apps/99/events", &body), 404);
    newest("Refused", &["Answered 404", "app 99"]);
    for status in [401, 403, 500] {
        let said = json!({ "error": format!("upstream says {status}") }).to_string();
        fake.script([Step::says(status, "Content-Type: application/json\r\n", said.as_bytes())]);
        assert_eq!(client.trigger(&message(ROOM, "x")).status, status);
        newest("Failed upstream", &[&format!("Upstream answered {status}: Upstream says {status}.")]);
    }
    fake.refuse();
    assert_eq!(client.trigger(&message(ROOM, "x")).status, 502);
    newest("Failed upstream", &["No answer from upstream"]);
    operator.misses("#triggers .badge", "Forwarded");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn a_row_opens_into_the_whole_record_and_its_id_leads_to_it() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    for id in [json!(7), json!("7")] {
        let body =
            trigger("staff-assigned", ROOM, &json!({ "staff_id": id, "conversation_id": 12345678901234567890_u64 }));
        assert_eq!(client.trigger(&body).status, 200);
    }
    let id = client.trigger(&message(ROOM, "hello")).header("usher-trigger").unwrap();
    let operator = Operator::open(usher.admin());
    operator.sees("#shown", "3 triggers");
    let zoned = operator.reads("#triggers time");
    assert!(zoned.iter().all(|time| time.ends_with("UTC") || time.contains("GMT")), "{zoned:?}");
    operator.opens("known to show another assignment");
    let record = operator.reads("#triggers .record").remove(0);
    for text in [
        "identity /staff_id = \"7\"",
        "identity /staff_id = 7",
        "context /conversation_id = 12345678901234567890",
        "forwarded, reason changed",
        "POST /apps/3/events",
        "127.0.0.1",
        "staff-assigned on grand-room-101-chat",
        "untouched",
        "accepted",
        "\"staff_id\":\"7\"",
    ] {
        assert!(record.contains(text), "{text} is not in {record}");
    }
    operator.opens("new-staff-message");
    operator.sees("#triggers .reasons", "The rule is for the event staff-assigned.");

    // From the backend's log to the cause in one step.
    let fragment = format!("#id={id}");
    let other = Operator::open_at(usher.admin(), 1200, "light", &fragment);
    other.sees("#triggers .record", &id);
    assert_eq!(other.reads("#triggers > li").len(), 1);
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn in_the_first_minute_the_page_says_what_came_and_what_keeps_rules_from_matching() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    let operator = Operator::open(usher.admin());
    operator.sees("#came-text", "Nothing has come yet");
    client.announce("chat-101", "Anna").assert_forwarded();
    client.announce("chat-101", "Anna").assert_forwarded();
    assert_eq!(client.trigger(&trigger("staff_assigned", ROOM, &json!({}))).status, 200);
    operator.sees(
        "#came",
        "Nearest rule: staff-assigned. Channel chat-101 does not match {hotelSlug}-room-{roomNumber}-chat.",
    );
    operator.sees("#came", "staff-assigned on chat-101 2 times");
    operator.sees("#came", "Event staff_assigned is not staff-assigned.");
    client.announce(ROOM, "Anna").assert_forwarded();
    operator.misses("#came-section", "What came");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn misplaced_events_name_their_channels() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    for channel in ["lobby", "lobby", "bar", "grand-desk"] {
        assert_eq!(client.trigger(&trigger("note", channel, &json!({}))).status, 200);
    }
    assert_eq!(usher.admin().report()["misplaced"][0]["channels"], json!(["lobby", "bar"]));
    let operator = Operator::open_on(usher.admin(), 360, "light");
    operator.sees("#report", "lobby");
    let narrow = operator.ask("overflowing", json!([".table, .table tbody td, .table tbody th"]));
    assert_eq!(narrow, json!([]), "report tables are readable on a phone");
}

#[test]
fn no_name_and_no_payload_is_markup() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    let data = json!({ "staff_id": MARKUP, "conversation_id": MARKUP, "more": MARKUP });
    let operator = Operator::open(usher.admin());
    assert_eq!(client.trigger(&trigger(MARKUP, "lobby", &data)).status, 200);
    operator.sees("#came", MARKUP);
    // A payload that is cut in the middle.
    client
        .trigger(&trigger("staff-assigned", ROOM, &json!({ "staff_id": 1, "x": MARKUP.repeat(200) })))
        .assert_forwarded();
    client.trigger(&trigger("staff-assigned", ROOM, &data)).assert_forwarded();
    client.trigger(&trigger("staff-assigned", ROOM, &data)).assert_suppressed();
    operator.sees("#assignments > li", MARKUP);
    client.trigger(&trigger("staff-assigned", MARKUP, &data));
    fake.script([Step::says(
        400,
        "Content-Type: application/json\r\n",
        json!({ "error": MARKUP }).to_string().as_bytes(),
    )]);
    client.trigger(&trigger("staff-assigned", "grand-room-7-chat", &data));
    let app = "/apps/%3Cimg%20src=x%20onerror=alert(1)%3E/events";
    refused(&mut client, app, app, "{}");
    operator.ask("amend", json!(["/overview", { "name": MARKUP }]));
    operator.sees("#environment", MARKUP);
    operator.sees("#triggers > li", "grand-room-7-chat");
    operator.opens("");
    operator.sees("#triggers .record", MARKUP);
    assert_eq!((operator.reads("img").len(), operator.reads("script").len()), (0, 1));
    assert_eq!(operator.reads("title"), [format!("usher · {MARKUP}")]);
    operator.ask("amend", json!(["/overview", { "name": "staging" }]));
    operator.sees("#environment", "staging");
    assert_eq!(operator.reads("title"), ["usher · staging"], "no script has run");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn the_environments_name_and_that_usher_only_observes_are_shown() {
    let fake = Fake::start();
    let usher = start(&fake);
    let operator = Operator::open(usher.admin());
    operator.sees("#state", "Live");
    assert_eq!(operator.reads("title"), ["usher"]);
    operator.misses("#observing", "observes only");
    operator.ask("amend", json!(["/overview", { "name": "production", "observe": true }]));
    operator.sees("h1", "production");
    operator.sees("#observing", "observes only");
    assert_eq!(operator.reads("title"), ["usher · production"]);
}

/// Where screenshots are kept, if they are wanted.
fn screenshot(operator: &Operator, name: &str, selector: Option<&str>) {
    if let Some(folder) = std::env::var_os("USHER_SCREENSHOTS") {
        operator.ask("screenshot", json!([std::path::Path::new(&folder).join(format!("{name}.png")), selector]));
    }
}

#[test]
fn axe_finds_nothing() {
    let fake = Fake::start();
    let usher = start(&fake);
    let mut client = usher.client();
    client.announce("chat-101", "Anna").assert_forwarded();
    let looks = [(360, "light"), (360, "dark"), (1200, "light"), (1200, "dark")];
    let pages = looks.map(|(width, scheme)| {
        let operator = Operator::open_on(usher.admin(), width, scheme);
        operator.sees("#came", "chat-101");
        operator.is_accessible(&format!("the first minute, {width} {scheme}"));
        screenshot(&operator, &format!("first-minute-{width}-{scheme}"), None);
        operator
    });
    every_kind(&fake, &mut client);
    for (operator, (width, scheme)) in pages.iter().zip(looks) {
        operator.ask("amend", json!(["/overview", { "name": "staging", "observe": true }]));
        operator.sees("#shown", "10 triggers");
        operator.sees("#observing", "observes only");
        // A new page, so that the report is there at once.
        operator.ask("reload", json!([]));
        operator.sees("#report", "lobby");
        operator.sees("#assignments > li", ROOM);
        screenshot(operator, &format!("rows-{width}-{scheme}"), Some("#live"));
        operator.opens("");
        operator.ask("click-summary", json!(["What the decisions mean"]));
        operator.ask("click-summary", json!(["More filters"]));
        operator.is_accessible(&format!("{width} {scheme}"));
        let widths = operator.ask("widths", json!([]));
        assert_eq!(widths[0], widths[1], "no scrolling sideways, {width} {scheme}");
        screenshot(operator, &format!("open-{width}-{scheme}"), Some("#live"));
        screenshot(operator, &format!("record-{width}-{scheme}"), Some("#triggers > .is-suppressed"));
        screenshot(operator, &format!("whole-{width}-{scheme}"), None);
        operator.clicks("Enter token");
        operator.is_accessible(&format!("the question for the token, {width} {scheme}"));
        assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
    }
}
