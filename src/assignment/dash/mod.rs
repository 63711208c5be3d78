//! The entries of one rule's memory on `DashMap`.

mod idle_entry;
mod slot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::idle_entry::MAX_NAME;
use self::slot::{ActiveEntry, Slot};
use super::app::AppSnapshot;
use super::bounds::Census;
use super::machine::{Comparison, TicketId};
use super::shard::{Answer, ClaimRequest, ShardOptions, Woken};
use super::sync::{Map, Mutex, MutexGuard, lock, map};
use super::{ClaimMode, Entry, Outcome};
use crate::clock::Moment;

/// At the cap, room is made for so many at once: one in this many of the entries goes.
const EVICTED_SHARE: usize = 16;

/// Entries that are spared because a claim named them again, for each that goes.
const SPARED: usize = 2;

/// Channels under the hashes of their names, and the order in which they are evicted.
///
/// Lock order: a queue first, then a shard of the map. Every insertion and removal holds the queue.
#[derive(Debug)]
pub(super) struct Channels {
    map: Map<Slot>,
    queues: Box<[Mutex<VecDeque<u64>>]>,
    /// Lowest of the key's bits that choose the map's shard.
    shift: u32,
    cap: usize,
}

impl Channels {
    pub(super) fn new(queues: usize, cap: usize) -> Self {
        let shards = queues.next_power_of_two().max(2);
        Self {
            map: map(shards),
            queues: std::iter::repeat_with(Mutex::default).take(queues).collect(),
            // The map's shard is chosen by the bits that follow the highest seven.
            shift: u64::BITS - 7 - shards.trailing_zeros(),
            cap,
        }
    }

    /// The key of a name with this hash: the hash, with the number of its queue in place of the bits that choose the
    /// map's shard. So every queue's channels share one table, which is full when the queue is.
    fn key(&self, hash: u64) -> (usize, u64) {
        let queue = super::memory::shard_of(hash, self.queues.len());
        let low = hash & ((1 << self.shift) - 1);
        let tag = hash & !(u64::MAX >> 7);
        (queue, tag | (queue as u64) << self.shift | low)
    }

