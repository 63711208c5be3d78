//! Random histories of several channels in one memory, checked against a small model of the first law: every dropped
//! announcement was redundant for each client whom it would have reached, and in a settled state every redundant one is
//! dropped.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest::test_runner::Config;
use tokio::runtime::Runtime;

use super::*;
use crate::assignment::{Bounds, Socket, Value, WideReservation};
use crate::clock::Clock;

const CHANNELS: u8 = 5;
/// The clients of each channel. The first two are left out at times.
const CLIENTS: u8 = 3;
const DOUBT: Duration = Duration::from_secs(30);
const REMEMBER_FOR: Duration = Duration::from_secs(100);

/// A part of a request on one channel. A batch announces several people, the last of which is the given one. The client
/// that the last announcement leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Person(u8, Option<u8>),
    Batch(u8, Option<u8>),
    Opaque,
}

/// What a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Person(u8),
    Something,
}

#[derive(Debug, Clone)]
enum Op {
    /// A request that names these channels.
    Request {
        parts: Vec<(u8, Part)>,
        mode: ClaimMode,
    },
    /// A request that may touch any channel.
    Wide,
    /// Upstream applies a request in flight, or one whose answer was lost.
    Apply(usize),
    /// A request in flight ends: accepted only if it was applied, refused only if it was not.
    End(usize, RequestEnd),
    Forget(u8),
    /// A client subscribes, or does so again.
    Join(u8, u8),
    /// Something comes another way.
    Bypass(u8),
    Advance(Duration),
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestEnd {
    Answered,
    PartlyApplied,
    /// The answer is lost; if the request is not applied yet, it may still be.
    Lost,
    /// The answer is lost; if the request is not applied yet, it never will be.
    LostUnapplied,
    /// The task panics.
    Dropped,
}

/// The model of a forwarded request.
struct Forwarded {
    parts: Vec<(u8, Part)>,
    applied: bool,
    /// `None`: it ended without an answer, and upstream may apply it before `until`.
    obligation: Option<Obligation>,
    until: Moment,
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

struct Obligation {
    channels: Vec<Reservation>,
    app: Option<WideReservation>,
}

/// The memory under test, and the true state.
struct Model<'a> {
    memory: Arc<RuleMemory>,
    /// Entered, with paused time, which the memory's clock uses.
    runtime: &'a Runtime,
    requests: Vec<Forwarded>,
    /// What the clients of a channel see, by channel and client.
    seen: HashMap<(u8, u8), Seen>,
    last_named: HashMap<u8, Moment>,
    /// The waiting requests: channel, what they announce, future.
    waiting: Vec<(u8, Part, Wait)>,
}

fn part() -> impl Strategy<Value = Part> {
    let left_out = || prop_oneof![3 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(1))];
    prop_oneof![
        6 => (0..2u8, left_out()).prop_map(|(name, left_out)| Part::Person(name, left_out)),
        1 => (0..2u8, left_out()).prop_map(|(name, left_out)| Part::Batch(name, left_out)),
        1 => Just(Part::Opaque)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let mode =
        prop_oneof![4 => Just(ClaimMode::MayWait), 2 => Just(ClaimMode::MustNotWait), 1 => Just(ClaimMode::Forced)];
    let end = prop_oneof![
        8 => Just(RequestEnd::Answered), 1 => Just(RequestEnd::PartlyApplied), 1 => Just(RequestEnd::Lost), 1 => Just(RequestEnd::LostUnapplied), 1 => Just(RequestEnd::Dropped)
    ];
    prop_oneof![
        10 => (prop::collection::vec((0..CHANNELS, part()), 1..3), mode).prop_map(|(parts, mode)| Op::Request { parts, mode }),
        1 => Just(Op::Wide),
        8 => any::<usize>().prop_map(Op::Apply),
        10 => (any::<usize>(), end).prop_map(|(which, end)| Op::End(which, end)),
        1 => (0..CHANNELS).prop_map(Op::Forget),
        1 => (0..CHANNELS, 0..CLIENTS).prop_map(|(channel, client)| Op::Join(channel, client)),
        1 => (0..CHANNELS).prop_map(Op::Bypass),
        2 => (0..120u64).prop_map(|seconds| Op::Advance(Duration::from_secs(seconds))),
        1 => Just(Op::Sweep),
    ]
}

fn value(part: Part) -> Value {
    let person = |name: u8| Assignment::new(0, &name.to_string(), ["null"]);
    match part {
        Part::Person(name, _) => Value::One(person(name)),
        Part::Batch(name, _) => Value::Last(person(name)),
        Part::Opaque => Value::Opaque,
    }
}

impl Part {
    const fn left_out(self) -> Option<u8> {
        match self {
            Self::Person(_, left_out) | Self::Batch(_, left_out) => left_out,
            Self::Opaque => None,
        }
    }
}

impl<'a> Model<'a> {
    fn new(max_channels: usize, runtime: &'a Runtime) -> Self {
        let bounds = Bounds {
            max_channels,
            max_waiters_per_channel: 2,
            max_waiters: 3,
            doubt_period: DOUBT,
            start_doubt: Duration::ZERO,
        };
        let memory = RuleMemory::new(AppMemory::new(Clock::start(), Arc::new(bounds)), REMEMBER_FOR);
        Self {
            memory,
            runtime,
            requests: Vec::new(),
            seen: HashMap::new(),
            last_named: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Request { parts, mode } => self.request(&parts, mode),
            Op::Wide => {
                let obligation = Obligation { channels: Vec::new(), app: Some(self.memory.app().claim_all()) };
                self.forwarded((0..CHANNELS).map(|channel| (channel, Part::Opaque)).collect(), obligation);
            }
            Op::Apply(which) => {
                let open: Vec<usize> =
                    (0..self.requests.len()).filter(|&index| !self.requests[index].applied).collect();
                if !open.is_empty() {
                    self.apply(open[which % open.len()], usize::MAX);
                }
            }
            Op::End(which, end) => {
                let open: Vec<usize> =
                    (0..self.requests.len()).filter(|&index| self.requests[index].obligation.is_some()).collect();
                if !open.is_empty() {
                    self.end(open[which % open.len()], end);
                }
            }
            Op::Forget(channel) => {
                let _was_there = self.memory.forget(&channel.to_string());
            }
            Op::Join(channel, client) => {
                self.seen.remove(&(channel, client));
                self.memory.joined(&channel.to_string());
            }
            Op::Bypass(channel) => {
                self.show(channel, None, Seen::Something);
                self.memory.doubt(&channel.to_string());
                // It may be remembered from now on.
                self.last_named.entry(channel).or_insert_with(|| self.memory.now());
            }
            Op::Advance(time) => self.advance(time),
            Op::Sweep => self.memory.sweep(self.memory.now()),
        }
        self.check_waiters();
        assert!(self.memory.len() <= self.memory.app().context().max_channels());
    }

