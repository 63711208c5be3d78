//! What the memory learns from clients, and what it tells of a channel to those that subscribe.

use std::time::Duration;

use super::{ActiveEntry, Channels, MAX_NAME, Slot, lock};
use crate::assignment::Standing;
use crate::assignment::app::AppMemory;
use crate::assignment::bounds::MemoryContext;
use crate::assignment::newcomer::{Present, Settlement};
use crate::clock::Moment;

impl Channels {
    /// Somebody has subscribed to a channel.
    pub(in crate::assignment) fn joined(&self, hash: u64, channel: &str) {
        let (_, key) = self.locate(hash);
        // Of a channel that is not remembered nothing is known: its next announcement is forwarded in any case.
        if let Some(mut slot) = self.named(key, channel) {
            slot.joined();
        }
    }

    /// Puts a channel in doubt, also one that is not remembered if there is room for it.
    pub(in crate::assignment) fn doubt(&self, hash: u64, channel: &str, now: Moment, context: &MemoryContext) {
        let (queue, key) = self.locate(hash);
        let doubt = |slot: &mut Slot| slot.activate(false).channel.doubt(now, context.bounds.doubt_period);
        // With the queue locked from the beginning: a key is inserted only then, and this is no frequent call.
        let mut queue = lock(&self.queues[queue]);
        if let Some(mut slot) = self.map.get_mut(&key) {
            if slot.is_named(channel) {
                doubt(&mut slot);
            }
            return;
        }
        // Without room, and under the key of another name, nothing is ever known of it.
        if channel.len() <= MAX_NAME && self.make_room(&mut queue, now, context) {
            let mut slot = Slot::Active(Box::new(ActiveEntry::new(channel)));
            doubt(&mut slot);
            self.map.insert(key, slot);
            queue.push_back(key);
        }
    }

    /// What clients see that subscribe to a channel now.
    pub(in crate::assignment) fn standing(
        &self,
        hash: u64,
        channel: &str,
        now: Moment,
        app: &AppMemory,
        remember_for: Duration,
    ) -> Standing {
        let (_, key) = self.locate(hash);
        let slot = self.map.get(&key).filter(|slot| slot.is_named(channel));
        // With the shard locked, as at a claim.
        let snapshot = app.snapshot(now);
        match slot {
            Some(slot) => slot.standing(now, snapshot, slot.is_idle(now, remember_for)),
            None if snapshot.is_uncertain() => Standing::Unsettled,
            None => Standing::Unknown,
        }
    }

    /// The same for a client that has just subscribed, who waits for what is in flight.
    pub(in crate::assignment) fn present(
        &self,
        hash: u64,
        channel: &str,
        now: Moment,
        app: &AppMemory,
        remember_for: Duration,
    ) -> Present {
        let (_, key) = self.locate(hash);
        let Some(mut slot) = self.named(key, channel) else { return Present::Unknown };
        if let Slot::Active(entry) = &mut *slot
            && entry.channel.in_flight() > 0
        {
            return Present::InFlight(Settlement::new(entry.watch()));
        }
        match slot.standing(now, app.snapshot(now), slot.is_idle(now, remember_for)) {
            Standing::Known(assignment) => Present::Known(assignment),
            Standing::Unsettled | Standing::Unknown => Present::Unknown,
        }
    }
}
