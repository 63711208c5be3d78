//! The locks and atomics of the memory: std's, or shuttle's when its schedules are explored (`--cfg usher_shuttle`).

#[cfg(not(all(test, usher_shuttle)))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, usher_shuttle))]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

/// Locks `mutex`. A panic of another holder does not matter: what stands behind these locks is decided first and stored
/// after, so it is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hashes a key that is the hash of a name already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyHasher(u64);

impl std::hash::Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(not(all(test, usher_shuttle)))]
pub(super) type Map<V> = dashmap::DashMap<u64, V, std::hash::BuildHasherDefault<KeyHasher>>;

#[cfg(all(test, usher_shuttle))]
pub(super) type Map<V> = shuttle_dashmap::DashMap<u64, V>;

#[cfg(not(all(test, usher_shuttle)))]
pub(super) fn map<V>(shards: usize) -> Map<V> {
    Map::with_hasher_and_shard_amount(std::hash::BuildHasherDefault::default(), shards)
}

#[cfg(all(test, usher_shuttle))]
pub(super) fn map<V>(_: usize) -> Map<V> {
    Map::new()
}
