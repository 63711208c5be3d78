//! The channels of one rule's memory in a `DashMap`, and the order in which they are evicted.
//!
//! A key is the hash of a channel's name, so the name is stored once, in the entry's block. Two names with the same
//! hash share a key: the second is not remembered while the first is, and its announcements are forwarded. The hash is
//! keyed at random, so clients cannot choose such names; among a million channels, a collision occurs in one of some
//! ten million memories.
//!
//! Nothing here waits: the locks are held for less than a microsecond; for an eviction, for tens of microseconds.

mod clients;
mod kept;

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::app::AppMemory;
use super::bounds::{MemoryContext, WaiterPermit};
use super::idle_entry::MAX_NAME;
use super::machine::{Comparison, Occasion, TicketId};
use super::slot::{ActiveEntry, Slot};
use super::snapshot::AppSnapshot;
use super::sync::atomic::{AtomicUsize, Ordering};
use super::sync::{Map, Mutex, lock};
use super::{Announced, Before, ClaimMode, Entry, Outcome, Renewal, Shown};
use crate::clock::Moment;

/// A memory of so few channels has a single queue.
const SMALL: usize = 1_024;

/// The capacities of tables of 512, 1,024, 2,048 and 4,096 buckets (seven eighths). A queue whose cap is one of these,
/// or slightly less, fills the table of its shard; with a slightly larger cap, half of the buckets would be empty. The
/// last one also bounds the time for which a sweep locks one shard.
const FULL_TABLES: [usize; 4] = [448, 896, 1_792, 3_584];

/// The largest cap that a queue may get by [`Channels::set_max_channels`]: a walk over so many keys takes some ten
/// microseconds.
const LARGEST_CAP: usize = 8 * 3_584;

/// The preferred minimum number of queues, unless the tables would become too small.
const ENOUGH_QUEUES: usize = 64;

/// At the cap, this fraction (one in N) of a queue's channels is evicted at once.
const EVICTED_SHARE: usize = 16;

/// The number of channels that may get a second chance for each evicted channel.
const SECOND_CHANCES: usize = 2;

/// The number of queues that a sweep visits.
const SWEPT: usize = 64;

/// The bits of a hash that hashbrown stores as tags beside the buckets. `DashMap` chooses the shard by the bits that
/// follow.
const TAG_BITS: u32 = 7;

/// The wake-ups of waiting requests. Sent once no lock is held.
pub(super) type Woken = Vec<oneshot::Sender<()>>;

/// The channels of one memory.
///
/// Lock order: a queue, then a shard of the map.
#[derive(Debug)]
pub(super) struct Channels {
    map: Map<Slot>,
    queues: Box<[Mutex<Queue>]>,
    /// The largest number of channels in one queue. Changes when the configuration does.
    cap: AtomicUsize,
    /// The first queue of the next sweep.
    next_swept: AtomicUsize,
    /// Position of the lowest bit of a key that chooses the map's shard.
    shard_shift: u32,
}

/// The keys of one shard of the map in the order in which they are considered for eviction. A key is inserted into the
/// map or removed from it only with its queue locked, so that map and queue hold the same keys whenever the queue is
/// free.
type Queue = VecDeque<u64>;

/// A claim on one channel.
#[derive(Debug)]
pub(super) struct ClaimRequest<'a> {
    pub(super) hash: u64,
    pub(super) channel: &'a str,
    pub(super) announced: Announced<'a>,
    pub(super) mode: ClaimMode,
    pub(super) occasion: Occasion,
    pub(super) app: &'a AppMemory,
    pub(super) remember_for: Duration,
}

/// The answer to a claim, without a reference to the memory.
#[derive(Debug)]
pub(super) enum ClaimAnswer {
    Redundant(Shown),
    InFlight(oneshot::Receiver<()>, WaiterPermit),
    Reserved { ticket: TicketId, before: Before, redundant: bool, shown: Option<Shown>, renewal: Option<Renewal> },
    Full,
}

