//! One part of a rule's memory: a table of channels under one lock. Everything here runs under that lock, so it neither
//! waits nor wakes anyone.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use tokio::sync::oneshot;

use super::app::{AppMemory, AppSnapshot};
use super::bounds::{Census, WaitingPlace};
use super::idle_entry::MAX_NAME;
use super::machine::{Comparison, TicketId};
use super::slot::{ActiveEntry, Slot};
use super::{Before, ClaimMode, Entry, Outcome, Value};
use crate::clock::Moment;

/// At the cap, room is made for so many at once: one in this many of the entries goes.
const EVICTED_SHARE: usize = 16;

/// Who is to be told, once the lock is released.
pub(super) type Woken = Vec<oneshot::Sender<()>>;

/// A table of channels.
#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<Slot>,
    last_ticket: TicketId,
}

/// A claim on one channel.
#[derive(Debug)]
pub(super) struct ClaimRequest<'a> {
    pub(super) hash: u64,
    pub(super) channel: &'a str,
    pub(super) value: &'a Value,
    pub(super) mode: ClaimMode,
    pub(super) now: Moment,
}

/// What the claim meets: the rule's settings, and what it shares with others.
#[derive(Debug)]
pub(super) struct ShardOptions<'a> {
    pub(super) app: &'a AppMemory,
    pub(super) hasher: &'a RandomState,
    pub(super) remember_for: Duration,
    /// Most entries of this shard.
    pub(super) cap: usize,
}

/// The answer to a claim, before it is tied to the memory.
#[derive(Debug)]
pub(super) enum Answer {
    Redundant { since: Moment },
    InFlight(oneshot::Receiver<()>, WaitingPlace),
    Reserved { ticket: TicketId, before: Before, redundant: bool, since: Option<Moment> },
    Full,
}

impl Shard {
    /// Answers a claim.
    pub(super) fn claim(&mut self, request: ClaimRequest<'_>, options: &ShardOptions<'_>) -> Answer {
        // Read here, under the lock, so that what the channel knows was stored before; see `AppMemory`.
        let snapshot = options.app.snapshot(request.now);
        self.fetch(request.hash);
        if let Some(slot) = self.table.find_mut(request.hash, |slot| slot.is_named(request.channel)) {
            let idle = slot.is_idle(request.now, options.remember_for);
            if let Slot::Idle(rest) = slot
                && !idle
                && request.mode != ClaimMode::Forced
                && let Some(since) = rest.shows(request.value, snapshot)
            {
                rest.suppress(request.now);
                return Answer::Redundant { since };
            }
            return answer(slot.busy(idle), &mut self.last_ticket, request, snapshot, options.app.census());
        }
        if request.channel.len() > MAX_NAME || !self.make_room(request.now, options) {
            return Answer::Full;
        }
        let mut busy = ActiveEntry::new(request.channel);
        let hash = request.hash;
        let answer = answer(&mut busy, &mut self.last_ticket, request, snapshot, options.app.census());
        self.table.insert_unique(hash, Slot::Active(Box::new(busy)), |slot| options.hasher.hash_one(slot.name()));
        answer
    }

    /// Has the processor fetch the slot in which a channel with this hash most likely is, together with the control
    /// bytes that tell which one it really is in: else it would wait for one after the other. hashbrown begins to look
    /// at the hash's lowest bits, and more than half of the slots are where it begins. Were they elsewhere, nothing but
    /// the time would be lost.
    fn fetch(&self, hash: u64) {
        let first = usize::try_from(hash).unwrap_or_default() & (self.table.num_buckets() - 1);
        black_box(self.table.get_bucket(first).is_some_and(|slot| matches!(slot, Slot::Active(_))));
    }

