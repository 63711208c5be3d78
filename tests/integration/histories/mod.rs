//! The first law under faults: random histories of the real process, which is killed, restarted, stopped and
//! reconfigured while several backends announce and upstream fails in every way; a checker that is independent of
//! usher's decision logic checks the results.
//!
//! A seed determines the operations of a history, but not how threads and processes interleave: a seed reproduces a
//! violation often, but not always. `tests/long` runs many histories.

pub mod callers;
pub mod checker;
mod endings;
pub mod process;
pub mod record;
pub mod setup;
pub mod summary;
pub mod upstream;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use self::callers::{Caller, STAFF};
use self::checker::check;
use self::process::Process;
use self::record::{Record, Recorder};
use self::setup::{CHANNELS, TIMEOUT};
use crate::harness::{Fake, Random, eventually};

/// The number of concurrent backends.
const CALLERS: u64 = 4;

/// The result of a history.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// The violations, each with the events around it; empty: the history is correct.
    pub faults: Vec<String>,
    pub calls: usize,
    /// Announcements dropped before the final phase.
    pub dropped: usize,
    /// Those of them dropped by requests whose other parts were forwarded.
    pub reduced: usize,
    /// The number of operations of each kind.
    pub done: BTreeMap<&'static str, usize>,
    pub actions: BTreeMap<String, usize>,
    /// What was dropped after each kind of start ([`checker::shares`]).
    pub shares: BTreeMap<String, Vec<(usize, usize)>>,
}

impl Outcome {
    /// What the checker says of a history. `stormy`: its record before the final phase. `faults`: what was found wrong
    /// already.
    pub fn of(
        seed: u64,
        (stormy, record): (&Record, &Record),
        mut faults: Vec<String>,
        done: BTreeMap<&'static str, usize>,
    ) -> Self {
        let violations = check(record).violations;
        faults
            .extend(violations.iter().map(|violation| format!("{violation}\n{}", summary::around(record, violation))));
        let dropped = check(stormy).dropped;
        let arrived: HashSet<usize> = record.arrivals.iter().map(|arrival| arrival.call).collect();
        let reduced = dropped.iter().filter(|dropped| arrived.contains(&dropped.call)).count();
        let mut actions = BTreeMap::new();
        for arrival in &record.arrivals {
            *actions.entry(arrival.action.clone()).or_default() += 1;
        }
        let shares = checker::shares(record, &summary::STEPS);
        Self { seed, faults, calls: record.calls.len(), dropped: dropped.len(), reduced, done, actions, shares }
    }
}

/// Runs one history.
fn play(seed: u64) -> Outcome {
    let fake = Fake::start();
    let recorder = Arc::new(Recorder::start());
    let mut process = Process::start(&fake, &recorder, seed);
    let callers: Vec<_> = (1..=CALLERS)
        .map(|number| {
            let caller = Caller::new(&process.shared, Random(seed.wrapping_add(number << 40)));
            thread::spawn(|| caller.run())
        })
        .collect();
    for _ in 0..4 {
        process.operate();
    }
    process.mend();
    thread::sleep(Duration::from_millis(900));
    process.shared.close();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    recorder.end_start();
    let stormy = recorder.read();
    let faults = come_to_rest(&process, &recorder, seed);
    Outcome::of(seed, (&stormy, &recorder.read()), faults, process.done)
}

/// Once upstream accepts everything and no request is in flight, an announcement on a channel soon becomes known and
/// its repeats are dropped; and it is what guests see.
fn come_to_rest(process: &Process<'_>, recorder: &Arc<Recorder>, seed: u64) -> Vec<String> {
    process.upstream.accept_all();
    thread::sleep(TIMEOUT + process.settings.doubt);
    let mut caller = Caller::new(&process.shared, Random(seed));
    let mut words = Vec::new();
    for (app, channels) in CHANNELS {
        for channel in channels {
            let staff = Random(seed).pick(&STAFF);
            eventually("an announcement is known", || {
                let answer = caller.announce(recorder.begin(), (app, channel), staff, None);
                answer.filter(|answer| answer.decision == "suppressed")
            });
            words.push((*channel, staff));
        }
    }
    wrong_in_the_end(&recorder.read(), words)
}

/// The channels on which guests see something else in the end than what was announced last.
pub fn wrong_in_the_end(record: &Record, announced: Vec<(&str, &str)>) -> Vec<String> {
    let shown = checker::shown_in_the_end(record);
    let wrong = announced.into_iter().filter(|(channel, staff)| shown[channel].as_deref() != Some(staff));
    wrong
        .map(|(channel, staff)| format!("in the end the guests of {channel} see {:?}, and not {staff}", shown[channel]))
        .collect()
}

/// Says which history panicked, since it cannot be among the wrong ones.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the history with seed {} panicked", self.0);
        }
    }
}

/// Runs histories with these seeds, a given number concurrently, and stops at the first wrong one. `check`: the name
/// under which `tests/long` plays them.
pub fn play_all(check: &str, play: fn(u64) -> Outcome, seeds: std::ops::Range<u64>, at_once: usize) {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let _seed = Seed(seed);
                    let outcome = play(seed);
                    eprintln!("{}", summary::line(&outcome));
                    if !outcome.faults.is_empty() && std::env::var_os("HISTORIES_GO_ON").is_none() {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    eprintln!("{}", summary::summary(&outcomes));
    let wrong: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).collect();
    assert!(wrong.is_empty(), "{}", summary::of_faults(check, &wrong));
    let dropped: usize = outcomes.iter().map(|outcome| outcome.dropped).sum();
    assert!(dropped > 20 * outcomes.len(), "only {dropped} announcements were dropped in {} histories", outcomes.len());
}

#[test]
fn no_fault_loses_a_handoff() {
    play_all("histories", play, 1..17, 8);
}

/// Run by `tests/long`.
#[test]
#[ignore = "long: run by tests/long"]
fn no_fault_loses_a_handoff_in_many_histories() {
    play_as_told("histories", play);
}

/// Runs as many histories as `tests/long` says.
pub fn play_as_told(check: &str, play: fn(u64) -> Outcome) {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let first = number("SEED", 1_000);
    let at_once = usize::try_from(number("AT_ONCE", 8)).unwrap();
    play_all(check, play, first..first + number("HISTORIES", 500), at_once);
}
