//! The fingerprint of a rule: two rules with the same fingerprint call the same announcements redundant.
//!
//! It is the SHA-256 of a canonical form of the rule, and so the same in every build, on every platform and in every
//! version of usher with the same [`FORM`]: it can be stored, and compared between machines.
//!
//! The canonical form is [`FORM`], then event, channel, identity, context, filter, releasing events, what is ignored and
//! what a difference leads to, in this order.
//! A text is its length in bytes and its bytes in UTF-8; a list is its length and its elements. Lengths are 64 bits,
//! most significant byte first. So no two rules have the same form.

use std::fmt;

use data_encoding::HEXLOWER;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use super::RuleSpec;

/// The version of the canonical form, and of what [`Rule::read`](super::Rule::read) does with a rule. It changes with
/// either: assignments that were read by another version are not comparable.
const FORM: &str = "usher rule 2";

/// The fingerprint of a rule. Its `Display` is 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the rule that `spec` describes.
    pub(super) fn of(spec: &RuleSpec) -> Self {
        let RuleSpec {
            // Name and app identify the memory; the fingerprint says whether what it holds is still comparable.
            name: _,
            event,
            channel,
            identity,
            context,
            filter,
            ignore,
            on_difference,
            released_by,
            // Neither the time for which something is remembered, nor what happens to a redundant announcement, changes
            // which announcement is redundant.
            remember_for: _,
            mode: _,
            // For the sake of clients that come late, an announcement is forwarded again; what the channel shows, and so
            // which announcement is news, is the same. Members of a cluster may differ in it, too: one that announces less
            // often knows what clients were shown as well as the others.
            late_joiners: _,
            refresh_after: _,
            // Leads to doubts alone.
            detect_bypass: _,
            // An app that the rule is no longer for loses its memory; the others keep theirs.
            apps: _,
        } = spec;
        let mut form = Form(Sha256::new());
        form.text(FORM);
        form.text(event);
        form.text(channel);
        // The order counts: the first identity that is present is the assignment's, and the values of the context are
        // remembered in the order of their pointers.
        form.texts(identity.iter().map(String::as_str));
        form.texts(context.iter().map(String::as_str));
        // Every entry of the filter has to match, and each of the events releases: their order does not matter.
        let mut filter: Vec<_> = filter.iter().map(|(pointer, value)| (pointer.as_str(), value)).collect();
        filter.sort_by_key(|(pointer, _)| *pointer);
        form.length(filter.len());
        for (pointer, value) in filter {
            form.text(pointer);
            form.value(value);
        }
        form.set(released_by);
        form.set(ignore);
        form.text(on_difference.label());
        Self(form.0.finalize().into())
    }

    /// The digest itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

/// The canonical form up to now, as the state of its digest.
struct Form(Sha256);

impl Form {
    fn length(&mut self, length: usize) {
        self.0.update((length as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text);
    }

    fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) {
        self.length(texts.len());
        texts.for_each(|text| self.text(text));
    }

    /// Texts whose order does not matter.
    fn set(&mut self, texts: &[String]) {
        let mut texts: Vec<_> = texts.iter().map(String::as_str).collect();
        texts.sort_unstable();
        self.texts(texts.into_iter());
    }

