//! Temporary: both tables in one run.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use usher::assignment::{AppMemory, Assignment, Bounds, Claim, ClaimMode, Outcome, RuleMemory, Value};
use usher::clock::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const KINDS: [(&str, bool); 2] = [("own", false), ("dash", true)];

fn memory_of(cap: usize, dash: bool) -> (Clock, Arc<RuleMemory>) {
    let clock = Clock::start();
    let bounds = Bounds {
        max_channels: cap,
        max_waiters_per_channel: 256,
        max_waiters: 10_000,
        doubt_period: Duration::from_secs(30),
        start_doubt: Duration::ZERO,
    };
    (clock, RuleMemory::of(AppMemory::new(clock, Arc::new(bounds)), Duration::from_secs(86_400), dash))
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<usize>().unwrap() * 1024
}

/// A million channels in memories of `size` each, with a cap that is `percent` of it.
fn footprint(dash: bool, size: usize, percent: usize) {
    let before = resident();
    let mut held = 0;
    let mut memories = Vec::new();
    for index in 0..1_000_000 / size {
        let (clock, memory) = memory_of(size * percent / 100, dash);
        for number in 0..size {
            let channel = format!("seaview-hotel-room-{:07}-cha", index * size + number);
            let value = Value::One(Assignment::new(1, &format!("\"Anna {:05}\"", number % 100_000), ["null"]));
            if let Claim::Reserved { reservation, .. } =
                memory.claim(&channel, &value, ClaimMode::MayWait, clock.now())
            {
                reservation.settle(Outcome::Accepted);
            }
        }
        held += memory.len();
        memories.push(memory);
    }
    println!("{} {}", held, (resident() - before) as f64 / held as f64);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn person(name: &str) -> Value {
    Value::One(Assignment::new(1, name, ["null"]))
}

fn announce(memory: &Arc<RuleMemory>, clock: Clock, channel: &str, value: &Value) {
    if let Claim::Reserved { reservation, .. } = memory.claim(channel, value, ClaimMode::MayWait, clock.now()) {
        reservation.settle(Outcome::Accepted);
    }
}

/// Nanoseconds for each of `ops` calls, prepared 64 at a time.
fn timed(ops: usize, mut prepare: impl FnMut() -> (String, Value), mut run: impl FnMut(&str, &Value)) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..ops / 64 {
        let prepared: Vec<_> = (0..64).map(|_| prepare()).collect();
        let start = Instant::now();
        for (channel, value) in &prepared {
            run(channel, value);
        }
        spent += start.elapsed();
    }
    spent.as_nanos() as f64 / (ops / 64 * 64) as f64
}

fn times(size: usize, rounds: usize) {
    let names: Vec<String> = (0..size).map(|number| format!("seaview-hotel-room-{number:07}-cha")).collect();
    let filled = |cap: usize| {
        KINDS.map(|(_, dash)| {
            let (clock, memory) = memory_of(cap, dash);
            names.iter().for_each(|name| announce(&memory, clock, name, &person("\"Anna Byrne\"")));
            (clock, memory)
        })
    };
    let roomy = filled(size * 2);
    let crowded = filled(size);
    let (mut walk, mut turn, mut fresh) = (0_usize, 0_usize, [0_usize; 4]);
    let mut figures: [[Vec<f64>; 2]; 4] = Default::default();
    for round in 0..rounds {
        for op in 0..4 {
            for step in 0..2 {
                let kind = (step + round) % 2;
                let (clock, memory) = if op == 3 { &crowded[kind] } else { &roomy[kind] };
                let now = clock.now();
                let mut next = || {
                    walk += 7_919;
                    names[walk % size].clone()
                };
                let nanos = match op {
                    0 => timed(
                        6_400,
                        || (next(), person("\"Anna Byrne\"")),
                        |channel, value| drop(black_box(memory.claim(channel, value, ClaimMode::MayWait, now))),
                    ),
                    1 => timed(
                        3_200,
                        || {
                            turn += 1;
                            (next(), person(&turn.to_string()))
                        },
                        |channel, value| announce(memory, *clock, channel, value),
                    ),
                    _ => timed(
                        1_280,
                        || {
                            fresh[op] += 1;
                            (format!("other-hotel-room-{:09}-cha", fresh[op]), person("\"Anna Byrne\""))
                        },
                        |channel, value| announce(memory, *clock, channel, value),
                    ),
                };
                figures[op][kind].push(nanos);
            }
        }
        // What the handoffs changed is Anna's again.
        for (clock, memory) in &roomy {
            if size <= 10_000 || round + 1 == rounds {
                names.iter().for_each(|name| announce(memory, *clock, name, &person("\"Anna Byrne\"")));
            }
        }
    }
    for (op, name) in ["redundant (1)", "handoff", "new", "new at the cap"].into_iter().enumerate() {
        let [own, dash] = &mut figures[op];
        let mut difference: Vec<f64> = own.iter().zip(dash.iter()).map(|(own, dash)| dash - own).collect();
        let mut ratio: Vec<f64> = own.iter().zip(dash.iter()).map(|(own, dash)| dash / own).collect();
        let (low, high) = (own.iter().copied().fold(f64::MAX, f64::min), dash.iter().copied().fold(f64::MAX, f64::min));
        println!(
            "{size:>8} {name:<15} own {:>7.0} ns (best {low:.0}), dash {:>7.0} ns (best {high:.0}), median difference {:>6.0} ns, ratio {:.2}",
            median(own), median(dash), median(&mut difference), median(&mut ratio)
        );
    }
}

