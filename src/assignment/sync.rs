//! The locks, atomics and maps of the memory: std's and DashMap's, or shuttle's when the tests explore its schedules
//! (`--cfg usher_shuttle`).

#[cfg(not(all(test, usher_shuttle)))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, usher_shuttle))]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

#[cfg(all(test, usher_shuttle))]
pub(super) use self::model::Map;
#[cfg(not(all(test, usher_shuttle)))]
pub(super) use self::sharded::Map;

/// Locks `mutex`. A panic of an earlier holder does not matter: the code behind these locks decides first and stores
/// after, so the data is consistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(all(test, usher_shuttle)))]
mod sharded {
    use std::hash::{BuildHasherDefault, Hasher};

    use dashmap::DashMap;

    /// A concurrent map whose keys are hashes.
    pub(in crate::assignment) type Map<V> = DashMap<u64, V, BuildHasherDefault<KeyHasher>>;

    /// Passes a key through, since it is a hash already.
    #[derive(Debug, Default, Clone, Copy)]
    pub(in crate::assignment) struct KeyHasher(u64);

    impl Hasher for KeyHasher {
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
}

/// `DashMap`'s interface over one lock of shuttle's. (The crate `shuttle-dashmap` panics once a guard was dropped in a
/// panic; `DashMap` has no such state, and a reservation dropped in a panic takes a guard.)
#[cfg(all(test, usher_shuttle))]
mod model {
    use std::collections::BTreeMap;
    use std::ops::{Deref, DerefMut};

    use super::{Mutex, MutexGuard, lock};

    #[derive(Debug)]
    pub(in crate::assignment) struct Map<V>(Mutex<BTreeMap<u64, V>>);

    /// One value, with the lock held.
    #[derive(Debug)]
    pub(in crate::assignment) struct RefMut<'a, V> {
        map: MutexGuard<'a, BTreeMap<u64, V>>,
        key: u64,
    }

    impl<V> Map<V> {
        pub(in crate::assignment) fn with_hasher_and_shard_amount((): (), _: usize) -> Self {
            Self(Mutex::new(BTreeMap::new()))
        }

        pub(in crate::assignment) fn get(&self, key: &u64) -> Option<RefMut<'_, V>> {
            self.get_mut(key)
        }

        pub(in crate::assignment) fn get_mut(&self, &key: &u64) -> Option<RefMut<'_, V>> {
            let map = lock(&self.0);
            map.contains_key(&key).then(|| RefMut { map, key })
        }

        pub(in crate::assignment) fn insert(&self, key: u64, value: V) -> Option<V> {
            lock(&self.0).insert(key, value)
        }

        pub(in crate::assignment) fn remove_if_mut(
            &self,
            key: &u64,
            goes: impl FnOnce(&u64, &mut V) -> bool,
        ) -> Option<(u64, V)> {
            let mut map = lock(&self.0);
            map.get_mut(key).is_some_and(|value| goes(key, value)).then(|| map.remove_entry(key)).flatten()
        }

        pub(in crate::assignment) fn iter(&self) -> impl Iterator<Item = RefMut<'_, V>> {
            let keys: Vec<u64> = lock(&self.0).keys().copied().collect();
            keys.into_iter().filter_map(|key| self.get_mut(&key))
        }

        pub(in crate::assignment) fn len(&self) -> usize {
            lock(&self.0).len()
        }
    }

    impl<V> Deref for RefMut<'_, V> {
        type Target = V;

        fn deref(&self) -> &V {
            &self.map[&self.key]
        }
    }

    impl<V> DerefMut for RefMut<'_, V> {
        fn deref_mut(&mut self) -> &mut V {
            self.map.get_mut(&self.key).expect("present while the lock is held")
        }
    }
}