    /// Claims channel by channel, as a request does: once it holds a reservation, it no longer waits.
    fn request(&mut self, parts: &[(u8, Part)], mode: ClaimMode) {
        let now = self.memory.now();
        let (mut held, mut forwarded, mut wide) = (Vec::new(), Vec::new(), None);
        for &(channel, part) in parts {
            let mode = if mode == ClaimMode::MayWait && !forwarded.is_empty() { ClaimMode::MustNotWait } else { mode };
            let left_out = part.left_out().map(|client| Socket::of((7, client.into())));
            let value = value(part);
            match self.memory.claim(&channel.to_string(), Announced { value: &value, left_out }, mode, now) {
                Claim::Redundant(_) => self.check_redundant(channel, part, mode, now, &forwarded),
                Claim::InFlight(waiter) => {
                    assert_eq!(mode, ClaimMode::MayWait);
                    self.last_named.insert(channel, now);
                    assert!(matches!(part, Part::Person(..)), "no value equals {part:?}");
                    self.waiting.push((channel, part, Box::pin(waiter.settled())));
                    // A real request would repeat its claims later; this one ends here.
                    assert!(forwarded.is_empty());
                    return;
                }
                Claim::Reserved { reservation, .. } => {
                    held.push(reservation);
                    forwarded.push((channel, part));
                }
                Claim::Full => {
                    wide.get_or_insert_with(|| self.memory.app().claim_all());
                    forwarded.push((channel, part));
                }
            }
            self.last_named.insert(channel, now);
        }
        if !forwarded.is_empty() {
            self.forwarded(forwarded, Obligation { channels: held, app: wide });
        }
    }

    /// The first law.
    fn check_redundant(&self, channel: u8, part: Part, mode: ClaimMode, now: Moment, own: &[(u8, Part)]) {
        let Part::Person(name, left_out) = part else { panic!("{part:?} is never redundant") };
        assert!(mode != ClaimMode::Forced);
        for client in (0..CLIENTS).filter(|client| left_out != Some(*client)) {
            let seen = self.seen.get(&(channel, client));
            assert_eq!(seen, Some(&Seen::Person(name)), "client {client} of {channel} sees someone else");
        }
        let pending =
            self.requests.iter().filter(|request| !request.applied).flat_map(|request| &request.parts).chain(own);
        for (other, value) in pending {
            let is_same = matches!(value, Part::Person(other, _) if *other == name);
            assert!(*other != channel || is_same, "{value:?} may still be applied to {channel}");
        }
        assert!(now.since(self.last_named[&channel]) < REMEMBER_FOR, "no claim named {channel} for remember_for");
    }

    fn forwarded(&mut self, parts: Vec<(u8, Part)>, obligation: Obligation) {
        self.requests.push(Forwarded { parts, applied: false, obligation: Some(obligation), until: Moment::default() });
    }

