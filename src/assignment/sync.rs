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
