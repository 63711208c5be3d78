//! `/overview`: the rules with their modes, and the main counters. The operator's page polls it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Admin;
use super::modes::RuleMode;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use crate::metrics::{Counted, Summary};
use crate::shutdown::Phase;

/// All counters begin at the start of the process.
#[derive(Serialize)]
struct Overview<'a> {
    version: &'static str,
    /// The name of the environment (`admin.name`); may be empty.
    name: &'a str,
    since: String,
    now: String,
    /// Whether the end is announced.
    draining: bool,
    /// `serving`, `leaving` (announced, and everything is served) or `draining` (the listeners are closed).
    phase: &'static str,
    /// Whether usher is configured to observe: every rule that is to enforce observes instead.
    observe: bool,
    /// The end of the period after the start in which nothing is suppressed; `null` after it, and while it is not known.
    start_doubt_until: Option<String>,
    /// Why there is such a period; `null` after it.
    start_doubt_reason: Option<&'a str>,
    /// What became of the memory of the process before, in one sentence.
    state: &'a str,
    /// Whether the memory is shared with other processes: `/cluster` says more.
    cluster: bool,
    /// Whether calls that change something are possible.
    token_configured: bool,
    /// The bytes of records of each kind that are kept; 0: none.
    triggers_bytes: usize,
    /// Of which events the data is recorded: `none`, `announcements` or `all`.
    payloads: &'static str,
    rules: Vec<Rule<'a>>,
    /// Counts of events without a rule, or that could not be parsed exactly, by decision.
    unruled: Decisions<'a>,
    upstream: Upstream,
}

/// Counts by the label of a decision, and by the code of its reason.
type Decisions<'a> = BTreeMap<&'a str, BTreeMap<&'a str, u64>>;

#[derive(Serialize)]
struct Rule<'a> {
    app: &'a str,
    rule: &'a str,
    event: &'a str,
    channel: &'a str,
    mode: &'static str,
    configured: &'static str,
    /// Where `mode` comes from.
    source: &'static str,
    /// The number of channels with a stored assignment.
    channels: usize,
    decisions: Decisions<'a>,
}

#[derive(Serialize)]
struct Upstream {
    answers: u64,
    failures: u64,
    /// Pairs of an upper bound in seconds, ascending, and the number of requests within it.
    seconds: Vec<(f64, u64)>,
}

/// Answers with the overview.
pub(super) fn overview(admin: &Admin) -> Reply {
    let (modes, summary) = (admin.mode_switch.rules(), admin.metrics.summary());
    let now = admin.calendar.clock().now();
    let time = |moment| rfc3339(admin.calendar.unix_time(moment));
    let rules = admin.assignments.rules();
    let starts_in_doubt = admin.assignments.in_start_doubt(now);
    let access = admin.access.load();
    let channels = |mode: &RuleMode| {
        rules.iter().find(|rule| (&rule.app, &rule.rule) == (&mode.app, &mode.rule)).map_or(0, |rule| rule.memory.len())
    };
    reply::json(&Overview {
        version: env!("CARGO_PKG_VERSION"),
        name: &access.name,
        since: time(admin.calendar.clock().beginning()),
        now: time(now),
        draining: admin.drain.has_reached(Phase::Leaving),
        phase: admin.drain.phase().label(),
        observe: admin.mode_switch.observes(),
        start_doubt_until: admin.assignments.end_of_start_doubt().filter(|_| starts_in_doubt).map(time),
        start_doubt_reason: starts_in_doubt.then_some(&*admin.state),
        state: &admin.state,
        cluster: !admin.assignments.stores().is_empty(),
        token_configured: access.token.as_ref().is_some_and(|token| !token.is_empty()),
        triggers_bytes: admin.triggers.capacity(),
        payloads: admin.triggers.payloads().label(),
        rules: modes
            .iter()
            .map(|mode| Rule {
                app: &mode.app,
                rule: &mode.rule,
                event: &mode.event,
                channel: &mode.channel,
                mode: mode.mode.label(),
                configured: mode.configured.label(),
                source: mode.source,
                channels: channels(mode),
                decisions: decisions(&summary, |counted| (&*counted.app, &*counted.rule) == (&*mode.app, &*mode.rule)),
            })
            .collect(),
        unruled: decisions(&summary, |counted| counted.rule.is_empty()),
        upstream: Upstream {
            answers: summary.upstream_answers,
            failures: summary.upstream_failures,
            seconds: summary.upstream_seconds.clone(),
        },
    })
}

/// The counts for which `matches` is true, summed over apps and rules.
fn decisions(summary: &Summary, matches: impl Fn(&Counted) -> bool) -> Decisions<'_> {
    let mut sums = Decisions::new();
    for counted in summary.decisions.iter().filter(|counted| matches(counted)) {
        let reasons = sums.entry(counted.decision.as_str()).or_default();
        *reasons.entry(counted.reason.as_str()).or_default() += counted.count;
    }
    sums
}
