//! Made-up announcements in the structure of a family's: the steps of a proposed test.

use serde_json::{Map, Value, json};

use super::judgement::{Proposal, Step};
use super::report::{FamilyReport, PointerReport};
use super::shape::Shape;

/// Which values an announcement has: another number, another value.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    identity: usize,
    context: usize,
    ignored: usize,
}

/// A first announcement, its repeat with another of everything that may be ignored, and each change that is news.
pub(super) fn steps(family: &FamilyReport, proposal: &Proposal, shape: &Shape) -> Vec<Step> {
    let step = |identity, context, ignored, expect, reason| Step {
        channel: shape.example(1),
        data: data(family, proposal, Numbers { identity, context, ignored }),
        expect,
        reason,
    };
    let mut steps = vec![
        step(1, 1, 1, "forwarded", "nothing_known"),
        step(1, 1, 2, "suppressed", "same_assignment"),
        step(2, 1, 3, "forwarded", "changed"),
        step(2, 1, 4, "suppressed", "same_assignment"),
        step(1, 1, 5, "forwarded", "changed"),
    ];
    if !proposal.context.is_empty() {
        steps.push(step(1, 2, 6, "forwarded", "changed"));
    }
    steps
}

fn data(family: &FamilyReport, proposal: &Proposal, numbers: Numbers) -> Value {
    let mut data = Value::Object(Map::new());
    for (pointer, value) in &proposal.kinds {
        put(&mut data, pointer, json!(value));
    }
    let is_usual = |pointer: &&PointerReport| !pointer.before_query && pointer.present * 2 > family.sampled;
    for pointer in family.pointers.iter().filter(is_usual) {
        let path = pointer.pointer.as_str();
        let is_ignored = proposal.ignore.iter().any(|one| path.starts_with(&one.pointer));
        let number = if proposal.identity.iter().any(|one| one.pointer == path) {
            numbers.identity
        } else if proposal.context.iter().any(|one| one.pointer == path) {
            numbers.context
        } else if is_ignored {
            numbers.ignored
        } else {
            1
        };
        put(&mut data, path, value(pointer, number));
    }
    data
}

/// A value of the first of a pointer's types; the name of the type is part of it where it can be.
fn value(pointer: &PointerReport, number: usize) -> Value {
    let is = |name: &str| pointer.types.iter().any(|its| its == name);
    let key = pointer.pointer.rsplit('/').next().unwrap_or_default();
    if is("string") {
        let type_name = pointer.types.iter().find(|name| *name != "string").map_or("string", String::as_str);
        return match type_name {
            "address" => json!(format!("https://example/{key}?{number}")),
            _ => json!(format!("{type_name}-{number}")),
        };
    }
    match pointer.types.first().map(String::as_str) {
        Some("time" | "number") => json!(number),
        Some("boolean") => json!(number % 2 == 1),
        Some("list") => json!([]),
        Some("object") => json!({}),
        _ => Value::Null,
    }
}

/// Puts a value where the pointer leads, through objects.
fn put(data: &mut Value, pointer: &str, value: Value) {
    let mut place = data;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}
