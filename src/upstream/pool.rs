//! Connections to upstream that are kept between requests. The latest returned is the first used again, so that the
//! surplus ages out.
//!
//! The pool bounds the idle connections. Those in use are as many as there are requests in flight, which the gateway
//! bounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::transport::Phase;
use super::{Options, Payload};

/// What a worker's pool holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Idle connections that can be used at present.
    pub idle: usize,
    /// Connections opened since the start.
    pub opened: u64,
    /// Requests handed to a kept connection since the start.
    pub reused: u64,
}

/// An open connection and the task that drives it. Dropping it ends the task and with it the connection, whatever state
/// that is in: a peer that neither reads nor writes cannot hold it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Payload>,
    phase: Phase,
    driver: JoinHandle<()>,
    opened: Instant,
}

/// The obligation to give a connection back once its answer is complete. Dropped instead, it closes the connection.
#[derive(Debug)]
#[must_use]
pub(super) struct Lease {
    connection: Connection,
    /// `None`: the connection is closed when its answer ends.
    pool: Option<Arc<Pool>>,
}

/// What a pool keeps.
pub(super) trait Kept {
    /// When it was opened.
    fn opened(&self) -> Instant;

    /// Whether it is open and nothing came on it since its last exchange ended (threats.md H1-18), as far as is known
    /// without a system call.
    fn is_at_rest(&mut self) -> bool;

    /// Begins an exchange: the request is sent next. Whether the connection can carry it: by then the system was asked
    /// whether anything came, for a runtime that is busy knows only what was there when it last looked.
    fn begin(&mut self) -> bool;
}

/// The idle connections of one worker.
#[derive(Debug)]
pub(super) struct Pool<C = Connection> {
    /// A std mutex: held for a look at a few sockets, never over an await, and contended only if workers share a pool,
    /// which they do not.
    idle: Mutex<Idle<C>>,
    idle_timeout: Duration,
    max_age: Duration,
    opened: AtomicU64,
    reused: AtomicU64,
}

#[derive(Debug)]
struct Idle<C> {
    /// The oldest in front.
    kept: VecDeque<Resting<C>>,
    max: usize,
}

#[derive(Debug)]
struct Resting<C> {
    connection: C,
    since: Instant,
}

impl Connection {
    /// One that was opened just now.
    pub(super) fn new(sender: SendRequest<Payload>, phase: Phase, driver: JoinHandle<()>) -> Self {
        Self { sender, phase, driver, opened: Instant::now() }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection is of no more use. The request is in it if provably nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Payload>>> {
        let answer = self.sender.try_send_request(request).await;
        self.phase.end();
        answer
    }
}

impl Kept for Connection {
    fn opened(&self) -> Instant {
        self.opened
    }

    /// hyper says so only after the last request was written whole, its answer read whole, neither side
    /// asked to close, and a read then found nothing: neither left-over bytes nor the end of the stream.
    fn is_at_rest(&mut self) -> bool {
        self.sender.is_ready()
    }

    /// The system is asked right before the request is written, by the connection's own task (see
    /// [`super::transport`]): other tasks may come in between. If anything has come then, `send` gives the request
    /// back.
    fn begin(&mut self) -> bool {
        self.phase.begin();
        self.is_at_rest()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Lease {
    /// A lease of `connection`, which goes back to `pool`, or nowhere.
    pub(super) const fn new(connection: Connection, pool: Option<Arc<Pool>>) -> Self {
        Self { connection, pool }
    }

    /// Gives the connection back.
    pub(super) fn release(self) {
        if let Some(pool) = self.pool {
            pool.put(self.connection);
        }
    }
}

impl<C: Kept> Pool<C> {
    /// An empty pool, with the bounds of `options`: so many connections, each of which is discarded when it has been
    /// idle for too long, or is too old.
    pub(super) const fn new(options: &Options) -> Self {
        let idle = Idle { kept: VecDeque::new(), max: options.max_idle };
        let (idle_timeout, max_age) = (options.idle_timeout, options.max_connection_age);
        Self { idle: Mutex::new(idle), idle_timeout, max_age, opened: AtomicU64::new(0), reused: AtomicU64::new(0) }
    }

    /// The connection that was returned last, if any can be used. Dead and old ones met on the way are closed.
    pub(super) fn take(&self, now: Instant) -> Option<C> {
        let mut idle = self.idle();
        while let Some(Resting { mut connection, since }) = idle.kept.pop_back() {
            if now.saturating_duration_since(since) >= self.idle_timeout {
                idle.kept.clear();
                return None;
            }
            if !self.is_old(&connection, now) && connection.begin() {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection` if it can be used again, and closes it if not. The oldest goes if there are too many.
    pub(super) fn put(&self, mut connection: C) {
        let now = Instant::now();
        if self.is_old(&connection, now) || !connection.is_at_rest() {
            return;
        }
        let mut idle = self.idle();
        idle.kept.push_back(Resting { connection, since: now });
        while idle.kept.len() > idle.max || idle.kept.front_mut().is_some_and(|oldest| self.is_spent(oldest, now)) {
            idle.kept.pop_front();
        }
    }

    /// Closes the connections that cannot be used again: nobody else does while no requests come.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.idle().kept.retain_mut(|kept| !self.is_spent(kept, now));
    }

    /// Closes the idle connections and keeps none from now on.
    pub(super) fn retire(&self) {
        let mut idle = self.idle();
        idle.max = 0;
        idle.kept.clear();
    }

    /// Counts a connection that was opened.
    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A snapshot.
    pub(super) fn stats(&self) -> PoolStats {
        let now = Instant::now();
        let idle = self.idle().kept.iter_mut().map(|kept| usize::from(!self.is_spent(kept, now))).sum();
        PoolStats { idle, opened: self.opened.load(Ordering::Relaxed), reused: self.reused.load(Ordering::Relaxed) }
    }

    fn is_spent(&self, kept: &mut Resting<C>, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(kept.since) >= self.idle_timeout;
        is_late || self.is_old(&kept.connection, now) || !kept.connection.is_at_rest()
    }

    fn is_old(&self, connection: &C, now: Instant) -> bool {
        now.saturating_duration_since(connection.opened()) >= self.max_age
    }

    fn idle(&self) -> MutexGuard<'_, Idle<C>> {
        // Every change to the queue is whole before anything can panic.
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(idle.kept.len() <= idle.max, "no more connections are kept than may be");
        idle
    }
}