    /// Settles a ticket. Returns who waits for it.
    pub(super) fn settle(
        &mut self,
        hash: u64,
        ticket: TicketId,
        outcome: Outcome,
        now: Moment,
        doubt_period: Duration,
    ) -> Woken {
        let Ok(mut found) = self.table.find_entry(hash, |slot| slot.holds(ticket)) else {
            // A second panic would end the process.
            debug_assert!(std::thread::panicking(), "an entry with a ticket in flight is never removed");
            return Vec::new();
        };
        let busy = found.get_mut().busy(false);
        if busy.channel.settle(ticket, outcome, now, doubt_period) {
            busy.announce();
        }
        let woken = busy.take_waiters(ticket);
        if !found.get_mut().settle_down(now) {
            found.remove();
        }
        woken
    }

    /// Forgets one channel. Returns whether there was one, and who waits for it.
    pub(super) fn forget(&mut self, hash: u64, channel: &str, now: Moment) -> (bool, Woken) {
        let Ok(mut found) = self.table.find_entry(hash, |slot| slot.is_named(channel)) else {
            return (false, Vec::new());
        };
        if found.get().is_quiet(now) {
            found.remove();
            return (true, Vec::new());
        }
        let busy = found.get_mut().busy(false);
        busy.channel.forget();
        (true, busy.take_all_waiters())
    }

    /// Removes what was not seen for `remember_for`, and stores compactly what came to rest. Returns how many were
    /// idle.
    pub(super) fn sweep(&mut self, now: Moment, remember_for: Duration) -> usize {
        let mut idle = 0;
        self.table.retain(|slot| {
            let goes = slot.is_quiet(now) && slot.is_idle(now, remember_for);
            idle += usize::from(goes);
            !goes && slot.settle_down(now)
        });
        idle
    }

    /// Number of channels.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The entries whose channel begins with `prefix`, `limit` at most.
    pub(super) fn entries(&self, prefix: &str, limit: usize, now: Moment, options: &ShardOptions<'_>) -> Vec<Entry> {
        let snapshot = options.app.snapshot(now);
        let matching = self.table.iter().filter(|slot| slot.name().starts_with(prefix)).take(limit);
        matching.map(|slot| slot.entry(now, snapshot, slot.is_idle(now, options.remember_for))).collect()
    }

    /// Makes room for one entry more. Returns whether there is room.
    fn make_room(&mut self, now: Moment, options: &ShardOptions<'_>) -> bool {
        if self.table.len() < options.cap {
            return true;
        }
        let evicted = self.evict(now);
        options.app.census().evicted_for_capacity(evicted);
        self.table.len() < options.cap
    }

    /// Forgets the oldest-seen share of the entries that may be forgotten, at least one if there is any. One walk over
    /// this shard alone.
    fn evict(&mut self, now: Moment) -> usize {
        let mut seen: Vec<Moment> = self.table.iter().filter(|slot| slot.is_quiet(now)).map(Slot::seen).collect();
        if seen.is_empty() {
            return 0;
        }
        let wanted = (seen.len() / EVICTED_SHARE).max(1);
        let (_, &mut newest_to_go, _) = seen.select_nth_unstable(wanted - 1);
        let before = self.table.len();
        // Those of the very same age stay once enough have gone: first all the older ones, then as many of these as are
        // still wanted.
        let mut same_age = wanted - seen.iter().filter(|&&seen| seen < newest_to_go).count();
        self.table.retain(|slot| {
            if slot.seen() > newest_to_go || !slot.is_quiet(now) {
                return true;
            }
            if slot.seen() == newest_to_go {
                let stays = same_age == 0;
                same_age = same_age.saturating_sub(1);
                return stays;
            }
            false
        });
        before - self.table.len()
    }
}

/// Judges the claim and does what follows from the verdict.
fn answer(
    busy: &mut ActiveEntry,
    last_ticket: &mut TicketId,
    request: ClaimRequest<'_>,
    snapshot: AppSnapshot,
    census: &Arc<Census>,
) -> Answer {
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
    *last_ticket += 1;
    let before = busy.channel.claim(*last_ticket, value.clone(), now, snapshot);
    let since = if let Comparison::Redundant { since } = comparison { Some(since) } else { None };
    Answer::Reserved { ticket: *last_ticket, before, redundant: comparison != Comparison::Open, since }
}
