//! What a replay found, as a table or as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use usher::decision::{Action, EventDecision};
use usher::pusher::{Endpoint, Trigger};
use usher::recording::UnixTime;
use usher::simulation::{Fate, RuleFigures, Verdict};

use super::comparison::{Change, Comparison, Decided};
use super::recorded::Recorded;
use crate::command::terminal::Printable;

/// The figures of a replay.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rules: Vec<RuleFigures>,
    /// How many triggers the recording lacks.
    pub(super) lost: u64,
    pub(super) is_redacted: bool,
    triggers: u64,
    first: Option<UnixTime>,
    last: Option<UnixTime>,
    fates: BTreeMap<&'static str, u64>,
}

impl Report {
    /// A trigger came.
    pub(super) fn arrived(&mut self, at: UnixTime) {
        self.triggers += 1;
        self.first.get_or_insert(at);
        self.last = self.last.max(Some(at));
    }

    /// A trigger was answered.
    pub(super) fn count(&mut self, verdict: &Verdict) {
        *self.fates.entry(verdict.fate().label()).or_default() += 1;
    }

    fn fate(&self, fate: Fate) -> u64 {
        self.fates.get(fate.label()).copied().unwrap_or_default()
    }

    /// Seconds from the first to the last trigger.
    fn seconds(&self) -> u64 {
        let micros = self.last.map_or(0, |last| last.0) - self.first.map_or(0, |first| first.0);
        micros / 1_000_000
    }
}

/// The counts of one rule.
struct Counts {
    announcements: u64,
    suppressed: u64,
    would_suppress: u64,
    unreadable: u64,
    forwarded: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn of(rule: &RuleFigures) -> Self {
        let mut counts =
            Self { announcements: 0, suppressed: 0, would_suppress: 0, unreadable: 0, forwarded: BTreeMap::new() };
        for (decision, count) in &rule.decisions {
            counts.announcements += if *decision == EventDecision::Released { 0 } else { *count };
            counts.unreadable += if is_unreadable(*decision) { *count } else { 0 };
            match decision.action() {
                Action::Suppressed | Action::SuppressedInFlight => counts.suppressed += count,
                Action::WouldSuppress => counts.would_suppress += count,
                Action::Forwarded => *counts.forwarded.entry(decision.reason()).or_default() += count,
            }
        }
        counts
    }

    fn all_forwarded(&self) -> u64 {
        self.forwarded.values().sum()
    }
}

const fn is_unreadable(decision: EventDecision) -> bool {
    use EventDecision::{ContextUnusable, DataInexact, DataNotText, IdentityUnusable, NoIdentity, WhereUnclear};
    matches!(decision, ContextUnusable | DataInexact | DataNotText | IdentityUnusable | NoIdentity | WhereUnclear)
}

/// The most pointers to what else differed that are listed for a rule.
const MOST_POINTERS: usize = 10;

const HEADINGS: [&str; 11] = [
    "rule",
    "app",
    "mode",
    "announcements",
    "suppressed",
    "would suppress",
    "forwarded",
    "unreadable",
    "messages saved",
    "else differed",
    "late joiners",
];

/// For people.
pub(super) fn text(report: &Report, comparison: &Comparison, against: Option<&str>) -> String {
    let redacted = if report.is_redacted { ", redacted" } else { "" };
    let mut lines = vec![format!(
        "{} triggers in {} s{redacted}: {} forwarded, {} reduced, {} suppressed, {} refused",
        report.triggers,
        report.seconds(),
        report.fate(Fate::Forwarded),
        report.fate(Fate::Reduced),
        report.fate(Fate::Suppressed),
        report.fate(Fate::Refused)
    )];
    if report.lost > 0 {
        lines.push(format!(
            "{} triggers are missing in the recording: what guests saw in between is not known",
            report.lost
        ));
    }
    lines.push(String::new());
    lines.extend(rows(report));
    for rule in &report.rules {
        let pointers = rule.differences.pointers.iter().take(MOST_POINTERS);
        let pointers: Vec<_> = pointers.map(|(pointer, count)| format!("{} {count}", Printable(pointer))).collect();
        if !pointers.is_empty() {
            lines.push(format!("{} else differed: {}", rule.rule, pointers.join(", ")));
        }
        let forwarded = Counts::of(rule).forwarded;
        if !forwarded.is_empty() {
            let reasons: Vec<String> = forwarded.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            lines.push(format!("{} forwarded: {}", rule.rule, reasons.join(", ")));
        }
    }
    lines.push(
        "- is not known: a recording has no subscriptions, and the messages saved are calls, without their subscribers."
            .to_owned(),
    );
    lines.push(String::new());
    lines.extend(changes(comparison, against));
    lines.join("\n")
}