impl Channels {
    /// A map with space for `max_channels` channels.
    pub(super) fn new(max_channels: usize) -> Self {
        let (queues, cap) = layout(max_channels);
        let shards = queues.next_power_of_two().max(2);
        Self {
            map: Map::with_hasher_and_shard_amount(Default::default(), shards),
            queues: std::iter::repeat_with(Mutex::default).take(queues).collect(),
            cap: AtomicUsize::new(cap),
            next_swept: AtomicUsize::new(0),
            shard_shift: u64::BITS - TAG_BITS - shards.trailing_zeros(),
        }
    }

    /// Takes another bound; what is too much for it is evicted at once, but for channels in flight or in doubt. The
    /// queues stay as many as they are. Returns whether that is possible: so many channels fit neither too badly nor
    /// not at all.
    pub(super) fn set_max_channels(&self, max_channels: usize, now: Moment, context: &MemoryContext) -> bool {
        let cap = max_channels / self.queues.len();
        if !(1..=LARGEST_CAP).contains(&cap) {
            return false;
        }
        // Relaxed: a claim that reads the old bound leaves one channel more, which the next one evicts.
        if self.cap.swap(cap, Ordering::Relaxed) > cap {
            for queue in &self.queues {
                let mut queue = lock(queue);
                while queue.len() > cap {
                    let evicted = self.evict(&mut queue, now);
                    context.evicted_for_capacity(evicted);
                    if evicted == 0 {
                        break;
                    }
                }
            }
        }
        true
    }

    /// Answers a claim.
    pub(super) fn claim(&self, request: ClaimRequest<'_>) -> ClaimAnswer {
        let (queue, key) = self.locate(request.hash);
        if let Some(mut slot) = self.map.get_mut(&key) {
            return claim_known(&mut slot, &request);
        }
        if request.channel.len() > MAX_NAME {
            return ClaimAnswer::Full;
        }
        // A key is inserted only with its queue locked.
        let mut queue = lock(&self.queues[queue]);
        let has_room = self.make_room(&mut queue, request.occasion.now, request.app.context());
        if let Some(mut slot) = self.map.get_mut(&key) {
            return claim_known(&mut slot, &request);
        }
        if !has_room {
            return ClaimAnswer::Full;
        }
        let mut entry = ActiveEntry::new(request.channel);
        let snapshot = request.app.snapshot(request.occasion.now);
        let answer = answer(&mut entry, &request, snapshot);
        self.map.insert(key, Slot::Active(Box::new(entry)));
        queue.push_back(key);
        answer
    }

    /// Settles a ticket. Returns the wake-ups of the requests that wait for it.
    pub(super) fn settle(
        &self,
        hash: u64,
        ticket: TicketId,
        outcome: Outcome,
        now: Moment,
        doubt_period: Duration,
    ) -> Woken {
        let (queue, key) = self.locate(hash);
        let Some(mut slot) = self.map.get_mut(&key) else {
            // A second panic would end the process.
            debug_assert!(std::thread::panicking(), "an entry with a ticket in flight is never removed");
            return Vec::new();
        };
        let entry = slot.activate(false);
        if entry.channel.settle(ticket, outcome, now, doubt_period) {
            entry.announce();
        }
        let woken = entry.take_settled(ticket);
        let stays = slot.compact(now);
        drop(slot);
        if !stays {
            self.remove_if(queue, key, |slot| !slot.compact(now));
        }
        woken
    }

    /// What is remembered under a key, if it is of this channel.
    fn named(&self, key: u64, channel: &str) -> Option<impl DerefMut<Target = Slot>> {
        self.map.get_mut(&key).filter(|slot| slot.is_named(channel))
    }

