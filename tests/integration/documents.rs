//! What docs/endpoints.md says of usher's answers: the fields of the operator's endpoints, and the codes of errors.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::admin::TOKEN;
use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, batch, item, message, staff};
use crate::harness::document::{block, text};
use crate::harness::usher::{Signal, message as logged};
use crate::harness::{Fake, Request, Setup, Step, Usher};

const ENDPOINTS: &str = "docs/endpoints.md";

/// A path of keys; `[]` for the items of a list.
type Path = Vec<String>;

/// All paths of `value`.
fn paths(value: &Value, at: &Path, into: &mut BTreeSet<Path>) {
    let mut go = |step: &str, child: &Value| {
        let mut path = at.clone();
        path.push(step.to_owned());
        paths(child, &path, into);
        into.insert(path);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, child)| go(key, child)),
        Value::Array(items) => items.iter().for_each(|child| go("[]", child)),
        _ => {}
    }
}

/// Whether `path` is one of those that `pattern` stands for: `<…>` is any key.
fn fits(pattern: &Path, path: &Path) -> bool {
    let same = |(pattern, key): (&String, &String)| pattern == key || pattern.starts_with('<');
    pattern.len() == path.len() && pattern.iter().zip(path).all(same)
}

/// The documented fields of an endpoint are those of `answers`, and no others.
#[track_caller]
pub fn assert_documented(endpoint: &str, answers: &[Value]) {
    let example: Value = serde_json::from_str(&block(ENDPOINTS, &format!("shape {endpoint}"))).unwrap();
    let (mut documented, mut seen) = (BTreeSet::new(), BTreeSet::new());
    paths(&example, &Path::new(), &mut documented);
    answers.iter().for_each(|answer| paths(answer, &Path::new(), &mut seen));
    let shown = |path: &Path| path.join(".");
    let unknown = seen.iter().filter(|path| !documented.iter().any(|pattern| fits(pattern, path)));
    let unknown: Vec<_> = unknown.map(shown).collect();
    let missing = documented.iter().filter(|pattern| !seen.iter().any(|path| fits(pattern, path)));
    let missing: Vec<_> = missing.map(shown).collect();
    assert!(
        unknown.is_empty() && missing.is_empty(),
        "{endpoint}: not documented {unknown:?}, not answered {missing:?}"
    );
}

/// A usher after triggers of every kind.
struct Busy {
    _fake: Fake,
    usher: Usher,
}

impl Busy {
    fn start() -> Self {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |setup| {
            setup.admin += "payloads = \"all\"\n";
            let fields: Vec<String> = (0..20).map(|field| format!("\"/f{field}\"")).collect();
            setup.more += &format!(
                "[[rules]]\nname = \"long\"\nevent = \"long\"\nchannel = \"{{hotel}}-chat\"\nidentity = [\"/staff_name\"]\n\
                 context = [{}]\n",
                fields.join(",")
            );
            setup.more += "[[events]]\nname = \"staff-assigned\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n";
        });
        let mut client = usher.client();
        let room = |number: usize| format!("h-room-{number}-chat");
        for name in ["Anna", "Anna", "Ben"] {
            client.announce(&room(1), name);
        }
        client.trigger(&message(&room(1), "hello"));
        client.announce("lobby-1", "Anna");
        // Redundant, but something else in its data differs.
        client.trigger(&announcement(&room(1), "Ben").replace("Receptionist", "Manager"));
        client.trigger(&announcement(&room(1), "Anna").replace("\"name\"", "\"x\":1,\"name\""));
        let many: Vec<String> = (0..25).map(room).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        client.trigger(&Library::Node.body(ANNOUNCEMENT, &many, &staff("Carl")));
        // The whole record of this batch is longer than a record may be.
        let long: Vec<String> = (0..20).map(|field| format!("\"f{field}\":\"{}\"", "x".repeat(400))).collect();
        let long = format!("{{\"staff_name\":\"Dora\",{}}}", long.join(","));
        let items: Vec<_> = (0..10).map(|number| item("long", &room(number), &long)).collect();
        client.batch(&batch(&items));
        fake.script([Step::close()]);
        client.announce(&room(2), "Eve");
        Self { _fake: fake, usher }
    }
}

