//! What is held of one channel: the announcement that a new subscriber gets, those in flight, and those before it that
//! upstream may still deliver.

use std::collections::VecDeque;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::assignment::{Assignment, Outcome, Socket};
use crate::clock::Moment;

/// The largest number of older announcements that are told apart. With more within the time in which they may be
/// delivered late, nothing is handed out until they no longer can be.
const MAX_OLDER: usize = 32;

/// Bytes that an entry takes beside its name and what its announcements take: with its places in the maps, which have room
/// for more, and what the allocator adds.
const ENTRY: usize = 512;

/// By which a delivery is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u128);

/// What is handed out of an announcement.
#[derive(Debug)]
pub(super) struct Content {
    /// The frame.
    pub(super) frame: Utf8Bytes,
    /// What it announces.
    pub(super) assignment: Assignment,
    /// The connection that does not get it.
    pub(super) left_out: Option<Socket>,
}

/// An announcement that may be handed out.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) content: Content,
    /// Until when upstream may deliver it late.
    until: Moment,
}

/// An event in flight.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    /// `None`: it cannot be read.
    digest: Option<Digest>,
    /// `None`: it announces nothing.
    content: Option<Content>,
}

/// An event that is no longer what a new subscriber gets.
#[derive(Debug, Clone, Copy)]
struct Older {
    sequence: u64,
    digest: Digest,
    /// Until when upstream may deliver it late.
    until: Moment,
}

/// One channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The one that was sent last of those that upstream has accepted.
    accepted: Option<Sent>,
    in_flight: Vec<InFlight>,
    /// In the order of their settlement.
    older: VecDeque<Older>,
    /// Until when upstream may deliver something that would not be recognised.
    blind_until: Moment,
}

impl Content {
    /// Whether it announces this.
    pub(super) fn shows(&self, assignment: &Assignment) -> bool {
        self.assignment == *assignment
    }

    fn bytes(&self) -> usize {
        self.frame.len() + self.assignment.text().len() + size_of::<Self>()
    }
}

impl Channel {
    /// Notes an event that is sent.
    pub(super) fn send(&mut self, sequence: u64, digest: Option<Digest>, content: Option<Content>) {
        self.in_flight.push(InFlight { sequence, digest, content });
    }

    /// Settles an event. Called before the memory learns of the outcome: so whatever it knows can be found here.
    pub(super) fn settle(&mut self, sequence: u64, outcome: Outcome, now: Moment, doubt_period: Duration) {
        let Some(position) = self.in_flight.iter().position(|sent| sent.sequence == sequence) else { return };
        let InFlight { digest, content, .. } = self.in_flight.swap_remove(position);
        if self.in_flight.is_empty() {
            // Most of the time nothing is in flight on a channel, and a list keeps room for several.
            self.in_flight = Vec::new();
        }
        let until = match outcome {
            // Nothing of it was or will be delivered.
            Outcome::Refused => return,
            Outcome::Accepted | Outcome::Partial => now.after(doubt_period),
            // It may be applied as late as that, and then be delivered late.
            Outcome::Ambiguous => now.after(doubt_period).after(doubt_period),
        };
        let Some(digest) = digest else {
            self.blind_until = self.blind_until.max(until);
            return;
        };
        let is_last = self.accepted.as_ref().is_none_or(|accepted| accepted.sequence < sequence);
        match content {
            Some(content) if outcome == Outcome::Accepted && is_last => {
                let before = self.accepted.replace(Sent { sequence, digest, content, until });
                if let Some(Sent { sequence, digest, until, .. }) = before {
                    self.supersede(Older { sequence, digest, until }, now);
                }
            }
            _ => self.supersede(Older { sequence, digest, until }, now),
        }
    }

    /// Whether anything is held that is or may be handed out.
    pub(super) fn has_content(&self) -> bool {
        self.accepted.is_some() || self.in_flight.iter().any(|sent| sent.content.is_some())
    }

    /// Gives up what is or may be handed out. Late deliveries are still recognised.
    pub(super) fn give_up(&mut self, now: Moment) {
        self.in_flight.iter_mut().for_each(|sent| sent.content = None);
        if let Some(Sent { sequence, digest, until, .. }) = self.accepted.take() {
            self.supersede(Older { sequence, digest, until }, now);
        }
    }

    fn supersede(&mut self, older: Older, now: Moment) {
        self.older.retain(|older| older.until > now);
        if older.until > now {
            if self.older.len() == MAX_OLDER
                && let Some(first) = self.older.pop_front()
            {
                self.blind_until = self.blind_until.max(first.until);
            }
            self.older.push_back(older);
        }
    }

    /// The announcement that a new subscriber gets, if upstream delivers nothing that would not be recognised.
    pub(super) fn replayed(&self, now: Moment) -> Option<&Sent> {
        self.accepted.as_ref().filter(|_| self.blind_until <= now)
    }

    /// Until when upstream may deliver an event before the one with this number.
    pub(super) fn older_until(&self, sequence: u64, now: Moment) -> Option<Moment> {
        let older = self.older.iter().filter(|older| older.sequence < sequence && older.until > now);
        older.map(|older| older.until).max()
    }

    /// The number of the last event with this digest.
    pub(super) fn last_of(&self, digest: Digest, now: Moment) -> Option<u64> {
        let accepted = self.accepted.iter().map(|sent| (sent.sequence, sent.digest));
        let in_flight = self.in_flight.iter().filter_map(|sent| Some((sent.sequence, sent.digest?)));
        let older = self.older.iter().filter(|older| older.until > now).map(|older| (older.sequence, older.digest));
        accepted.chain(in_flight).chain(older).filter(|(_, its)| *its == digest).map(|(sequence, _)| sequence).max()
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self, now: Moment) -> bool {
        self.accepted.is_none()
            && self.in_flight.is_empty()
            && self.blind_until <= now
            && self.older.iter().all(|older| older.until <= now)
    }

    /// The bytes that it takes, with a name of `name` bytes.
    pub(super) fn bytes(&self, name: usize) -> usize {
        let accepted = self.accepted.iter().map(|sent| sent.content.bytes()).sum::<usize>();
        let in_flight =
            self.in_flight.iter().map(|sent| size_of::<InFlight>() + sent.content.as_ref().map_or(0, Content::bytes));
        ENTRY + name + accepted + in_flight.sum::<usize>() + self.older.len() * size_of::<Older>()
    }
}
