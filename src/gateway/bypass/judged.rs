//! Which messages were judged a moment ago: the same text goes to all subscribers of a channel.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

/// The number of texts that are remembered.
const SLOTS: usize = 1_024;

/// The binary logarithm of the milliseconds for which a text is remembered at most.
const PERIOD_BITS: u32 = 8;

/// An odd number with as many ones as zeros, spread irregularly: 2⁶⁴ divided by the golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// The texts, by their hashes.
#[derive(Debug)]
pub(super) struct Judged {
    slots: Box<[AtomicU64; SLOTS]>,
    /// Random, so that nobody can choose texts with the same hash.
    seeds: [u64; 2],
}

impl Default for Judged {
    fn default() -> Self {
        let random = RandomState::new();
        Self { slots: Box::new([const { AtomicU64::new(0) }; SLOTS]), seeds: [random.hash_one(0), random.hash_one(1)] }
    }
}

impl Judged {
    /// Whether `text` was not judged in the present quarter of a second. It counts as judged from now on.
    pub(super) fn is_new(&self, text: &str, now: Moment) -> bool {
        let hash = self.hash(text, now.as_millis() >> PERIOD_BITS);
        // Relaxed: nothing else is published through this number.
        let slot = &self.slots[hash as usize % SLOTS];
        slot.load(Ordering::Relaxed) != hash && slot.swap(hash, Ordering::Relaxed) != hash
    }

    /// A hash of a few instructions for sixteen bytes (as wyhash mixes them): each message with the name of a watched event
    /// is hashed.
    fn hash(&self, text: &str, period: u64) -> u64 {
        let [seed, key] = self.seeds;
        let (words, rest) = text.as_bytes().as_chunks::<16>();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let state = words.iter().chain([&last]).fold(seed, |state, word| {
            let word = u128::from_le_bytes(*word);
            folded(word as u64 ^ key, (word >> 64) as u64 ^ state)
        });
        folded(state ^ text.len() as u64, folded(period ^ key, MULTIPLIER) ^ seed)
    }
}

/// Both halves of the product, mixed.
const fn folded(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_judged_once_in_a_period() {
        let judged = Judged::default();
        let is_new = |text: &str, millis| judged.is_new(text, Moment::from_millis(millis));
        assert!(is_new("a", 0) && !is_new("a", 0) && !is_new("a", 255) && is_new("a", 256));
        assert!(is_new("", 0) && is_new("\0", 0) && is_new("12345678", 0) && is_new("12345678\0", 0));
        let texts = (0..100_000).map(|number| format!("{{\"event\":\"e\",\"data\":\"{number}\"}}"));
        assert!(texts.into_iter().all(|text| is_new(&text, 512)), "no two of them have the same hash");
    }
}
