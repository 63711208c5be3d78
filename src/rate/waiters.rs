//! The number of triggers that wait for permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::OpenGuard;

/// The number of triggers that wait for permits.
#[derive(Debug, Default)]
pub(super) struct Waiters(Arc<AtomicUsize>);

/// Counts one trigger as waiting until it is dropped.
#[derive(Debug)]
pub(super) struct WaitGuard {
    waiters: Arc<AtomicUsize>,
    _gauge: OpenGuard,
}

impl Waiters {
    /// Counts one more trigger as waiting; `None` if `most` wait already.
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
