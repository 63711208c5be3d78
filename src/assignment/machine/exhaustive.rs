//! Explores every interleaving of a few requests on one channel with the real state machine: x is dropped only while
//! everybody whom it would reach has had x last, and no other value can still be applied. Who has had what is kept for
//! each client by itself, with no notion of what the machine remembers.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::assignment::shared::stored;

const DOUBT: Duration = Duration::from_secs(30);

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum RequestKind {
    A,
    /// A that leaves the first client out.
    AWithoutFirst,
    /// A that leaves the second client out.
    AWithoutSecond,
    B,
    /// A batch: B, then A.
    BThenA,
    /// A batch: B, then A that leaves the first client out.
    BThenAWithoutFirst,
    Opaque,
    /// A request that may touch any channel of the app.
    Wide,
}

const ALL: [RequestKind; 5] =
    [RequestKind::A, RequestKind::B, RequestKind::BThenA, RequestKind::Opaque, RequestKind::Wide];

/// Those that leave somebody out, and what they are told apart from.
const LEAVING_OUT: [RequestKind; 4] =
    [RequestKind::A, RequestKind::AWithoutFirst, RequestKind::AWithoutSecond, RequestKind::B];

/// The clients of the channel: two that are left out at times, and one that is not.
const CLIENTS: [Socket; 3] = [Socket::of((1, 1)), Socket::of((1, 2)), Socket::of((1, 3))];

/// What a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Visible {
    A,
    B,
    Something,
}

/// What each of the clients sees.
type Seen = [Option<Visible>; 3];

/// An event and the kind of its request, for the report of a violation.
type Step = (&'static str, Option<RequestKind>);

const DROPPED: &str = "is dropped";

/// A request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct InFlight {
    id: TicketId,
    kind: RequestKind,
    applied: bool,
}

/// The channel under test, its app, and upstream.
#[derive(Debug, Clone)]
struct ModelState {
    channel: Channel,
    now: Moment,
    epoch: u64,
    app_in_doubt: bool,
    seen: Seen,
    in_flight: Vec<InFlight>,
    may_apply_late: Vec<RequestKind>,
    remaining: u8,
    /// Whether clients come and go, and the memory learns of it.
    clients_come: bool,
    place: Place,
}

/// Where the channel is between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the process.
    Process,
    /// At a store that several processes share: it is written and read in each step.
    Store,
}

/// What distinguishes two states. Ids, times, the order of tickets, and the numbers of past epochs do not.
type StateKey = (Option<KnownKey>, Vec<TicketKey>, bool, bool, Seen, Vec<RequestKind>, u8);
type KnownKey = (bool, bool, Reach);
type TicketKey = (RequestKind, bool, Option<KnownKey>, bool, bool, bool, Reach);

impl RequestKind {
    fn value(self) -> Option<Value> {
        match self {
            Self::A | Self::AWithoutFirst | Self::AWithoutSecond => Some(Value::One(Assignment::new(0, "A", []))),
            Self::B => Some(Value::One(Assignment::new(0, "B", []))),
            Self::BThenA | Self::BThenAWithoutFirst => Some(Value::Last(Assignment::new(0, "A", []))),
            Self::Opaque => Some(Value::Opaque),
            Self::Wide => None,
        }
    }

    /// The client that its last announcement leaves out.
    fn left_out(self) -> Option<usize> {
        match self {
            Self::AWithoutFirst | Self::BThenAWithoutFirst => Some(0),
            Self::AWithoutSecond => Some(1),
            Self::A | Self::B | Self::BThenA | Self::Opaque | Self::Wide => None,
        }
    }

    /// What clients see once it is applied, whom it reaches.
    fn shows(self) -> Visible {
        match self {
            Self::A | Self::AWithoutFirst | Self::AWithoutSecond | Self::BThenA | Self::BThenAWithoutFirst => {
                Visible::A
            }
            Self::B => Visible::B,
            Self::Opaque | Self::Wide => Visible::Something,
        }
    }

