//! The first law, checked from outside: by what upstream applied when, and by what callers were answered. It knows
//! nothing of how usher decides.
//!
//! An announcement of X on a channel was dropped by a call in [t0, t1], where t1 is its answer or, if a part of the
//! call was forwarded, that part's arrival upstream, since usher decides before. The drop is right if there is a moment
//! in [t0, t1] at which
//!
//! - the last announcement applied to the channel is X: guests see X; and
//! - no announcement that upstream had received by then (from any usher process, a killed one as well) and that shows
//!   anybody else is applied later.
//!
//! An announcement that arrives after that moment is one that the backend made at the same time or later: it may come
//! after X. Within one request an announcement may also be dropped because the one before it on the channel, which goes
//! on, shows the same.

use std::collections::HashMap;
use std::fmt;

use super::record::{Arrival, Call, Nanos, Part, Record};

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The call.
    pub call: usize,
    /// `None`: it does not concern a channel.
    pub channel: Option<String>,
    pub breach: Breach,
}

/// How.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// It dropped an announcement while guests saw something else, or nothing.
    NotShown { dropped: String, shown: Option<String> },
    /// It dropped an announcement that guests saw, while this one was on its way and came after.
    Overtaken { dropped: String, by: Option<String> },
    /// It dropped what is never redundant: an event that announces nobody whom one could compare.
    Incomparable,
    /// Within the request another announcement goes on just before.
    OutOfOrder { dropped: String, behind: Option<String> },
    /// It was told a 2xx which upstream did not give.
    NotAcknowledged,
    /// Upstream got it more than once.
    SentTwice,
    /// Its answer says suppressed, yet upstream got it.
    NotSuppressed,
    /// Upstream got what was not sent, or in another order.
    Changed,
    /// What upstream got is not signed.
    Unsigned,
}

/// An announcement that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub call: usize,
    pub part: Part,
}

/// What the checker found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub dropped: Vec<Dropped>,
    pub violations: Vec<Violation>,
}

/// What happens on one channel, in the order of time.
#[derive(Debug, Default)]
struct Channel {
    /// When each announcement was applied, and whom it shows.
    applied: Vec<(Nanos, Option<String>)>,
    /// For each request that was applied: when it came, when it was applied, and whom it then shows.
    pending: Vec<(Nanos, Nanos, Option<String>)>,
}

/// Checks a whole record.
pub fn check(record: &Record) -> Verdict {
    let (channels, silent) = (channels(record), Channel::default());
    let mut arrivals: HashMap<usize, Vec<&Arrival>> = HashMap::new();
    for arrival in &record.arrivals {
        arrivals.entry(arrival.call).or_default().push(arrival);
    }
    let mut verdict = Verdict::default();
    for (number, call) in record.calls.iter().enumerate() {
        let of_call = arrivals.get(&number).map_or(&[][..], Vec::as_slice);
        let mut breaches: Vec<(Option<String>, Breach)> =
            transport(call, of_call).map(|breach| (None, breach)).collect();
        for (part, behind, until) in dropped(call, of_call.first().copied(), &mut breaches) {
            verdict.dropped.push(Dropped { call: number, part: part.clone() });
            let breach = match behind {
                Some(before) => order(part, before),
                None => channels.get(part.channel.as_str()).unwrap_or(&silent).judge(part, call.began, until),
            };
            breaches.extend(breach.map(|breach| (Some(part.channel.clone()), breach)));
        }
        verdict.violations.extend(breaches.into_iter().map(|(channel, breach)| Violation {
            call: number,
            channel,
            breach,
        }));
    }
    verdict
}

/// Whom the guests of each channel see in the end.
pub fn shown_in_the_end(record: &Record) -> HashMap<&str, Option<String>> {
    channels(record).into_iter().filter_map(|(name, channel)| Some((name, channel.applied.last()?.1.clone()))).collect()
}

fn channels(record: &Record) -> HashMap<&str, Channel> {
    let mut channels: HashMap<&str, Channel> = HashMap::new();
    for arrival in &record.arrivals {
        let Some((at, parts)) = arrival.applied else { continue };
        let applied = &arrival.parts[..parts];
        for (index, part) in applied.iter().enumerate() {
            let channel = channels.entry(&part.channel).or_default();
            channel.applied.push((at, part.shows.clone()));
            if applied[index + 1..].iter().all(|later| later.channel != part.channel) {
                channel.pending.push((arrival.at, at, part.shows.clone()));
            }
        }
    }
    // Stable: the parts of one request keep their order.
    channels.values_mut().for_each(|channel| channel.applied.sort_by_key(|(at, _)| *at));
    channels
}

impl Channel {
    /// Whom guests see at this moment; `None`: they were never told anything.
    fn shown(&self, at: Nanos) -> Option<&Option<String>> {
        let count = self.applied.partition_point(|(applied, _)| *applied <= at);
        self.applied[..count].last().map(|(_, shows)| shows)
    }

    /// What is wrong with dropping `part` between these moments.
    fn judge(&self, part: &Part, from: Nanos, until: Nanos) -> Option<Breach> {
        let Some(dropped) = part.shows.clone() else { return Some(Breach::Incomparable) };
        // What guests see changes at applications alone, and what is on its way grows between them: the first moment of
        // each span is the best one.
        let moments = std::iter::once(from)
            .chain(self.applied.iter().map(|(at, _)| *at).filter(|at| (from..=until).contains(at)));
        let mut breach = None;
        for at in moments {
            if self.shown(at).is_none_or(|shown| *shown != part.shows) {
                continue;
            }
            let other = self
                .pending
                .iter()
                .find(|(received, applied, shows)| *received <= at && *applied > at && *shows != part.shows);
            let (_, _, by) = other?;
            breach = Some(Breach::Overtaken { dropped: dropped.clone(), by: by.clone() });
        }
        let shown = || self.shown(from).cloned().flatten();
        breach.or_else(|| Some(Breach::NotShown { dropped: dropped.clone(), shown: shown() }))
    }
}

/// What is wrong with how a call went through, whatever it says.
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

/// The parts of a call that were dropped: each with the part of the request before it on its channel, if that goes on,
/// and the end of the time in which it was decided.
fn dropped<'a>(
    call: &'a Call,
    arrival: Option<&'a Arrival>,
    breaches: &mut Vec<(Option<String>, Breach)>,
) -> Vec<(&'a Part, Option<&'a Part>, Nanos)> {
    let suppressed = call.answer.as_ref().is_some_and(|answer| answer.decision == "suppressed");
    let (arrived, until) = match arrival {
        Some(arrival) => (arrival.parts.as_slice(), arrival.at.min(call.ended)),
        None if suppressed => (&[][..], call.ended),
        None => return Vec::new(),
    };
    let mut rest = arrived.iter().peekable();
    let mut before: HashMap<&str, &Part> = HashMap::new();
    let mut found = Vec::new();
    for part in &call.wanted {
        if rest.next_if_eq(&part).is_some() {
            before.insert(&part.channel, part);
        } else {
            found.push((part, before.get(part.channel.as_str()).copied(), until));
        }
    }
    if rest.next().is_some() {
        breaches.push((None, Breach::Changed));
    }
    found
}

/// What is wrong with dropping `part` behind `before`, which goes on.
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
