//! Checks the first law from outside: from the times at which upstream applied requests, and from the responses to the
//! callers. The checker is independent of usher's decision logic.
//!
//! An announcement of X on a channel was dropped by a call in [t0, t1], where t1 is its answer or, if a part of the
//! call was forwarded, that part's arrival upstream, since usher decides before. The drop is correct if there is a
//! moment in [t0, t1] at which
//!
//! - each client whom the call's announcement would reach sees X: the last announcement that was applied and reaches
//!   the client is X; and
//! - no announcement of another value that upstream had received by then (from any usher process, including killed
//!   ones) is applied later.
//!
//! An announcement that arrives after that moment was made by the backend at the same time or later: it may be ordered
//! after X. Within one request an announcement may also be dropped because the ones before it on the channel that are
//! forwarded show the same to whom it would reach.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::record::{Arrival, Call, Nanos, Part, Record, SOCKETS};

/// A violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The number of the call.
    pub call: usize,
    /// `None`: the violation does not concern a channel.
    pub channel: Option<String>,
    pub breach: Breach,
}

/// The kind of violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// An announcement was dropped while guests saw something else, or nothing.
    NotShown { dropped: String, shown: Option<String> },
    /// An announcement that guests saw was dropped while another one was in flight and was applied later.
    Overtaken { dropped: String, by: Option<String> },
    /// An event was dropped that is never redundant because it cannot be compared.
    Incomparable,
    /// Another announcement of the same request is forwarded directly before it.
    OutOfOrder { dropped: String, behind: Option<String> },
    /// The caller got a 2xx that upstream did not send.
    NotAcknowledged,
    /// Upstream received it more than once.
    SentTwice,
    /// Its response says suppressed, but upstream received it.
    NotSuppressed,
    /// Upstream received events that were not sent, or in another order.
    Changed,
    /// The request that upstream received is not signed.
    Unsigned,
}

/// An announcement that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub call: usize,
    pub part: Part,
}

/// The result of the checker.
#[derive(Debug, Clone, Default)]
pub struct CheckResult {
    pub dropped: Vec<Dropped>,
    pub violations: Vec<Violation>,
}

/// The events on one channel, in the order of time.
#[derive(Debug, Default)]
struct Channel {
    /// The time at which each announcement was applied, and the announcement.
    applied: Vec<(Nanos, Part)>,
    /// For each applied request: the time of its arrival, the time at which it was applied, and its announcements.
    pending: Vec<(Nanos, Nanos, Vec<Part>)>,
}

/// Checks a complete record.
pub fn check(record: &Record) -> CheckResult {
    let (channels, silent) = (channels(record), Channel::default());
    let mut arrivals: HashMap<usize, Vec<&Arrival>> = HashMap::new();
    for arrival in &record.arrivals {
        arrivals.entry(arrival.call).or_default().push(arrival);
    }
    let mut result = CheckResult::default();
    for (number, call) in record.calls.iter().enumerate() {
        let of_call = arrivals.get(&number).map_or(&[][..], Vec::as_slice);
        let mut breaches: Vec<(Option<String>, Breach)> =
            transport(call, of_call).map(|breach| (None, breach)).collect();
        for (part, before, until) in dropped(call, of_call.first().copied(), &mut breaches) {
            result.dropped.push(Dropped { call: number, part: part.clone() });
            let channel = channels.get(part.channel.as_str()).unwrap_or(&silent);
            let breach = match before.last().and_then(|behind| order(part, behind)) {
                Some(breach) => Some(breach),
                None => channel.judge(part, &before, call.began, until),
            };
            breaches.extend(breach.map(|breach| (Some(part.channel.clone()), breach)));
        }
        result.violations.extend(breaches.into_iter().map(|(channel, breach)| Violation {
            call: number,
            channel,
            breach,
        }));
    }
    result
}

