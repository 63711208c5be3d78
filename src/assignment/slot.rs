//! What a shard stores for one channel: a compact entry while nothing is in flight on it, the whole machine while
//! something is.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Entry;
use super::app::AppSnapshot;
use super::idle_entry::IdleEntry;
use super::machine::{Channel, Known, TicketId};
use crate::clock::Moment;

// A million of them are held, inline in the buckets of the tables.
const _: () = assert!(size_of::<Slot>() == 16, "a slot is the pointer to a block, and a time");

/// One channel.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing is in flight on it, and it is not in doubt.
    Idle(IdleEntry),
    /// Something is, or was when it was last looked at.
    Active(Box<ActiveEntry>),
}

/// A channel with tickets in flight or in doubt.
#[derive(Debug)]
pub(super) struct ActiveEntry {
    name: Box<str>,
    seen: Moment,
    announced: u32,
    suppressed: u32,
    referenced: bool,
    last_ticket: TicketId,
    pub(super) channel: Channel,
    /// Who waits for which ticket.
    waiters: Vec<(TicketId, oneshot::Sender<()>)>,
}

impl Slot {
    /// Whether it is the channel of this name.
    pub(super) fn is_named(&self, channel: &str) -> bool {
        match self {
            Self::Idle(rest) => rest.is_named(channel),
            Self::Active(busy) => *busy.name == *channel,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Idle(rest) => rest.name(),
            Self::Active(busy) => &busy.name,
        }
    }

    /// When a claim last named it.
    pub(super) fn seen(&self) -> Moment {
        match self {
            Self::Idle(rest) => rest.seen(),
            Self::Active(busy) => busy.seen,
        }
    }

    /// Whether forgetting it harms nothing: no ticket is in flight on it, and it is not in doubt.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        match self {
            Self::Idle(_) => true,
            Self::Active(busy) => busy.channel.is_quiet(now),
        }
    }

    /// Whether a claim named it again since this was last taken.
    pub(super) fn take_referenced(&mut self) -> bool {
        match self {
            Self::Idle(rest) => rest.take_referenced(),
            Self::Active(busy) => std::mem::take(&mut busy.referenced),
        }
    }

    /// Whether no claim named it for `remember_for`.
    pub(super) fn is_idle(&self, now: Moment, remember_for: Duration) -> bool {
        now.since(self.seen()) >= remember_for
    }

    /// The whole machine of this channel. `idle`: what it knows has expired.
    pub(super) fn activate(&mut self, idle: bool) -> &mut ActiveEntry {
        if let Self::Idle(rest) = self {
            *self = Self::Active(Box::new(ActiveEntry::wake(rest)));
        }
        let Self::Active(busy) = self else { unreachable!("a resting slot was made busy just now") };
        if idle {
            busy.channel.expire();
        }
        busy
    }

    /// Stores it compactly again if nothing is in flight. Returns whether there is anything to be kept at all.
    pub(super) fn compact(&mut self, now: Moment) -> bool {
        let Self::Active(busy) = self else { return true };
        if !busy.channel.is_quiet(now) {
            return true;
        }
        let kept = busy.rest();
        let worth_keeping = kept.is_some();
        if let Some(rest) = kept {
            *self = Self::Idle(rest);
        }
        worth_keeping
    }

    /// The entry as an operator sees it.
    pub(super) fn entry(&self, now: Moment, snapshot: AppSnapshot, idle: bool) -> Entry {
        let shown = |known: Known| if idle { (None, None) } else { (Some(known.assignment), Some(known.since)) };
        match self {
            Self::Idle(rest) => {
                let (known, since) =
                    rest.known().filter(|known| snapshot.keeps(known.epoch)).map_or((None, None), shown);
                Entry {
                    channel: rest.name().to_owned(),
                    known,
                    since,
                    last_seen: rest.seen(),
                    announced: rest.announced(),
                    suppressed: rest.suppressed(),
                    in_flight: 0,
                    in_doubt: false,
                }
            }
            Self::Active(busy) => {
                let (known, since) = busy.channel.known(now, snapshot).cloned().map_or((None, None), shown);
                Entry {
                    channel: busy.name.to_string(),
                    known,
                    since,
                    last_seen: busy.seen,
                    announced: busy.announced,
                    suppressed: busy.suppressed,
                    in_flight: busy.channel.in_flight(),
                    in_doubt: busy.channel.in_doubt(now),
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
        }
    }

    /// A channel that was at rest.
    fn wake(rest: &IdleEntry) -> Self {
        Self {
            name: rest.name().into(),
            seen: rest.seen(),
            announced: rest.announced(),
            suppressed: rest.suppressed(),
            referenced: rest.referenced(),
            last_ticket: 0,
            channel: Channel::resting(rest.known()),
            waiters: Vec::new(),
        }
    }

    /// Notes that a claim named it.
    pub(super) fn see(&mut self, now: Moment) {
        self.seen = self.seen.max(now);
    }

    /// The next ticket of this channel.
    pub(super) const fn next_ticket(&mut self) -> TicketId {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Notes that a claim named it again.
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

    /// Lets someone wait for `ticket`, if fewer than `max` wait for this channel. Those who gave up are taken off the
    /// list whenever it would grow.
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

    /// Takes out who waits for `ticket`.
    pub(super) fn take_waiters(&mut self, ticket: TicketId) -> Vec<oneshot::Sender<()>> {
        self.waiters.extract_if(.., |(waits_for, _)| *waits_for == ticket).map(|(_, waiter)| waiter).collect()
    }

    /// Takes out everyone who waits.
    pub(super) fn take_all_waiters(&mut self) -> Vec<oneshot::Sender<()>> {
        self.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }

    /// What is kept of it at rest; `None` if there is nothing to keep.
    fn rest(&self) -> Option<IdleEntry> {
        let known = self.channel.last_known();
        if known.is_none() && self.announced == 0 && self.suppressed == 0 {
            return None;
        }
        // Longer names are never claimed (`MAX_NAME`).
        IdleEntry::new(&self.name, known, self.seen, self.announced, self.suppressed, self.referenced)
    }
}
