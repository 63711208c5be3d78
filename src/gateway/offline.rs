//! Decisions on triggers without a listener and without an upstream: by the same code as [`super::pipeline`] runs it, at
//! moments that the caller names and with outcomes that the caller knows. Nothing is authenticated, and rate limits do
//! not apply.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::decide::WaitReason;
use super::disposition::Disposition;
use super::in_flight::InFlightPermit;
use super::pipeline::{self, Attempt, Forward, NextStep, Render, Sent, Undecided};
use super::record::{Arrival, RequestLine, Tag};
use super::routing::{Observers, Routing, RoutingOptions};
use super::settle::Answered;
use super::target::{self, TargetForm};
use super::verified::{Content, Reading, Verified};
use super::{Bypasses, Limits, Refusal, Shared, UnknownApps};
use crate::assignment::{
    Assignment, Assignments, Bounds, Carried, ClaimMode, Entry, KeptChannel, Reach, Tickets, Value,
};
use crate::audience::{Audience, Newcomers as _};
use crate::clock::{Clock, Moment, VirtualTime};
use crate::decision::{Action, EventDecision};
use crate::metrics::Metrics;
use crate::pusher::{App, KeyPair, Query};
use crate::rate::{Limiters, Rates};
use crate::recording::HeadForm;
use crate::replay::Replays;
use crate::report::{DifferenceSummary, Report, Summary};
use crate::rules::{Mode, Rule};
use crate::triggers::{Encoded, MIN_CAPACITY, Payloads, TriggerId, Triggers};
use crate::upstream::Failure;

/// What is called the caller and the upstream in records.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const UPSTREAM: &str = "(scripted)";

/// A query that has a parameter of a trigger.
const PARAMETERS: &str = "name=";

/// What an [`OfflineGateway`] decides by.
#[derive(Debug, Clone)]
pub struct OfflineOptions {
    /// The apps; their secrets are not used.
    pub apps: Vec<App>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// The bounds of the memory.
    pub bounds: Bounds,
    /// Of these, only [`Limits::max_wait`] matters.
    pub limits: Limits,
    /// What happens to triggers for other apps.
    pub unknown_apps: UnknownApps,
    /// Whether each trigger's record is made.
    pub keeps_records: bool,
}

/// A gateway without listener and upstream. Its memory begins empty, without the doubt of a start.
#[derive(Debug)]
pub struct OfflineGateway {
    shared: Arc<Shared>,
    assignments: Arc<Assignments>,
    time: VirtualTime,
    /// Requests that are in flight for ever.
    held: Vec<Tickets>,
}

/// A request, taken as authentic.
#[derive(Debug, Clone, Copy)]
pub struct OfflineRequest<'r> {
    /// The app's id.
    pub app: &'r str,
    /// The path, without the query.
    pub path: &'r str,
    /// The body.
    pub body: &'r [u8],
    /// What its head says of its body, if that is unusual.
    pub head: Option<HeadForm>,
}

/// What upstream does with a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpstreamOutcome {
    /// It accepts it.
    #[default]
    Accepted,
    /// It answers 400.
    Refused,
    /// It answers 503.
    Ambiguous,
    /// Nothing can be sent to it.
    NotSent,
}

/// What comes of a decision.
#[derive(Debug)]
pub enum OfflineStep {
    /// Nothing is sent.
    Done(OfflineEnd),
    /// It is sent: settle it.
    Sent(OfflineSent),
    /// It waits for an equal announcement in flight.
    Waits(OfflineWait),
}

/// What became of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineEnd {
    /// The word of the record (docs/reasons.md).
    pub decision: &'static str,
    /// The code of the reason. For a trigger that upstream did not take: the reason for which it was sent.
    pub reason: &'static str,
    /// Whether it was sent.
    pub is_sent: bool,
    /// What was sent instead of the body as received, if anything was.
    pub reduced: Option<Vec<u8>>,
    /// The record, with its id, if records are kept.
    pub record: Option<(TriggerId, Encoded)>,
}

/// A trigger that was sent and holds its tickets.
#[derive(Debug)]
pub struct OfflineSent {
    forward: Forward,
    reduced: Option<Vec<u8>>,
}

/// A trigger that waits, and holds nothing.
pub struct OfflineWait {
    trigger: Undecided,
    settled: Pin<Box<dyn Future<Output = ()> + Send>>,
    deadline: Moment,
}

/// The figures of a rule of an app.
#[derive(Debug, Clone)]
pub struct RuleFigures {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The rule's mode.
    pub mode: Mode,
    /// How often each decision was made on an event on a channel, without those that never were.
    pub decisions: Vec<(EventDecision, u64)>,
    /// What its redundant announcements save.
    pub summary: Summary,
    /// What they say otherwise than what guests show.
    pub differences: DifferenceSummary,
}