    fn queue(&self, queue: usize) -> MutexGuard<'_, VecDeque<u64>> {
        lock(&self.queues[queue])
    }

    pub(super) fn claim(&self, request: ClaimRequest<'_>, options: &ShardOptions<'_>) -> Answer {
        let (queue, key) = self.key(request.hash);
        if let Some(mut slot) = self.map.get_mut(&key) {
            return claim(&mut slot, request, options);
        }
        if request.channel.len() > MAX_NAME {
            return Answer::Full;
        }
        let mut queue = self.queue(queue);
        let room = self.make_room(&mut queue, request.now, options);
        // Another claim may have stored it meanwhile.
        if let Some(mut slot) = self.map.get_mut(&key) {
            return claim(&mut slot, request, options);
        }
        if !room {
            return Answer::Full;
        }
        let mut busy = ActiveEntry::new(request.channel);
        let snapshot = options.app.snapshot(request.now);
        let answer = answer(&mut busy, request, snapshot, options.app.census());
        self.map.insert(key, Slot::Active(Box::new(busy)));
        queue.push_back(key);
        answer
    }

    pub(super) fn settle(
        &self,
        hash: u64,
        ticket: TicketId,
        outcome: Outcome,
        now: Moment,
        doubt_period: Duration,
    ) -> Woken {
        let (queue, key) = self.key(hash);
        let Some(mut slot) = self.map.get_mut(&key) else {
            // A second panic would end the process.
            debug_assert!(std::thread::panicking(), "an entry with a ticket in flight is never removed");
            return Vec::new();
        };
        let busy = slot.busy(false);
        if busy.channel.settle(ticket, outcome, now, doubt_period) {
            busy.announce();
        }
        let woken = busy.take_waiters(ticket);
        let stays = slot.settle_down(now);
        drop(slot);
        if !stays {
            self.remove(queue, key, |slot| !slot.settle_down(now));
        }
        woken
    }

    pub(super) fn forget(&self, hash: u64, channel: &str, now: Moment) -> (bool, Woken) {
        let (queue, key) = self.key(hash);
        let Some(mut slot) = self.map.get_mut(&key) else { return (false, Vec::new()) };
        if !slot.is_named(channel) {
            return (false, Vec::new());
        }
        let woken = if slot.is_quiet(now) {
            Vec::new()
        } else {
            let busy = slot.busy(false);
            busy.channel.forget();
            busy.take_all_waiters()
        };
        let quiet = slot.is_quiet(now);
        drop(slot);
        if quiet {
            self.remove(queue, key, |slot| slot.is_quiet(now));
        }
        (true, woken)
    }

    /// Removes what was not seen for `remember_for`. Returns how many there were.
    pub(super) fn sweep(&self, now: Moment, remember_for: Duration) -> usize {
        let mut idle = 0;
        for queue in &self.queues {
            lock(queue).retain(|key| {
                self.map
                    .remove_if_mut(key, |_, slot| {
                        let goes = slot.is_quiet(now) && slot.is_idle(now, remember_for);
                        idle += usize::from(goes);
                        goes || !slot.settle_down(now)
                    })
                    .is_none()
            });
        }
        idle
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn entries(&self, prefix: &str, limit: usize, now: Moment, options: &ShardOptions<'_>) -> Vec<Entry> {
        let snapshot = options.app.snapshot(now);
        let matching = self.map.iter().filter(|slot| slot.name().starts_with(prefix)).take(limit);
        matching.map(|slot| slot.entry(now, snapshot, slot.is_idle(now, options.remember_for))).collect()
    }

    /// Removes one channel if it `goes`.
    fn remove(&self, queue: usize, key: u64, goes: impl FnOnce(&mut Slot) -> bool) {
        let mut queue = self.queue(queue);
        if self.map.remove_if_mut(&key, |_, slot| goes(slot)).is_some()
            && let Some(place) = queue.iter().rposition(|&queued| queued == key)
        {
            queue.remove(place);
        }
    }

    fn make_room(&self, queue: &mut VecDeque<u64>, now: Moment, options: &ShardOptions<'_>) -> bool {
        if queue.len() >= self.cap {
            let evicted = self.evict(queue, now);
            options.app.census().evicted_for_capacity(evicted);
        }
        queue.len() < self.cap
    }

    /// Removes the first share of the queue, at least one if any may be forgotten. Those that were named again come
    /// to its end once, as long as not too many are spared.
    fn evict(&self, queue: &mut VecDeque<u64>, now: Moment) -> usize {
        let wanted = (queue.len() / EVICTED_SHARE).max(1);
        let (mut evicted, mut spared) = (0, 0);
        for _ in 0..queue.len() * 2 {
            let Some(key) = queue.pop_front() else { break };
            let gone = self.map.remove_if_mut(&key, |_, slot| {
                if !slot.is_quiet(now) {
                    return false;
                }
                let spare = spared < SPARED * wanted && slot.take_claimed_again();
                spared += usize::from(spare);
                !spare
            });
            if gone.is_none() {
                queue.push_back(key);
                continue;
            }
            evicted += 1;
            if evicted == wanted {
                break;
            }
        }
        evicted
    }
}

/// Answers a claim on a channel that is held.
fn claim(slot: &mut Slot, request: ClaimRequest<'_>, options: &ShardOptions<'_>) -> Answer {
    // Two names of one hash: the second is not held while the first is.
    if !slot.is_named(request.channel) {
        return Answer::Full;
    }
    // Read here, under the lock, so that what the channel knows was stored before; see `AppMemory`.
    let snapshot = options.app.snapshot(request.now);
    let idle = slot.is_idle(request.now, options.remember_for);
    if let Slot::Idle(rest) = slot
        && !idle
        && request.mode != ClaimMode::Forced
        && let Some(since) = rest.shows(request.value, snapshot)
    {
        rest.suppress(request.now);
        return Answer::Redundant { since };
    }
    let busy = slot.busy(idle);
    busy.claim_again();
    answer(busy, request, snapshot, options.app.census())
}

fn answer(busy: &mut ActiveEntry, request: ClaimRequest<'_>, snapshot: AppSnapshot, census: &Arc<Census>) -> Answer {
    let ClaimRequest { value, mode, now, .. } = request;
    let comparison = busy.channel.compare(value, now, snapshot);
    busy.see(now);
    match (comparison, mode) {
        (Comparison::Redundant { since }, ClaimMode::MayWait | ClaimMode::MustNotWait) => {
            busy.suppress();
            return Answer::Redundant { since };
        }
        (Comparison::InFlight(leader), ClaimMode::MayWait) => {
            if let Some(place) = census.wait()
                && let Some(settled) = busy.wait_for(leader, census.bounds.max_waiters_per_channel)
            {
                return Answer::InFlight(settled, place);
            }
        }
        _ => {}
    }
    let ticket = busy.next_ticket();
    let before = busy.channel.claim(ticket, value.clone(), now, snapshot);
    let since = if let Comparison::Redundant { since } = comparison { Some(since) } else { None };
    Answer::Reserved { ticket, before, redundant: comparison != Comparison::Open, since }
}