/// The announcements of calls that began at these moments after the start of a process that could be dropped, by the
/// kind of the start: those dropped, and all. `steps`: the ends of the periods, as times since the start.
pub fn shares(record: &Record, steps: &[Nanos]) -> BTreeMap<String, Vec<(usize, usize)>> {
    let (channels, silent) = (channels(record), Channel::default());
    let arrivals: HashMap<usize, &Arrival> = record.arrivals.iter().map(|arrival| (arrival.call, arrival)).collect();
    let mut shares: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (number, call) in record.calls.iter().enumerate() {
        let starts = record.starts.iter().rev();
        let Some(start) = starts.into_iter().find(|start| (start.at..start.until).contains(&call.began)) else {
            continue;
        };
        let step = steps.partition_point(|end| *end <= call.began - start.at);
        let periods = shares.entry(start.kind.clone()).or_insert_with(|| vec![(0, 0); steps.len()]);
        let Some((suppressed, all)) = periods.get_mut(step) else { continue };
        let arrival = arrivals.get(&number);
        let dropped = dropped(call, arrival.copied(), &mut Vec::new()).len();
        *suppressed += dropped;
        let forwarded = arrival.map_or(&[][..], |arrival| arrival.parts.as_slice()).iter().filter(|part| {
            let until = arrival.map_or(0, |arrival| arrival.at);
            channels.get(part.channel.as_str()).unwrap_or(&silent).judge(part, &[], call.began, until).is_none()
        });
        *all += dropped + forwarded.count();
    }
    shares
}

/// What the guests of each channel see at the end who were never left out.
pub fn shown_in_the_end(record: &Record) -> HashMap<&str, Option<String>> {
    channels(record)
        .into_iter()
        .filter_map(|(name, channel)| Some((name, channel.applied.last()?.1.shows.clone())))
        .collect()
}

fn channels(record: &Record) -> HashMap<&str, Channel> {
    let mut channels: HashMap<&str, Channel> = HashMap::new();
    for arrival in &record.arrivals {
        let Some((at, parts)) = arrival.applied else { continue };
        let applied = &arrival.parts[..parts];
        for (index, part) in applied.iter().enumerate() {
            let channel = channels.entry(&part.channel).or_default();
            channel.applied.push((at, part.clone()));
            if applied[index + 1..].iter().all(|later| later.channel != part.channel) {
                let all = applied.iter().filter(|other| other.channel == part.channel).cloned().collect();
                channel.pending.push((arrival.at, at, all));
            }
        }
    }
    // Stable: the parts of one request keep their order.
    channels.values_mut().for_each(|channel| channel.applied.sort_by_key(|(at, _)| *at));
    channels
}

impl Channel {
    /// What a client sees at this moment; `None`: nothing that reaches it was applied before.
    fn shown(&self, client: Option<&str>, at: Nanos) -> Option<&Option<String>> {
        let count = self.applied.partition_point(|(applied, _)| *applied <= at);
        self.applied[..count].iter().rev().find(|(_, part)| part.reaches(client)).map(|(_, part)| &part.shows)
    }

    /// The violation by dropping `part` between these moments, behind these parts `before` it of the same request, if
    /// any.
    fn judge(&self, part: &Part, before: &[&Part], from: Nanos, until: Nanos) -> Option<Breach> {
        let Some(dropped) = part.shows.clone() else { return Some(Breach::Incomparable) };
        let clients = || clients().filter(|client| part.reaches(*client));
        let own = |client| before.iter().rev().find(|part| part.reaches(client)).map(|part| &part.shows);
        if clients().all(|client| own(client) == Some(&part.shows)) {
            return None;
        }
        let sees = |client, at| own(client).or_else(|| self.shown(client, at));
        // What guests see changes only when a request is applied, and the requests in flight only increase in between:
        // the first moment of each interval is the most favourable one.
        let moments = std::iter::once(from)
            .chain(self.applied.iter().map(|(at, _)| *at).filter(|at| (from..=until).contains(at)));
        let mut breach = None;
        for at in moments {
            if clients().any(|client| sees(client, at).is_none_or(|shown| *shown != part.shows)) {
                continue;
            }
            let in_flight = self.pending.iter().filter(|(received, applied, _)| *received <= at && *applied > at);
            let shown = in_flight.flat_map(|(_, _, parts)| {
                clients().filter_map(|client| parts.iter().rev().find(|part| part.reaches(client)))
            });
            let by = shown.map(|other| &other.shows).find(|shows| **shows != part.shows)?;
            breach = Some(Breach::Overtaken { dropped: dropped.clone(), by: by.clone() });
        }
        let shown = || {
            let other = clients().map(|client| sees(client, from)).find(|shown| *shown != Some(&part.shows));
            other.flatten().cloned().flatten()
        };
        breach.or_else(|| Some(Breach::NotShown { dropped: dropped.clone(), shown: shown() }))
    }
}

