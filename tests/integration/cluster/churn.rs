//! Ushers come and go under load for a time, and nothing of them is left: no key, no connection, and nothing in the one
//! that lives through it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::fleet::{DOUBT, Fleet, LEASE, MEMBER_TIMEOUT};
use super::{Plan, call, come_to_rest, mixed};
use crate::harness::usher::Signal;
use crate::harness::{Fake, eventually};
use crate::histories::callers::SharedState;
use crate::histories::record::Recorder;
use crate::histories::{Outcome, summary};

/// The usher that lives through it.
const WITNESS: usize = 0;

/// So many run at least.
const FEWEST: usize = 3;

/// What the memory of the witness may grow by: what an allocator keeps, and tables that have grown to their bounds.
const GROWTH: f64 = 8.0 * 1024.0 * 1024.0;

/// What the witness holds when nothing is asked of it and it is the only member.
#[derive(Debug, Clone, Copy)]
struct Held {
    tasks: f64,
    files: f64,
    memory: f64,
}

impl Held {
    fn now(fleet: &Fleet<'_>) -> Self {
        let series = fleet.gateways[WITNESS].admin().series();
        let of = |name: &str| series[name];
        Self { tasks: of("usher_tasks"), files: of("process_open_fds"), memory: of("process_resident_memory_bytes") }
    }

    /// Ends all others in time, and waits until the witness knows that.
    fn of_the_last(fleet: &mut Fleet<'_>, fake: &Fake) -> Self {
        for number in 0..fleet.gateways.len() {
            if number != WITNESS {
                fleet.end_usher(number, Signal::Term);
            }
        }
        fake.close_connections();
        eventually("the witness is the only member, and nothing is connected to it", || {
            let admin = fleet.gateways[WITNESS].admin();
            let cluster = admin.json("/cluster");
            let alone = |app: &serde_json::Value| app["members"].as_array().is_some_and(|members| members.len() == 1);
            (cluster["apps"].as_array().unwrap().iter().all(alone) && admin.metric("usher_connections", &[]) == 0.0)
                .then_some(())
        });
        // What has ended a moment ago is still counted.
        let mut last = Self::now(fleet);
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
            let now = Self::now(fleet);
            last = Self { tasks: last.tasks.min(now.tasks), files: last.files.min(now.files), memory: now.memory };
        }
        last
    }
}

/// Callers that are new, since they end with the load.
fn renew(fleet: &mut Fleet<'_>) {
    let addresses = fleet.addresses();
    fleet.shared = SharedState::new(&fleet.recorder, addresses[0]);
    fleet.shared.spread_over(&addresses);
}

/// Runs `act` while backends announce.
fn under_load(fleet: &mut Fleet<'_>, seed: u64, act: impl FnOnce(&mut Fleet<'_>)) {
    let callers = call(fleet, seed);
    act(fleet);
    fleet.shared.close();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}

/// One usher of the others comes, goes or wakes.
fn turn(fleet: &mut Fleet<'_>) {
    let number = 1 + fleet.random.below(fleet.gateways.len() - 1);
    let running = fleet.gateways.iter().filter(|gateway| gateway.is_running()).count();
    let what = if fleet.gateways[number].is_halted() {
        fleet.wake_usher(number);
        "goes on"
    } else if !fleet.gateways[number].is_running() {
        fleet.gateways[number].start();
        "comes"
    } else if running <= FEWEST {
        return;
    } else {
        match fleet.random.below(4) {
            0 | 1 => {
                fleet.end_usher(number, Signal::Term);
                "leaves"
            }
            2 => {
                fleet.end_usher(number, Signal::Kill);
                "is killed"
            }
            _ => {
                fleet.halt_usher(number);
                "is halted"
            }
        }
    };
    *fleet.done.entry(what).or_default() += 1;
    fleet.recorder.operate(format!("{what} {number}"));
}

/// What is left at the store once all have ended: nothing but what `remember_for` still holds, and then the records of
/// the members alone, without which the next process would begin a history.
fn assert_nothing_is_left(fleet: &Fleet<'_>) {
    let clients = || fleet.answer(&["CLIENT", "LIST"]).matches("addr=").count();
    // In each line there are `addr` and `laddr`; one line is the question's own.
    eventually("no process is connected to the store", || (clients() == 2).then_some(()));
    let keys = || -> Vec<String> {
        let answer = fleet.answer(&["KEYS", "*"]);
        answer.split("\r\n").filter(|line| line.starts_with('{')).map(str::to_owned).collect()
    };
    for key in keys() {
        let left: i64 = fleet.answer(&["PTTL", &key])[1..].trim().parse().unwrap();
        // A ticket of a process that was killed is lost at last after 10 s and an exchange.
        assert!(
            key.ends_with(":members") || (-2..=16_000).contains(&left) && left != -1,
            "{key} is kept for {left} ms"
        );
    }
    let left = eventually("what is remembered is forgotten", || {
        let keys = keys();
        keys.iter().all(|key| key.ends_with(":members")).then_some(keys)
    });
    assert_eq!(left.len(), 2, "one record for each app: {left:?}");
}

fn churn(period: Duration, seed: u64) {
    let adapt = |toml: String| {
        let toml = toml.replace("[admin]\n", "[admin]\ntriggers_bytes = \"0B\"\n");
        toml.replace("released_by =", "remember_for = \"3s\"\nreleased_by =")
    };
    let plan = Plan { ushers: 5, is_lone: true, adapt, ..mixed() };
    let (fake, recorder) = (Fake::start(), Arc::new(Recorder::start()));
    let mut fleet = Fleet::start(&fake, &recorder, seed, &plan);
    fleet.close_history();
    // What grows with the first requests has grown then.
    under_load(&mut fleet, seed, |_fleet| thread::sleep(Duration::from_secs(5)));
    let before = Held::of_the_last(&mut fleet, &fake);
    fleet.mend();
    renew(&mut fleet);
    under_load(&mut fleet, seed + 1, |fleet| {
        let until = Instant::now() + period;
        while Instant::now() < until {
            turn(fleet);
            let pause = fleet.random.millis(50, 700);
            thread::sleep(pause);
        }
    });
    fleet.mend();
    let stormy = recorder.read();
    renew(&mut fleet);
    let faults = come_to_rest(&fleet, &recorder, seed, LEASE + MEMBER_TIMEOUT + DOUBT);
    let done = std::mem::take(&mut fleet.done);
    let outcome = Outcome::of(seed, (&stormy, &recorder.read()), faults, done);
    eprintln!("{}", summary::line(&outcome));
    assert!(outcome.faults.is_empty(), "{}", summary::of_faults("churn", &[&outcome]));
    assert!(outcome.dropped > 20, "only {} were dropped", outcome.dropped);
    let after = Held::of_the_last(&mut fleet, &fake);
    eprintln!("the witness held {before:?}, and at the end {after:?}");
    assert!(after.tasks <= before.tasks && after.files <= before.files, "before {before:?}, after {after:?}");
    assert!(after.memory <= before.memory + GROWTH, "before {before:?}, after {after:?}");
    fleet.end_usher(WITNESS, Signal::Term);
    assert_nothing_is_left(&fleet);
}

#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn ushers_that_come_and_go_leave_nothing_behind() {
    churn(Duration::from_secs(20), 1);
}

/// Run by `tests/long`.
#[test]
#[ignore = "long: run by tests/long"]
fn ushers_that_come_and_go_for_long_leave_nothing_behind() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    churn(Duration::from_secs(number("SECONDS_OF_CHURN", 600)), number("SEED", 1));
}
