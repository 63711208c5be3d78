//! The channels of one memory as they outlive its process.

use std::time::Duration;

use super::{Channels, Slot, lock};
use crate::assignment::app::AppMemory;
use crate::assignment::bounds::MemoryContext;
use crate::assignment::{KeptChannel, StillInFlight};
use crate::clock::Moment;

impl Channels {
    /// Calls `write` for each channel that is known or in doubt, those first that are considered first for eviction.
    /// Returns how many there are. Locks one channel at a time, while `write` runs.
    pub(in crate::assignment) fn keep<E: From<StillInFlight>>(
        &self,
        now: Moment,
        app: &AppMemory,
        remember_for: Duration,
        mut write: impl FnMut(KeptChannel<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut written = 0;
        for queue in &self.queues {
            let keys = lock(queue).clone();
            for key in keys {
                let Some(slot) = self.map.get_mut(&key) else { continue };
                // Read with the channel locked, as at a claim.
                let snapshot = app.snapshot(now);
                if let Some(kept) = slot.kept(now, snapshot, slot.is_idle(now, remember_for))? {
                    write(kept)?;
                    written += 1;
                }
            }
        }
        Ok(written)
    }

    /// Inserts a channel. Returns whether it could: there is room, and no other name has this hash.
    pub(in crate::assignment) fn restore(&self, hash: u64, slot: Slot, now: Moment, context: &MemoryContext) -> bool {
        let (queue, key) = self.locate(hash);
        let mut queue = lock(&self.queues[queue]);
        if !self.make_room(&mut queue, now, context) || self.map.get_mut(&key).is_some() {
            return false;
        }
        self.map.insert(key, slot);
        queue.push_back(key);
        true
    }
}
