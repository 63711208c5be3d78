//! The tickets of one request at the store. They are settled in a task of their own, once the caller has its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::SharedApp;
use super::channel::{Present, SharedChannel};
use crate::assignment::Outcome;
use crate::assignment::machine::TicketId;
use crate::clock::Moment;
use crate::cluster::{Read, Swap, Swapped, SwappedChannel, Tenure, Unusable};

/// The pause after the store has not answered.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// The ticket on one channel.
#[derive(Debug, Clone)]
pub(super) struct ChannelTicket {
    pub(super) key: Vec<u8>,
    pub(super) remember_for: Duration,
    pub(super) id: TicketId,
    /// The channel as the claim has written it.
    pub(super) written: Option<Box<Written>>,
}

/// A channel as a claim has written it. While the store has it in this version, a settlement need not read it again.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) channel: SharedChannel,
    /// The time at the server when it was read for the claim: a settlement that takes it for the present does not commit
    /// where a later one would not.
    pub(super) now: Moment,
    /// When that was asked, here.
    pub(super) asked: Instant,
    /// The membership under which it was written.
    pub(super) generation: String,
}

/// The tickets of one request. Dropped, they are settled with the outcome that was set last.
#[must_use = "settle it: dropped, its channels are in doubt"]
#[derive(Debug)]
pub struct SharedTickets {
    app: Arc<SharedApp>,
    channels: Vec<ChannelTicket>,
    /// The ticket for all channels of the app.
    wide: Option<String>,
    outcome: Outcome,
}

impl SharedTickets {
    /// The tickets of a request of which nothing is sent yet.
    pub(super) const fn new(app: Arc<SharedApp>, channels: Vec<ChannelTicket>, wide: Option<String>) -> Self {
        Self { app, channels, wide, outcome: Outcome::Refused }
    }

    /// The request is sent now: without another outcome it is ambiguous.
    pub(super) const fn send(&mut self) {
        self.outcome = Outcome::Ambiguous;
    }

    /// Reports the outcome.
    pub(in crate::assignment) fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// The tickets on channels.
    pub(super) fn channels(&self) -> &[ChannelTicket] {
        &self.channels
    }

    /// Takes over what `later` holds. Nothing of either is sent yet.
    pub(super) fn join(&mut self, mut later: Self) {
        self.channels.append(&mut later.channels);
        if later.wide.is_some() {
            self.wide = later.wide.take();
        }
    }

    /// None of them was taken.
    pub(super) fn forget(mut self) {
        self.channels.clear();
        self.wide = None;
    }

    /// The ticket for the whole app is held elsewhere.
    pub(super) fn without_wide(&mut self) {
        self.wide = None;
    }

    /// Whether there is one for the whole app.
    pub(super) const fn has_wide(&self) -> bool {
        self.wide.is_some()
    }
}

impl Drop for SharedTickets {
    fn drop(&mut self) {
        let channels = std::mem::take(&mut self.channels);
        let settlement =
            Settlement { app: Arc::clone(&self.app), channels, wide: self.wide.take(), outcome: self.outcome };
        // Without a runtime the process ends: then the others find that its holder is gone.
        if !settlement.is_done() && Handle::try_current().is_ok() {
            settlement.app.settling.begin(settlement.keys());
            self.app.tasks.spawn(settlement.run());
        }
    }
}

/// Tickets that are being settled.
struct Settlement {
    app: Arc<SharedApp>,
    channels: Vec<ChannelTicket>,
    wide: Option<String>,
    outcome: Outcome,
}