    /// Forgets one channel. Returns whether it was remembered, and the wake-ups of the requests that wait for it.
    pub(super) fn forget(&self, hash: u64, channel: &str, now: Moment) -> (bool, Woken) {
        let (queue, key) = self.locate(hash);
        let Some(mut slot) = self.named(key, channel) else { return (false, Vec::new()) };
        // First made unknown, then removed: a claim in between finds nothing known.
        let entry = slot.activate(false);
        entry.channel.forget();
        let woken = entry.take_all_waiters();
        let quiet = slot.is_quiet(now);
        drop(slot);
        if quiet {
            self.remove_if(queue, key, |slot| slot.is_quiet(now) && slot.is_named(channel));
        }
        (true, woken)
    }

    /// Removes the channels that no claim named for `remember_for`, and compacts those that have become idle. Returns
    /// the number removed for their age. Locks one channel at a time, so claims are not delayed. A sweep visits at most
    /// [`SWEPT`] queues, which takes less than a tenth of a second; the next sweep continues there.
    pub(super) fn sweep(&self, now: Moment, remember_for: Duration) -> usize {
        let mut removed = 0;
        let swept = self.queues.len().min(SWEPT);
        // Relaxed: two concurrent sweeps may visit the same queues.
        let first = self.next_swept.fetch_add(swept, Ordering::Relaxed);
        for index in (first..first.wrapping_add(swept)).map(|index| index % self.queues.len()) {
            let keys = lock(&self.queues[index]).clone();
            for key in keys {
                let too_old = |slot: &Slot| slot.is_quiet(now) && slot.is_idle(now, remember_for);
                let stays = self.map.get_mut(&key).is_none_or(|mut slot| !too_old(&slot) && slot.compact(now));
                if !stays {
                    let mut old = false;
                    self.remove_if(index, key, |slot| {
                        old = too_old(slot);
                        old || !slot.compact(now)
                    });
                    removed += usize::from(old);
                }
            }
        }
        removed
    }

    /// Number of channels.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The entries whose channel begins with `prefix`, `limit` at most.
    pub(super) fn entries(
        &self,
        prefix: &str,
        limit: usize,
        now: Moment,
        app: &AppMemory,
        remember_for: Duration,
    ) -> Vec<Entry> {
        let matching = self.map.iter().filter(|slot| slot.name().starts_with(prefix)).take(limit);
        // With the shard locked, as at a claim.
        matching.map(|slot| slot.entry(now, app.snapshot(now), slot.is_idle(now, remember_for))).collect()
    }

    /// The queue and the key of a name with this hash. The key is the hash, with the bits that choose the map's shard
    /// replaced by the queue's number: so the channels of one queue share one table, which is full when the queue is
    /// full. (If `DashMap` chose shards in another way, the tables would only be larger.)
    fn locate(&self, hash: u64) -> (usize, u64) {
        let queue = queue_of(hash, self.queues.len());
        let tag = hash & !(u64::MAX >> TAG_BITS);
        let low = hash & ((1 << self.shard_shift) - 1);
        (queue, tag | (queue as u64) << self.shard_shift | low)
    }

    /// Removes a channel if it meets a condition.
    fn remove_if(&self, queue: usize, key: u64, condition: impl FnOnce(&mut Slot) -> bool) {
        let mut queue = lock(&self.queues[queue]);
        if self.map.remove_if_mut(&key, |_, slot| condition(slot)).is_some()
            && let Some(position) = queue.iter().rposition(|&queued| queued == key)
        {
            queue.remove(position);
        }
    }

    /// Makes space for one more channel. Returns whether there is space.
    fn make_room(&self, queue: &mut Queue, now: Moment, context: &MemoryContext) -> bool {
        let cap = self.cap.load(Ordering::Relaxed);
        if queue.len() >= cap {
            let evicted = self.evict(queue, now);
            context.evicted_for_capacity(evicted);
        }
        queue.len() < cap
    }