impl Part {
    /// Whether it reaches a client; `None`: one that is never left out.
    fn reaches(&self, client: Option<&str>) -> bool {
        self.left_out.is_none() || self.left_out.as_deref() != client
    }
}

/// The clients of a channel; `None`: those that are never left out.
fn clients() -> impl Iterator<Item = Option<&'static str>> {
    SOCKETS.into_iter().map(Some).chain([None])
}

/// The violations in the transport of a call, independent of its content.
fn transport<'a>(call: &'a Call, arrivals: &'a [&Arrival]) -> impl Iterator<Item = Breach> + 'a {
    let suppressed = call.answer.as_ref().is_some_and(|answer| answer.decision == "suppressed");
    let succeeded = call.answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status));
    let found = [
        (arrivals.len() > 1, Breach::SentTwice),
        (suppressed && !arrivals.is_empty(), Breach::NotSuppressed),
        (suppressed && call.wanted.is_empty(), Breach::Incomparable),
        (succeeded && !suppressed && !arrivals.iter().any(|arrival| arrival.acknowledged), Breach::NotAcknowledged),
        (arrivals.iter().any(|arrival| !arrival.signed), Breach::Unsigned),
    ];
    found.into_iter().filter_map(|(broken, breach)| broken.then_some(breach))
}

/// The dropped parts of a call: each with the parts of the request before it on its channel that are forwarded, and the
/// latest time of the decision.
fn dropped<'a>(
    call: &'a Call,
    arrival: Option<&'a Arrival>,
    breaches: &mut Vec<(Option<String>, Breach)>,
) -> Vec<(&'a Part, Vec<&'a Part>, Nanos)> {
    let suppressed = call.answer.as_ref().is_some_and(|answer| answer.decision == "suppressed");
    let (arrived, until) = match arrival {
        Some(arrival) => (arrival.parts.as_slice(), arrival.at.min(call.ended)),
        None if suppressed => (&[][..], call.ended),
        None => return Vec::new(),
    };
    let mut rest = arrived.iter().peekable();
    let mut before: HashMap<&str, Vec<&Part>> = HashMap::new();
    let mut found = Vec::new();
    for part in &call.wanted {
        if rest.next_if_eq(&part).is_some() {
            before.entry(&part.channel).or_default().push(part);
        } else {
            found.push((part, before.get(part.channel.as_str()).cloned().unwrap_or_default(), until));
        }
    }
    if rest.next().is_some() {
        breaches.push((None, Breach::Changed));
    }
    found
}

/// The violation by dropping `part` after `before`, which is forwarded, if any.
fn order(part: &Part, before: &Part) -> Option<Breach> {
    let Some(dropped) = part.shows.clone() else { return Some(Breach::Incomparable) };
    (before.shows != part.shows).then(|| Breach::OutOfOrder { dropped, behind: before.shows.clone() })
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}: {:?}", self.call, self.breach)?;
        self.channel.iter().try_for_each(|channel| write!(f, " on {channel}"))
    }
}

#[cfg(test)]
mod tests;
