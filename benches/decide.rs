//! The memory's part of a decision: a redundant announcement, a handoff that is forwarded and accepted, and one of a
//! channel that is new; at 1,000 to 1,000,000 known channels (cold ones: each is far from the one before), and by
//! several threads at once. And what the discovery adds to an event: when it is off, when the channel is not followed,
//! and when the event is looked at. With usher's allocator.

use std::hint::black_box;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use usher::assignment::{
    AppMemory, Assignment, Bounds, Claim, ClaimMode, Digest, Outcome, Remainder, RuleMemory, Value,
};
use usher::clock::{Clock, Moment};
use usher::discovery::{Discovery, Sighting, Table};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHANNELS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Of the memory that several threads ask.
const SHARED: usize = 100_000;

/// Claims that each of several threads makes in one go.
const CLAIMS: usize = 20_000;

/// Claims that are prepared at a time. Few, so that what a request brings with it, its channel's name and its value, is
/// as warm as it is when it has just been read; but enough that reading the time does not count.
const PREPARED: BatchSize = BatchSize::NumIterations(64);

/// From one channel to the next: far apart, so that the processor's caches do not answer instead of the memory. A prime
/// that divides no number above.
const STRIDE: usize = 7_919;

fn person(name: &str) -> Value {
    Value::One(Assignment::with_remainder(1, name, ["null"], Remainder::Noted(Digest::new(7, 0))))
}

/// A memory that knows Anna in every channel.
struct Hotel {
    clock: Clock,
    memory: Arc<RuleMemory>,
    names: Vec<String>,
}

impl Hotel {
    fn new(channels: usize) -> Self {
        let clock = Clock::start();
        let bounds = Bounds {
            max_channels: channels * 2,
            max_waiters_per_channel: 256,
            max_waiters: 10_000,
            doubt_period: Duration::from_secs(30),
            start_doubt: Duration::ZERO,
        };
        let memory = RuleMemory::new(AppMemory::new(clock, Arc::new(bounds)), Duration::from_secs(86_400));
        let names = (0..channels).map(|number| format!("seaview-hotel-room-{number:07}-cha")).collect();
        let hotel = Self { clock, memory, names };
        for name in &hotel.names {
            hotel.announce(name, person("\"Anna Byrne\""));
        }
        hotel
    }

    fn announce(&self, channel: &str, value: Value) {
        if let Claim::Reserved { reservation, .. } =
            self.memory.claim(channel, &value, ClaimMode::MayWait, self.clock.now())
        {
            reservation.settle(Outcome::Accepted);
        }
    }

    /// All channels, cyclically.
    fn walk(&self, start: usize) -> impl Iterator<Item = &str> {
        let count = self.names.len();
        (0..).map(move |step: usize| self.names[(start + step * STRIDE) % count].as_str())
    }
}

/// The largest memory that is wanted: `cargo test --benches` only asks whether all of it works.
fn most() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { CHANNELS[3] } else { CHANNELS[0] }
}

fn by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for channels in CHANNELS.into_iter().filter(|channels| *channels <= most()) {
        let hotel = Hotel::new(channels);
        let now = hotel.clock.now();
        let mut walk = hotel.walk(0);
        let mut channel = || walk.next().unwrap_or_default();
        group.bench_function(BenchmarkId::new("redundant", channels), |bencher| {
            bencher.iter_batched(
                || (channel().to_owned(), person("\"Anna Byrne\"")),
                |(channel, value)| black_box(hotel.memory.claim(&channel, &value, ClaimMode::MayWait, now)),
                PREPARED,
            );
        });
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("handoff, accepted", channels), |bencher| {
            bencher.iter_batched(
                || {
                    turn += 1;
                    (channel().to_owned(), person(&turn.to_string()))
                },
                |(channel, value)| hotel.announce(&channel, value),
                PREPARED,
            );
        });
        let mut fresh = 0;
        group.bench_function(BenchmarkId::new("new channel, accepted", channels), |bencher| {
            bencher.iter_batched(
                || {
                    fresh += 1;
                    (format!("other-hotel-room-{fresh:09}-cha"), person("\"Anna Byrne\""))
                },
                |(channel, value)| hotel.announce(&channel, value),
                PREPARED,
            );
        });
    }
    group.finish();
}

/// As many threads as processors, and every power of two below.
fn by_threads(criterion: &mut Criterion) {
    let hotel = Hotel::new(SHARED);
    let now = hotel.clock.now();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut group = criterion.benchmark_group("redundant, by threads");
    for threads in (0..).map(|power| 1_usize << power).take_while(|threads| *threads < processors).chain([processors]) {
        group.throughput(Throughput::Elements((threads * CLAIMS) as u64));
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            bencher.iter(|| {
                thread::scope(|scope| {
                    for index in 0..threads {
                        let hotel = &hotel;
                        scope.spawn(move || {
                            for channel in hotel.walk(index * SHARED / threads).take(CLAIMS) {
                                black_box(hotel.memory.claim(
                                    channel,
                                    &person("\"Anna Byrne\""),
                                    ClaimMode::MayWait,
                                    now,
                                ));
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

/// An enveloped announcement of some 400 bytes on one of 1,000 channels.
fn discovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("discovery");
    let names: Vec<String> = (0..1_000).map(|number| format!("seaview-hotel-room-{number:07}-chat")).collect();
    let now = Moment::from_millis(1_000);
    let sighting =
        |channel| Sighting { app: "1001", event: "realtime_event", channel, audience: Some(2), is_call: true, at: now };
    let data = r#"{"category":"guest_chat","type":"staff_assigned","payload":{"conversation_id":"0b6f2c9a-1d2e-4f3a-8b4c-5d6e7f8a9b0c","staff_id":"7","staff_name":"Anna Byrne","staff_role":"Receptionist","staff_profile_image":"https://cdn.example/7.png?expires=1764457199&signature=9f0c2d7be1"},"meta":{"event_id":"5f3a9c01-aaaa-4f3a-8b4c-5d6e7f8a9b0c","ts":1764457199}}"#;
    let off = Discovery::default();
    group.bench_function("off", |bencher| bencher.iter(|| black_box(off.is_on())));
    // Its second has had its share, so that no channel is looked at and half of them are not followed.
    let busy = Discovery::default();
    busy.switch_on(1);
    for name in names.iter().cycle().take(2_000) {
        if busy.follows("1001", name, now) {
            busy.see(data, std::iter::once(sighting(name)), now);
        }
    }
    let mut walk = names.iter().cycle();
    let mut channel = || walk.next().map_or("", String::as_str);
    group.bench_function("not followed", |bencher| {
        bencher.iter(|| black_box(busy.is_on() && busy.follows("1001", channel(), now)));
    });
    let mut table = Table::default();
    group.bench_function("looked at", |bencher| {
        bencher.iter(|| {
            if let Some(data) = table.read(black_box(data)) {
                table.see(sighting(channel()), &data);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, by_size, by_threads, discovery);
criterion_main!(benches);