/// Redundant claims of two threads at once.
fn threads() {
    let names: Vec<String> = (0..100_000).map(|number| format!("seaview-hotel-room-{number:07}-cha")).collect();
    let memories = KINDS.map(|(_, dash)| {
        let (clock, memory) = memory_of(200_000, dash);
        names.iter().for_each(|name| announce(&memory, clock, name, &person("\"Anna Byrne\"")));
        (clock, memory)
    });
    let mut figures: [Vec<f64>; 2] = Default::default();
    for round in 0..40 {
        for step in 0..2 {
            let kind = (step + round) % 2;
            let (clock, memory) = &memories[kind];
            let (now, names) = (clock.now(), &names);
            let start = Instant::now();
            std::thread::scope(|scope| {
                for index in 0..2 {
                    scope.spawn(move || {
                        let value = person("\"Anna Byrne\"");
                        for step in 0..20_000 {
                            let name = &names[(index * 50_000 + step * 7_919) % names.len()];
                            black_box(memory.claim(name, &value, ClaimMode::MayWait, now));
                        }
                    });
                }
            });
            figures[kind].push(start.elapsed().as_nanos() as f64 / 40_000.0);
        }
    }
    let [own, dash] = &mut figures;
    println!("two threads, 100,000, redundant: own {:.0} ns, dash {:.0} ns a claim (wall, both threads)", median(own), median(dash));
}

fn pauses() {
    for (name, dash) in KINDS {
        let (clock, memory) = memory_of(1_000_000, dash);
        for number in 0..1_000_000 {
            announce(&memory, clock, &format!("seaview-hotel-room-{number:07}-cha"), &person("\"Anna Byrne\""));
        }
        let mut took: Vec<f64> = (0..300_000)
            .map(|number| {
                let (channel, value) = (format!("other-hotel-room-{number:09}-cha"), person("\"Anna Byrne\""));
                let start = Instant::now();
                announce(&memory, clock, &channel, &value);
                start.elapsed().as_nanos() as f64 / 1e3
            })
            .collect();
        took.sort_by(f64::total_cmp);
        let start = Instant::now();
        memory.sweep(clock.now());
        println!(
            "{name}: new at the cap of a million: 99 % {:.1} us, 99.9 % {:.1} us, longest {:.0} us; a sweep {:.1} ms",
            took[took.len() * 99 / 100], took[took.len() * 999 / 1000], took[took.len() - 1], start.elapsed().as_secs_f64() * 1e3
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "footprint") {
        footprint(arguments[2] == "dash", arguments[3].parse().unwrap(), arguments[4].parse().unwrap());
        return;
    }
    let fast = arguments.iter().any(|argument| argument == "--quick");
    for percent in ["110", "150", "200"] {
        for size in SIZES {
            for (name, _) in KINDS {
                let output = Command::new(&arguments[0]).args(["footprint", name, &size.to_string(), percent]).output();
                println!("{size:>8} cap {percent} % {name:<5} {}", String::from_utf8(output.unwrap().stdout).unwrap().trim());
            }
        }
    }
    for size in SIZES {
        times(size, if fast { 30 } else { 100 });
    }
    threads();
    pauses();
}
