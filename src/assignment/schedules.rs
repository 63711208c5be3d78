//! The real claim and settle code under thousands of thread schedules, chosen by shuttle. The locks and atomics of this
//! module are shuttle's then, and at each of them the scheduler may switch to another thread. In a separate target
//! directory, so that ordinary builds keep their cache:
//!
//! ```sh
//! RUSTFLAGS="--cfg usher_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --lib schedules
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::*;
use crate::clock::{Clock, Moment};

const SCHEDULES: usize = 5_000;
/// The number of additional schedules of each scenario with few, targeted switches (PCT).
const AIMED: usize = 1_000;
/// Longer than any schedule, so that a doubt ends only when a check advances the clock.
const DOUBT: Duration = Duration::from_secs(86_400);
/// Stands for the channels of a request that may touch any channel.
const ANY: &str = "*";
/// What a channel shows after a request with an opaque value.
const SOMETHING: &str = "?";

/// What upstream and the forwarding threads did, in order.
#[derive(Debug, Clone)]
enum Event {
    /// From now on it may be applied: the person and the channel.
    Forwarded(usize, &'static str, &'static str),
    /// It is applied: the channel's guests see it.
    Applied(usize),
    /// It will not be applied.
    Refused(usize),
}

/// Upstream's response to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Accepted,
    Refused,
    /// Applied, but the answer is lost.
    AnswerLost,
    /// The answer is lost and it is applied afterwards.
    Late,
    /// The task that forwards it panics before upstream applies it, which it does afterwards.
    Panic,
}

type Part = Box<dyn FnOnce(&Stage) + Send>;

/// Several threads that announce to one memory.
#[derive(Debug)]
struct Stage {
    memory: Arc<RuleMemory>,
    /// A std lock: held briefly, and not part of the explored schedules.
    log: Mutex<Vec<Event>>,
}

/// What a request has to settle: one channel, all channels, or the generation that counted it before the rules changed.
#[derive(Debug)]
enum Obligation {
    One(Reservation),
    All(WideReservation),
    Generation(GenerationTicket),
}

impl Obligation {
    fn settle(self, outcome: Outcome) {
        match self {
            Self::One(reservation) => reservation.settle(outcome),
            Self::All(wide) => wide.settle(outcome),
            Self::Generation(ticket) => ticket.settle(outcome),
        }
    }
}

fn value(name: &str) -> Value {
    if name == SOMETHING { Value::Opaque } else { Value::One(Assignment::new(0, name, [])) }
}

impl Stage {
    fn new(max_channels: usize) -> Arc<Self> {
        let bounds = Bounds {
            max_channels,
            max_waiters_per_channel: 8,
            max_waiters: 8,
            doubt_period: DOUBT,
            start_doubt: Duration::ZERO,
        };
        let memory = RuleMemory::new(AppMemory::new(Clock::start(), Arc::new(bounds)), DOUBT * 10);
        Arc::new(Self { memory, log: Mutex::default() })
    }

