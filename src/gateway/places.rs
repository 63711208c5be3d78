//! The places of open connections, and which of them is given up when none is free.
//!
//! A connection that is asked to go looks once more whether anything has come on it: only one on which nothing has
//! happened since it was chosen goes.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::metrics::{ConnectionClosed, Metrics, OpenGuard};

/// How long one that was asked to go may take, before another one is asked. All may be busy.
const PATIENCE: Duration = Duration::from_millis(100);

/// Idle connections that are chosen at once, so that looking at all of them is rare.
const CHOSEN: usize = 64;

/// The places of a listener's connections: `limits.max_connections`.
#[derive(Debug)]
pub struct Places {
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Most connections of one peer; 0: no bound.
    per_peer: usize,
    /// How long a connection that has carried an authentic trigger is kept idle: a backend's next one would meet its
    /// end.
    grace: Duration,
}

/// The connections that are open. Changed when one is accepted or ends, never by a request.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Held>,
    /// Those that may not have sent a request yet, oldest first.
    newcomers: BTreeSet<u64>,
    /// Connections of each peer.
    peers: HashMap<IpAddr, usize>,
    /// Idle ones to be given up, the next one last.
    chosen: Vec<Chosen>,
}

#[derive(Debug)]
struct Held {
    activity: Arc<Activity>,
    peer: IpAddr,
}

/// An idle connection to be given up.
#[derive(Debug)]
struct Chosen {
    number: u64,
    state: u64,
    /// It stays if its peer has fewer connections meanwhile: another peer has more.
    least: usize,
}

/// What a connection does: written by its own task, read by whoever needs a place.
#[derive(Debug)]
struct Activity {
    /// One of [`NEW`], [`BUSY`], [`IDLE`] and [`TRUSTED`], and in the upper bits since when it is idle.
    state: AtomicU64,
    is_trusted: AtomicBool,
    /// The state in which it is to go; 0: in none.
    asked: AtomicU64,
    waker: AtomicWaker,
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

/// A connection's place; given back when its last holder drops it.
#[derive(Debug)]
pub struct Place {
    activity: Arc<Activity>,
    number: u64,
    peer: IpAddr,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
    _gauge: OpenGuard,
}

impl Places {
    /// So many places, `per_peer` for each peer (0: no bound). `grace`: how long a connection that has carried an
    /// authentic trigger is kept idle.
    #[must_use]
    pub fn new((most, per_peer): (usize, usize), grace: Duration, clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { permits, open: Mutex::default(), clock, metrics, per_peer, grace })
    }

