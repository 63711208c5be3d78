//! A trigger's record as JSON.

use std::net::IpAddr;

use serde::Serialize;

use super::Admin;
use super::modes::RuleMode;
use super::nearest::{NotMatched, not_matched};
use super::rfc3339::rfc3339;
use super::token::JsonToken;
use crate::clock::{Calendar, Moment};
use crate::rules::Rule;
use crate::triggers::{AssignmentRecord, EventRecord, Finding, Record, Tail, TriggerId, UpstreamRecord};

/// A trigger in a listing, in a stream, or alone.
#[derive(Serialize)]
pub(super) struct TriggerView<'a> {
    id: String,
    time: String,
    app: &'a str,
    caller: IpAddr,
    method: &'a str,
    path: &'a str,
    /// Bytes of the body.
    size: u32,
    /// In one word; see docs/reasons.md.
    decision: &'static str,
    reason: &'a str,
    why: &'a str,
    /// The code of what was not read exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    inexact: Option<&'a str>,
    events: Vec<EventView<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    more_events: u32,
    rules: Vec<FindingView<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    more_rules: u32,
    /// The rules that did not match, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_matched: Vec<NotMatched>,
    upstream: Option<UpstreamView<'a>>,
    answer: AnswerView,
}

#[derive(Serialize)]
struct EventView<'a> {
    event: &'a str,
    channels: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    more_channels: u32,
    /// Whether it has a `socket_id`.
    socket_id: bool,
    /// Whether it asks for `info`.
    info: bool,
    /// Absent if the data is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<JsonToken<'a>>,
    data_size: u32,
}

#[derive(Serialize)]
struct FindingView<'a> {
    rule: &'a str,
    event: &'a str,
    channel: &'a str,
    /// The index of the event in the trigger.
    position: u16,
    decision: &'static str,
    reason: &'static str,
    why: &'static str,
    assignment: Option<AssignmentView<'a>>,
    before: Option<AssignmentView<'a>>,
    /// Since when the channel is known to show the assignment.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_since: Option<String>,
    /// Whether something else in its data differed from what guests show; absent: it did not, or nobody looked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    differs: bool,
}

#[derive(Serialize)]
struct AssignmentView<'a> {
    identity: PointerView<'a>,
    context: Vec<PointerView<'a>>,
}

#[derive(Serialize)]
struct PointerView<'a> {
    pointer: &'a str,
    value: JsonToken<'a>,
}

#[derive(Serialize)]
struct UpstreamView<'a> {
    /// `untouched`, or `reduced`: without what was dropped.
    sent: &'static str,
    status: Option<u16>,
    took_ms: f64,
    retries: u8,
    error: Option<&'a str>,
    outcome: &'a str,
}

#[derive(Serialize)]
struct AnswerView {
    status: u16,
    took_ms: f64,
}

impl<'a> TriggerView<'a> {
    /// The view of `record` in a list.
    pub(super) fn new(admin: &Admin, record: &Record<'a>) -> Self {
        Self::of(&admin.calendar, admin.triggers.id(record.head.request.number), record)
    }

    fn of(calendar: &Calendar, id: TriggerId, record: &Record<'a>) -> Self {
        let Record { head, tail } = record;
        Self {
            id: id.to_string(),
            time: time(calendar, head.request.at),
            app: head.request.app,
            caller: head.request.caller,
            method: head.request.method,
            path: head.request.path,
            size: head.request.size,
            decision: record.decision(),
            reason: record.reason(),
            why: why(record),
            inexact: head.inexact,
            events: head.events.iter().map(EventView::new).collect(),
            more_events: head.more_events(),
            rules: head.findings.iter().map(|finding| FindingView::new(calendar, finding, &head.events)).collect(),
            more_rules: head.more_findings(),
            not_matched: Vec::new(),
            upstream: tail.upstream.as_ref().map(UpstreamView::new),
            answer: AnswerView { status: tail.status, took_ms: millis(tail.took) },
        }
    }

    /// The view of `record` alone: also why each of `rules` does not match.
    pub(super) fn detailed(admin: &Admin, record: &Record<'a>, rules: &[RuleMode]) -> Self {
        Self { not_matched: not_matched(record, rules), ..Self::new(admin, record) }
    }
}

/// The record of a trigger as `GET /triggers/<id>` shows it, also why each of `rules` does not match. For records that are
/// made without a listener.
///
/// # Errors
/// It cannot be serialised; this does not happen.
pub fn record_json(
    calendar: &Calendar,
    id: TriggerId,
    record: &Record<'_>,
    rules: &[Rule],
) -> serde_json::Result<String> {
    let app = record.head.request.app;
    let rules: Vec<RuleMode> =
        rules.iter().filter(|rule| rule.is_for(app)).map(|rule| RuleMode::configured(app, rule)).collect();
    let view = TriggerView { not_matched: not_matched(record, &rules), ..TriggerView::of(calendar, id, record) };
    serde_json::to_string(&view)
}

impl<'a> EventView<'a> {
    fn new(event: &EventRecord<'a>) -> Self {
        Self {
            event: event.name,
            channels: event.channels.to_vec(),
            more_channels: event.more_channels(),
            socket_id: event.excludes_socket,
            info: event.asks_info,
            data: event.data.map(JsonToken),
            data_size: event.data_size,
        }
    }
}

impl<'a> FindingView<'a> {
    fn new(calendar: &Calendar, finding: &Finding<'a>, events: &[EventRecord<'a>]) -> Self {
        let event = events.get(usize::from(finding.event));
        let channel = event.and_then(|event| event.channels.get(usize::from(finding.channel)).copied());
        Self {
            rule: finding.rule,
            event: event.map_or("", |event| event.name),
            channel: channel.unwrap_or_default(),
            position: finding.event,
            decision: finding.decision.action().label(),
            reason: finding.decision.reason(),
            why: finding.decision.sentence(),
            assignment: finding.assignment.as_ref().map(AssignmentView::new),
            before: finding.known_before().map(AssignmentView::new),
            known_since: finding.known_since.map(|at| time(calendar, at)),
            differs: finding.differs,
        }
    }
}

impl<'a> AssignmentView<'a> {
    fn new(assignment: &AssignmentRecord<'a>) -> Self {
        let view = |(pointer, value): &(&'a str, &'a str)| PointerView { pointer, value: JsonToken(value) };
        Self {
            identity: view(&(assignment.pointer, assignment.identity)),
            context: assignment.context.iter().map(view).collect(),
        }
    }
}

impl<'a> UpstreamView<'a> {
    fn new(upstream: &UpstreamRecord<'a>) -> Self {
        Self {
            sent: if upstream.reduced { "reduced" } else { "untouched" },
            status: upstream.status,
            took_ms: millis(upstream.took),
            retries: upstream.retries,
            error: upstream.error,
            outcome: upstream.outcome,
        }
    }
}

/// The reason as a sentence.
fn why<'a>(record: &Record<'a>) -> &'a str {
    let Record { head, tail: Tail { refusal, upstream, .. } } = record;
    if let Some((_, cause)) = refusal {
        return cause;
    }
    let failed = upstream.as_ref().filter(|upstream| upstream.failed()).and_then(|upstream| upstream.error);
    failed.unwrap_or_else(|| head.decision.map_or("", |decision| decision.sentence()))
}

fn time(calendar: &Calendar, at: u64) -> String {
    rfc3339(calendar.unix_time(Moment::from_millis(at)))
}

/// Microseconds in milliseconds.
fn millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1000.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
