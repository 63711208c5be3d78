//! The first law with several ushers: random histories of several real processes that share their memory in a real
//! Redis, while processes, Redis and the network between them fail. Callers are spread at random over the ushers. The
//! callers, the fake upstream and the checker are those of `histories`: the checker sees only what callers asked for and
//! what upstream applied, so it does not matter how many ushers are between them.
//!
//! After the last fault redundant announcements must be suppressed again within the time that the design states.

mod churn;
mod faults;
mod fleet;
mod proxy;
mod rolling;
mod sentinel;
mod upgrade;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use self::faults::{ALL, Fault};
use self::fleet::{DOUBT, Fleet, LEASE, MEMBER_TIMEOUT};
use crate::harness::{Fake, Random, redis};
use crate::histories::callers::{Caller, STAFF};
use crate::histories::record::Recorder;
use crate::histories::setup::{CHANNELS, TIMEOUT};
use crate::histories::{Outcome, play_all, play_as_told, wrong_in_the_end};

/// The number of concurrent backends.
const CALLERS: u64 = 4;

/// What a busy machine may add to the times of the design.
const SLACK: Duration = Duration::from_secs(10);

/// The longest wait for a machine that is busy all the time.
const PATIENCE: Duration = Duration::from_secs(90);

/// What takes part in a history.
#[derive(Debug, Clone, Copy)]
struct Plan {
    ushers: usize,
    /// Whether they share a memory.
    is_shared: bool,
    /// Which faults there are: the history has some of them.
    faults: &'static [Fault],
    count: usize,
    /// Whether the store has no replica, whatever the seed says.
    is_lone: bool,
    /// Applied to each configuration.
    adapt: fn(String) -> String,
}

/// Plays one history.
fn play(seed: u64, plan: Plan) -> Outcome {
    let fake = Fake::start();
    let recorder = Arc::new(Recorder::start());
    let mut fleet = Fleet::start(&fake, &recorder, seed, &plan);
    if fleet.is_supervised() {
        fleet.close_history();
    } else if plan.is_shared {
        // The first history is open for this time.
        thread::sleep(LEASE + MEMBER_TIMEOUT);
    }
    let callers = call(&fleet, seed);
    if plan.is_shared {
        fleet.shared.set_calm(true);
        thread::sleep(DOUBT);
        recorder.start_process("no fault".to_owned());
        fleet.shared.set_calm(false);
    }
    thread::sleep(if plan.count > 0 { Duration::from_millis(700) } else { Duration::from_secs(3) });
    let mut random = Random(seed ^ 0xFA01);
    for _ in 0..plan.count {
        let fault = random.pick(plan.faults);
        recorder.end_start();
        fleet.strike(fault, if plan.faults.len() > 1 { plan.faults } else { &[] });
        recorder.start_process(format!("{fault:?}"));
        thread::sleep(random.millis(20, 1_500));
    }
    fleet.mend();
    // A later one is sometimes closed by the operator.
    let is_closed = fleet.may_begin_history && fleet.is_supervised() && random.chance(50);
    if is_closed {
        fleet.close_history();
    }
    let begins_history = fleet.may_begin_history && !is_closed;
    fleet.shared.set_calm(true);
    let bound = if begins_history { LEASE + MEMBER_TIMEOUT + DOUBT } else { LEASE * 2 + DOUBT };
    if plan.count > 0 {
        // Also when a history is open no more, nothing is lost.
        thread::sleep(if begins_history { bound + Duration::from_millis(500) } else { Duration::from_millis(1_200) });
    }
    fleet.shared.close();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    recorder.end_start();
    let stormy = recorder.read();
    let faults = come_to_rest(&fleet, &recorder, seed, bound);
    let done = std::mem::take(&mut fleet.done);
    Outcome::of(seed, (&stormy, &recorder.read()), faults, done)
}

/// Starts the callers.
fn call(fleet: &Fleet<'_>, seed: u64) -> Vec<thread::JoinHandle<()>> {
    let start = |number: u64| {
        let caller = Caller::new(&fleet.shared, Random(seed.wrapping_add(number << 40)));
        thread::spawn(|| caller.run())
    };
    (1..=CALLERS).map(start).collect()
}