    fn log(&self, event: Event) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn events(&self) -> Vec<Event> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A complete request that announces `name` to each of `channels`. Returns the number of channels for which it was
    /// forwarded.
    fn announce(&self, channels: &[&'static str], name: &'static str, end: End) -> usize {
        let mut duties = Vec::new();
        for &channel in channels {
            loop {
                let from = self.events().len();
                let mode = if duties.is_empty() { ClaimMode::MayWait } else { ClaimMode::MustNotWait };
                match self.memory.claim(channel, &value(name), mode, Moment::default()) {
                    Claim::Redundant(_) => self.was_redundant(channel, name, from),
                    Claim::InFlight(waiter) => {
                        shuttle::future::block_on(waiter.settled());
                        continue;
                    }
                    Claim::Reserved { reservation, .. } => duties.push((channel, Obligation::One(reservation))),
                    Claim::Full => duties.push((ANY, Obligation::All(self.memory.app().claim_all()))),
                }
                break;
            }
        }
        let forwarded = duties.len();
        self.forward(duties, name, end);
        forwarded
    }

    /// A request that may touch any channel.
    fn touch_all(&self, end: End) {
        let wide = self.memory.app().claim_all();
        self.forward(vec![(ANY, Obligation::All(wide))], SOMETHING, end);
    }

    fn forward(&self, duties: Vec<(&'static str, Obligation)>, name: &'static str, end: End) {
        let mut ids = Vec::new();
        for (channel, _) in &duties {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            ids.push(log.len());
            let id = log.len();
            log.push(Event::Forwarded(id, channel, name));
        }
        let say = |event: fn(usize) -> Event| {
            thread::yield_now();
            ids.iter().for_each(|&id| self.log(event(id)));
            thread::yield_now();
        };
        let settle = |outcome| duties.into_iter().for_each(|(_, duty)| duty.settle(outcome));
        match end {
            End::Accepted => {
                say(Event::Applied);
                settle(Outcome::Accepted);
            }
            End::Refused => {
                say(Event::Refused);
                settle(Outcome::Refused);
            }
            End::AnswerLost => {
                say(Event::Applied);
                settle(Outcome::Ambiguous);
            }
            End::Late => {
                settle(Outcome::Ambiguous);
                say(Event::Applied);
            }
            End::Panic => {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    let _unsettled = settle;
                    thread::yield_now();
                    // Without the panic hook, which would report it as a failure of the schedule.
                    resume_unwind(Box::new("the task that forwards"));
                }));
                assert!(panicked.is_err());
                say(Event::Applied);
            }
        }
    }

    /// The first law: since `from` there was a moment at which the guests saw `name` and no other announcement could
    /// still be applied.
    fn was_redundant(&self, channel: &str, name: &str, from: usize) {
        let events = self.events();
        let moment = (from..=events.len()).any(|end| {
            let (mut shown, mut pending) = (None, Vec::new());
            for event in &events[..end] {
                match *event {
                    Event::Forwarded(id, to, what) if to == channel || to == ANY => pending.push((id, to, what)),
                    Event::Forwarded(..) => {}
                    Event::Refused(id) => pending.retain(|&(other, ..)| other != id),
                    Event::Applied(id) => {
                        if let Some(position) = pending.iter().position(|&(other, ..)| other == id) {
                            let (_, to, what) = pending.swap_remove(position);
                            shown = Some(if to == ANY { SOMETHING } else { what });
                        }
                    }
                }
            }
            shown == Some(name) && pending.iter().all(|&(_, to, what)| to == channel && what == name)
        });
        assert!(moment, "{name} on {channel} was lost after {events:#?}");
    }

    fn applied(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::Applied(_))).count()
    }

    /// At the end: no ticket is left, no request waits, and what is still known once the doubts have ended is true.
    fn is_over(&self) {
        assert_eq!((self.memory.app().context().waiting(), self.memory.app().wide_in_flight()), (0, 0));
        let later = Clock::start().now().after(DOUBT * 2);
        for entry in self.memory.entries("", usize::MAX) {
            assert_eq!(entry.in_flight, 0);
            for name in ["A", "B"] {
                match self.memory.claim(&entry.channel, &value(name), ClaimMode::MayWait, later) {
                    Claim::Redundant(_) => self.was_redundant(&entry.channel, name, self.events().len()),
                    Claim::Reserved { reservation, .. } => reservation.settle(Outcome::Refused),
                    other => panic!("nothing is in flight on {entry:?}, and it is held: {other:?}"),
                }
            }
        }
    }
}

/// Runs the threads of a schedule to their end.
fn play(stage: &Arc<Stage>, parts: Vec<Part>) {
    let threads: Vec<_> = parts
        .into_iter()
        .map(|part| {
            let stage = Arc::clone(stage);
            thread::spawn(move || part(&stage))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread of the schedule failed");
    }
    stage.is_over();
}

/// One thread of a schedule. What `act` returns does not matter.
fn part<T>(act: impl FnOnce(&Stage) -> T + Send + 'static) -> Part {
    Box::new(move |stage| {
        let _returned = act(stage);
    })
}

fn explore(scenario: fn()) {
    shuttle::check_random(scenario, SCHEDULES);
    shuttle::check_pct(scenario, AIMED, 3);
}

fn one_of(ends: &[End]) -> End {
    ends[thread_rng().gen_range(0..ends.len())]
}

#[test]
fn duplicates_meet_their_leader() {
    explore(|| {
        let stage = Stage::new(10);
        let duplicate = || part(|stage| stage.announce(&["room"], "A", End::Accepted));
        play(&stage, vec![duplicate(), duplicate(), duplicate()]);
        assert_eq!(stage.applied(), 1, "one announcement for all three");
    });
}

#[test]
fn a_leader_fails_and_one_of_the_waiters_takes_over() {
    explore(|| {
        let stage = Stage::new(10);
        let duplicate = || part(|stage| stage.announce(&["room"], "A", End::Accepted));
        play(&stage, vec![part(|stage| stage.announce(&["room"], "A", End::Refused)), duplicate(), duplicate()]);
        assert_eq!(stage.applied(), 1, "one announcement for the two others");
    });
}

#[test]
fn a_leader_panics() {
    explore(|| {
        let stage = Stage::new(10);
        let leader = stage.memory.claim("room", &value("A"), ClaimMode::MayWait, Moment::default());
        let Claim::Reserved { reservation, .. } = leader else { panic!("the first") };
        let duplicate = || {
            part(|stage| {
                assert_eq!(stage.announce(&["room"], "A", End::Accepted), 1, "in doubt, so nothing is dropped")
            })
        };
        let leader = part(|stage| stage.forward(vec![("room", Obligation::One(reservation))], "A", End::Panic));
        play(&stage, vec![leader, duplicate(), duplicate()]);
    });
}

#[test]
fn a_then_b_then_a() {
    explore(|| {
        let stage = Stage::new(10);
        let story = || {
            part(|stage: &Stage| {
                for name in ["A", "B", "A"] {
                    stage.announce(
                        &["room"],
                        name,
                        one_of(&[End::Accepted, End::Accepted, End::Accepted, End::Refused, End::Late]),
                    );
                }
            })
        };
        play(&stage, vec![story(), story()]);
    });
}

#[test]
fn channels_in_opposite_orders() {
    explore(|| {
        let stage = Stage::new(10);
        let announce =
            |channels: &'static [&'static str], name| part(move |stage| stage.announce(channels, name, End::Accepted));
        play(
            &stage,
            vec![
                announce(&["1", "2"], "A"),
                announce(&["2", "1"], "A"),
                announce(&["1", "2"], "A"),
                announce(&["2", "1"], "B"),
            ],
        );
    });
}