    /// Waits for a free place; if there is none, another connection is given up, unless all are busy.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub async fn free(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        loop {
            self.make_room();
            if let Ok(acquired) = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await {
                return acquired;
            }
        }
    }

    /// Gives the place that `permit` grants to a connection of `peer`. `None`: the peer has too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: IpAddr) -> Option<Arc<Place>> {
        let peer = network(peer);
        let activity = Arc::new(Activity {
            state: AtomicU64::new(NEW),
            is_trusted: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        });
        let mut open = self.open();
        let count = open.peers.entry(peer).or_default();
        if self.per_peer > 0 && *count >= self.per_peer {
            drop(open);
            self.metrics.connection_closed(ConnectionClosed::PeerLimit);
            return None;
        }
        *count += 1;
        let number = open.next;
        open.next += 1;
        open.newcomers.insert(number);
        open.connections.insert(number, Held { activity: Arc::clone(&activity), peer });
        drop(open);
        Some(Arc::new(Place {
            activity,
            number,
            peer,
            places: Arc::clone(self),
            _permit: permit,
            _gauge: self.metrics.connection(),
        }))
    }

    /// Asks one connection to go, if there is one that may.
    fn make_room(&self) {
        let mut open = self.open();
        while let Some(number) = open.newcomers.pop_first() {
            if open.ask(number, NEW) {
                return;
            }
        }
        for look in [false, true] {
            if look {
                open.choose(self.clock.now(), self.grace);
            }
            while let Some(Chosen { number, state, least }) = open.chosen.pop() {
                if open.count(number) >= least && open.ask(number, state) {
                    return;
                }
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics between two changes that belong together.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// How many connections the peer of this one has; 0 if this one is gone.
    fn count(&self, number: u64) -> usize {
        self.connections.get(&number).and_then(|held| self.peers.get(&held.peer)).copied().unwrap_or_default()
    }

    /// Asks a connection to go if it is still in `state`. Returns whether it is.
    fn ask(&self, number: u64, state: u64) -> bool {
        let Some(Held { activity, .. }) = self.connections.get(&number) else { return false };
        if activity.state.load(Ordering::Relaxed) != state {
            return false;
        }
        activity.asked.store(state, Ordering::Release);
        activity.waker.wake();
        true
    }

    /// Chooses idle connections of the peer that has the most, longest idle first.
    fn choose(&mut self, now: Moment, grace: Duration) {
        let idle = self.connections.iter().filter_map(|(number, held)| {
            let state = held.activity.state.load(Ordering::Relaxed);
            let may_go = match state & KIND {
                IDLE => true,
                TRUSTED => now.since(since(state)) >= grace,
                _ => false,
            };
            may_go.then(|| (*number, state, held.peer, self.peers.get(&held.peer).copied().unwrap_or_default()))
        });
        let idle: Vec<_> = idle.collect();
        let Some(&(_, _, largest, most)) = idle.iter().max_by_key(|(_, _, _, count)| *count) else { return };
        let others = idle
            .iter()
            .filter(|(_, _, peer, _)| *peer != largest)
            .map(|(_, _, _, count)| *count)
            .max()
            .unwrap_or_default();
        let least = most.min(others + 1);
        let mut chosen: Vec<_> = idle
            .into_iter()
            .filter(|(_, _, _, count)| *count == most)
            .map(|(number, state, ..)| Chosen { number, state, least })
            .collect();
        chosen.sort_unstable_by_key(|chosen| since(chosen.state));
        chosen.truncate(CHOSEN);
        chosen.reverse();
        self.chosen = chosen;
    }
}

impl Place {
    /// A request has come, or the connection is switched to another protocol.
    pub fn busy(&self) {
        self.activity.state.store(BUSY, Ordering::Relaxed);
    }

    /// No request is under way since `now`.
    pub fn idle(&self, now: Moment) {
        let kind = if self.activity.is_trusted.load(Ordering::Relaxed) { TRUSTED } else { IDLE };
        self.activity.state.store(now.as_millis() << KIND.count_ones() | kind, Ordering::Relaxed);
    }

    /// A body is awaited since `now`: a connection that has carried no authentic trigger counts as idle meanwhile.
    pub fn receiving(&self, now: Moment) {
        if !self.activity.is_trusted.load(Ordering::Relaxed) {
            self.idle(now);
        }
    }

    /// The connection has carried an authentic trigger.
    pub fn trust(&self) {
        self.activity.is_trusted.store(true, Ordering::Relaxed);
    }

    /// The time by the clock of all connections.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.places.clock.now()
    }

    /// Ready when the connection is to go. Poll it in the connection's own task, after whatever reads from it.
    pub async fn given_up(&self) {
        let activity = &self.activity;
        let mut registered: Option<Waker> = None;
        let state = poll_fn(|context| {
            if !registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                activity.waker.register(context.waker());
                registered = Some(context.waker().clone());
            }
            let asked = activity.asked.load(Ordering::Acquire);
            if asked != 0 && asked == activity.state.load(Ordering::Relaxed) {
                Poll::Ready(asked)
            } else {
                Poll::Pending
            }
        });
        let reason = if state.await == NEW { ConnectionClosed::NoRequest } else { ConnectionClosed::Idle };
        self.places.metrics.connection_closed(reason);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        open.connections.remove(&self.number);
        open.newcomers.remove(&self.number);
        if let Some(count) = open.peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.peers.remove(&self.peer);
            }
        }
    }
}

const fn since(state: u64) -> Moment {
    Moment::from_millis(state >> KIND.count_ones())
}

/// Whom an address stands for: in IPv6 its /64, which one customer has whole (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests;