    /// Upstream applies the first `parts` of a request.
    fn apply(&mut self, index: usize, parts: usize) {
        self.requests[index].applied = true;
        for (channel, part) in self.requests[index].parts.clone().into_iter().take(parts) {
            if matches!(part, Part::Batch(..)) {
                self.show(channel, None, Seen::Something);
            }
            match part {
                Part::Batch(name, left_out) if parts == usize::MAX => self.show(channel, left_out, Seen::Person(name)),
                Part::Person(name, left_out) => self.show(channel, left_out, Seen::Person(name)),
                Part::Batch(..) | Part::Opaque => self.show(channel, None, Seen::Something),
            }
        }
        if self.requests[index].obligation.is_none() {
            self.requests.swap_remove(index);
        }
    }

    /// The clients of a channel see this, but for one.
    fn show(&mut self, channel: u8, left_out: Option<u8>, seen: Seen) {
        for client in (0..CLIENTS).filter(|client| left_out != Some(*client)) {
            self.seen.insert((channel, client), seen);
        }
    }

    fn end(&mut self, index: usize, end: RequestEnd) {
        let applied = self.requests[index].applied;
        let outcome = match end {
            RequestEnd::Answered if applied => Some(Outcome::Accepted),
            RequestEnd::Answered => Some(Outcome::Refused),
            RequestEnd::PartlyApplied => {
                if !applied {
                    self.apply(index, 1);
                }
                Some(Outcome::Partial)
            }
            RequestEnd::Lost | RequestEnd::LostUnapplied => Some(Outcome::Ambiguous),
            RequestEnd::Dropped => None,
        };
        let Obligation { channels, app } = self.requests[index].obligation.take().unwrap();
        match outcome {
            Some(outcome) => {
                channels.into_iter().for_each(|reservation| reservation.settle(outcome));
                app.into_iter().for_each(|wide| wide.settle(outcome));
            }
            None => drop((channels, app)),
        }
        let may_come_late = matches!(end, RequestEnd::Lost | RequestEnd::Dropped) && !self.requests[index].applied;
        if may_come_late {
            self.requests[index].until = self.memory.now().after(DOUBT);
        } else {
            self.requests.swap_remove(index);
        }
    }

    /// A request without an answer is not applied after the doubt period; half of these requests are applied at the
    /// last moment.
    fn advance(&mut self, time: Duration) {
        let then = self.memory.now().after(time);
        while let Some(index) =
            self.requests.iter().position(|request| request.obligation.is_none() && request.until < then)
        {
            if index % 2 == 0 { self.apply(index, usize::MAX) } else { drop(self.requests.swap_remove(index)) }
        }
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Every waiting request waits for an equal announcement in flight.
    fn check_waiters(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let requests = &self.requests;
        self.waiting.retain_mut(|(channel, part, settled)| {
            let waits = settled.as_mut().poll(&mut context) == Poll::Pending;
            let is_waited_for = |request: &Forwarded| {
                let is_same = |(other, announced): &(u8, Part)| match (announced, *part) {
                    (Part::Person(one, left_out), Part::Person(name, own)) => {
                        other == channel && *one == name && (left_out.is_none() || *left_out == own)
                    }
                    _ => false,
                };
                request.obligation.is_some() && request.parts.iter().any(is_same)
            };
            assert!(
                !waits || requests.iter().any(is_waited_for),
                "no request in flight wakes the one that waits for {part:?} on {channel}"
            );
            waits
        });
        assert_eq!(self.memory.app().context().waiting(), self.waiting.len());
    }

    /// Once every request is settled and no doubt is left, an announcement becomes known and the next one is dropped.
    fn settles_and_recovers(&mut self) {
        while let Some(index) = self.requests.iter().position(|request| request.obligation.is_some()) {
            self.end(index, RequestEnd::Answered);
        }
        self.advance(DOUBT + Duration::from_millis(1));
        assert!(self.requests.is_empty());
        self.check_waiters();
        assert!(self.waiting.is_empty());
        for channel in 0..CHANNELS {
            let anna = Part::Person(0, None);
            self.request(&[(channel, anna)], ClaimMode::MayWait);
            while !self.requests.is_empty() {
                self.apply(0, usize::MAX);
                self.end(0, RequestEnd::Answered);
            }
            let again = self.memory.claim(&channel.to_string(), &value(anna), ClaimMode::MayWait, self.memory.now());
            assert!(matches!(again, Claim::Redundant(_)), "{channel} does not recover: {again:?}");
        }
        assert_eq!(self.memory.app().context().waiting(), 0);
    }
}

proptest! {
    #![proptest_config(Config { cases: 2_500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_history_loses_a_handoff(max_channels in 1..7usize, history in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let mut model = Model::new(max_channels, &runtime);
        for op in history {
            model.step(op);
        }
        model.settles_and_recovers();
    }
}