impl Settlement {
    /// The keys of its channels, and the empty one if it settles a ticket for all of them.
    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let wide = self.wide.iter().map(|_| &b""[..]);
        self.channels.iter().map(|ticket| ticket.key.as_slice()).chain(wide)
    }

    const fn is_done(&self) -> bool {
        self.channels.is_empty() && self.wide.is_none()
    }

    /// Settles the tickets, as soon as the process is a member.
    async fn run(mut self) {
        loop {
            let Some(tenure) = self.app.store.member().tenure() else {
                self.app.store.member().changed(Duration::from_secs(1)).await;
                continue;
            };
            let attempt = match self.unread(&tenure) {
                Some(swap) => self.app.store.swap(&tenure, swap).await,
                None => self.attempt(&tenure).await,
            };
            match attempt {
                Ok(Swapped::Done) => break,
                Ok(Swapped::Conflict) => {}
                // What a later version has written is in the hands of that version, and the ticket there gets old.
                Err(Unusable::Newer) => break,
                Err(Unusable::Membership) => {}
                Err(Unusable::Failure(failure)) => {
                    tracing::debug!(%failure, "a settlement was not answered by the shared store; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.app.settling.end(self.keys());
        for ticket in &self.channels {
            self.app.waiters.wake(&ticket.key);
        }
    }

    /// The swap that settles the tickets if no channel has changed since it was claimed; `None`: the channels have to be
    /// read. It is made once.
    ///
    /// What depends on the time or on other members is not needed for it: an ambiguous outcome begins a doubt now; a
    /// ticket beside this one whose holder is gone keeps another value from becoming known, and with the same value whoever
    /// reads the channel next finds it ambiguous.
    fn unread(&mut self, tenure: &Tenure) -> Option<Swap> {
        if self.outcome == Outcome::Ambiguous {
            return None;
        }
        let doubt_period = self.app.context.bounds.doubt_period;
        let mut channels = Vec::with_capacity(self.channels.len());
        // All are taken, so that there is no second time.
        let written: Vec<_> = self.channels.iter_mut().map(|ticket| ticket.written.take()).collect();
        for (index, (ticket, written)) in self.channels.iter().zip(written).enumerate() {
            let Written { mut channel, now, asked, generation } = *written?;
            let is_claimed_again = self.channels[..index].iter().any(|earlier| earlier.key == ticket.key);
            if is_claimed_again || generation != tenure.generation || asked.elapsed() >= self.app.ticket_period {
                return None;
            }
            channel.settle(ticket.id, self.outcome, now, doubt_period);
            let publishes = std::mem::take(&mut channel.awaited);
            let version = self.app.tokens.number();
            channels.push(channel.swapped((&ticket.key, ticket.remember_for), now, version, publishes));
        }
        let ended = self.wide.clone().unwrap_or_default();
        (!channels.is_empty()).then(|| Swap { ended, channels, ..Swap::default() })
    }

    async fn attempt(&self, tenure: &Tenure) -> Result<Swapped, Unusable> {
        let channels: Vec<_> = self.channels.iter().map(|ticket| (ticket.key.clone(), ticket.remember_for)).collect();
        let read = if channels.is_empty() { None } else { Some(self.app.store.read(tenure, &channels).await?) };
        let (channels, is_gone) = read.map_or_else(Default::default, |read| self.settled(&read));
        // Whatever has become of a ticket that is gone: what it was for may be applied after all that is known now.
        let is_unsure =
            (is_gone || self.wide.is_some() && self.outcome == Outcome::Ambiguous) && self.outcome != Outcome::Refused;
        if channels.is_empty() && !is_unsure && self.wide.is_none() {
            return Ok(Swapped::Done);
        }
        let ended = self.wide.clone().unwrap_or_default();
        let swap = Swap { ended, is_unsure, channels, ..Swap::default() };
        self.app.store.swap(tenure, swap).await
    }

    /// The channels as they are to be written, and whether a ticket is gone.
    fn settled(&self, read: &Read) -> (Vec<SwappedChannel>, bool) {
        let doubt_period = self.app.context.bounds.doubt_period;
        let present = Present::of(read, doubt_period);
        let now = present.now;
        let mut is_gone = false;
        let mut channels: Vec<SwappedChannel> = Vec::new();
        // Several tickets of one request may be on the same channel, if it was claimed by two rules of one name or again.
        for (index, (ticket, bytes)) in self.channels.iter().zip(&read.channels).enumerate() {
            if self.channels[..index].iter().any(|earlier| earlier.key == ticket.key) {
                continue;
            }
            let Ok(mut channel) = SharedChannel::decode(bytes, present) else {
                is_gone = true;
                continue;
            };
            let ids = self.channels[index..].iter().filter(|other| other.key == ticket.key).map(|other| other.id);
            for id in ids {
                if channel.holds(id) {
                    channel.settle(id, self.outcome, now, doubt_period);
                } else {
                    is_gone = true;
                }
            }
            if channel.has_changed {
                let publishes = std::mem::take(&mut channel.awaited);
                let version = self.app.tokens.number();
                channels.push(channel.swapped((&ticket.key, ticket.remember_for), now, version, publishes));
            }
        }
        (channels, is_gone)
    }
}
