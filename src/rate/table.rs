//! States of rate limits by key, in a table of bounded size.
//!
//! Each shard holds two generations. When the young one has taken its share of keys, the old one is given up as a whole
//! and the young one takes its place; a key that is looked up is always among the young. So a key in use is
//! never forgotten, forgetting costs nothing at the time, and a million unknown keys take no more memory than the bound
//! allows. A forgotten key begins again with a full burst.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use hashbrown::HashTable;

/// Locks, so that workers seldom meet. A power of two.
const SHARDS: usize = 16;

/// A key as the tables hold it: its hash under a key that nobody outside knows. Two keys that have the same one share
/// their limit, which among 100,000 of them happens once in some billion tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(pub(super) u64);

/// For each key when it will be at rest, in governor's terms its theoretical arrival time.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// Keys in one generation of one shard.
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
    /// A table for `most` keys, about.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, share: (most / SHARDS / 2).max(1), forgotten: AtomicU64::new(0) })
    }

    /// Undoes the taking of one turn, which lasts `interval`.
    pub(super) fn refund(&self, key: Fingerprint, interval: Nanos) {
        let mut shard = self.shard(key);
        let Shard { young, old } = &mut *shard;
        // Forgotten in the meantime: it is at rest already.
        if let Some(entry) = find(young, key).or_else(|| find(old, key)) {
            entry.arrival_time = entry.arrival_time.saturating_sub(interval);
        }
    }

    /// How many keys were given up at the bound since this was last asked.
    pub(super) fn take_forgotten(&self) -> u64 {
        self.forgotten.swap(0, Ordering::Relaxed)
    }

    fn shard(&self, key: Fingerprint) -> MutexGuard<'_, Shard> {
        // Bits that place nothing inside a shard.
        let index = (key.0 >> 40) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The handle of one limiter. Those with the same table see the same states.
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
    /// The state of `key`, which is among the young then.
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
