//! What a client that subscribes to a channel has to be shown.

use std::time::Duration;

use super::super::newcomer::{Present, Settlement};
use super::{AppMemory, Channels, Slot};
use crate::clock::Moment;

impl Channels {
    /// What is known of a channel, for a client that has just subscribed to it.
    pub(in crate::assignment) fn present(
        &self,
        hash: u64,
        channel: &str,
        now: Moment,
        app: &AppMemory,
        remember_for: Duration,
    ) -> Present {
        let (_, key) = self.locate(hash);
        let Some(mut slot) = self.map.get_mut(&key).filter(|slot| slot.is_named(channel)) else {
            return Present::Unknown;
        };
        // Read under the channel's lock, as at a claim.
        let snapshot = app.snapshot(now);
        let is_idle = slot.is_idle(now, remember_for);
        let known = match &mut *slot {
            Slot::Active(entry) if entry.channel.in_flight() > 0 => {
                return Present::InFlight(Settlement::new(entry.watch()));
            }
            Slot::Active(entry) => entry.channel.known(now, snapshot).cloned(),
            Slot::Idle(entry) => entry.known().filter(|known| snapshot.keeps(known.epoch)),
        };
        known.filter(|_| !is_idle).map_or(Present::Unknown, |known| Present::Known(known.assignment))
    }
}
