//! The memory of one rule of one app: which assignment every channel is known to show.
//!
//! The hash is std's, keyed at random: channel names come from outside (threats.md DOS-05).

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::channels::{Channels, ClaimAnswer, ClaimRequest, Woken};
use super::machine::{Occasion, TicketId};
use super::slot::Slot;
use super::sync::atomic::{AtomicU64, Ordering};
use super::{
    Announced, AppMemory, Assignment, Claim, ClaimMode, KeptChannel, Outcome, Present, Reach, Reservation, Standing,
    StillInFlight, Waiter,
};
use crate::clock::{Moment, millis};

/// One remembered channel, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The channel.
    pub channel: String,
    /// The assignment that it is known to show; `None`: unknown, in flight or in doubt.
    pub known: Option<Assignment>,
    /// Who has had it.
    pub reach: Reach,
    /// When the current assignment became known.
    pub since: Option<Moment>,
    /// When a claim last named the channel.
    pub last_seen: Moment,
    /// Announcements forwarded and accepted.
    pub announced: u32,
    /// Announcements found redundant.
    pub suppressed: u32,
    /// Tickets in flight.
    pub in_flight: usize,
    /// Whether the channel is in doubt.
    pub in_doubt: bool,
}

/// The memory of one rule of one app.
pub struct RuleMemory {
    app: Arc<AppMemory>,
    hasher: RandomState,
    channels: Channels,
    /// In milliseconds. Set at each change of the configuration.
    remember_for: AtomicU64,
    /// In milliseconds; `u64::MAX`: never. Set at each change of the configuration.
    refresh_after: AtomicU64,
}

impl RuleMemory {
    /// An empty memory for one rule of `app`, which announces nothing again for its age.
    #[must_use]
    pub fn new(app: Arc<AppMemory>, remember_for: Duration) -> Arc<Self> {
        let channels = Channels::new(app.context().max_channels());
        let remember_for = AtomicU64::new(millis(remember_for));
        Arc::new(Self {
            app,
            hasher: RandomState::new(),
            channels,
            remember_for,
            refresh_after: AtomicU64::new(u64::MAX),
        })
    }

