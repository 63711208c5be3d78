//! The states of a rate limit's keys, in a table of bounded size.
//!
//! Each shard holds two generations. When the young generation is full, it replaces the old one, whose keys are
//! forgotten; a look-up moves a key to the young generation. So a key in use is not forgotten, eviction takes constant
//! time, and a million unknown keys take no more memory than the bound allows. A forgotten key begins again with a full
//! burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

/// The number of shards, each with its own lock, so that workers rarely contend. A power of two.
const SHARDS: usize = 16;

/// A key as the table stores it: its hash with a secret key. Two keys with the same hash share their limit; among
/// 100,000 keys, that happens in one of some billion tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(pub(super) u64);

/// The theoretical arrival time of each key (GCRA's state): the time at which its burst is full again.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// The number of keys in one generation of one shard.
    share: usize,
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Fingerprint,
    arrival_time: Nanos,
}

impl Table {
    /// A table for about `most` keys.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, share: (most / SHARDS / 2).max(1), forgotten: AtomicU64::new(0) })
    }

    /// Refunds one permit: moves the arrival time back by `interval`.
    pub(super) fn refund(&self, key: Fingerprint, interval: Nanos) {
        let mut shard = self.shard(key);
        let Shard { young, old } = &mut *shard;
        // A forgotten key has a full burst already.
        if let Some(entry) = find(young, key).or_else(|| find(old, key)) {
            entry.arrival_time = entry.arrival_time.saturating_sub(interval);
        }
    }

    /// The number of keys forgotten at the bound since the last call.
    pub(super) fn take_forgotten(&self) -> u64 {
        self.forgotten.swap(0, Ordering::Relaxed)
    }

    fn shard(&self, key: Fingerprint) -> MutexGuard<'_, Shard> {
        // Bits that the shard's own tables do not use.
        let index = (key.0 >> 40) as usize % SHARDS;
        self.shards[index].lock()
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock())
    }
}

/// One limiter's handle to the table. Limiters with the same table share the states.
#[derive(Debug, Clone)]
pub(super) struct States(pub(super) Arc<Table>);

impl StateStore for States {
    type Key = Fingerprint;

    fn measure_and_replace<T, F, E>(&self, key: &Fingerprint, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let table = &self.0;
        let mut shard = table.shard(*key);
        let before = shard.get(*key, table.share, &table.forgotten);
        let (answer, arrival_time) = measure(before)?;
        shard.put(Entry { key: *key, arrival_time }, table.share, &table.forgotten);
        Ok(answer)
    }
}

impl ShrinkableKeyedStateStore<Fingerprint> for States {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.0.all() {
            shard.young.retain(|entry| entry.arrival_time > drop_below);
            shard.old.retain(|entry| entry.arrival_time > drop_below);
        }
    }

    fn shrink_to_fit(&self) {
        for mut shard in self.0.all() {
            shard.young.shrink_to_fit(hash);
            shard.old.shrink_to_fit(hash);
        }
    }

    fn len(&self) -> usize {
        self.0.all().map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    /// The state of `key`, which is moved to the young generation.
    fn get(&mut self, key: Fingerprint, share: usize, forgotten: &AtomicU64) -> Option<Nanos> {
        if let Some(entry) = find(&mut self.young, key) {
            return Some(entry.arrival_time);
        }
        let (entry, _) = self.old.find_entry(key.0, |entry| entry.key == key).ok()?.remove();
        self.put(entry, share, forgotten);
        Some(entry.arrival_time)
    }

    fn put(&mut self, entry: Entry, share: usize, forgotten: &AtomicU64) {
        if let Some(known) = find(&mut self.young, entry.key) {
            known.arrival_time = entry.arrival_time;
            return;
        }
        if self.young.len() >= share {
            let given_up = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            forgotten.fetch_add(given_up.len() as u64, Ordering::Relaxed);
        }
        self.young.insert_unique(entry.key.0, entry, hash);
    }
}

fn find(generation: &mut HashTable<Entry>, key: Fingerprint) -> Option<&mut Entry> {
    generation.find_mut(key.0, |entry| entry.key == key)
}

fn hash(entry: &Entry) -> u64 {
    entry.key.0
}
