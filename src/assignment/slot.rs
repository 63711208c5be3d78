//! What a shard stores for one channel: a compact entry while nothing is in flight on it, the whole machine while something is.

use std::time::Duration;

use tokio::sync::oneshot;

use super::app::{Around, Epoch};
use super::machine::{Channel, Known, TicketId};
use super::{Assignment, Entry, Value};
use crate::clock::Moment;

/// Milliseconds in the unit of time of a resting entry.
const MILLIS_PER_TICK: u64 = 100;

// A million of them are held, inline in the buckets of the tables.
const _: () = assert!(size_of::<Slot>() == 40, "the size of a slot is the memory's size");

/// One channel.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nothing is in flight on it, and it is not in doubt.
    Resting(Rest),
    /// Something is, or was when it was last looked at.
    Busy(Box<Busy>),
}

/// A channel at rest, in 40 bytes and one allocation.
///
/// Times are in tenths of a second, rounded down: an entry looks older than it is, never younger, so it is forgotten too early rather than too late.
/// They end after 13 years; from then on every entry looks old.
#[derive(Debug)]
pub(super) struct Rest {
    /// The channel's name, then the text of the assignment it is known to show; nothing follows the name if it is unknown.
    text: Box<str>,
    since: u32,
    seen: u32,
    announced: u32,
    suppressed: u32,
    epoch: Epoch,
    name_len: u16,
}

/// A channel with tickets in flight or in doubt.
#[derive(Debug)]
pub(super) struct Busy {
    name: Box<str>,
    seen: Moment,
    announced: u32,
    suppressed: u32,
    pub(super) channel: Channel,
    /// Who waits for which ticket.
    waiters: Vec<(TicketId, oneshot::Sender<()>)>,
}

impl Slot {
    /// The longest name that an entry can have.
    pub(super) const MAX_NAME: usize = u16::MAX as usize;

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Resting(rest) => rest.name(),
            Self::Busy(busy) => &busy.name,
        }
    }

    /// When a claim last named it, in the unit of resting entries.
    pub(super) fn seen(&self) -> u32 {
        match self {
            Self::Resting(rest) => rest.seen,
            Self::Busy(busy) => ticks(busy.seen),
        }
    }

    /// Whether forgetting it harms nothing: no ticket is in flight on it, and it is not in doubt.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        match self {
            Self::Resting(_) => true,
            Self::Busy(busy) => busy.channel.is_quiet(now),
        }
    }

    /// Whether this ticket is in flight on it.
    pub(super) fn holds(&self, ticket: TicketId) -> bool {
        matches!(self, Self::Busy(busy) if busy.channel.holds(ticket))
    }

    /// Whether no claim named it for `remember_for`.
    pub(super) fn is_idle(&self, now: Moment, remember_for: Duration) -> bool {
        let seen = match self {
            Self::Resting(rest) => moment(rest.seen),
            Self::Busy(busy) => busy.seen,
        };
        now.since(seen) >= remember_for
    }

    /// The whole machine of this channel. `idle`: what it knows has expired.
    pub(super) fn busy(&mut self, idle: bool) -> &mut Busy {
        if let Self::Resting(rest) = self {
            *self = Self::Busy(Box::new(rest.wake()));
        }
        let Self::Busy(busy) = self else { unreachable!("a resting slot was made busy just now") };
        if idle {
            busy.channel.expire();
        }
        busy
    }

    /// Stores it compactly again if nothing is in flight. Returns whether there is anything to be kept at all.
    pub(super) fn settle_down(&mut self, now: Moment) -> bool {
        let Self::Busy(busy) = self else { return true };
        if !busy.channel.is_quiet(now) {
            return true;
        }
        let kept = busy.rest();
        let worth_keeping = kept.is_some();
        if let Some(rest) = kept {
            *self = Self::Resting(rest);
        }
        worth_keeping
    }

    /// The entry as an operator sees it.
    pub(super) fn entry(&self, now: Moment, around: Around, idle: bool) -> Entry {
        let shown = |known: Known| if idle { (None, None) } else { (Some(known.assignment), Some(known.since)) };
        match self {
            Self::Resting(rest) => {
                let (known, since) = rest.known().filter(|known| around.keeps(known.epoch)).map_or((None, None), shown);
                Entry {
                    channel: rest.name().to_owned(),
                    known,
                    since,
                    last_seen: moment(rest.seen),
                    announced: rest.announced,
                    suppressed: rest.suppressed,
                    in_flight: 0,
                    in_doubt: false,
                }
            }
            Self::Busy(busy) => {
                let (known, since) = busy.channel.known(now, around).cloned().map_or((None, None), shown);
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

impl Rest {
    fn name(&self) -> &str {
        self.split().0
    }

    /// When it became known to show just what `value` announces, if it is. The shortcut of the hot path: it says what `Channel::judge` would.
    pub(super) fn shows(&self, value: &Value, around: Around) -> Option<Moment> {
        (around.keeps(self.epoch) && value.announces(self.split().1)).then(|| moment(self.since))
    }

    /// Counts a redundant announcement.
    pub(super) fn suppress(&mut self, now: Moment) {
        self.seen = self.seen.max(ticks(now));
        self.suppressed = self.suppressed.saturating_add(1);
    }

    fn known(&self) -> Option<Known> {
        let assignment = self.split().1;
        (!assignment.is_empty()).then(|| Known { assignment: Assignment::from_text(assignment), since: moment(self.since), epoch: self.epoch })
    }

    fn wake(&self) -> Busy {
        Busy {
            name: self.name().into(),
            seen: moment(self.seen),
            announced: self.announced,
            suppressed: self.suppressed,
            channel: Channel::resting(self.known()),
            waiters: Vec::new(),
        }
    }

    /// The name and the assignment's text.
    fn split(&self) -> (&str, &str) {
        self.text.split_at(usize::from(self.name_len))
    }
}

impl Busy {
    /// A channel that was not remembered.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), seen: Moment::default(), announced: 0, suppressed: 0, channel: Channel::default(), waiters: Vec::new() }
    }

    /// Notes that a claim named it.
    pub(super) fn see(&mut self, now: Moment) {
        self.seen = self.seen.max(now);
    }

    /// Counts a redundant announcement.
    pub(super) const fn suppress(&mut self) {
        self.suppressed = self.suppressed.saturating_add(1);
    }

    /// Counts an accepted announcement.
    pub(super) const fn announce(&mut self) {
        self.announced = self.announced.saturating_add(1);
    }

    /// Lets someone wait for `ticket`, if fewer than `max` wait for this channel. Those who gave up are taken off the list whenever it would grow.
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
    fn rest(&self) -> Option<Rest> {
        let known = self.channel.last_known();
        if known.is_none() && self.announced == 0 && self.suppressed == 0 {
            return None;
        }
        let assignment = known.map_or("", |known| known.assignment.text());
        Some(Rest {
            text: [&*self.name, assignment].concat().into_boxed_str(),
            since: ticks(known.map_or(self.seen, |known| known.since)),
            seen: ticks(self.seen),
            announced: self.announced,
            suppressed: self.suppressed,
            epoch: known.map_or_else(Epoch::default, |known| known.epoch),
            // Longer names are never claimed (`MAX_NAME`).
            name_len: u16::try_from(self.name.len()).ok()?,
        })
    }
}

/// Rounded down, and never beyond what fits.
fn ticks(moment: Moment) -> u32 {
    u32::try_from(moment.as_millis() / MILLIS_PER_TICK).unwrap_or(u32::MAX)
}

fn moment(ticks: u32) -> Moment {
    Moment::from_millis(u64::from(ticks) * MILLIS_PER_TICK)
}
