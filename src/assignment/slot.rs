//! What the map stores for one channel: a compact entry while nothing is in flight on it, otherwise the complete state
//! machine.

use std::time::Duration;

use tokio::sync::oneshot;

use super::idle_entry::IdleEntry;
use super::machine::{self, Channel, Known, TicketId};
use super::snapshot::{AppSnapshot, Epoch};
use super::{Entry, KeptChannel, Reach, Standing, StillInFlight};
use crate::clock::Moment;

// A memory holds a million of them, in the buckets of its tables.
const _: () = assert!(size_of::<Slot>() == 16, "a slot is the pointer to a block and its length");

/// One channel.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing is in flight on it, and it is not in doubt.
    Idle(IdleEntry),
    /// Something is in flight or in doubt, or was at the last access.
    Active(Box<ActiveEntry>),
}

/// A channel with tickets in flight or in doubt.
#[derive(Debug)]
pub(super) struct ActiveEntry {
    name: Box<str>,
    seen: Moment,
    announced: u32,
    suppressed: u32,
    /// Whether a claim named it again since it was appended to the eviction queue.
    referenced: bool,
    /// Ids are unique while the entry is active: when it becomes idle, no ticket is left.
    last_ticket: TicketId,
    pub(super) channel: Channel,
    /// The waiting requests, each with the ticket that it waits for.
    waiters: Vec<(TicketId, oneshot::Sender<()>)>,
    /// Clients that have subscribed, each of which waits for any ticket.
    watchers: Vec<oneshot::Sender<()>>,
}

impl Slot {
    /// Whether it is the channel of this name.
    pub(super) fn is_named(&self, channel: &str) -> bool {
        match self {
            Self::Idle(entry) => entry.is_named(channel),
            Self::Active(entry) => *entry.name == *channel,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Idle(entry) => entry.name(),
            Self::Active(entry) => &entry.name,
        }
    }

    /// The time of the last claim that named it.
    pub(super) fn seen(&self) -> Moment {
        match self {
            Self::Idle(entry) => entry.seen(),
            Self::Active(entry) => entry.seen,
        }
    }

    /// Whether it may be forgotten: no ticket is in flight on it, and it is not in doubt.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        match self {
            Self::Idle(_) => true,
            Self::Active(entry) => entry.channel.is_quiet(now),
        }
    }

    /// Whether a claim named it again; resets the flag.
    pub(super) fn take_referenced(&mut self) -> bool {
        match self {
            Self::Idle(entry) => entry.take_referenced(),
            Self::Active(entry) => std::mem::take(&mut entry.referenced),
        }
    }

    /// Whether no claim named it for `remember_for`.
    pub(super) fn is_idle(&self, now: Moment, remember_for: Duration) -> bool {
        now.since(self.seen()) >= remember_for
    }

    /// Makes the entry active if it is idle, and returns it. `expired`: what it knows is too old.
    pub(super) fn activate(&mut self, expired: bool) -> &mut ActiveEntry {
        if let Self::Idle(entry) = self {
            *self = Self::Active(Box::new(ActiveEntry::from_idle(entry)));
        }
        let Self::Active(entry) = self else { unreachable!("an idle slot was activated just now") };
        if expired {
            entry.channel.expire();
        }
        entry
    }

    /// Makes the entry idle if nothing is in flight or in doubt. Returns whether there is anything to keep.
    pub(super) fn compact(&mut self, now: Moment) -> bool {
        let Self::Active(entry) = self else { return true };
        if !entry.channel.is_quiet(now) {
            return true;
        }
        let Some(idle) = entry.to_idle() else { return false };
        *self = Self::Idle(idle);
        true
    }

    /// The channel that `kept` describes: known in the present epoch, or in doubt; `None` if its name is too long.
    /// What both says that it is known and leaves a doubt is in doubt.
    pub(super) fn from_kept(kept: KeptChannel<'_>, now: Moment, epoch: Epoch) -> Option<Self> {
        let idle = IdleEntry::from_kept(kept, epoch, false)?;
        if kept.doubt_left.is_zero() {
            return Some(Self::Idle(idle));
        }
        let mut entry = ActiveEntry::from_idle(&idle);
        entry.channel = Channel::doubtful(machine::until(now, kept.doubt_left));
        Some(Self::Active(Box::new(entry)))
    }

    /// Somebody has subscribed to it.
    pub(super) fn joined(&mut self) {
        match self {
            Self::Idle(entry) => entry.joined(),
            Self::Active(entry) => _ = entry.channel.joined(),
        }
    }

    /// What clients see that subscribe now. `idle`: what it knows is too old.
    pub(super) fn standing(&self, now: Moment, snapshot: AppSnapshot, idle: bool) -> Standing {
        let standing = match self {
            Self::Idle(entry) => Channel::idle(entry.known()).standing(now, snapshot),
            Self::Active(entry) => entry.channel.standing(now, snapshot),
        };
        match standing {
            Standing::Known(_) if idle => Standing::Unknown,
            standing => standing,
        }
    }

    /// What of it outlives the process: `None` if it is neither known nor in doubt. `idle`: what it knows is too old.
    pub(super) fn kept(
        &self,
        now: Moment,
        snapshot: AppSnapshot,
        idle: bool,
    ) -> Result<Option<KeptChannel<'_>>, StillInFlight> {
        let mut kept = match self {
            Self::Idle(entry) => entry.kept(snapshot),
            Self::Active(entry) if entry.channel.in_flight() > 0 => return Err(StillInFlight),
            Self::Active(entry) => {
                let known = entry.channel.known(now, snapshot);
                KeptChannel {
                    name: &entry.name,
                    shown: known.map_or("", |known| known.assignment.text()),
                    reach: known.map_or(Reach::All, |known| known.reach),
                    since: known.map_or_else(Moment::default, |known| known.since),
                    seen: entry.seen,
                    announced: entry.announced,
                    suppressed: entry.suppressed,
                    doubt_left: entry.channel.doubt_left(now),
                }
            }
        };
        if idle {
            kept.shown = "";
        }
        Ok((!kept.shown.is_empty() || !kept.doubt_left.is_zero()).then_some(kept))
    }

    /// The entry for the operator.
    pub(super) fn entry(&self, now: Moment, snapshot: AppSnapshot, idle: bool) -> Entry {
        let nothing = (None, Reach::All, None);
        let shown = |known: Known| (Some(known.assignment), known.reach, Some(known.since));
        match self {
            Self::Idle(entry) => {
                let known = entry.known().filter(|known| !idle && snapshot.keeps(known.epoch));
                let (known, reach, since) = known.map_or(nothing, shown);
                Entry {
                    channel: entry.name().to_owned(),
                    known,
                    reach,
                    since,
                    last_seen: entry.seen(),
                    announced: entry.announced(),
                    suppressed: entry.suppressed(),
                    in_flight: 0,
                    in_doubt: false,
                }
            }
            Self::Active(entry) => {
                let known = entry.channel.known(now, snapshot).filter(|_| !idle);
                let (known, reach, since) = known.cloned().map_or(nothing, shown);
                Entry {
                    channel: entry.name.to_string(),
                    known,
                    reach,
                    since,
                    last_seen: entry.seen,
                    announced: entry.announced,
                    suppressed: entry.suppressed,
                    in_flight: entry.channel.in_flight(),
                    in_doubt: entry.channel.in_doubt(now),
                }
            }
        }
    }
}

