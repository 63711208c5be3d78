//! Textual reports of histories.

use std::collections::BTreeMap;

use super::Outcome;
use super::checker::Violation;
use super::record::{Nanos, Part, Record};

/// The reported time before a violation.
const BEFORE: Nanos = 1_600_000_000;
/// The reported time after a violation.
const AFTER: Nanos = 600_000_000;

/// The ends of the periods after a start.
pub const STEPS: [Nanos; 4] = [500_000_000, 1_000_000_000, 1_500_000_000, 2_500_000_000];

/// The events on the channel of a violation around its call, in the order of time.
pub fn around(record: &Record, violation: &Violation) -> String {
    let on_channel = |parts: &[Part]| {
        let concerned =
            parts.iter().filter(|part| violation.channel.as_ref().is_none_or(|channel| *channel == part.channel));
        let names: Vec<&str> = concerned.map(|part| part.shows.as_deref().unwrap_or("nobody")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut lines: Vec<(Nanos, String)> = record.operations.clone();
    for (number, call) in record.calls.iter().enumerate() {
        let Some(names) = on_channel(&call.wanted) else { continue };
        let mark = if number == violation.call { " <===" } else { "" };
        let answer = call
            .answer
            .as_ref()
            .map_or_else(|| "no answer".to_owned(), |answer| format!("{} {}", answer.status, answer.decision));
        lines.push((call.began, format!("call {number} begins: {names}{mark}")));
        lines.extend(call.halved.then(|| (call.complete, format!("call {number} is complete"))));
        lines.push((call.ended, format!("call {number} ends: {answer}{mark}")));
    }
    for arrival in &record.arrivals {
        let Some(names) = on_channel(&arrival.parts) else { continue };
        lines.push((arrival.at, format!("call {} arrives: {names}: {}", arrival.call, arrival.action)));
        let applied = arrival.applied.and_then(|(at, parts)| Some((at, on_channel(&arrival.parts[..parts])?)));
        lines.extend(applied.map(|(at, names)| (at, format!("call {} is applied: {names}", arrival.call))));
    }
    lines.sort_by_key(|(at, _)| *at);
    let call = &record.calls[violation.call];
    let told =
        lines.into_iter().filter(|(at, _)| *at + BEFORE >= call.began && *at <= call.ended.saturating_add(AFTER));
    told.map(|(at, line)| format!("{:10.3} ms  {line}\n", millis(at))).collect()
}

/// A one-line summary of a history.
pub fn line(outcome: &Outcome) -> String {
    let Outcome { seed, faults, calls, dropped, reduced, done, actions: _, shares: _ } = outcome;
    let firsts: String =
        faults.iter().map(|fault| format!("\n  {}", fault.lines().next().unwrap_or_default())).collect();
    format!(
        "history {seed}: {calls} calls, {dropped} dropped ({reduced} of them by reduction), {done:?}, {} violations{firsts}",
        faults.len()
    )
}

/// A summary of all histories.
pub fn summary(outcomes: &[Outcome]) -> String {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    let mut actions: BTreeMap<&str, usize> = BTreeMap::new();
    for (action, count) in outcomes.iter().flat_map(|outcome| &outcome.actions) {
        *actions.entry(action).or_default() += count;
    }
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for (operation, count) in outcomes.iter().flat_map(|outcome| &outcome.done) {
        *done.entry(operation).or_default() += count;
    }
    format!(
        "{} histories, {} of them wrong: {} calls, {} dropped ({} by reduction)\noperations: {done:?}\nupstream: {actions:?}\n{}",
        outcomes.len(),
        sum(|outcome| usize::from(!outcome.faults.is_empty())),
        sum(|outcome| outcome.calls),
        sum(|outcome| outcome.dropped),
        sum(|outcome| outcome.reduced),
        after_starts(outcomes),
    )
}

/// What share of the announcements that could be dropped was dropped in each period after a start, by its kind.
fn after_starts(outcomes: &[Outcome]) -> String {
    let mut shares: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (kind, periods) in outcomes.iter().flat_map(|outcome| &outcome.shares) {
        let sums = shares.entry(kind).or_insert_with(|| vec![(0, 0); periods.len()]);
        sums.iter_mut().zip(periods).for_each(|(sum, period)| *sum = (sum.0 + period.0, sum.1 + period.1));
    }
    let mut text = format!(
        "suppressed of what could be, in the periods that end {:?} ms after the start:",
        STEPS.map(|step| step / 1_000_000)
    );
    for (kind, periods) in shares {
        let cells = periods.iter().map(|(suppressed, all)| match all {
            0 => "-".to_owned(),
            _ => format!("{} % of {all}", 100 * suppressed / all),
        });
        text += &format!("\n  {kind}: {}", cells.collect::<Vec<_>>().join(", "));
    }
    text
}

/// The violations of the first wrong history, and the command that reproduces it.
pub fn of_faults(check: &str, wrong: &[&Outcome]) -> String {
    let Some(first) = wrong.first() else { return String::new() };
    let seeds: Vec<u64> = wrong.iter().map(|outcome| outcome.seed).collect();
    format!("wrong histories: {seeds:?}; again: SEED={} tests/long 1 {check}\n{}", first.seed, first.faults[0])
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn millis(at: Nanos) -> f64 {
    at as f64 / 1e6
}
