//! What is printed of an explained trigger.

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;
use usher::pusher::{Endpoint, Trigger};
use usher::rules::{EventMeaning, RemainderKey, Rule};
use usher::simulation::{Fate, Simulation, Verdict};

use super::Memory;
use super::payload::Payload;
use crate::command::judged::{Facts, Judged};

/// An explained trigger.
#[derive(Debug)]
pub(super) struct Explained {
    judged: Judged,
    pointers: Vec<PointerView>,
    fate: Fate,
    /// What is sent, if it is not the body as received.
    reduced: Option<String>,
    memory: Memory,
}

/// What a pointer of a rule finds in an event.
#[derive(Debug, Serialize)]
struct PointerView {
    rule: String,
    /// The position of the event in the trigger.
    position: usize,
    /// `identity`, `context` or `where`.
    key: &'static str,
    pointer: String,
    /// Absent if the pointer finds nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

/// The form of `--json`.
#[derive(Serialize)]
struct View<'e> {
    trigger: &'e RawValue,
    pointers: &'e [PointerView],
    /// `untouched`, `reduced` or `nothing`.
    sent: &'static str,
    /// What is sent, if it is reduced.
    body: Option<&'e str>,
    memory: MemoryView,
}

#[derive(Serialize)]
struct MemoryView {
    /// How many earlier triggers were taken.
    triggers: usize,
    /// How many entries of a running usher were taken.
    assignments: usize,
}

impl Explained {
    /// # Errors
    /// There is no record; this does not happen for a configured app.
    pub(super) fn of(
        verdict: &Verdict,
        simulation: &Simulation,
        payload: &Payload,
        rules: &[Rule],
        memory: Memory,
    ) -> anyhow::Result<Self> {
        let judged = Judged::of(verdict, simulation.clock(), rules)?;
        let judged = judged.context("the app is not configured, and server.unknown_apps = \"forward\"")?;
        let reduced = verdict.end.reduced.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        Ok(Self { judged, pointers: pointers(payload, rules)?, fate: verdict.fate(), reduced, memory })
    }

    /// # Errors
    /// The record is no JSON; this does not happen.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let sent = match self.fate {
            Fate::Forwarded => "untouched",
            Fate::Reduced => "reduced",
            Fate::Suppressed | Fate::Refused => "nothing",
        };
        let (triggers, assignments) = match self.memory {
            Memory::Empty => (0, 0),
            Memory::Triggers(count) => (count, 0),
            Memory::Running(count) => (0, count),
        };
        let view = View {
            trigger: serde_json::from_str(&self.judged.json)?,
            pointers: &self.pointers,
            sent,
            body: self.reduced.as_deref(),
            memory: MemoryView { triggers, assignments },
        };
        Ok(serde_json::to_string(&view)?)
    }

    /// One fact a line.
    pub(super) fn text(&self) -> String {
        let trigger = &self.judged.trigger;
        let mut facts = Facts::default();
        if let Some(inexact) = &trigger.inexact {
            facts.add(0, "not exact", inexact);
        }
        for (position, event) in trigger.events.iter().enumerate() {
            let socket = if event.socket_id { ", with a socket_id" } else { "" };
            facts.add(0, "event", &format!("{} on {}{socket}", event.event, event.channels.join(", ")));
            let mut rules: Vec<&str> = Vec::new();
            self.pointers.iter().filter(|pointer| pointer.position == position).for_each(|pointer| {
                if !rules.contains(&&*pointer.rule) {
                    facts.add(1, "read by", &pointer.rule);
                    rules.push(&pointer.rule);
                }
                let value = pointer.value.as_ref().map_or("nothing", |value| value.get());
                facts.add(2, pointer.key, &format!("{} = {value}", pointer.pointer));
            });
        }
        for finding in &trigger.rules {
            facts.add(0, "rule", &format!("{}: {} on {}", finding.rule, finding.event, finding.channel));
            facts.finding(1, finding);
        }
        for rule in &trigger.not_matched {
            facts.add(0, "no match", &format!("{}: {} on {}: {}", rule.rule, rule.event, rule.channel, rule.why));
        }
        facts.add(0, "decision", &format!("{} ({}): {}", trigger.decision, trigger.reason, trigger.why));
        facts.add(0, "sent", self.sent());
        facts.add(0, "memory", &self.memory.text());
        facts.text("")
    }

    fn sent(&self) -> &str {
        match (self.fate, &self.reduced) {
            (_, Some(reduced)) => reduced,
            (Fate::Forwarded | Fate::Reduced, None) => "as received",
            (Fate::Suppressed | Fate::Refused, None) => "nothing",
        }
    }
}

impl Memory {
    fn text(self) -> String {
        match self {
            Self::Empty => "empty: nothing came before (--after, --admin)".to_owned(),
            Self::Triggers(count) => format!("after {count} earlier triggers"),
            Self::Running(count) => format!("{count} entries of the running usher for these channels"),
        }
    }
}

/// What the pointers of each rule find that watches an event of the trigger on one of its channels.
///
/// # Errors
/// A token is no JSON; this does not happen.
fn pointers(payload: &Payload, rules: &[Rule]) -> anyhow::Result<Vec<PointerView>> {
    let endpoint = if payload.path.ends_with("/batch_events") { Endpoint::Batch } else { Endpoint::Events };
    let Ok(trigger) = Trigger::parse(endpoint, payload.body.as_bytes()) else { return Ok(Vec::new()) };
    let mut views = Vec::new();
    for (position, event) in trigger.events.iter().enumerate() {
        let mut buffer = [0; 1024];
        let Some(data) = event.data(&mut buffer) else { continue };
        for rule in rules.iter().filter(|rule| rule.is_for(&payload.app)) {
            // What else the event says does not matter here, so neither does the key.
            let meaning = rule.read(&event.name, Some(&data), &RemainderKey::new([0; 16]));
            let is_read = !matches!(meaning, EventMeaning::Unrelated | EventMeaning::Release);
            if !is_read || !event.channels.iter().any(|channel| rule.watches(channel)) {
                continue;
            }
            for reading in rule.read_pointers(&data).into_iter().flatten() {
                views.push(PointerView {
                    rule: rule.spec().name.clone(),
                    position,
                    key: reading.key,
                    pointer: reading.pointer.to_owned(),
                    value: reading.value.map(|token| RawValue::from_string(token.to_owned())).transpose()?,
                });
            }
        }
    }
    Ok(views)
}