impl ActiveEntry {
    /// A channel that was not remembered.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            seen: Moment::default(),
            announced: 0,
            suppressed: 0,
            referenced: false,
            last_ticket: 0,
            channel: Channel::default(),
            waiters: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// An active entry with the contents of `idle`.
    fn from_idle(idle: &IdleEntry) -> Self {
        Self {
            name: idle.name().into(),
            seen: idle.seen(),
            announced: idle.announced(),
            suppressed: idle.suppressed(),
            referenced: idle.referenced(),
            last_ticket: 0,
            channel: Channel::idle(idle.known()),
            waiters: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// Records the time of a claim that names it.
    pub(super) fn see(&mut self, now: Moment) {
        self.seen = self.seen.max(now);
    }

    /// The next ticket of this channel.
    pub(super) const fn next_ticket(&mut self) -> TicketId {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Records that a claim named it again.
    pub(super) const fn reference(&mut self) {
        self.referenced = true;
    }

    /// Counts a redundant announcement.
    pub(super) const fn suppress(&mut self) {
        self.suppressed = self.suppressed.saturating_add(1);
    }

    /// Counts an accepted announcement.
    pub(super) const fn announce(&mut self) {
        self.announced = self.announced.saturating_add(1);
    }

    /// Adds a waiter for `ticket`, if fewer than `max` requests wait for this channel. Dropped waiters are removed
    /// whenever the list would grow.
    pub(super) fn wait_for(&mut self, ticket: TicketId, max: usize) -> Option<oneshot::Receiver<()>> {
        if self.waiters.len() >= max || self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(|(_, waiter)| !waiter.is_closed());
        }
        if self.waiters.len() >= max {
            return None;
        }
        let (waiter, settled) = oneshot::channel();
        self.waiters.push((ticket, waiter));
        Some(settled)
    }

    /// Adds a client that waits for any ticket. Their number is bounded by that of the connections: those that are gone
    /// are removed whenever the list would grow.
    pub(super) fn watch(&mut self) -> oneshot::Receiver<()> {
        if self.watchers.len() == self.watchers.capacity() {
            self.watchers.retain(|watcher| !watcher.is_closed());
        }
        let (watcher, settled) = oneshot::channel();
        self.watchers.push(watcher);
        settled
    }

    /// Removes and returns the waiters for `ticket`, which is settled.
    pub(super) fn take_settled(&mut self, ticket: TicketId) -> Vec<oneshot::Sender<()>> {
        let waiters = self.waiters.extract_if(.., |(waits_for, _)| *waits_for == ticket).map(|(_, waiter)| waiter);
        waiters.chain(self.watchers.drain(..)).collect()
    }

    /// Removes and returns all waiters.
    pub(super) fn take_all_waiters(&mut self) -> Vec<oneshot::Sender<()>> {
        self.waiters.drain(..).map(|(_, waiter)| waiter).chain(self.watchers.drain(..)).collect()
    }

    /// The idle entry with its contents; `None` if there is nothing to keep.
    fn to_idle(&self) -> Option<IdleEntry> {
        let known = self.channel.last_known();
        if known.is_none() && self.announced == 0 && self.suppressed == 0 {
            return None;
        }
        // Longer names are never claimed (`MAX_NAME`).
        IdleEntry::new(&self.name, known, self.seen, self.announced, self.suppressed, self.referenced)
    }
}
