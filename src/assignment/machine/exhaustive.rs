//! Every interleaving of a few requests on one channel, driven through the real machine: a drop of x happens only while
//! x is the last value applied upstream and nothing but x can still be applied.

use std::collections::HashSet;
use std::time::Duration;

use super::*;

const DOUBT: Duration = Duration::from_secs(30);

/// A request as the world makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sort {
    A,
    B,
    /// A batch: B, then A.
    BThenA,
    Nobody,
    /// It may touch any channel of the app.
    Wide,
}

/// What the guests see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shown {
    A,
    B,
    Something,
}

/// What happens, and to which request: for the story of a violation.
type Step = (&'static str, Option<Sort>);

const DROPPED: &str = "is dropped";

/// A request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    id: TicketId,
    sort: Sort,
    applied: bool,
}

/// The channel under test, the app around it, and upstream.
#[derive(Debug, Clone)]
struct World {
    channel: Channel,
    now: Moment,
    epoch: u64,
    app_in_doubt: bool,
    shown: Option<Shown>,
    flights: Vec<Flight>,
    late: Vec<Sort>,
    left: u8,
}

/// What distinguishes two worlds: ids, times and the order of tickets do not, nor which of the epochs that are over.
type Key = (Option<(bool, bool)>, Vec<TicketKey>, bool, bool, Option<Shown>, Vec<Sort>, u8);
type TicketKey = (Sort, bool, Option<(bool, bool)>, bool, bool, bool);

impl Sort {
    fn value(self) -> Option<Value> {
        match self {
            Self::A => Some(Value::One(Assignment::new(0, "A", []))),
            Self::B => Some(Value::One(Assignment::new(0, "B", []))),
            Self::BThenA => Some(Value::Last(Assignment::new(0, "A", []))),
            Self::Nobody => Some(Value::Opaque),
            Self::Wide => None,
        }
    }

    fn shows(self) -> Shown {
        match self {
            Self::A | Self::BThenA => Shown::A,
            Self::B => Shown::B,
            Self::Nobody | Self::Wide => Shown::Something,
        }
    }
}

impl World {
    fn new(requests: u8) -> Self {
        Self {
            channel: Channel::default(),
            now: Moment::default(),
            epoch: 0,
            app_in_doubt: false,
            shown: None,
            flights: Vec::new(),
            late: Vec::new(),
            left: requests,
        }
    }

    fn snapshot(&self) -> AppSnapshot {
        let wide_in_flight = self.flights.iter().any(|flight| flight.sort == Sort::Wide);
        AppSnapshot { epoch: Epoch::of(self.epoch), uncertain: wide_in_flight || self.app_in_doubt }
    }

    fn key(&self) -> Key {
        let present = |epoch: Epoch| epoch == Epoch::of(self.epoch);
        let brief = |known: &Known| (known.assignment.identity() == "A", present(known.epoch));
        let mut tickets: Vec<TicketKey> = self
            .flights
            .iter()
            .map(|flight| {
                let ticket = self.channel.tickets.iter().find(|ticket| ticket.id == flight.id);
                let before = ticket.and_then(|ticket| ticket.before.as_ref()).map(brief);
                let (overlapped, contested, fresh) = ticket
                    .map_or((true, true, true), |ticket| (ticket.overlapped, ticket.contested, present(ticket.epoch)));
                (flight.sort, flight.applied, before, overlapped, contested, fresh)
            })
            .collect();
        tickets.sort_unstable();
        let mut late = self.late.clone();
        late.sort_unstable();
        (
            self.channel.known.as_ref().map(brief),
            tickets,
            self.channel.in_doubt(self.now),
            self.app_in_doubt,
            self.shown,
            late,
            self.left,
        )
    }

    /// The first law: `sort` may be dropped now.
    fn may_drop(&self, sort: Sort) -> bool {
        let pending = self
            .flights
            .iter()
            .filter(|flight| !flight.applied)
            .map(|flight| flight.sort)
            .chain(self.late.iter().copied());
        self.shown == Some(sort.shows()) && pending.into_iter().all(|other| other == sort)
    }