    /// Evicts a fraction of the channels at the front of the queue, at least one if any may be forgotten. A channel
    /// that was claimed again since it was appended to the queue is appended again, and so is one that is in flight or
    /// in doubt.
    fn evict(&self, queue: &mut Queue, now: Moment) -> usize {
        let wanted = (queue.len() / EVICTED_SHARE).max(1);
        let mut chances = wanted * SECOND_CHANCES;
        let mut evicted = 0;
        // Two rounds: in the first, all channels may have got a second chance.
        for _ in 0..queue.len() * 2 {
            if evicted == wanted {
                break;
            }
            let Some(key) = queue.pop_front() else { break };
            let removed = self.map.remove_if_mut(&key, |_, slot| {
                if !slot.is_quiet(now) {
                    return false;
                }
                let spared = chances > 0 && slot.take_referenced();
                chances -= usize::from(spared);
                !spared
            });
            match removed {
                Some(_) => evicted += 1,
                None => queue.push_back(key),
            }
        }
        evicted
    }
}

/// The number of queues and the cap of each; the caps sum to at most `max_channels`.
fn layout(max_channels: usize) -> (usize, usize) {
    if max_channels <= SMALL {
        return (1, max_channels);
    }
    let [smallest, ..] = FULL_TABLES;
    let table = FULL_TABLES.into_iter().rev().find(|table| max_channels / table >= ENOUGH_QUEUES).unwrap_or(smallest);
    let queues = max_channels.div_ceil(table);
    (queues, max_channels / queues)
}

/// The queue of a name with this hash: 32 bits from the middle, scaled. The lowest bits choose the bucket within a
/// table and the highest seven are the tag, so both should differ among the names of one queue.
fn queue_of(hash: u64, queues: usize) -> usize {
    let middle = u128::from((hash >> 24) & 0xffff_ffff);
    usize::try_from((middle * queues as u128) >> 32).unwrap_or_default()
}

/// Answers a claim on a remembered channel, or on another channel with the same key.
fn claim_known(slot: &mut Slot, request: &ClaimRequest<'_>) -> ClaimAnswer {
    if !slot.is_named(request.channel) {
        return ClaimAnswer::Full;
    }
    // Read here, under the lock, so that what the channel knows was stored before; see `AppMemory`.
    let snapshot = request.app.snapshot(request.occasion.now);
    let idle = slot.is_idle(request.occasion.now, request.remember_for);
    if let Slot::Idle(entry) = slot
        && !idle
        && !request.mode.is_forced()
        && let Some(shown) = entry.shows(&request.announced, request.occasion, snapshot)
    {
        entry.suppress(request.occasion.now);
        return ClaimAnswer::Redundant(shown);
    }
    let entry = slot.activate(idle);
    entry.reference();
    answer(entry, request, snapshot)
}

