//! The bound on open connections (`limits.max_connections`), and which connection is evicted when it is reached.
//!
//! A connection that is to be evicted checks once more whether anything has come on it: it ends only if nothing has
//! happened on it since it was chosen.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::metrics::{ConnectionClosed, Metrics, OpenGuard};

/// How long an evicted connection may take to end, before another one is evicted. All may be busy.
const EVICTION_INTERVAL: Duration = Duration::from_millis(100);

/// Most idle connections that are chosen at once, so that a look at all connections is rare.
const MAX_CANDIDATES: usize = 64;

/// What a [`ConnectionLimiter`] enforces.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Most connections of the listener.
    pub total: usize,
    /// Most connections of one peer; 0: no bound.
    pub per_peer: usize,
    /// How long a connection that has carried an authentic trigger stays idle before it may be evicted: a backend would
    /// send its next trigger on a connection that is being closed.
    pub trusted_grace: Duration,
}

/// Limits the open connections of a listener.
#[derive(Debug)]
pub struct ConnectionLimiter {
    permits: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
    clock: Clock,
    metrics: Arc<Metrics>,
    trusted_grace: Duration,
}

/// The connections that are open. Changed when one is accepted or ends, never by a request.
#[derive(Debug, Default)]
struct OpenConnections {
    /// Most connections of the listener.
    total: usize,
    /// Connections that are open beyond `total`, since it was lowered: as many permits are not given back.
    excess: usize,
    /// Most connections of one peer; 0: no bound.
    per_peer: usize,
    next: u64,
    connections: HashMap<u64, OpenConnection>,
    /// Those that may not have sent a request yet, oldest first.
    without_request: BTreeSet<u64>,
    /// Number of connections of each peer.
    peers: HashMap<IpAddr, usize>,
    /// Idle connections to be evicted, the next one last.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct OpenConnection {
    activity: Arc<Activity>,
    peer: IpAddr,
}

/// An idle connection that may be evicted.
#[derive(Debug)]
struct Candidate {
    number: u64,
    state: u64,
    peer: IpAddr,
    /// Connections of its peer when it was chosen.
    count: usize,
    /// It stays if its peer has fewer connections meanwhile: another peer has more.
    least: usize,
}

/// What a connection does: its own task writes it, the accept loop reads it.
#[derive(Debug)]
struct Activity {
    /// One of [`NEW`], [`BUSY`], [`IDLE`] and [`TRUSTED`], and in the upper bits the moment from which on it is idle.
    state: AtomicU64,
    is_trusted: AtomicBool,
    /// The connection ends if it is in this state; 0: in none.
    evict_in: AtomicU64,
    waker: AtomicWaker,
}

/// The registration of a connection's own task. It ends with the future that waits: a relay keeps the permit for long, and
/// a waker would keep the memory of the task that has served the connection before.
struct Registered<'a> {
    activity: &'a Activity,
    waker: Option<Waker>,
}

/// No request has come.
const NEW: u64 = 0b001;
/// A request is under way, or it was switched to another protocol.
const BUSY: u64 = 0b010;
/// Between two requests.
const IDLE: u64 = 0b011;
/// Between two requests, one of which was an authentic trigger.
const TRUSTED: u64 = 0b111;
/// The bits of these.
const KIND: u64 = 0b111;

/// Allows one connection to be open, until the last reference to it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    activity: Arc<Activity>,
    number: u64,
    peer: IpAddr,
    limiter: Arc<ConnectionLimiter>,
    /// What the connection holds; `None` only while it is dropped.
    held: Option<(OpenGuard, OwnedSemaphorePermit)>,
}

