//! How many triggers wait for their turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::OpenGuard;

/// How many triggers wait for their turns.
#[derive(Debug, Default)]
pub(super) struct Waiters(Arc<AtomicUsize>);

/// A place among them; given back when dropped.
#[derive(Debug)]
pub(super) struct WaitGuard {
    waiters: Arc<AtomicUsize>,
    _gauge: OpenGuard,
}

impl Waiters {
    /// A place, if fewer than `most` are taken.
    pub(super) fn enter(&self, most: usize, gauge: impl FnOnce() -> OpenGuard) -> Option<WaitGuard> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= most {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(WaitGuard { waiters: Arc::clone(&self.0), _gauge: gauge() })
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