    /// Whether clients see nothing but this, whatever becomes of it.
    fn shows_only(self, visible: Visible) -> bool {
        self.shows() == visible && !matches!(self, Self::BThenA | Self::BThenAWithoutFirst | Self::Opaque | Self::Wide)
    }
}

impl ModelState {
    fn new(requests: u8, place: Place, clients_come: bool) -> Self {
        Self {
            channel: Channel::default(),
            now: Moment::default(),
            epoch: 0,
            app_in_doubt: false,
            seen: [None; 3],
            in_flight: Vec::new(),
            may_apply_late: Vec::new(),
            remaining: requests,
            clients_come,
            place,
        }
    }

    fn snapshot(&self) -> AppSnapshot {
        let wide_in_flight = self.in_flight.iter().any(|request| request.kind == RequestKind::Wide);
        AppSnapshot { epoch: Epoch::of(self.epoch), in_flight: wide_in_flight, in_doubt: self.app_in_doubt }
    }

    fn key(&self) -> StateKey {
        let present = |epoch: Epoch| epoch == Epoch::of(self.epoch);
        let brief = |known: &Known| (known.assignment.identity() == "A", present(known.epoch), known.reach);
        let mut tickets: Vec<TicketKey> = self
            .in_flight
            .iter()
            .map(|request| {
                let ticket = self.channel.tickets.iter().find(|ticket| ticket.id == request.id);
                let before = ticket.and_then(|ticket| ticket.before.as_ref()).map(brief);
                let (overlapped, contested, fresh, reach) = ticket.map_or((true, true, true, Reach::All), |ticket| {
                    (ticket.overlapped, ticket.contested, present(ticket.epoch), ticket.reach)
                });
                (request.kind, request.applied, before, overlapped, contested, fresh, reach)
            })
            .collect();
        tickets.sort_unstable();
        let mut may_apply_late = self.may_apply_late.clone();
        may_apply_late.sort_unstable();
        (
            self.channel.known.as_ref().map(brief),
            tickets,
            self.channel.in_doubt(self.now),
            self.app_in_doubt,
            self.seen,
            may_apply_late,
            self.remaining,
        )
    }

    /// The first law: a request of this `kind` may be dropped now.
    fn may_drop(&self, kind: RequestKind) -> bool {
        let pending = self
            .in_flight
            .iter()
            .filter(|request| !request.applied)
            .map(|request| request.kind)
            .chain(self.may_apply_late.iter().copied());
        let have_had_it = self.seen.iter().enumerate().filter(|(client, _)| kind.left_out() != Some(*client));
        have_had_it.into_iter().all(|(_, seen)| *seen == Some(kind.shows()))
            && pending.into_iter().all(|other| other.shows_only(kind.shows()))
    }

    /// Upstream applies a request.
    fn apply(&mut self, kind: RequestKind) {
        if kind == RequestKind::BThenAWithoutFirst {
            self.seen = [Some(Visible::B); 3];
        }
        for (client, seen) in self.seen.iter_mut().enumerate() {
            if kind.left_out() != Some(client) {
                *seen = Some(kind.shows());
            }
        }
    }