/// Compares the claim with the channel and applies the result.
fn answer(entry: &mut ActiveEntry, request: &ClaimRequest<'_>, snapshot: AppSnapshot) -> ClaimAnswer {
    let &ClaimRequest { mode, occasion, app, .. } = request;
    let now = occasion.now;
    let context: &Arc<MemoryContext> = app.context();
    let comparison = entry.channel.compare(request.announced, occasion, snapshot);
    entry.see(now);
    match (comparison, mode) {
        (Comparison::Redundant(shown), ClaimMode::MayWait | ClaimMode::MustNotWait) => {
            entry.suppress();
            return ClaimAnswer::Redundant(shown);
        }
        (Comparison::InFlight(leader), ClaimMode::MayWait) => {
            if let Some(permit) = context.wait()
                && let Some(settled) = entry.wait_for(leader, context.bounds.max_waiters_per_channel)
            {
                return ClaimAnswer::InFlight(settled, permit);
            }
        }
        _ => {}
    }
    let ticket = entry.next_ticket();
    let before = entry.channel.claim(ticket, request.announced, comparison.renews(mode), occasion, snapshot);
    ClaimAnswer::Reserved {
        ticket,
        before,
        redundant: comparison.is_redundant(),
        shown: comparison.shown(),
        renewal: comparison.renewal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::{Assignment, Bounds, Value};
    use crate::clock::Clock;

    #[test]
    fn the_layout_fills_its_tables() {
        for max in [0, 1, 1_024, 1_025, 30_000, 100_000, 999_999, 1_000_000, 10_000_000] {
            let (queues, cap) = layout(max);
            assert!(queues * cap <= max && max - queues * cap < queues, "{max}: {queues} of {cap}");
            assert!(cap <= 3_584, "{max}: a walk over {cap}");
        }
        assert_eq!(layout(1_000_000), (280, 3_571));
        assert!((0..1_000u64).all(|hash| queue_of(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), 280) < 280));
        assert_eq!((queue_of(0, 280), queue_of(u64::MAX, 280), queue_of(u64::MAX, 1)), (0, 279, 0));
    }

    #[test]
    fn a_key_names_its_queue() {
        for max in [0, 1_025, 1_000_000, 10_000_000] {
            let channels = Channels::new(max);
            for hash in (0..1_000_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).chain([u64::MAX]) {
                let (queue, key) = channels.locate(hash);
                let shard = usize::try_from((key << 7 >> 7) >> channels.shard_shift).unwrap();
                assert_eq!((shard, key >> 57), (queue, hash >> 57));
            }
        }
    }

    #[test]
    fn successive_sweeps_visit_all_queues() {
        let channels = Channels::new(1_000_000);
        let app = AppMemory::new(Clock::start(), Arc::new(bounds(1_000_000)));
        let anna = Value::One(Assignment::new(0, "7", []));
        for number in 0..1_000_u64 {
            let request = ClaimRequest {
                hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                channel: &number.to_string(),
                announced: (&anna).into(),
                mode: ClaimMode::MayWait,
                occasion: Occasion::new(Moment::default(), u64::MAX),
                app: &app,
                remember_for: Duration::MAX,
            };
            let hash = request.hash;
            let ClaimAnswer::Reserved { ticket, .. } = channels.claim(request) else { panic!("a new channel") };
            channels.settle(hash, ticket, Outcome::Accepted, Moment::default(), Duration::ZERO);
        }
        let sweeps = [(); 5].map(|()| channels.sweep(Moment::from_millis(5_000), Duration::from_secs(5)));
        assert_eq!((sweeps.iter().sum(), channels.len()), (1_000, 0));
        assert!(sweeps.iter().all(|&removed| removed > 0), "{sweeps:?}");
        assert!(channels.queues.iter().all(|queue| lock(queue).is_empty()));
    }

    #[test]
    fn a_panic_under_the_locks_leaves_them_usable() {
        let channels = Channels::new(1);
        let app = AppMemory::new(Clock::start(), Arc::new(bounds(1)));
        let panics = || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _queue = lock(&channels.queues[0]);
                let _slot = channels.map.get_mut(&channels.locate(7).1);
                std::panic::resume_unwind(Box::new("the holder of the locks"));
            }))
        };
        for channel in ["a", "a", "b"] {
            let request = ClaimRequest {
                hash: 7,
                channel,
                announced: (&Value::Opaque).into(),
                mode: ClaimMode::Forced,
                occasion: Occasion::new(Moment::default(), u64::MAX),
                app: &app,
                remember_for: Duration::MAX,
            };
            let full = matches!(channels.claim(request), ClaimAnswer::Full);
            assert_eq!(full, channel == "b", "a name with the hash of another one is not remembered");
            assert!(panics().is_err());
        }
        assert!(!channels.forget(7, "b", Moment::default()).0 && channels.forget(7, "a", Moment::default()).0);
    }

    fn bounds(max_channels: usize) -> Bounds {
        Bounds {
            max_channels,
            max_waiters_per_channel: 1,
            max_waiters: 1,
            doubt_period: Duration::ZERO,
            start_doubt: Duration::ZERO,
        }
    }
}