    /// A JSON value: a byte for its type, then the value.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"n"),
            Value::Bool(false) => self.0.update(b"f"),
            Value::Bool(true) => self.0.update(b"t"),
            Value::Number(number) => self.number(number),
            Value::String(text) => {
                self.0.update(b"s");
                self.text(text);
            }
            // A checked rule has neither an array nor an object here.
            Value::Array(elements) => {
                self.0.update(b"a");
                self.length(elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
            Value::Object(members) => {
                self.0.update(b"o");
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                self.length(members.len());
                for (key, value) in members {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    /// A number, by its value: its text may depend on the version of serde_json. An integer and the same number with a
    /// fraction or an exponent are two values, because a filter distinguishes them.
    fn number(&mut self, number: &Number) {
        if let Some(integer) = number.as_i128() {
            self.0.update(b"i");
            self.0.update(integer.to_be_bytes());
        } else {
            self.0.update(b"d");
            self.0.update(number.as_f64().map_or(u64::MAX, f64::to_bits).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::{LateJoiners, Mode, OnDifference, Rule};
    use super::*;

    fn spec() -> RuleSpec {
        RuleSpec {
            name: "staff-assigned".into(),
            event: "staff-assigned".into(),
            channel: "{hotelSlug}-room-{roomNumber}-chat".into(),
            identity: vec!["/staff_id".into(), "/staff_name".into()],
            context: vec!["/conversation_id".into(), "/shift".into()],
            filter: vec![("/type".into(), json!("staff_assigned")), ("/version".into(), json!(2))],
            ignore: vec!["/sent_at".into(), "/meta".into()],
            on_difference: OnDifference::Count,
            released_by: vec!["conversation-closed".into(), "room-closed".into()],
            remember_for: Duration::from_hours(24),
            late_joiners: LateJoiners::Ignore,
            refresh_after: None,
            detect_bypass: false,
            mode: Mode::Enforce,
            apps: vec!["1".into()],
        }
    }

    /// A description of a change, and the change.
    type Change<'c> = (&'static str, &'c dyn Fn(&mut RuleSpec));

    fn of(change: impl FnOnce(&mut RuleSpec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        Rule::new(spec).expect("the rule is in order").fingerprint().to_string()
    }

    /// Computed by another program: Python's `hashlib` over the form that the module describes.
    #[test]
    fn fingerprints_are_the_same_everywhere() {
        let smallest = |spec: &mut RuleSpec| {
            *spec = RuleSpec {
                event: "e".into(),
                channel: "c".into(),
                identity: vec!["/a".into()],
                context: Vec::new(),
                filter: Vec::new(),
                ignore: Vec::new(),
                on_difference: OnDifference::Suppress,
                released_by: Vec::new(),
                ..spec.clone()
            };
        };
        let values = |spec: &mut RuleSpec| {
            let values = [json!(null), json!(true), json!(false), json!(-1), json!(u64::MAX), json!(1.5), json!("é")];
            spec.filter = values.into_iter().enumerate().map(|(index, value)| (format!("/{index}"), value)).collect();
        };
        assert_eq!(of(|_| {}), "cc0ed5edb76a6ceb45e9a150b63cc4a59692b20865aa660c616a8d0cfa38f065");
        assert_eq!(of(smallest), "1ea02a8686100294b147c2553cdcfbdd4b5eb5c6db2ccd5958e9c38e941247b6");
        assert_eq!(of(values), "c17a96f8b0b517f21b0e1ce20482bec2026f58c3d537f548037f13845a41b8a2");
    }

    #[test]
    fn every_field_that_decides_what_is_redundant_changes_it() {
        let changes: [Change<'_>; 24] = [
            ("event", &|spec| spec.event.push('s')),
            ("channel", &|spec| spec.channel.push('s')),
            ("identity", &|spec| spec.identity[1] = "/staff".into()),
            ("identity: one more", &|spec| spec.identity.push("/staff".into())),
            ("identity: another order", &|spec| spec.identity.reverse()),
            ("identity moved to context", &|spec| spec.context.insert(0, spec.identity.remove(1))),
            ("context", &|spec| spec.context[0].push('s')),
            ("context: one less", &|spec| spec.context.truncate(1)),
            ("context: another order", &|spec| spec.context.reverse()),
            ("filter: another pointer", &|spec| spec.filter[0].0.push('s')),
            ("filter: another text", &|spec| spec.filter[0].1 = json!("other")),
            ("filter: another number", &|spec| spec.filter[1].1 = json!(3)),
            ("filter: a text of digits", &|spec| spec.filter[1].1 = json!("2")),
            ("filter: a number with a fraction", &|spec| spec.filter[1].1 = json!(2.0)),
            ("filter: null", &|spec| spec.filter[1].1 = Value::Null),
            ("filter: one less", &|spec| spec.filter.truncate(1)),
            ("filter: values exchanged", &|spec| {
                spec.filter = vec![("/type".into(), json!(2)), ("/version".into(), json!("staff_assigned"))];
            }),
            ("released_by", &|spec| spec.released_by[0].push('s')),
            ("released_by: one less", &|spec| spec.released_by.truncate(1)),
            ("ignore", &|spec| spec.ignore[0].push('s')),
            ("ignore: one less", &|spec| spec.ignore.truncate(1)),
            ("on_difference", &|spec| spec.on_difference = OnDifference::Suppress),
            ("on_difference", &|spec| spec.on_difference = OnDifference::Forward),
            ("released_by: a name in two", &|spec| {
                spec.released_by = vec!["conversation-".into(), "closed".into(), "room-closed".into()];
            }),
        ];
        let mut seen = vec![(of(|_| {}), "nothing")];
        for (what, change) in changes {
            let fingerprint = of(change);
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == fingerprint) {
                panic!("changed {what}: the same fingerprint as with {other} changed");
            }
            seen.push((fingerprint, what));
        }
    }

    #[test]
    fn what_does_not_decide_it_changes_nothing() {
        let changes: [Change<'_>; 12] = [
            ("name", &|spec| spec.name = "other".into()),
            ("remember_for", &|spec| spec.remember_for = Duration::from_secs(1)),
            ("late_joiners", &|spec| spec.late_joiners = LateJoiners::Replay),
            ("refresh_after", &|spec| spec.refresh_after = Some(Duration::from_mins(10))),
            ("detect_bypass", &|spec| spec.detect_bypass = true),
            ("mode", &|spec| spec.mode = Mode::Observe),
            ("mode", &|spec| spec.mode = Mode::Off),
            ("apps", &|spec| spec.apps.push("2".into())),
            ("apps", &|spec| spec.apps.clear()),
            ("filter: another order", &|spec| spec.filter.reverse()),
            ("ignore: another order", &|spec| spec.ignore.reverse()),
            ("released_by: another order", &|spec| spec.released_by.reverse()),
        ];
        for (what, change) in changes {
            assert_eq!(of(change), of(|_| {}), "changed {what}");
        }
        let rule = Rule::new(spec()).expect("the rule is in order");
        assert_eq!(rule.adapted("1", Mode::Observe).fingerprint(), rule.fingerprint());
    }
}