    /// All possible next steps.
    fn steps(&self, kinds: &[RequestKind], found: &mut Vec<(Step, Self)>) {
        if self.remaining > 0 {
            for &kind in kinds {
                self.claims(kind, found);
            }
            found.push((("the channel is forgotten", None), self.then(|next| next.spend().channel.forget())));
            found.push((("what is known expires", None), self.then(|next| next.spend().channel.expire())));
            found.push((("it is in doubt", None), self.then(|next| next.spend().channel.doubt(self.now, DOUBT))));
            for client in (0..CLIENTS.len()).filter(|_| self.clients_come) {
                let come = |next: &mut Self| {
                    next.seen[client] = None;
                    next.spend().channel.joined();
                };
                found.push((("a client subscribes, or once more", None), self.then(come)));
            }
        }
        for (index, &InFlight { kind, applied, .. }) in self.in_flight.iter().enumerate() {
            let settled = |outcome: Outcome| self.then(|next| next.settle(index, outcome));
            if applied {
                found.push((("is accepted", Some(kind)), settled(Outcome::Accepted)));
            } else {
                let apply = |next: &mut Self| {
                    next.in_flight[index].applied = true;
                    next.apply(kind);
                };
                found.push((("is applied", Some(kind)), self.then(apply)));
                found.push((("is refused", Some(kind)), settled(Outcome::Refused)));
                let lose = |next: &mut Self| {
                    next.settle(index, Outcome::Ambiguous);
                    next.may_apply_late.push(kind);
                };
                found.push((("is lost and may be applied late", Some(kind)), self.then(lose)));
                let half = |next: &mut Self| {
                    next.settle(index, Outcome::Partial);
                    next.apply(RequestKind::B);
                };
                if matches!(kind, RequestKind::BThenA | RequestKind::BThenAWithoutFirst) {
                    found.push((("is applied in part", Some(kind)), self.then(half)));
                }
            }
            found.push((("ends partially applied", Some(kind)), settled(Outcome::Partial)));
            found.push((("is lost, or its answer is lost", Some(kind)), settled(Outcome::Ambiguous)));
        }
        for (index, &kind) in self.may_apply_late.iter().enumerate() {
            let apply = |next: &mut Self| {
                next.may_apply_late.swap_remove(index);
                next.apply(kind);
            };
            found.push((("is applied late", Some(kind)), self.then(apply)));
        }
        if self.channel.in_doubt(self.now) && self.may_apply_late.iter().all(|&kind| kind == RequestKind::Wide) {
            found.push((("the channel's doubt ends", None), self.then(|next| next.now = next.channel.doubt_until)));
        }
        if self.app_in_doubt && !self.may_apply_late.contains(&RequestKind::Wide) {
            found.push((("the app's doubt ends", None), self.then(|next| next.app_in_doubt = false)));
        }
    }

    fn claims(&self, kind: RequestKind, found: &mut Vec<(Step, Self)>) {
        let Some(value) = kind.value() else {
            let wide = |next: &mut Self| {
                next.epoch += 1;
                let id = next.ticket();
                next.spend().in_flight.push(InFlight { id, kind, applied: false });
            };
            return found.push((("is forwarded", Some(kind)), self.then(wide)));
        };
        // A request that has to wait is decided again later, which is equivalent to a later arrival.
        let occasion = Occasion::new(self.now, u64::MAX);
        let left_out = kind.left_out().map(|client| CLIENTS[client]);
        let comparison = self.channel.compare(Announced { value: &value, left_out }, occasion, self.snapshot());
        if let Comparison::Redundant(_) = comparison {
            found.push(((DROPPED, Some(kind)), self.then(|next| next.remaining -= 1)));
        }
        // A redundant or equal request may be forwarded as well: by a rule in observe mode, or after the maximum wait.
        let forward = |next: &mut Self| {
            let (id, snapshot) = (next.ticket(), next.snapshot());
            let announced = Announced { value: &value, left_out };
            let _before = next.channel.claim(id, announced, true, occasion, snapshot);
            next.spend().in_flight.push(InFlight { id, kind, applied: false });
        };
        found.push((("is forwarded", Some(kind)), self.then(forward)));
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        let InFlight { id, kind, .. } = self.in_flight.swap_remove(index);
        if kind == RequestKind::Wide {
            self.app_in_doubt |= outcome == Outcome::Ambiguous;
        } else {
            let _accepted = self.channel.settle(id, outcome, self.now, DOUBT);
        }
    }

    fn ticket(&self) -> TicketId {
        self.in_flight.iter().map(|request| request.id).max().map_or(0, |last| last + 1)
    }