/// Once upstream accepts everything and no request is in flight, an announcement on a channel is known to all ushers
/// within `bound` and its repeats are dropped; and it is what guests see.
fn come_to_rest(fleet: &Fleet<'_>, recorder: &Arc<Recorder>, seed: u64, bound: Duration) -> Vec<String> {
    fleet.upstream.accept_all();
    thread::sleep(TIMEOUT + DOUBT);
    let deadline = Deadline::start(fleet, bound + SLACK);
    let mut caller = Caller::new(&fleet.shared, Random(seed));
    let mut announced = Vec::new();
    for address in fleet.addresses() {
        fleet.shared.move_to(address);
        for (app, channel) in CHANNELS.iter().flat_map(|(app, channels)| channels.iter().map(move |one| (*app, *one))) {
            let staff = Random(seed).pick(&STAFF);
            announced.push((channel, staff));
            loop {
                let answer = caller.announce(recorder.begin(), (app, channel), staff, None);
                if answer.as_ref().is_some_and(|answer| answer.decision == "suppressed") {
                    break;
                }
                if deadline.is_over() {
                    let (done, logs) = (&fleet.done, fleet.logs());
                    return vec![format!(
                        "{channel} at {address}: not suppressed in time: {done:?}, {answer:?}\n{logs}"
                    )];
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    wrong_in_the_end(&recorder.read(), announced)
}

/// The end of a period in which the machine was not too busy for a lease to be renewed.
struct Deadline {
    period: Duration,
    began: Instant,
    /// When it was too busy last.
    busy: Arc<Mutex<Instant>>,
    is_over: Arc<AtomicBool>,
}

impl Deadline {
    /// Asks the store again and again, beside the ushers.
    fn start(fleet: &Fleet<'_>, period: Duration) -> Self {
        let began = Instant::now();
        let (busy, is_over) = (Arc::new(Mutex::new(began)), Arc::new(AtomicBool::default()));
        if let Some(primary) = fleet.primary() {
            let (busy, is_over) = (Arc::clone(&busy), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    thread::sleep(LEASE / 12);
                    let took = redis::answers_after(primary);
                    if took.is_err() || asked.elapsed() > LEASE / 6 {
                        *busy.lock().unwrap() = Instant::now();
                    }
                }
            });
        }
        Self { period, began, busy, is_over }
    }

    fn is_over(&self) -> bool {
        self.busy.lock().unwrap().elapsed() > self.period || self.began.elapsed() > PATIENCE
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Three ushers, and some faults of all kinds.
const fn mixed() -> Plan {
    Plan { ushers: 3, is_shared: true, faults: &ALL, count: 3, is_lone: false, adapt: |toml| toml }
}

fn play_mixed(seed: u64) -> Outcome {
    play(seed, mixed())
}

/// One kind of fault in each history, in turn.
fn play_single(seed: u64) -> Outcome {
    let kind = usize::try_from(seed).unwrap() % ALL.len();
    play(seed, Plan { faults: std::slice::from_ref(&ALL[kind]), count: 2, ..mixed() })
}

/// Half of the histories have one kind of fault.
fn play_any(seed: u64) -> Outcome {
    // With the seed that plays it again.
    if seed.is_multiple_of(2) { Outcome { seed, ..play_single(seed / 2) } } else { play_mixed(seed) }
}

/// Ushers that share nothing, and no faults.
const fn alone(ushers: usize) -> Plan {
    Plan { ushers, is_shared: false, faults: &[], count: 0, ..mixed() }
}

#[test]
fn one_usher_that_shares_nothing_loses_no_handoff() {
    let outcome = play(1, alone(1));
    assert!(outcome.faults.is_empty() && outcome.dropped > 20, "{:?}", outcome.faults);
}

/// The checker can fail.
#[test]
fn two_ushers_that_share_nothing_lose_handoffs() {
    let lost = |seed| {
        let outcome = play(seed, alone(2));
        outcome.faults.iter().any(|fault| fault.contains("NotShown"))
    };
    assert!((1..=5).any(lost), "the checker finds nothing");
}

/// Run by `tests/run` with nothing beside it: so many processes would make others late.
#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn no_fault_loses_a_handoff_of_ushers_that_share_a_memory() {
    play_all("cluster", play_any, 1..201, 14);
}

/// Run by `tests/long`.
#[test]
#[ignore = "long: run by tests/long"]
fn no_fault_loses_a_handoff_in_many_histories() {
    play_as_told("cluster", play_any);
}