impl ConnectionLimiter {
    /// A limiter of connections none of which is open yet.
    #[must_use]
    pub fn new(limits: ConnectionLimits, clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let ConnectionLimits { total, per_peer, trusted_grace } = limits;
        let total = total.min(Semaphore::MAX_PERMITS);
        let open = OpenConnections { total, per_peer, ..OpenConnections::default() };
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(total)),
            open: Mutex::new(open),
            clock,
            metrics,
            trusted_grace,
        })
    }

    /// Changes the bounds. Where more connections are open than `total`, so many are evicted, unless they are busy: they
    /// count until they end. Connections of a peer that has more than `per_peer` stay.
    pub fn set_limits(&self, total: usize, per_peer: usize) {
        let total = total.min(Semaphore::MAX_PERMITS);
        let mut open = self.open();
        open.per_peer = per_peer;
        let before = std::mem::replace(&mut open.total, total);
        let more = total.saturating_sub(before);
        let kept = more.min(open.excess);
        open.excess -= kept;
        self.permits.add_permits(more - kept);
        let fewer = before.saturating_sub(total);
        open.excess += fewer - self.permits.forget_permits(fewer);
        let excess = open.excess;
        drop(open);
        for _ in 0..excess {
            self.evict_one();
        }
    }

    /// Waits until one more connection may be open; if none may, another connection is evicted, unless all are busy.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub async fn acquire(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        loop {
            self.evict_one();
            if let Ok(acquired) = timeout(EVICTION_INTERVAL, Arc::clone(&self.permits).acquire_owned()).await {
                return acquired;
            }
        }
    }

    /// Admits a connection of `peer`, which takes the `permit` over. `None`: the peer has too many.
    #[must_use]
    pub fn admit(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: IpAddr) -> Option<Arc<ConnectionPermit>> {
        let peer = network(peer);
        let activity = Arc::new(Activity {
            state: AtomicU64::new(NEW),
            is_trusted: AtomicBool::new(false),
            evict_in: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        });
        let mut open = self.open();
        let per_peer = open.per_peer;
        let count = open.peers.entry(peer).or_default();
        if per_peer > 0 && *count >= per_peer {
            open.give_back(permit);
            drop(open);
            self.metrics.connection_closed(ConnectionClosed::PeerLimit);
            return None;
        }
        *count += 1;
        let number = open.next;
        open.next += 1;
        open.without_request.insert(number);
        open.connections.insert(number, OpenConnection { activity: Arc::clone(&activity), peer });
        drop(open);
        Some(Arc::new(ConnectionPermit {
            activity,
            number,
            peer,
            limiter: Arc::clone(self),
            held: Some((self.metrics.connection(), permit)),
        }))
    }

    /// Evicts one connection, if there is one that may be.
    fn evict_one(&self) {
        let mut open = self.open();
        while let Some(number) = open.without_request.pop_first() {
            if open.evict(number, NEW) {
                return;
            }
        }
        for choose_anew in [false, true] {
            if choose_anew {
                open.choose(self.clock.now(), self.trusted_grace);
            }
            while let Some(Candidate { number, state, least, .. }) = open.candidates.pop() {
                if open.count(number) >= least && open.evict(number, state) {
                    return;
                }
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        // Nothing panics between two changes that belong together.
        self.open.lock()
    }
}

impl OpenConnections {
    /// Gives a permit back, unless there are too many.
    fn give_back(&mut self, permit: OwnedSemaphorePermit) {
        if self.excess > 0 {
            self.excess -= 1;
            permit.forget();
        }
    }

    /// How many connections the peer of connection `number` has; 0 if that connection has ended.
    fn count(&self, number: u64) -> usize {
        self.connections.get(&number).and_then(|open| self.peers.get(&open.peer)).copied().unwrap_or_default()
    }

    /// Evicts a connection if it is still in `state`. Returns whether it is.
    fn evict(&self, number: u64, state: u64) -> bool {
        let Some(OpenConnection { activity, .. }) = self.connections.get(&number) else { return false };
        if activity.state.load(Ordering::Relaxed) != state {
            return false;
        }
        activity.evict_in.store(state, Ordering::Release);
        activity.waker.wake();
        true
    }

    /// Chooses idle connections of the peer that has the most, longest idle first.
    fn choose(&mut self, now: Moment, trusted_grace: Duration) {
        let idle = self.connections.iter().filter_map(|(&number, open)| {
            let state = open.activity.state.load(Ordering::Relaxed);
            let is_evictable = match state & KIND {
                IDLE => true,
                TRUSTED => now.since(since(state)) >= trusted_grace,
                _ => false,
            };
            let is_ending = open.activity.evict_in.load(Ordering::Relaxed) == state;
            let count = self.peers.get(&open.peer).copied().unwrap_or_default();
            (is_evictable && !is_ending).then_some(Candidate { number, state, peer: open.peer, count, least: count })
        });
        let mut candidates: Vec<_> = idle.collect();
        let Some(&Candidate { peer: largest, count: most, .. }) =
            candidates.iter().max_by_key(|candidate| candidate.count)
        else {
            return;
        };
        let others = candidates.iter().filter(|candidate| candidate.peer != largest).map(|candidate| candidate.count);
        let least = most.min(others.max().unwrap_or_default() + 1);
        candidates.retain_mut(|candidate| {
            candidate.least = least;
            candidate.count == most
        });
        candidates.sort_unstable_by_key(|candidate| since(candidate.state));
        candidates.truncate(MAX_CANDIDATES);
        candidates.reverse();
        self.candidates = candidates;
    }
}

impl ConnectionPermit {
    /// Notes that a request has come, or that the connection is switched to another protocol.
    pub fn set_busy(&self) {
        self.activity.state.store(BUSY, Ordering::Relaxed);
    }

    /// Notes that no request is under way from `now` on.
    pub fn set_idle(&self, now: Moment) {
        let kind = if self.activity.is_trusted.load(Ordering::Relaxed) { TRUSTED } else { IDLE };
        self.activity.state.store(now.as_millis() << KIND.count_ones() | kind, Ordering::Relaxed);
    }

    /// Notes that the rest of a request is awaited from `now` on: a connection that has carried no authentic trigger
    /// counts as idle meanwhile.
    pub fn set_receiving(&self, now: Moment) {
        if !self.activity.is_trusted.load(Ordering::Relaxed) {
            self.set_idle(now);
        }
    }

    /// Notes that the connection has carried an authentic trigger.
    pub fn set_trusted(&self) {
        self.activity.is_trusted.store(true, Ordering::Relaxed);
    }

    /// The time by the clock of all connections.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.limiter.clock.now()
    }

    /// Ready when the connection has to end. Poll it in the connection's own task, after the future that reads from it.
    pub async fn evicted(&self) {
        let activity = &self.activity;
        let mut registered = Registered { activity, waker: None };
        let state = poll_fn(|context| {
            if !registered.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                activity.waker.register(context.waker());
                registered.waker = Some(context.waker().clone());
            }
            let evict_in = activity.evict_in.load(Ordering::Acquire);
            if evict_in != 0 && evict_in == activity.state.load(Ordering::Relaxed) {
                Poll::Ready(evict_in)
            } else {
                Poll::Pending
            }
        });
        let reason = if state.await == NEW { ConnectionClosed::NoRequest } else { ConnectionClosed::Idle };
        self.limiter.metrics.connection_closed(reason);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        drop(self.activity.waker.take());
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.open();
        open.connections.remove(&self.number);
        open.without_request.remove(&self.number);
        if let Some(count) = open.peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.peers.remove(&self.peer);
            }
        }
        if let Some((gauge, permit)) = self.held.take() {
            // Before the permit: the next connection is not counted together with this one.
            drop(gauge);
            open.give_back(permit);
        }
    }
}

const fn since(state: u64) -> Moment {
    Moment::from_millis(state >> KIND.count_ones())
}

/// The peer that an address belongs to: in IPv6 its /64, all of which one customer has (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests;