    fn spend(&mut self) -> &mut Self {
        self.remaining -= 1;
        self
    }

    fn then(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        if next.place == Place::Store {
            next.channel = stored(next.channel);
        }
        next
    }
}

/// Explores all reachable states. Returns the number of states and of drops.
fn explore(requests: u8, kinds: &[RequestKind], place: Place) -> (usize, usize) {
    explore_from(ModelState::new(requests, place, false), kinds)
}

/// The same from this state.
fn explore_from(start: ModelState, kinds: &[RequestKind]) -> (usize, usize) {
    let mut seen = HashSet::from([start.key()]);
    // For the report of a violation: each step, and the index of the previous one.
    let mut trace: Vec<(usize, Step)> = Vec::new();
    let mut todo = vec![(usize::MAX, start)];
    let (mut drops, mut found) = (0, Vec::new());
    while let Some((from, state)) = todo.pop() {
        state.steps(kinds, &mut found);
        for (step, next) in found.drain(..) {
            if let (DROPPED, Some(kind)) = step {
                drops += 1;
                assert!(
                    state.may_drop(kind),
                    "after {:?} this loses a handoff: {step:?} in {state:#?}",
                    steps_to(&trace, from)
                );
            }
            if seen.insert(next.key()) {
                trace.push((from, step));
                todo.push((trace.len() - 1, next));
            }
        }
    }
    (seen.len(), drops)
}

fn steps_to(trace: &[(usize, Step)], mut at: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(&(from, step)) = trace.get(at) {
        steps.push(step);
        at = from;
    }
    steps.reverse();
    steps
}

#[test]
fn no_interleaving_of_five_requests_loses_a_handoff() {
    let (states, drops) = explore(5, &[RequestKind::A, RequestKind::B, RequestKind::Opaque], Place::Process);
    assert!(states > 10_000 && drops > 100, "{states} states, {drops} drops");
}

#[test]
fn no_interleaving_of_five_requests_with_batches_loses_a_handoff() {
    let (states, drops) = explore(5, &[RequestKind::A, RequestKind::B, RequestKind::BThenA], Place::Process);
    assert!(states > 10_000 && drops > 100, "{states} states, {drops} drops");
}

#[test]
fn no_interleaving_of_five_requests_with_wide_ones_loses_a_handoff() {
    let (states, drops) = explore(5, &[RequestKind::A, RequestKind::B, RequestKind::Wide], Place::Process);
    assert!(states > 10_000 && drops > 100, "{states} states, {drops} drops");
}

#[test]
fn no_interleaving_of_four_requests_of_all_kinds_loses_a_handoff() {
    let (states, drops) = explore(4, &ALL, Place::Process);
    assert!(states > 10_000 && drops > 30, "{states} states, {drops} drops");
}

#[test]
fn no_interleaving_of_five_requests_that_leave_clients_out_loses_a_handoff() {
    let (states, drops) = explore(5, &LEAVING_OUT, Place::Process);
    assert!(states > 10_000 && drops > 1_000, "{states} states, {drops} drops");
}

#[test]
fn no_interleaving_of_four_requests_that_leave_clients_out_while_others_come_loses_a_handoff() {
    let kinds = [&LEAVING_OUT[..], &[RequestKind::BThenAWithoutFirst]].concat();
    let (states, drops) = explore_from(ModelState::new(4, Place::Process, true), &kinds);
    assert!(states > 10_000 && drops > 300, "{states} states, {drops} drops");
}

#[test]
fn a_store_between_the_steps_changes_nothing() {
    for requests in 1..=4 {
        assert_eq!(explore(requests, &ALL, Place::Store), explore(requests, &ALL, Place::Process));
    }
    let coming = |place| explore_from(ModelState::new(3, place, true), &LEAVING_OUT);
    assert_eq!(coming(Place::Store), coming(Place::Process));
}
