//! What a remembered channel costs: resident memory per channel at a million channels with names of 30 bytes and
//! identities of 12, with usher's allocator.
//!
//! `cargo bench --bench memory` prints the figure beside the limit, and fails above it. Linux only
//! (`/proc/self/status`).
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod channels;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use usher::assignment::{AppMemory, RuleMemory};
use usher::clock::Clock;

use self::channels::{bounds, fill, resident};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHANNELS: usize = 1_000_000;
/// Bytes per channel that the memory must not exceed.
const LIMIT: usize = 145;

fn main() -> ExitCode {
    // `cargo test --benches` runs this as well, only to check that it works.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let channels = if measured { CHANNELS } else { CHANNELS / 100 };
    let Some(before) = resident("VmRSS:") else {
        println!("resident memory cannot be read on this system");
        return ExitCode::SUCCESS;
    };
    let memory = remember(channels);
    let Some(after) = resident("VmRSS:") else { return ExitCode::FAILURE };
    let held = memory.len();
    let each = (after - before) / held;
    println!("{held} channels: {} MiB, {each} bytes of RSS each (limit {LIMIT})", (after - before) >> 20);
    if measured && (each > LIMIT || held < channels) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A memory that knows an assignment of every channel.
fn remember(channels: usize) -> Arc<RuleMemory> {
    let clock = Clock::start();
    let app = AppMemory::new(clock, Arc::new(bounds(channels)));
    let memory = RuleMemory::new(app, Duration::from_secs(86_400));
    fill(&memory, channels, clock);
    memory
}
