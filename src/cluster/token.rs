//! Numbers that no other process draws.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Draws random numbers. The standard library keys its hash with random numbers of the system, so that no two processes
/// draw the same ones.
#[derive(Debug, Default)]
pub struct Tokens {
    random: RandomState,
    drawn: AtomicU64,
}

impl Tokens {
    /// The next number: 64 bits.
    pub fn number(&self) -> u64 {
        self.random.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// Two numbers as text, for what has to differ from everything that was ever stored.
    pub fn text(&self) -> String {
        format!("{:016x}{:016x}", self.number(), self.number())
    }
}
