//! The test harness: a real `usher` process, a fake upstream that records raw bytes, a raw client, and an independent
//! implementation of signing. It uses none of usher's code, so that an error there is not repeated here.

pub mod actor;
pub mod address;
pub mod admin;
pub mod backend;
pub mod bodies;
pub mod cli;
pub mod client;
pub mod document;
pub mod fake;
pub mod guest;
pub mod message;
pub mod operator;
pub mod prometheus;
pub mod pusher;
pub mod random;
pub mod redis;
mod scene;
pub mod script;
pub mod service_manager;
mod shared;
pub mod sign;
pub mod socket_server;
pub mod tls;
pub mod usher;
pub mod websocket;

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

pub use backend::Backend;
pub use client::{Client, Request, Response};
pub use fake::{Fake, Recorded};
pub use guest::Guest;
pub use operator::Operator;
pub use pusher::Pusher;
pub use random::Random;
pub use scene::Scene;
pub use script::{Gate, Step};
pub use usher::{Setup, Usher};

/// The longest time of any wait before the test fails. Generous: it is reached only if something is broken.
pub const BOUND: Duration = Duration::from_secs(20);

/// Polls until `look` returns a value. Only for state that usher reports only on request.
#[track_caller]
pub fn eventually<R>(what: &str, look: impl FnMut() -> Option<R>) -> R {
    eventually_within(BOUND, what, look)
}

/// The same for what may take as long as `bound` without being broken.
#[track_caller]
pub fn eventually_within<R>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let deadline = tokio::time::Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A value with a condition variable: one thread changes it while others wait for a condition on it.
#[derive(Debug, Default)]
pub struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Locks the value. A panic of another thread does not prevent that: the logs are needed most then.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the value and wakes all waiting threads.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` returns a value; `None` after [`BOUND`].
    pub fn wait<R>(&self, mut look: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let mut found = None;
        let guard = self.lock();
        let (_guard, _elapsed) = self
            .changed
            .wait_timeout_while(guard, BOUND, |value| {
                found = look(value);
                found.is_none()
            })
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        found
    }
}