/// A channel as a running usher knows it.
#[derive(Debug, Clone)]
pub struct KnownChannel<'k> {
    /// The app's id.
    pub app: &'k str,
    /// The rule's name.
    pub rule: &'k str,
    /// The channel.
    pub channel: &'k str,
    /// What it is known to show, if it is known.
    pub shown: Option<Assignment>,
    /// Who has had it.
    pub reach: Reach,
    /// When that became known.
    pub since: Moment,
    /// When a trigger last named the channel.
    pub seen: Moment,
    /// Whether a trigger is in flight on it.
    pub is_in_flight: bool,
    /// Whether it is in doubt.
    pub is_in_doubt: bool,
}

impl OfflineGateway {
    /// A gateway whose time stands at `now`.
    #[must_use]
    pub fn new(options: OfflineOptions, now: Moment) -> Self {
        let OfflineOptions { apps, rules, mut bounds, mut limits, unknown_apps, keeps_records } = options;
        let time = VirtualTime::at(now);
        let clock = Clock::showing(time);
        bounds.start_doubt = Duration::ZERO;
        limits.rates = Rates::default();
        let metrics = Metrics::new();
        let assignments = Assignments::new(clock, bounds);
        let audience = Audience::Told;
        let report = Arc::new(Report::default());
        let limiters = Limiters::new(&limits.rates, clock, &metrics);
        let options = RoutingOptions {
            limits,
            limiters,
            unknown_apps,
            trusted_proxies: Vec::new(),
            // Nobody subscribes.
            replays: Replays::new(clock, assignments.doubt_period()),
            replay_bytes: 0,
        };
        let bypasses = &Bypasses::default();
        let observers = Observers { events: &[], report: &report, audience: &audience, bypasses };
        let routing = Routing::new(&apps, &rules, options, &assignments, &metrics, observers);
        let capacity = if keeps_records { MIN_CAPACITY } else { 0 };
        let triggers = Arc::new(Triggers::new(capacity, Payloads::All));
        let shared = Arc::new(Shared::new(routing, clock, metrics, triggers, report));
        Self { shared, assignments, time, held: Vec::new() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.time.now()
    }

    /// The clock that its moments are of.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Lets time pass until `moment`.
    pub fn advance_to(&self, moment: Moment) {
        self.time.advance_to(moment);
    }

    /// Forgets what is no longer remembered, as a running usher does now and then. It changes no decision.
    pub fn sweep(&self) {
        self.assignments.sweep(self.now());
    }

    /// Somebody subscribes to a channel of the app with this id now.
    pub fn join(&self, app: &str, channel: &str) {
        self.shared.came(app, channel);
    }

    /// Decides on a request that comes now.
    #[must_use]
    pub fn arrive(&self, request: OfflineRequest<'_>) -> OfflineStep {
        let shared = &self.shared;
        let OfflineRequest { app: id, path, body, head } = request;
        let arrival = Arrival::new(shared, shared.clock.timestamp_at(self.now()), NOBODY);
        let line = line(&request);
        let routing = shared.routing.load();
        let Some(app) = routing.app(id) else { return OfflineStep::Done(self.unknown_app(&arrival, id, line)) };
        let verified = Verified { app, pair: app.app.first(), reading: reading(path, head), body };
        let mut reduced = None;
        let render = OfflineRender { line, reduced: &mut reduced };
        let step = pipeline::start(shared, verified, &arrival, || self.permit(), render);
        self.after(step, reduced)
    }

    /// Decides again, in `mode`, on a request that has waited.
    fn decide_again(&self, trigger: Undecided, request: &OfflineRequest<'_>, mode: ClaimMode) -> OfflineStep {
        let shared = &self.shared;
        let attempt = Attempt { mode, now: shared.clock.timestamp_at(self.now()) };
        let mut reduced = None;
        let render = OfflineRender { line: line(request), reduced: &mut reduced };
        let step = trigger.decide(shared, request.body, attempt, render);
        self.after(step, reduced)
    }

    fn after(&self, step: NextStep<Reply>, reduced: Option<Vec<u8>>) -> OfflineStep {
        match step {
            NextStep::Answered(Reply::Suppressed(tag)) => {
                let decision = dropping(tag.reason).action().label();
                OfflineStep::Done(self.end(tag.id, decision, tag.reason, None))
            }
            NextStep::Answered(Reply::Refused(tag)) => OfflineStep::Done(self.end(tag.id, "refused", tag.reason, None)),
            NextStep::Forward(forward) => OfflineStep::Sent(OfflineSent { forward, reduced }),
            NextStep::Wait(waiting) => {
                let (mut trigger, reason) = waiting.into_parts();
                let settled: Pin<Box<dyn Future<Output = ()> + Send>> = match reason {
                    WaitReason::Settlement(waiter) => Box::pin(waiter.settled()),
                    // Neither happens: there are no rate limits, and the memory is not shared.
                    WaitReason::RateSlot(_) | WaitReason::Store(..) => Box::pin(std::future::ready(())),
                };
                let now = self.shared.clock.timestamp_at(self.now()).instant;
                let deadline = trigger.end_of_waits(now, self.shared.routing.load().limits.max_wait);
                OfflineStep::Waits(OfflineWait { trigger, settled, deadline: self.shared.clock.moment(deadline) })
            }
        }
    }

    fn unknown_app(&self, arrival: &Arrival, id: &str, line: RequestLine<'_>) -> OfflineEnd {
        match self.shared.routing.load().unknown_apps {
            UnknownApps::Reject => {
                let refusal = Refusal::UnknownApp { name: id.chars().take(64).collect() };
                let tag = arrival.refused(&self.shared, id, line, &refusal);
                self.end(tag.id, "refused", tag.reason, None)
            }
            UnknownApps::Forward => {
                let reason = EventDecision::UnknownApp.reason();
                OfflineEnd { decision: "forwarded", reason, is_sent: true, reduced: None, record: None }
            }
        }
    }

    fn end(
        &self,
        id: TriggerId,
        decision: &'static str,
        reason: &'static str,
        sent: Option<Option<Vec<u8>>>,
    ) -> OfflineEnd {
        let record = self.record(id).map(|record| (id, record));
        OfflineEnd { decision, reason, is_sent: sent.is_some(), reduced: sent.flatten(), record }
    }

    /// The record with this id, if it was the last of its kind.
    fn record(&self, id: TriggerId) -> Option<Encoded> {
        let triggers = &self.shared.triggers;
        let last = triggers.are_kept().then(|| triggers.since(triggers.cursor_before(1), 1).records)?;
        last.into_iter().find(|encoded| encoded.record().is_some_and(|it| it.head.request.number == id.number()))
    }

    fn permit(&self) -> InFlightPermit {
        InFlightPermit::take(&self.shared, usize::MAX).expect("fewer requests than there are numbers are in flight")
    }

    /// Takes over what a running usher knows of a channel, before the first request. Returns whether the app has such a
    /// rule. A channel in doubt is so for all of [`Bounds::doubt_period`], and what is in flight is never settled.
    pub fn know(&mut self, known: &KnownChannel<'_>) -> bool {
        let rules = self.assignments.rules();
        let rule = rules.iter().find(|rule| *rule.app == *known.app && *rule.rule == *known.rule);
        let Some(rule) = rule else { return false };
        let routing = self.shared.routing.load();
        rule.memory.restore(KeptChannel {
            name: known.channel,
            shown: known.shown.as_ref().map_or("", Assignment::text),
            reach: known.reach,
            since: known.since,
            seen: known.seen,
            announced: 0,
            suppressed: 0,
            doubt_left: if known.is_in_doubt { self.assignments.doubt_period() } else { Duration::ZERO },
        });
        let app = routing.app(known.app).filter(|_| known.is_in_flight);
        let route = app.and_then(|app| app.rules.iter().find(|route| *route.name == *known.rule));
        if let (Some(app), Some(route)) = (app, route) {
            let mut claims = app.store.claims(self.time.now(), Carried::default());
            claims.hold(route.number, known.channel, &Value::Opaque);
            self.held.push(claims.into_tickets());
        }
        true
    }

    /// What is known of every channel, by app and rule, in the order of the channels.
    #[must_use]
    pub fn known(&self) -> Vec<(Arc<str>, Arc<str>, Entry)> {
        let rules = self.assignments.rules().into_iter();
        let entries = rules.flat_map(|rule| {
            let entries = rule.memory.entries("", usize::MAX).into_iter();
            entries.map(move |entry| (Arc::clone(&rule.app), Arc::clone(&rule.rule), entry))
        });
        entries.collect()
    }

    /// The figures of every rule of every app so far, in the order of the apps' ids.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleFigures> {
        let routing = self.shared.routing.load();
        let figures = routing.apps().flat_map(|app| {
            app.rules.iter().map(|route| {
                let counted = EventDecision::ALL.iter().map(|decision| (*decision, route.metrics.counted(*decision)));
                RuleFigures {
                    app: Arc::clone(&app.id),
                    rule: Arc::clone(&route.name),
                    mode: route.rule.spec().mode,
                    decisions: counted.filter(|(_, count)| *count > 0).collect(),
                    summary: route.tally.summary(),
                    differences: route.tally.differences(),
                }
            })
        });
        figures.collect()
    }
}

