//! Requests of a worker's connections that are decided together.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::decider::{Decider, MAX_BATCH};
use super::request::Request;
use crate::clock::Date;
use crate::gateway::Shared;

/// The requests that a worker has received and not decided yet.
///
/// A connection adds its request, yields to the other connections (`yield_to_ready`), and takes the request back
/// decided. The first connection to do so decides the requests behind its own, too. Requests that go through a stage
/// together find its code in the processor's caches, and their digests are computed together.
pub struct Batch {
    shared: Arc<Shared>,
    /// The value of `Host` for requests to upstream.
    host: HeaderValue,
    /// A lock: only this worker's thread takes it, and never over an `.await`.
    queue: Mutex<Queue>,
}

/// Requests in the order in which they came.
#[derive(Default)]
struct Queue {
    /// `None`: taken out already, while an earlier one is still queued.
    requests: VecDeque<Option<Box<Request>>>,
    /// The number of the first request, counted from the worker's start.
    first: u64,
    date: Date,
}

/// A connection's request in the batch. Dropping this takes the request out.
#[must_use = "its request is still there"]
pub(super) struct QueuedRequest<'b> {
    batch: &'b Batch,
    number: u64,
    /// Whether [`QueuedRequest::decided`] has taken the request out.
    is_taken: bool,
}

impl Batch {
    /// The batch of a worker that forwards to `host`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, host: HeaderValue) -> Self {
        Self { shared, host, queue: Mutex::default() }
    }

    /// Adds a request that is not decided.
    pub(super) fn add(&self, request: Box<Request>) -> QueuedRequest<'_> {
        let mut queue = self.queue();
        let number = queue.first + queue.requests.len() as u64;
        queue.requests.push_back(Some(request));
        QueuedRequest { batch: self, number, is_taken: false }
    }

    /// Decides on the request with this number and the next ones behind it that are not decided.
    fn decide(&self, queue: &mut Queue, number: u64) {
        let now = Instant::now();
        queue.date.set(now);
        let first = queue.index(number);
        let Queue { requests, date, .. } = queue;
        let waiting = requests
            .range_mut(first..)
            .flatten()
            .map(|request| &mut **request)
            .filter(|request| request.outcome.is_none());
        let now = self.shared.clock.timestamp(now);
        Decider { shared: &self.shared, host: self.host.as_bytes(), date, now }
            .decide_all(waiting.take(MAX_BATCH).collect());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic in one request's decision is caught there.
        self.queue.lock()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the requests: they belong to other connections.
        f.debug_struct("Batch").field("requests", &self.queue().requests.len()).finish_non_exhaustive()
    }
}

impl QueuedRequest<'_> {
    /// Takes the request out, decided. If it is not decided yet, this decides it, with the next ones behind it.
    pub(super) fn decided(mut self) -> Option<Box<Request>> {
        let mut queue = self.batch.queue();
        if queue.get(self.number).is_some_and(|request| request.outcome.is_none()) {
            self.batch.decide(&mut queue, self.number);
        }
        self.is_taken = true;
        queue.take(self.number)
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            // Nobody waits for the outcome; if the request holds tickets, dropping them puts their channels in doubt.
            // The lock is released before that.
            let _dropped = self.batch.queue().take(self.number);
        }
    }
}

impl Queue {
    fn index(&self, number: u64) -> usize {
        // An entry stays in the queue until its `QueuedRequest` takes it out.
        usize::try_from(number.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn get(&self, number: u64) -> Option<&Request> {
        self.requests.get(self.index(number))?.as_deref()
    }

    fn take(&mut self, number: u64) -> Option<Box<Request>> {
        let index = self.index(number);
        let request = self.requests.get_mut(index).and_then(Option::take);
        while let Some(None) = self.requests.front() {
            self.requests.pop_front();
            self.first += 1;
        }
        request
    }
}
