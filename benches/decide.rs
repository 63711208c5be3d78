//! The decision alone: a redundant announcement, and a handoff that is forwarded and accepted, in a memory of 100,000 channels.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use usher::assignment::{AppMemory, Assignment, Bounds, Claim, Outcome, Patience, RuleMemory, Value};
use usher::clock::Clock;

const CHANNELS: usize = 100_000;

fn person(name: &str) -> Value {
    Value::One(Assignment::new(1, name, ["null"]))
}

fn decide(criterion: &mut Criterion) {
    let clock = Clock::start();
    let bounds = Bounds { max_channels: CHANNELS * 2, max_waiters_per_channel: 256, max_waiters: 10_000, doubt_period: Duration::from_secs(30) };
    let memory = RuleMemory::new(AppMemory::new(clock, Arc::new(bounds)), Duration::from_secs(86_400));
    let names: Vec<String> = (0..CHANNELS).map(|number| format!("seaview-hotel-room-{number:07}-cha")).collect();
    let announce = |channel: &str, value: Value| {
        if let Claim::Reserved { reservation, .. } = memory.claim(channel, value, Patience::Waits, clock.now()) {
            reservation.settle(Outcome::Accepted);
        }
    };
    for name in &names {
        announce(name, person("\"Anna Byrne\""));
    }
    let now = clock.now();
    // Far apart, so that the processor's caches do not answer instead of the memory.
    let mut next = (0..CHANNELS).map(|index| index * 7_919 % CHANNELS).cycle();
    let mut channel = || names[next.next().unwrap_or_default()].as_str();
    criterion.bench_function("redundant", |bencher| {
        bencher.iter_batched(
            || (channel(), person("\"Anna Byrne\"")),
            |(channel, value)| black_box(memory.claim(channel, value, Patience::Waits, now)),
            BatchSize::SmallInput,
        );
    });
    let mut turn = 0;
    criterion.bench_function("handoff, accepted", |bencher| {
        bencher.iter_batched(
            || {
                turn += 1;
                (channel(), person(&turn.to_string()))
            },
            |(channel, value)| announce(channel, value),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