    /// All that can happen next.
    fn steps(&self, sorts: &[Sort], found: &mut Vec<(Step, Self)>) {
        if self.left > 0 {
            for &sort in sorts {
                self.claims(sort, found);
            }
            found.push((("all is forgotten", None), self.then(|next| next.spend().channel.forget())));
            found.push((("what is known expires", None), self.then(|next| next.spend().channel.expire())));
        }
        for (index, &Flight { sort, applied, .. }) in self.flights.iter().enumerate() {
            let settled = |outcome: Outcome| self.then(|next| next.settle(index, outcome));
            if applied {
                found.push((("is accepted", Some(sort)), settled(Outcome::Accepted)));
            } else {
                let apply = |next: &mut Self| {
                    next.flights[index].applied = true;
                    next.shown = Some(sort.shows());
                };
                found.push((("is applied", Some(sort)), self.then(apply)));
                found.push((("is refused", Some(sort)), settled(Outcome::Refused)));
                let lose = |next: &mut Self| {
                    next.settle(index, Outcome::Ambiguous);
                    next.late.push(sort);
                };
                found.push((("is lost and may be applied late", Some(sort)), self.then(lose)));
                let half = |next: &mut Self| {
                    next.settle(index, Outcome::Partial);
                    next.shown = Some(Shown::B);
                };
                if sort == Sort::BThenA {
                    found.push((("is applied in part", Some(sort)), self.then(half)));
                }
            }
            found.push((("ends in parts", Some(sort)), settled(Outcome::Partial)));
            found.push((("is lost for good, or its answer", Some(sort)), settled(Outcome::Ambiguous)));
        }
        for (index, &sort) in self.late.iter().enumerate() {
            let apply = |next: &mut Self| {
                next.late.swap_remove(index);
                next.shown = Some(sort.shows());
            };
            found.push((("is applied late", Some(sort)), self.then(apply)));
        }
        if self.channel.in_doubt(self.now) && self.late.iter().all(|&sort| sort == Sort::Wide) {
            found.push((("the channel's doubt ends", None), self.then(|next| next.now = next.channel.doubt_until)));
        }
        if self.app_in_doubt && !self.late.contains(&Sort::Wide) {
            found.push((("the app's doubt ends", None), self.then(|next| next.app_in_doubt = false)));
        }
    }

    fn claims(&self, sort: Sort, found: &mut Vec<(Step, Self)>) {
        let Some(value) = sort.value() else {
            let wide = |next: &mut Self| {
                next.epoch += 1;
                let id = next.ticket();
                next.spend().flights.push(Flight { id, sort, applied: false });
            };
            return found.push((("is forwarded", Some(sort)), self.then(wide)));
        };
        // One that has to wait is judged again later, which is the same as arriving later.
        let comparison = self.channel.compare(&value, self.now, self.snapshot());
        if let Comparison::Redundant { .. } = comparison {
            found.push(((DROPPED, Some(sort)), self.then(|next| next.left -= 1)));
        }
        // Redundant or in flight, a request may be forwarded all the same: a rule that only observes, one that has
        // waited long enough.
        let forward = |next: &mut Self| {
            let (id, snapshot) = (next.ticket(), next.snapshot());
            let _before = next.channel.claim(id, value, next.now, snapshot);
            next.spend().flights.push(Flight { id, sort, applied: false });
        };
        found.push((("is forwarded", Some(sort)), self.then(forward)));
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        let Flight { id, sort, .. } = self.flights.swap_remove(index);
        if sort == Sort::Wide {
            self.app_in_doubt |= outcome == Outcome::Ambiguous;
        } else {
            let _accepted = self.channel.settle(id, outcome, self.now, DOUBT);
        }
    }

    fn ticket(&self) -> TicketId {
        self.flights.iter().map(|flight| flight.id).max().map_or(0, |last| last + 1)
    }

    fn spend(&mut self) -> &mut Self {
        self.left -= 1;
        self
    }

    fn then(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }
}

/// Walks through all of it. Returns the number of worlds and of drops.
fn explore(requests: u8, sorts: &[Sort]) -> (usize, usize) {
    let start = World::new(requests);
    let mut seen = HashSet::from([start.key()]);
    // For the story of a violation: each step, and the index of the one before it.
    let mut came: Vec<(usize, Step)> = Vec::new();
    let mut todo = vec![(usize::MAX, start)];
    let (mut drops, mut found) = (0, Vec::new());
    while let Some((from, world)) = todo.pop() {
        world.steps(sorts, &mut found);
        for (step, next) in found.drain(..) {
            if let (DROPPED, Some(sort)) = step {
                drops += 1;
                assert!(
                    world.may_drop(sort),
                    "after {:?} this loses a handoff: {step:?} in {world:#?}",
                    story(&came, from)
                );
            }
            if seen.insert(next.key()) {
                came.push((from, step));
                todo.push((came.len() - 1, next));
            }
        }
    }
    (seen.len(), drops)
}

fn story(came: &[(usize, Step)], mut at: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(&(from, step)) = came.get(at) {
        steps.push(step);
        at = from;
    }
    steps.reverse();
    steps
}

#[test]
fn no_interleaving_of_five_requests_loses_a_handoff() {
    let (worlds, drops) = explore(5, &[Sort::A, Sort::B, Sort::Nobody]);
    assert!(worlds > 10_000 && drops > 100, "{worlds} worlds, {drops} drops");
}

#[test]
fn no_interleaving_of_five_requests_with_batches_loses_a_handoff() {
    let (worlds, drops) = explore(5, &[Sort::A, Sort::B, Sort::BThenA]);
    assert!(worlds > 10_000 && drops > 100, "{worlds} worlds, {drops} drops");
}

#[test]
fn no_interleaving_of_five_requests_with_wide_ones_loses_a_handoff() {
    let (worlds, drops) = explore(5, &[Sort::A, Sort::B, Sort::Wide]);
    assert!(worlds > 10_000 && drops > 100, "{worlds} worlds, {drops} drops");
}

#[test]
fn no_interleaving_of_four_requests_of_all_sorts_loses_a_handoff() {
    let (worlds, drops) = explore(4, &[Sort::A, Sort::B, Sort::BThenA, Sort::Nobody, Sort::Wide]);
    assert!(worlds > 10_000 && drops > 30, "{worlds} worlds, {drops} drops");
}