impl OfflineSent {
    /// Settles it now.
    #[must_use]
    pub fn settle(self, gateway: &OfflineGateway, outcome: UpstreamOutcome) -> OfflineEnd {
        let shared = &gateway.shared;
        let Self { forward, reduced } = self;
        let (id, decided) = (forward.id(), forward.decision());
        let answer =
            |status, body| Answered { status, is_encoded: false, content_type: Some(b"application/json"), body };
        let (result, answered) = match outcome {
            UpstreamOutcome::Accepted => (Ok(()), answer(200, b"{}".as_slice())),
            UpstreamOutcome::Refused => (Ok(()), answer(400, b"{}".as_slice())),
            UpstreamOutcome::Ambiguous => (Ok(()), answer(503, b"{}".as_slice())),
            UpstreamOutcome::NotSent => {
                let failure = Failure::ConnectTimeout { upstream: UPSTREAM.to_owned(), period: Duration::ZERO };
                (Err(failure), answer(0, b"".as_slice()))
            }
        };
        let ended = shared.clock.timestamp_at(gateway.now()).instant;
        let sent = Sent { took: Duration::ZERO, ended, retries: 0, result };
        let is_accepted = forward.settle(shared, sent, || answered).is_ok() && outcome == UpstreamOutcome::Accepted;
        let decision = match (&reduced, is_accepted) {
            (_, false) => "failed",
            (Some(_), true) => Disposition::Reduced.as_str(),
            (None, true) => decided.action().label(),
        };
        gateway.end(id, decision, decided.reason(), Some(reduced))
    }
}

