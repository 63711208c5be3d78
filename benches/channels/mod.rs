//! A memory's worth of channels with names of 30 bytes and identities of 12, and what the process needs for it.

use std::sync::Arc;
use std::time::Duration;

use usher::assignment::{Assignment, Bounds, Claim, ClaimMode, Digest, Outcome, Remainder, RuleMemory, Value};
use usher::clock::Clock;

/// Bounds of a memory that holds so many channels.
pub(crate) fn bounds(channels: usize) -> Bounds {
    Bounds {
        // Some more, so that all of them are held: the cap is divided among the queues, and they do not fill evenly,
        // few channels least.
        max_channels: channels + (channels / 10).max(10_000),
        max_waiters_per_channel: 256,
        max_waiters: 10_000,
        doubt_period: Duration::from_secs(30),
        start_doubt: Duration::ZERO,
    }
}

/// Makes an assignment of each channel known.
pub(crate) fn fill(memory: &Arc<RuleMemory>, channels: usize, clock: Clock) {
    for number in 0..channels {
        let channel = format!("seaview-hotel-room-{number:07}-cha");
        let identity = format!("\"Anna {:05}\"", number % 100_000);
        assert_eq!((channel.len(), identity.len()), (30, 12));
        // As a rule has it that counts what else differs, which is the default.
        let remainder = Remainder::Noted(Digest::new(u128::from(number as u64), 0));
        let announcement = Value::One(Assignment::with_remainder(1, &identity, ["null"], remainder));
        if let Claim::Reserved { reservation, .. } =
            memory.claim(&channel, &announcement, ClaimMode::MayWait, clock.now())
        {
            reservation.settle(Outcome::Accepted);
        }
    }
}

/// A line of the process's status (`VmRSS:`, `VmHWM:`), in bytes. Linux only.
pub(crate) fn resident(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}
