//! Random histories of several channels under one memory, against a small model of the first law: what is dropped was
//! redundant, and what is plainly redundant is dropped.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest::test_runner::Config;
use tokio::runtime::Runtime;

use super::*;
use crate::assignment::{Bounds, WideReservation};
use crate::clock::Clock;

const CHANNELS: u8 = 5;
const DOUBT: Duration = Duration::from_secs(30);
const REMEMBER_FOR: Duration = Duration::from_secs(100);

/// A part of a request on one channel. A batch shows several people, the last of whom is the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Person(u8),
    Batch(u8),
    Nobody,
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
    /// Upstream applies a request in flight, one that was given up included.
    Apply(usize),
    /// A request in flight ends. Accepted only if it was applied, refused only if it was not.
    End(usize, Ending),
    Forget(u8),
    Pass(Duration),
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Answered,
    HalfDone,
    /// The answer is lost; what is not applied yet may be.
    Lost,
    /// The answer is lost, and what is not applied yet never will be.
    LostForGood,
    /// The task panics.
    Dropped,
}

/// What the model knows of a request that was forwarded.
struct Forwarded {
    parts: Vec<(u8, Part)>,
    applied: bool,
    /// `None`: it was given up, and upstream may apply it until then.
    duty: Option<Obligation>,
    until: Moment,
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

struct Obligation {
    channels: Vec<Reservation>,
    app: Option<WideReservation>,
}

/// The memory, and what is true.
struct World<'a> {
    memory: Arc<RuleMemory>,
    /// Entered, with its time paused: the memory's clock goes by it.
    runtime: &'a Runtime,
    requests: Vec<Forwarded>,
    /// What the guests of a channel see.
    shown: HashMap<u8, Part>,
    last_named: HashMap<u8, Moment>,
    /// Who waits: for which channel and person.
    waiting: Vec<(u8, u8, Wait)>,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![6 => (0..2u8).prop_map(Part::Person), 1 => (0..2u8).prop_map(Part::Batch), 1 => Just(Part::Nobody)]
}

fn op() -> impl Strategy<Value = Op> {
    let mode =
        prop_oneof![4 => Just(ClaimMode::MayWait), 2 => Just(ClaimMode::MustNotWait), 1 => Just(ClaimMode::Forced)];
    let ending = prop_oneof![
        8 => Just(Ending::Answered), 1 => Just(Ending::HalfDone), 1 => Just(Ending::Lost), 1 => Just(Ending::LostForGood), 1 => Just(Ending::Dropped)
    ];
    prop_oneof![
        10 => (prop::collection::vec((0..CHANNELS, part()), 1..3), mode).prop_map(|(parts, mode)| Op::Request { parts, mode }),
        1 => Just(Op::Wide),
        8 => any::<usize>().prop_map(Op::Apply),
        10 => (any::<usize>(), ending).prop_map(|(which, ending)| Op::End(which, ending)),
        1 => (0..CHANNELS).prop_map(Op::Forget),
        2 => (0..120u64).prop_map(|seconds| Op::Pass(Duration::from_secs(seconds))),
        1 => Just(Op::Sweep),
    ]
}

fn value(part: Part) -> Value {
    let person = |name: u8| Assignment::new(0, &name.to_string(), ["null"]);
    match part {
        Part::Person(name) => Value::One(person(name)),
        Part::Batch(name) => Value::Last(person(name)),
        Part::Nobody => Value::Opaque,
    }
}

