//! Idle connections to upstream that are kept for reuse. The connection returned last is reused first, so that surplus
//! connections reach the idle timeout.
//!
//! The pool bounds the idle connections. The number of connections in use equals the number of requests in flight,
//! which the gateway bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::transport::ExchangePhase;
use super::{Options, Payload};

/// An open connection of hyper's and the task that drives it. Dropping it ends the task and closes the connection in
/// any state: a peer that neither reads nor writes cannot keep it open.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Payload>,
    phase: ExchangePhase,
    driver: JoinHandle<()>,
    opened: Instant,
}

/// A connection whose answer is being read. [`Lease::release`] returns the connection to its pool; dropping the lease
/// closes the connection.
#[derive(Debug)]
#[must_use]
pub(super) struct Lease {
    connection: Connection,
    /// `None`: the connection is closed at the end of its answer.
    pool: Option<Arc<Pool>>,
}

/// A connection that a pool can hold.
pub(super) trait Poolable {
    /// When the connection was opened.
    fn opened(&self) -> Instant;

    /// Whether the connection is open and received nothing after the end of its last exchange (threats.md H1-18), as
    /// far as is known without a system call.
    fn is_idle(&mut self) -> bool;

    /// Begins an exchange; the caller sends the request next. Returns whether the connection can be used. The
    /// implementation makes sure that the system is queried for received bytes before the request is sent: a busy
    /// runtime knows only what it saw at its last poll.
    fn begin_exchange(&mut self) -> bool;
}

/// The idle connections of one worker.
#[derive(Debug)]
pub(super) struct Pool<C = Connection> {
    /// A lock: held while a few sockets are checked, never across an await. Each worker has its own pools, so
    /// there is no contention.
    idle: Mutex<Idle<C>>,
    idle_timeout: Duration,
    max_age: Duration,
}

#[derive(Debug)]
struct Idle<C> {
    /// The connection returned first is in front.
    connections: VecDeque<IdleConnection<C>>,
    max: usize,
}

#[derive(Debug)]
struct IdleConnection<C> {
    connection: C,
    since: Instant,
}

impl Connection {
    /// A connection that was just opened.
    pub(super) fn new(sender: SendRequest<Payload>, phase: ExchangePhase, driver: JoinHandle<()>) -> Self {
        Self { sender, phase, driver, opened: Instant::now() }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection cannot be used any more. The error contains the request if it is certain that nothing of it was
    /// sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Payload>>> {
        let answer = self.sender.try_send_request(request).await;
        self.phase.set_answered();
        answer
    }
}

impl Poolable for Connection {
    fn opened(&self) -> Instant {
        self.opened
    }

    /// hyper reports this only after the last request was written completely, its answer was read completely, neither
    /// side asked for the connection to be closed, and a read after that found neither bytes nor the end of the stream.
    fn is_idle(&mut self) -> bool {
        self.sender.is_ready()
    }

    /// The connection's own task queries the system right before it writes the request (see [`super::transport`]):
    /// other tasks may run in between. If anything was received by then, [`Connection::send`] returns the request.
    fn begin_exchange(&mut self) -> bool {
        self.phase.set_starting();
        self.is_idle()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Lease {
    /// A lease of `connection`, which returns to `pool`. Without a pool, the connection is closed at the end.
    pub(super) const fn new(connection: Connection, pool: Option<Arc<Pool>>) -> Self {
        Self { connection, pool }
    }

    /// Returns the connection.
    pub(super) fn release(self) {
        if let Some(pool) = self.pool {
            pool.put(self.connection, Instant::now());
        }
    }
}

impl<C: Poolable> Pool<C> {
    /// An empty pool with the bounds of `options`: the number of idle connections, the idle timeout and the age of a
    /// connection.
    pub(super) const fn new(options: &Options) -> Self {
        let idle = Idle { connections: VecDeque::new(), max: options.max_idle };
        Self { idle: Mutex::new(idle), idle_timeout: options.idle_timeout, max_age: options.max_connection_age }
    }

    /// The usable connection that was returned last, if there is one. Closes the closed and expired connections that it
    /// finds before it.
    pub(super) fn take(&self, now: Instant) -> Option<C> {
        let mut idle = self.idle();
        while let Some(IdleConnection { mut connection, since }) = idle.connections.pop_back() {
            if now.saturating_duration_since(since) >= self.idle_timeout {
                idle.connections.clear();
                return None;
            }
            if !self.is_too_old(&connection, now) && connection.begin_exchange() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection` from `now` on if it can be reused, and closes it otherwise. At the bound the oldest one is
    /// closed.
    pub(super) fn put(&self, mut connection: C, now: Instant) {
        if self.is_too_old(&connection, now) || !connection.is_idle() {
            return;
        }
        let mut idle = self.idle();
        idle.connections.push_back(IdleConnection { connection, since: now });
        if idle.connections.len() > idle.max {
            idle.connections.pop_front();
        }
    }

    /// Closes the connections that cannot be reused. Without it they would stay open while no requests arrive.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.idle().connections.retain_mut(|idle| !self.is_expired(idle, now));
    }

    /// Closes the idle connections and keeps none from now on.
    pub(super) fn retire(&self) {
        let mut idle = self.idle();
        idle.max = 0;
        idle.connections.clear();
    }

    /// The number of connections that can be reused at present.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        let now = Instant::now();
        self.idle().connections.iter_mut().map(|idle| usize::from(!self.is_expired(idle, now))).sum()
    }

    fn is_expired(&self, idle: &mut IdleConnection<C>, now: Instant) -> bool {
        let timed_out = now.saturating_duration_since(idle.since) >= self.idle_timeout;
        timed_out || self.is_too_old(&idle.connection, now) || !idle.connection.is_idle()
    }

    fn is_too_old(&self, connection: &C, now: Instant) -> bool {
        now.saturating_duration_since(connection.opened()) >= self.max_age
    }

    fn idle(&self) -> MutexGuard<'_, Idle<C>> {
        // Every change to the queue is complete before anything can panic, so they can be used after a panic under the lock.
        let idle = self.idle.lock();
        debug_assert!(idle.connections.len() <= idle.max, "the number of idle connections is bounded");
        idle
    }
}