#[test]
fn releases_race_with_announcements() {
    explore(|| {
        let stage = Stage::new(10);
        let announce = || {
            part(|stage: &Stage| {
                stage.announce(&["room"], "A", End::Accepted);
                stage.announce(&["room"], "A", one_of(&[End::Accepted, End::Refused]));
            })
        };
        let release =
            part(|stage| stage.announce(&["room"], SOMETHING, one_of(&[End::Accepted, End::Refused, End::AnswerLost])));
        let forget = part(|stage| stage.memory.forget("room"));
        play(&stage, vec![announce(), announce(), release, forget]);
    });
}

#[test]
fn evictions_race_with_announcements() {
    explore(|| {
        let stage = Stage::new(2);
        let announce = |channels: &'static [&'static str]| {
            part(move |stage: &Stage| {
                for &channel in channels {
                    stage.announce(
                        &[channel],
                        "A",
                        one_of(&[End::Accepted, End::Accepted, End::Accepted, End::Refused, End::Late]),
                    );
                }
            })
        };
        let handoffs =
            part(|stage| (stage.announce(&["1"], "B", End::Accepted), stage.announce(&["1"], "B", End::Accepted)));
        play(&stage, vec![announce(&["1", "2", "1"]), announce(&["3", "1", "3"]), announce(&["2", "2"]), handoffs]);
        assert!(stage.memory.len() <= 2);
    });
}

#[test]
fn a_request_that_may_touch_any_channel_races_with_commits() {
    explore(|| {
        let stage = Stage::new(10);
        let announce = || {
            part(|stage: &Stage| {
                stage.announce(&["room"], "A", End::Accepted);
                stage.announce(&["room"], "A", End::Accepted);
            })
        };
        let wide = || {
            part(|stage| {
                stage.touch_all(one_of(&[End::Accepted, End::Refused, End::AnswerLost, End::Late, End::Panic]))
            })
        };
        play(&stage, vec![announce(), announce(), wide(), wide()]);
    });
}

#[test]
fn a_request_that_may_touch_any_channel_races_with_one_commit() {
    explore(|| {
        let stage = Stage::new(10);
        let wide = part(|stage| stage.touch_all(one_of(&[End::Accepted, End::AnswerLost, End::Late])));
        play(&stage, vec![part(|stage| stage.announce(&["room"], "A", End::Accepted)), wide]);
    });
}

/// Requests that were decided under other rules are sent and settled while new rules come into force and are used.
#[test]
fn a_change_of_the_rules_races_with_requests_in_flight() {
    explore(|| {
        let stage = Stage::new(10);
        let generation: Arc<Generation> = Arc::default();
        let old = || {
            let generation = Arc::clone(&generation);
            part(move |stage: &Stage| {
                let ticket = generation.begin();
                stage.forward(
                    vec![(ANY, Obligation::Generation(ticket))],
                    SOMETHING,
                    one_of(&[End::Accepted, End::Refused, End::AnswerLost]),
                );
            })
        };
        let old = [old(), old()];
        let new = part(move |stage| {
            generation.supersede(vec![Arc::clone(stage.memory.app())]);
            (0..3).for_each(|_| _ = stage.announce(&["room"], "A", End::Accepted));
        });
        play(&stage, old.into_iter().chain([new]).collect());
    });
}

#[test]
fn shutdown_drops_what_is_held_while_others_wait() {
    explore(|| {
        let stage = Stage::new(10);
        let held: Vec<Obligation> = ["1", "2"]
            .into_iter()
            .map(|channel| match stage.memory.claim(channel, &value("A"), ClaimMode::MayWait, Moment::default()) {
                Claim::Reserved { reservation, .. } => Obligation::One(reservation),
                other => panic!("not reserved: {other:?}"),
            })
            .collect();
        let waits = |channel| part(move |stage: &Stage| stage.announce(&[channel], "A", End::Panic));
        // A request that stops waiting without a wake-up.
        let gives_up = part(|stage| drop(stage.memory.claim("1", &value("A"), ClaimMode::MayWait, Moment::default())));
        play(&stage, vec![part(move |_| drop(held)), waits("1"), waits("1"), waits("2"), gives_up]);
    });
}