impl<'a> World<'a> {
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
            shown: HashMap::new(),
            last_named: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Request { parts, mode } => self.request(&parts, mode),
            Op::Wide => {
                let duty = Obligation { channels: Vec::new(), app: Some(self.memory.app().claim_all()) };
                self.forwarded((0..CHANNELS).map(|channel| (channel, Part::Nobody)).collect(), duty);
            }
            Op::Apply(which) => {
                let open: Vec<usize> =
                    (0..self.requests.len()).filter(|&index| !self.requests[index].applied).collect();
                if !open.is_empty() {
                    self.apply(open[which % open.len()], usize::MAX);
                }
            }
            Op::End(which, ending) => {
                let open: Vec<usize> =
                    (0..self.requests.len()).filter(|&index| self.requests[index].duty.is_some()).collect();
                if !open.is_empty() {
                    self.end(open[which % open.len()], ending);
                }
            }
            Op::Forget(channel) => {
                let _was_there = self.memory.forget(&channel.to_string());
            }
            Op::Pass(time) => self.pass(time),
            Op::Sweep => self.memory.sweep(self.memory.now()),
        }
        self.waiting_are_woken();
        assert!(self.memory.len() <= self.memory.app().context().max_channels());
    }

    /// Claims channel by channel, as a request does: once it holds a reservation it waits no longer.
    fn request(&mut self, parts: &[(u8, Part)], mode: ClaimMode) {
        let now = self.memory.now();
        let (mut held, mut forwarded, mut wide) = (Vec::new(), Vec::new(), None);
        for &(channel, part) in parts {
            let mode = if mode == ClaimMode::MayWait && !forwarded.is_empty() { ClaimMode::MustNotWait } else { mode };
            match self.memory.claim(&channel.to_string(), &value(part), mode, now) {
                Claim::Redundant { .. } => self.was_redundant(channel, part, mode, now, &forwarded),
                Claim::InFlight(waiter) => {
                    assert_eq!(mode, ClaimMode::MayWait);
                    self.last_named.insert(channel, now);
                    let Part::Person(name) = part else { panic!("nothing is like {part:?}") };
                    self.waiting.push((channel, name, Box::pin(waiter.settled())));
                    // This request would claim again later; here it just goes away with the place of its first channel.
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
    fn was_redundant(&self, channel: u8, part: Part, mode: ClaimMode, now: Moment, own: &[(u8, Part)]) {
        assert!(matches!(part, Part::Person(_)) && mode != ClaimMode::Forced, "{part:?} is never redundant");
        assert_eq!(self.shown.get(&channel), Some(&part), "the guests of {channel} see someone else");
        let pending =
            self.requests.iter().filter(|request| !request.applied).flat_map(|request| &request.parts).chain(own);
        for (other, value) in pending {
            assert!(*other != channel || *value == part, "{value:?} may still be applied to {channel}");
        }
        assert!(now.since(self.last_named[&channel]) < REMEMBER_FOR, "nobody named {channel} for so long");
    }

    fn forwarded(&mut self, parts: Vec<(u8, Part)>, duty: Obligation) {
        self.requests.push(Forwarded { parts, applied: false, duty: Some(duty), until: Moment::default() });
    }

    /// Upstream applies the first `parts` of a request.
    fn apply(&mut self, index: usize, parts: usize) {
        let request = &mut self.requests[index];
        request.applied = true;
        for &(channel, part) in request.parts.iter().take(parts) {
            let shows = match part {
                Part::Batch(name) if parts == usize::MAX => Part::Person(name),
                Part::Batch(_) => Part::Nobody,
                other => other,
            };
            self.shown.insert(channel, shows);
        }
        if request.duty.is_none() {
            self.requests.swap_remove(index);
        }
    }

    fn end(&mut self, index: usize, ending: Ending) {
        let applied = self.requests[index].applied;
        let outcome = match ending {
            Ending::Answered if applied => Some(Outcome::Accepted),
            Ending::Answered => Some(Outcome::Refused),
            Ending::HalfDone => {
                if !applied {
                    self.apply(index, 1);
                }
                Some(Outcome::Partial)
            }
            Ending::Lost | Ending::LostForGood => Some(Outcome::Ambiguous),
            Ending::Dropped => None,
        };
        let Obligation { channels, app } = self.requests[index].duty.take().unwrap();
        match outcome {
            Some(outcome) => {
                channels.into_iter().for_each(|reservation| reservation.settle(outcome));
                app.into_iter().for_each(|wide| wide.settle(outcome));
            }
            None => drop((channels, app)),
        }
        let may_come_late = matches!(ending, Ending::Lost | Ending::Dropped) && !self.requests[index].applied;
        if may_come_late {
            self.requests[index].until = self.memory.now().after(DOUBT);
        } else {
            self.requests.swap_remove(index);
        }
    }

    /// What was given up too long ago will not be applied any more; half of it is, at the last moment.
    fn pass(&mut self, time: Duration) {
        let then = self.memory.now().after(time);
        while let Some(index) = self.requests.iter().position(|request| request.duty.is_none() && request.until < then)
        {
            if index % 2 == 0 { self.apply(index, usize::MAX) } else { drop(self.requests.swap_remove(index)) }
        }
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Whoever still waits does so for an equal announcement in flight.
    fn waiting_are_woken(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let requests = &self.requests;
        self.waiting.retain_mut(|(channel, name, settled)| {
            let waits = settled.as_mut().poll(&mut context) == Poll::Pending;
            let leads = |request: &Forwarded| {
                request.duty.is_some() && request.parts.contains(&(*channel, Part::Person(*name)))
            };
            assert!(!waits || requests.iter().any(leads), "nobody wakes who waits for {name} on {channel}");
            waits
        });
        assert_eq!(self.memory.app().context().waiting(), self.waiting.len());
    }

    /// Once all is settled and no doubt is left, an announcement is known and the next one dropped.
    fn comes_to_rest(&mut self) {
        while let Some(index) = self.requests.iter().position(|request| request.duty.is_some()) {
            self.end(index, Ending::Answered);
        }
        self.pass(DOUBT + Duration::from_millis(1));
        assert!(self.requests.is_empty());
        self.waiting_are_woken();
        assert!(self.waiting.is_empty());
        for channel in 0..CHANNELS {
            self.request(&[(channel, Part::Person(0))], ClaimMode::MayWait);
            while !self.requests.is_empty() {
                self.apply(0, usize::MAX);
                self.end(0, Ending::Answered);
            }
            let again =
                self.memory.claim(&channel.to_string(), &value(Part::Person(0)), ClaimMode::MayWait, self.memory.now());
            assert!(matches!(again, Claim::Redundant { .. }), "{channel} does not heal: {again:?}");
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
        let mut world = World::new(max_channels, &runtime);
        for op in history {
            world.step(op);
        }
        world.comes_to_rest();
    }
}
