//! What keeping the memory across a restart costs: a million channels with names of 30 bytes and identities of 12,
//! written at a stop and taken over at a start, each in a process of its own.
//!
//! `cargo bench --bench state` prints the seconds, and the peak of resident memory beside the memory's own, and fails
//! above the limits. Linux only (`/proc/self/status`). The directory is in the system's temporary one: `TMPDIR` chooses
//! the disk.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod channels;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use usher::assignment::{Assignments, RuleMemory, RuleSettings};
use usher::clock::Clock;
use usher::state::{Keeper, Reading};

use self::channels::{bounds, fill};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHANNELS: usize = 1_000_000;
/// The longest time of each of the two.
const LONGEST: Duration = Duration::from_secs(2);
/// The peak of resident memory on top, in percent of the memory's own.
const LIMIT: usize = 120;
const MAX_AGE: Duration = Duration::from_hours(1);
const UPSTREAM: &str = "https://api-eu.pusher.com/";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, directory, channels] = &arguments[..] {
        let channels = channels.parse().expect("a number");
        let measured = if role == "write" { write(Path::new(directory), channels) } else { read(Path::new(directory)) };
        return if measured { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // `cargo test --benches` runs this as well, only to check that it works.
    let channels = if arguments.iter().any(|argument| argument == "--bench") { CHANNELS } else { CHANNELS / 100 };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let this = std::env::current_exe().expect("this program");
    let run = |role: &str| {
        let path = directory.path().to_str().expect("a path in UTF-8");
        let status = Command::new(&this).args([role, path, &channels.to_string()]).status();
        status.is_ok_and(|status| status.success())
    };
    if run("write") && run("read") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(directory: &Path, channels: usize) -> bool {
    let keeper = Keeper::open(directory, MAX_AGE, UPSTREAM, &Reading::now()).keeper.expect("a directory");
    let before = resident("VmRSS:");
    let (clock, assignments, memory) = empty(Clock::start(), channels);
    fill(&memory, channels, clock);
    let own = resident("VmRSS:") - before;
    let (written, took, peak) = measured(|| keeper.write(&assignments, &clock).expect("it is written"));
    let summary = format!("{} channels written, {} MiB", written.channels, written.bytes >> 20);
    report(&summary, took, peak, own) && written.channels == channels as u64
}

fn read(directory: &Path) -> bool {
    let now = Reading::now();
    let before = resident("VmRSS:");
    let (restored, took, peak) = measured(|| {
        let found = Keeper::open(directory, MAX_AGE, UPSTREAM, &now).found.expect("the file of the other process");
        let clock = Clock::resume(found.moment(now.as_ref().expect("the clocks can be read")));
        let (_, assignments, memory) = empty(clock, CHANNELS);
        (found.restore(&assignments).expect("it is read"), assignments, memory)
    });
    let own = resident("VmRSS:") - before;
    let (channels, left_out) = (restored.0.channels, restored.0.without_room);
    report(&format!("{channels} channels read"), took, peak.saturating_sub(own), own) && left_out == 0
}

/// Runs `work`. Returns its result, its duration, and by how many bytes the resident memory exceeded that of before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, Duration, usize) {
    // The peak begins anew (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak of the resident memory is set back");
    let before = resident("VmRSS:");
    let began = Instant::now();
    let done = work();
    (done, began.elapsed(), resident("VmHWM:").saturating_sub(before))
}

fn report(summary: &str, took: Duration, peak: usize, own: usize) -> bool {
    let percent = peak * 100 / own.max(1);
    println!(
        "{summary}: {:.2} s (limit {} s); {} MiB on top of the memory's {} MiB: {percent} % (limit {LIMIT} %)",
        took.as_secs_f64(),
        LONGEST.as_secs(),
        peak >> 20,
        own >> 20
    );
    took <= LONGEST && percent <= LIMIT
}

/// A process's memory of one rule.
fn empty(clock: Clock, channels: usize) -> (Clock, Arc<Assignments>, Arc<RuleMemory>) {
    let assignments = Assignments::new(clock, bounds(channels));
    let settings = RuleSettings {
        app: "1".into(),
        rule: "joined".into(),
        definition: [7; 32],
        remember_for: Duration::from_hours(24),
        refresh_after: None,
    };
    let memory = assignments.configure(&["1".into()], &[settings]).rules.remove(0);
    (clock, assignments, memory)
}

/// A line of the process's status, in bytes.
fn resident(name: &str) -> usize {
    channels::resident(name).expect("Linux, and a line of each name")
}