#[test]
fn the_documented_fields_are_those_of_the_answers() {
    let busy = Busy::start();
    let admin = busy.usher.admin();
    let triggers = admin.json("/triggers");
    let each: Vec<Value> = triggers["triggers"].as_array().unwrap().clone();
    let alone: Vec<Value> = each
        .iter()
        .filter(|trigger| trigger["reason"] == "no_rule" && trigger["decision"] == "forwarded")
        .map(|trigger| admin.json(&format!("/triggers/{}", trigger["id"].as_str().unwrap())))
        .collect();
    assert!(!alone.is_empty());
    assert_documented("/triggers", &[triggers]);
    assert_documented("/triggers/id", &alone);
    for endpoint in ["/events", "/overview", "/report", "/assignments"] {
        assert_documented(endpoint, &[admin.json(endpoint)]);
    }
}

#[test]
fn the_documented_fields_of_the_configuration_are_those_of_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("usher.toml");
    let mut setup = Setup::before_url("local");
    std::fs::write(&file, setup.toml()).unwrap();
    let usher = Usher::serve(&["--config", file.to_str().unwrap()], &[("USHER_ADMIN__NAME", "test")], "");
    setup.timeout = "14s";
    std::fs::write(&file, setup.toml()).unwrap();
    let from = usher.log_lines();
    usher.signal(Signal::Hup);
    usher.wait_log_after(from, |event| logged(event) == "the configuration was reloaded");
    let switch = json!({ "app": crate::harness::sign::APP, "rule": "staff-assigned", "mode": "observe" }).to_string();
    let switch = Request::new("POST", "/rules/mode", switch.as_bytes())
        .header("Authorization", &format!("Bearer {TOKEN}"))
        .header("Content-Type", "application/json")
        .host("localhost");
    assert_eq!(usher.admin().send(&switch).status, 200);
    assert_documented("/config", &[usher.admin().json("/config")]);
}

/// The text of a function of a source file, from its name to the end of its body.
fn function(path: &str, signature: &str) -> String {
    let text = text(path);
    let (_, behind) = text.split_once(signature).unwrap_or_else(|| panic!("{path} has no {signature}"));
    behind.split_once("\n    }\n").unwrap().0.to_owned()
}

/// The codes of a function that maps each variant to its code.
fn codes(body: &str) -> BTreeSet<String> {
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_table_of_errors_has_each_code_and_no_other() {
    let refusals = function("src/gateway/error.rs", "pub fn code(&self) -> &'static str {");
    let signatures = function("src/pusher/signature/error.rs", "pub const fn code(&self) -> &'static str {");
    let denials = function("src/assignment/shared/claims.rs", "pub const fn code(self) -> &'static str {");
    let mut known = codes(&refusals);
    known.extend(codes(&signatures));
    known.extend(codes(&denials));
    known.extend(codes(&function("src/gateway/incoming/refusal.rs", "pub const fn code(self) -> &'static str {")));
    // Four arms take the code of what they hold: of the signature, of one failure, of the shared memory, and of a webhook.
    let held = [
        "Self::Signature(error) => error.code()",
        "Failure::OutOfDescriptors { .. }) => failure.label()",
        "Self::Denied(denied) => denied.code()",
        "Self::Webhook(refusal) => refusal.code()",
    ];
    assert!(held.iter().all(|arm| refusals.contains(arm)), "{refusals}");
    assert_eq!(refusals.matches("=>").count(), codes(&refusals).len() + held.len(), "two arms have one code");
    known.insert("out_of_descriptors".to_owned());

    assert_listed("| status | `code` | cause |\n", &known);
}

#[test]
fn the_table_of_the_operators_errors_has_each_code_and_no_other() {
    let refusals = function("src/admin/refusal.rs", "pub(super) const fn code(&self) -> &'static str {");
    let known = codes(&refusals);
    assert_eq!(refusals.matches("=>").count(), known.len(), "two arms have one code");
    assert_listed("| status | code on this listener | cause |\n", &known);
}

/// The second cells of the table under this head have these codes, each once.
#[track_caller]
fn assert_listed(head: &str, known: &BTreeSet<String>) {
    let document = text(ENDPOINTS);
    let (_, table) = document.split_once(head).unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().skip(1).map(|row| row.split(" | ").nth(1).unwrap());
    let listed: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let documented: BTreeSet<String> = listed.iter().map(|&code| code.to_owned()).collect();
    assert_eq!(documented, *known);
    assert_eq!(documented.len(), listed.len(), "a code is listed twice");
}