impl OfflineWait {
    /// When it is forwarded, if it still waits then.
    #[must_use]
    pub const fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Whether what it waits for is settled.
    pub fn is_over(&mut self) -> bool {
        (&mut self.settled).now_or_never().is_some()
    }

    /// Decides again on `request`, which is settled or whose `deadline` is reached.
    #[must_use]
    pub fn decide(self, gateway: &OfflineGateway, request: &OfflineRequest<'_>, is_late: bool) -> OfflineStep {
        let Self { trigger, settled, deadline: _ } = self;
        // It counts as waiting until then.
        drop(settled);
        let mode = if is_late { ClaimMode::MustNotWait } else { ClaimMode::MayWait };
        gateway.decide_again(trigger, request, mode)
    }
}

impl std::fmt::Debug for OfflineWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineWait").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What is answered without an upstream.
#[derive(Debug)]
enum Reply {
    Suppressed(Tag),
    Refused(Tag),
}

/// Keeps what would be sent.
struct OfflineRender<'r> {
    line: RequestLine<'r>,
    reduced: &'r mut Option<Vec<u8>>,
}

impl Render for OfflineRender<'_> {
    type Reply = Reply;

    fn line(&self) -> RequestLine<'_> {
        self.line
    }

    fn suppressed(self, tag: Tag) -> Reply {
        Reply::Suppressed(tag)
    }

    fn refused(self, _refusal: Refusal, tag: Tag) -> Reply {
        Reply::Refused(tag)
    }

    fn outgoing(self, _pair: &KeyPair, reduced: Option<Vec<u8>>) -> Disposition {
        let disposition = if reduced.is_some() { Disposition::Reduced } else { Disposition::Forwarded };
        *self.reduced = reduced;
        disposition
    }
}

const fn line<'r>(request: &OfflineRequest<'r>) -> RequestLine<'r> {
    RequestLine { method: "POST", path: request.path, size: request.body.len() }
}

/// The reading of a request with this path and head.
fn reading(path: &str, head: Option<HeadForm>) -> Reading {
    let form = target::form(path).unwrap_or(TargetForm::NonCanonical);
    let (content, query) = match head {
        None => (Content::Json, ""),
        Some(HeadForm::Keyed) => (Content::KeyedJson, ""),
        Some(HeadForm::Encoded) => (Content::Encoded, ""),
        Some(HeadForm::OtherType) => (Content::Other, ""),
        Some(HeadForm::QueryParameters) => (Content::Json, PARAMETERS),
    };
    Reading::of(form, content, &Query::parse(query))
}

/// The decision with this reason by which a whole trigger is dropped.
fn dropping(reason: &str) -> EventDecision {
    let drops = |decision: &EventDecision| {
        matches!(decision.action(), Action::Suppressed | Action::SuppressedInFlight) && decision.reason() == reason
    };
    EventDecision::ALL.iter().copied().find(drops).unwrap_or(EventDecision::SameAssignment)
}
