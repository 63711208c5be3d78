//! What a remembered channel costs: resident memory per channel at a million channels with names of 30 bytes and
//! identities of 12, with usher's allocator.
//!
//! `cargo bench --bench memory` prints the figure beside the limit, and fails above it. Linux only
//! (`/proc/self/status`).
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use usher::assignment::{AppMemory, Assignment, Bounds, Claim, ClaimMode, Outcome, RuleMemory, Value};
use usher::clock::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHANNELS: usize = 1_000_000;
/// Bytes per channel that the memory must not exceed.
const LIMIT: usize = 140;

fn main() -> ExitCode {
    // `cargo test --benches` runs this as well, only to check that it works.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let channels = if measured { CHANNELS } else { CHANNELS / 100 };
    let Some(before) = resident_bytes() else {
        println!("resident memory cannot be read on this system");
        return ExitCode::SUCCESS;
    };
    let memory = remember(channels);
    let Some(after) = resident_bytes() else { return ExitCode::FAILURE };
    let held = memory.len();
    let each = (after - before) / held;
    println!("{held} channels: {} MiB, {each} bytes of RSS each (limit {LIMIT})", (after - before) >> 20);
    if measured && (each > LIMIT || held < channels) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A memory that knows an assignment of every channel.
fn remember(channels: usize) -> Arc<RuleMemory> {
    let clock = Clock::start();
    // Some more, so that all of them are held: the cap is divided among the queues, and they do not fill evenly.
    let bounds = Bounds {
        max_channels: channels + channels / 10,
        max_waiters_per_channel: 256,
        max_waiters: 10_000,
        doubt_period: Duration::from_secs(30),
        start_doubt: Duration::ZERO,
    };
    let memory = RuleMemory::new(AppMemory::new(clock, Arc::new(bounds)), Duration::from_secs(86_400));
    for number in 0..channels {
        let channel = format!("seaview-hotel-room-{number:07}-cha");
        let identity = format!("\"Anna {:05}\"", number % 100_000);
        assert_eq!((channel.len(), identity.len()), (30, 12));
        let announcement = Value::One(Assignment::new(1, &identity, ["null"]));
        if let Claim::Reserved { reservation, .. } =
            memory.claim(&channel, &announcement, ClaimMode::MayWait, clock.now())
        {
            reservation.settle(Outcome::Accepted);
        }
    }
    memory
}

/// The process's resident memory.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}
