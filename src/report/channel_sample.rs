//! A sample of a rule's channels: with more channels than it has room for, it keeps to a share of them for long, instead
//! of to all for moments.

use std::time::Duration;

use hashbrown::HashTable;

use crate::clock::Moment;

/// A channel that had no event for this long may leave a sample.
pub(super) const STALE: Duration = Duration::from_hours(1);

/// A channel with the hash of its name.
#[derive(Debug, Clone, Copy)]
pub struct HashedChannel<'a> {
    pub(super) name: &'a str,
    pub(super) hash: u64,
}

/// Something for each channel of a sample, which is chosen by the hashes of the channels' names.
#[derive(Debug)]
pub(super) struct ChannelSample<T> {
    channels: HashTable<Sampled<T>>,
    /// The most channels.
    most: usize,
    /// Only channels whose hashes have this many zeros at their highest bits are in the sample.
    zeros: u32,
    /// When the number of zeros has changed last.
    changed: Moment,
}

#[derive(Debug)]
struct Sampled<T> {
    /// Of the channel's name.
    hash: u64,
    /// The last event.
    last: Moment,
    value: T,
}

/// Where an entry is in the table. A table looks at the highest bits of this first, and in a sample those of the channels'
/// hashes are zeros.
const fn place(hash: u64) -> u64 {
    hash.rotate_left(u64::BITS / 2)
}

impl<T> ChannelSample<T> {
    /// An empty sample of `most` channels.
    pub(super) fn new(most: usize) -> Self {
        Self { channels: HashTable::new(), most, zeros: 0, changed: Moment::default() }
    }

    /// The channels in the sample now.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// How many channels each one in the sample stands for.
    pub(super) const fn weight(&self) -> u64 {
        1 << self.zeros
    }

    /// What is in the sample for `channel`.
    pub(super) fn get_mut(&mut self, HashedChannel { hash, .. }: HashedChannel<'_>) -> Option<&mut T> {
        self.channels.find_mut(place(hash), |sampled| sampled.hash == hash).map(|sampled| &mut sampled.value)
    }

    /// An event on `channel`: what is in the sample for it, and whether it was before; else `new` is now.
    /// `None`: it does not belong to the sample.
    pub(super) fn entry(
        &mut self,
        HashedChannel { hash, .. }: HashedChannel<'_>,
        at: Moment,
        new: impl FnOnce() -> T,
    ) -> Option<(bool, &mut T)> {
        let is_same = |sampled: &Sampled<T>| sampled.hash == hash;
        let known = self.channels.find(place(hash), is_same).is_some();
        if !known {
            if hash.leading_zeros() < self.zeros && !self.widened_for(hash, at) {
                return None;
            }
            if self.channels.len() >= self.most && !self.made_room_for(hash, at) {
                return None;
            }
        }
        let entry = self.channels.entry(place(hash), is_same, |sampled| place(sampled.hash));
        let sampled = entry.or_insert_with(|| Sampled { hash, last: at, value: new() }).into_mut();
        sampled.last = at;
        Some((known, &mut sampled.value))
    }

    /// Makes room in a full sample: stale channels leave it, or, if few are, half of all. Returns whether the channel
    /// with this hash still belongs to it.
    #[cold]
    fn made_room_for(&mut self, hash: u64, at: Moment) -> bool {
        self.drop_stale(at);
        if self.channels.len() > self.most - self.most / 16 {
            self.zeros += 1;
            self.changed = at;
            let zeros = self.zeros;
            self.channels.retain(|sampled| sampled.hash.leading_zeros() >= zeros);
        }
        self.channels.len() < self.most && hash.leading_zeros() >= self.zeros
    }

    /// Takes twice as many channels into the sample if less than half of it is in use: at most once for each time in
    /// which channels become stale. Returns whether the channel with this hash belongs to it then.
    fn widened_for(&mut self, hash: u64, at: Moment) -> bool {
        if at.since(self.changed) < STALE {
            return false;
        }
        self.changed = at;
        self.drop_stale(at);
        self.zeros -= u32::from(self.channels.len() < self.most / 2);
        hash.leading_zeros() >= self.zeros
    }

    fn drop_stale(&mut self, at: Moment) {
        self.channels.retain(|sampled| at.since(sampled.last) <= STALE);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn channel(number: u64, hasher: &RandomState) -> HashedChannel<'static> {
        HashedChannel { name: "", hash: hasher.hash_one(number) }
    }

    #[test]
    fn a_sample_is_bounded_keeps_to_its_channels_and_grows_again() {
        const MOST: usize = 4_096;
        let (hasher, mut sample) = (RandomState::new(), ChannelSample::new(MOST));
        let mut event = |number: u64, seconds: u64| {
            let counted = sample.entry(channel(number, &hasher), Moment::from_millis(seconds * 1000), || 0);
            *counted.map_or(&mut 0, |(_, count)| count) += 1;
            (sample.len(), sample.weight())
        };
        for round in 0..20 {
            for number in 0..40_000_u64 {
                assert!(event(number, round * 60).0 <= MOST);
            }
        }
        // Hours later there are few channels: more and more of them are in the sample.
        for hour in 0..10 {
            for number in 0..100 {
                event(number, 10_000 + hour * 3_700);
            }
        }
        assert_eq!(event(0, 50_000), (100, 1));
    }

    #[test]
    fn channels_stay_in_a_sample() {
        let (hasher, mut sample) = (RandomState::new(), ChannelSample::new(64));
        for round in 0..20 {
            for number in 0..1_000_u64 {
                if let Some((_, count)) = sample.entry(channel(number, &hasher), Moment::from_millis(round), || 0) {
                    *count += 1;
                }
            }
        }
        let counts: Vec<u64> =
            (0..1_000_u64).filter_map(|number| sample.get_mut(channel(number, &hasher)).copied()).collect();
        assert!(counts.len() > 64 / 4 && counts.iter().all(|count| *count >= 19), "{counts:?}");
        let stands_for = sample.weight() * counts.len() as u64;
        assert!((400..2_500).contains(&stands_for), "{stands_for}");
    }
}