    /// Claims `channel` for what is announced there. `Value::Opaque` and `Value::Last` are always reserved (or `Full`).
    #[inline]
    pub fn claim<'v>(
        self: &Arc<Self>,
        channel: &str,
        announced: impl Into<Announced<'v>>,
        mode: ClaimMode,
        now: Moment,
    ) -> Claim {
        self.claim_announced(channel, announced.into(), mode, now)
    }

    fn claim_announced(
        self: &Arc<Self>,
        channel: &str,
        announced: Announced<'_>,
        mode: ClaimMode,
        now: Moment,
    ) -> Claim {
        let hash = self.hasher.hash_one(channel);
        let occasion = Occasion::new(now, self.refresh_after.load(Ordering::Relaxed));
        let remember_for = self.remember_for();
        let request = ClaimRequest { hash, channel, announced, mode, occasion, app: &self.app, remember_for };
        match self.channels.claim(request) {
            ClaimAnswer::Redundant(shown) => Claim::Redundant(shown),
            ClaimAnswer::InFlight(settled, permit) => Claim::InFlight(Waiter::new(settled, permit)),
            ClaimAnswer::Reserved { ticket, before, redundant, shown, renewal } => Claim::Reserved {
                reservation: Reservation::new(Arc::clone(self), hash, ticket),
                before,
                redundant,
                shown,
                renewal,
            },
            ClaimAnswer::Full => Claim::Full,
        }
    }

    /// What is known of a channel, for a client that has just subscribed to it.
    #[must_use]
    pub fn present(&self, channel: &str) -> Present {
        let hash = self.hasher.hash_one(channel);
        self.channels.present(hash, channel, self.now(), &self.app, self.remember_for())
    }

    /// Forgets one channel; a ticket in flight on it will commit nothing. Returns whether anything was remembered.
    pub fn forget(&self, channel: &str) -> bool {
        let hash = self.hasher.hash_one(channel);
        let (was_there, woken) = self.channels.forget(hash, channel, self.now());
        wake(woken);
        was_there
    }

    /// Somebody has subscribed to `channel`: the next announcement there is not redundant, whatever it is.
    pub fn joined(&self, channel: &str) {
        self.channels.joined(self.hasher.hash_one(channel), channel);
    }

    /// What clients see that subscribe to `channel` now. It counts as no claim.
    #[must_use]
    pub fn standing(&self, channel: &str) -> Standing {
        let hash = self.hasher.hash_one(channel);
        self.channels.standing(hash, channel, self.now(), &self.app, self.remember_for())
    }

    /// Puts `channel` in doubt for [`Bounds::doubt_period`](super::Bounds::doubt_period), as an ambiguous outcome does.
    pub fn doubt(&self, channel: &str) {
        self.channels.doubt(self.hasher.hash_one(channel), channel, self.now(), self.app.context());
    }

    /// Forgets the channels that no claim named for `remember_for`. Called periodically, from a thread that may block:
    /// it visits many channels, though it locks only one at a time.
    pub fn sweep(&self, now: Moment) {
        let idle = self.channels.sweep(now, self.remember_for());
        self.app.context().evicted_idle(idle);
    }

    /// Number of channels held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether no channel is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` entries whose channel begins with `prefix`, sorted by channel. If there are more, the choice is
    /// unspecified.
    #[must_use]
    pub fn entries(&self, prefix: &str, limit: usize) -> Vec<Entry> {
        let mut entries = self.channels.entries(prefix, limit, self.now(), &self.app, self.remember_for());
        entries.sort_unstable_by(|one: &Entry, other| one.channel.cmp(&other.channel));
        entries
    }

    /// Calls `write` for each channel that is known or in doubt. Returns how many there are.
    ///
    /// # Errors
    /// Those of `write`; or a request is in flight, and what `write` got so far must not be used.
    pub fn keep<E: From<StillInFlight>>(
        &self,
        now: Moment,
        write: impl FnMut(KeptChannel<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.channels.keep(now, &self.app, self.remember_for(), write)
    }

    /// Takes over a channel of an earlier process, before this one has forwarded anything. Returns whether there was
    /// room for it; if not, and it is in doubt, its whole app is in doubt for as long.
    pub fn restore(&self, kept: KeptChannel<'_>) -> bool {
        let now = self.now();
        let hash = self.hasher.hash_one(kept.name);
        let slot = Slot::from_kept(kept, now, self.app.snapshot(now).epoch);
        let restored = slot.is_some_and(|slot| self.channels.restore(hash, slot, now, self.app.context()));
        if !restored {
            self.app.continue_doubt(now, kept.doubt_left);
        }
        restored
    }

    /// The app of the rule.
    #[must_use]
    pub const fn app(&self) -> &Arc<AppMemory> {
        &self.app
    }

    /// How long a channel that no claim names is remembered.
    #[must_use]
    pub fn remember_for(&self) -> Duration {
        // Relaxed: nothing else is published through this number.
        Duration::from_millis(self.remember_for.load(Ordering::Relaxed))
    }

    /// Changes how long a channel that no claim names is remembered, and the age from which on what is known is announced
    /// again (`None`: whatever its age, it is not). Both apply to the channels that are remembered already.
    pub(super) fn set(&self, remember_for: Duration, refresh_after: Option<Duration>) {
        self.remember_for.store(millis(remember_for), Ordering::Relaxed);
        self.refresh_after.store(refresh_after.map_or(u64::MAX, millis), Ordering::Relaxed);
    }

    /// Takes the present bound on the number of channels. Returns whether it can; if not, a new memory is needed.
    pub(super) fn follow_max_channels(&self) -> bool {
        let context = self.app.context();
        self.channels.set_max_channels(context.max_channels(), self.now(), context)
    }

    /// Settles the ticket of a reservation.
    pub(super) fn settle(&self, hash: u64, ticket: TicketId, outcome: Outcome) {
        let doubt_period = self.app.context().bounds.doubt_period;
        let woken = self.channels.settle(hash, ticket, outcome, self.now(), doubt_period);
        wake(woken);
    }

    fn now(&self) -> Moment {
        self.app.context().clock.now()
    }
}

impl fmt::Debug for RuleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the channels: there may be a million, and the output of a reservation would include them all.
        f.debug_struct("RuleMemory").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Wakes the waiting requests. Called with no lock held: it may run a waker.
fn wake(woken: Woken) {
    for waiter in woken {
        // An error means that the waiter was dropped.
        let (Ok(()) | Err(())) = waiter.send(());
    }
}