/// The table of the rules.
fn rows(report: &Report) -> Vec<String> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(report.rules.iter().map(|rule| {
        let counts = Counts::of(rule);
        [
            Printable(&rule.rule).to_string(),
            Printable(&rule.app).to_string(),
            rule.mode.label().to_owned(),
            counts.announcements.to_string(),
            counts.suppressed.to_string(),
            counts.would_suppress.to_string(),
            counts.all_forwarded().to_string(),
            counts.unreadable.to_string(),
            rule.summary.messages_saved.to_string(),
            rule.differences.differing.to_string(),
            "-".to_owned(),
        ]
    }));
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            // Numbers to the right.
            if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn changes(comparison: &Comparison, against: Option<&str>) -> Vec<String> {
    let than = against.map_or_else(|| "when they were recorded".to_owned(), |file| format!("by {file}"));
    let mut lines =
        vec![format!("{} of {} triggers are decided otherwise than {than}", comparison.total(), comparison.compared)];
    for ((old, new), count) in &comparison.changed {
        lines.push(format!("  {old} -> {new}: {count}"));
    }
    for change in &comparison.changes {
        let Change { recorded, old, new } = change;
        let (event, channel) = first_event(recorded);
        let decided = |Decided { word, reason }: &Decided| format!("{word} ({reason})");
        lines.push(format!(
            "  {}  {}  {event} on {channel}: {} -> {}",
            Printable(&recorded.id),
            seconds(recorded.received),
            Printable(&decided(old)),
            decided(new)
        ));
    }
    let left = comparison.total().saturating_sub(comparison.changes.len() as u64);
    if left > 0 {
        lines.push(format!("  and {left} more (--list)"));
    }
    lines
}

/// For programs: the form is in docs/testing-rules.md.
pub(super) fn json(report: &Report, comparison: &Comparison, against: Option<&str>) -> Value {
    let rule = |rule: &RuleFigures| {
        let counts = Counts::of(rule);
        json!({
            "app": &*rule.app,
            "rule": &*rule.rule,
            "mode": rule.mode.label(),
            "announcements": counts.announcements,
            "suppressed": counts.suppressed,
            "would_suppress": counts.would_suppress,
            "forwarded": counts.forwarded,
            "unreadable": counts.unreadable,
            "messages_saved": rule.summary.messages_saved,
            "differed": rule.differences.differing,
            "pointers": rule.differences.pointers.iter().map(|(pointer, count)| json!({ "pointer": pointer, "count": count })).collect::<Vec<_>>(),
            "late_joiners": null,
        })
    };
    let decided = |Decided { word, reason }: &Decided| json!({ "decision": word, "reason": &**reason });
    let change = |Change { recorded, old, new }: &Change| {
        let (event, channel) = first_event(recorded);
        json!({
            "id": &*recorded.id,
            "received": recorded.received,
            "app": &*recorded.app,
            "event": event,
            "channel": channel,
            "old": decided(old),
            "new": decided(new),
        })
    };
    let kinds = comparison.changed.iter();
    json!({
        "triggers": report.triggers,
        "first": report.first,
        "last": report.last,
        "lost": report.lost,
        "redacted": report.is_redacted,
        "decisions": report.fates,
        "rules": report.rules.iter().map(rule).collect::<Vec<_>>(),
        "against": against,
        "compared": comparison.compared,
        "changed": comparison.total(),
        "kinds": kinds.map(|((old, new), count)| json!({ "old": old, "new": new, "count": count })).collect::<Vec<_>>(),
        "changes": comparison.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

/// Name and first channel of the first event, as far as they can be read.
fn first_event(recorded: &Recorded) -> (String, String) {
    let endpoint = if recorded.path.ends_with("/batch_events") { Endpoint::Batch } else { Endpoint::Events };
    let trigger = Trigger::parse(endpoint, recorded.body.as_bytes());
    let event = trigger.as_ref().ok().and_then(|trigger| trigger.events.first());
    let channel = event.and_then(|event| event.channels.first());
    let shown = |text: Option<&str>| Printable(text.unwrap_or("?")).to_string();
    (shown(event.map(|event| &*event.name)), shown(channel.map(|channel| &**channel)))
}

/// Seconds since the Unix epoch, with milliseconds.
fn seconds(time: UnixTime) -> String {
    format!("{}.{:03}", time.0 / 1_000_000, time.as_millis() % 1000)
}
