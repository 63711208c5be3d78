//! One channel as a pure state machine: what is known of it, the tickets in flight on it, and whether it is in doubt
//! (ARCHITECTURE.md "When an announcement is dropped"). No lock, no clock, no I/O: `now` and the app's state are
//! arguments. `machine/exhaustive.rs` walks through every interleaving of a few requests.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::snapshot::{AppSnapshot, Epoch};
use super::{Assignment, Before, Outcome, Value};
use crate::clock::Moment;

/// Names a ticket. Unique within a shard, for the life of the process.
pub(super) type TicketId = u64;

/// What upstream is known to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// The assignment.
    pub(super) assignment: Assignment,
    /// When it became known.
    pub(super) since: Moment,
    /// The app's epoch when its ticket was claimed: once the app has begun another, this is known no longer.
    pub(super) epoch: Epoch,
}

/// A request that was let through and may change what the channel's guests see, until it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ticket {
    id: TicketId,
    value: Value,
    /// What was known when it was claimed: stands again if nothing of it was applied.
    before: Option<Known>,
    /// Another ticket was in flight at some time of its life: it may not release.
    overlapped: bool,
    /// A ticket of another value was in flight at some time of its life, or the channel was in doubt when it was
    /// claimed or came to be: it may not commit.
    contested: bool,
    /// The app's epoch when it was claimed.
    epoch: Epoch,
}

/// How a claim looks against the channel as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The channel is known to show just this.
    Redundant {
        /// When it became known.
        since: Moment,
    },
    /// This ticket announces the same.
    InFlight(TicketId),
    /// It may change something.
    Open,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Channel {
    known: Option<Known>,
    tickets: Vec<Ticket>,
    /// In doubt before this moment. The beginning of time: it never was.
    doubt_until: Moment,
}

impl Channel {
    /// A channel with nothing in flight.
    pub(super) const fn idle(known: Option<Known>) -> Self {
        Self { known, tickets: Vec::new(), doubt_until: Moment::from_millis(0) }
    }

    /// Judges a claim; changes nothing.
    pub(super) fn compare(&self, value: &Value, now: Moment, snapshot: AppSnapshot) -> Comparison {
        match &self.known {
            Some(known)
                if !self.in_doubt(now)
                    && snapshot.keeps(known.epoch)
                    && value.announced() == Some(&known.assignment) =>
            {
                Comparison::Redundant { since: known.since }
            }
            _ => self
                .tickets
                .iter()
                .find(|ticket| ticket.value.same(value))
                .map_or(Comparison::Open, |ticket| Comparison::InFlight(ticket.id)),
        }
    }

    /// Lets a request through: makes the channel unknown and hands it a ticket. Returns what was known before.
    pub(super) fn claim(&mut self, id: TicketId, value: Value, now: Moment, snapshot: AppSnapshot) -> Before {
        debug_assert!(self.tickets.iter().all(|ticket| ticket.id != id), "a ticket is claimed once");
        // A request in flight that may touch any channel is a ticket of nobody on this one, and a doubt about the app a
        // doubt about this one.
        let uncertain = self.in_doubt(now) || snapshot.uncertain;
        let before = match &self.known {
            _ if uncertain || !self.tickets.is_empty() => Before::Uncertain,
            Some(known) if snapshot.keeps(known.epoch) => Before::Known(known.assignment.clone()),
            _ => Before::Nothing,
        };
        let overlapped = snapshot.uncertain || !self.tickets.is_empty();
        let contested = uncertain || self.tickets.iter().any(|other| !other.value.same(&value));
        for other in &mut self.tickets {
            other.overlapped = true;
            other.contested |= !other.value.same(&value);
        }
        self.tickets.push(Ticket {
            id,
            value,
            before: self.known.take(),
            overlapped,
            contested,
            epoch: snapshot.epoch,
        });
        debug_assert!(
            self.tickets.len() == 1 || self.tickets.iter().all(|ticket| ticket.overlapped),
            "several tickets in flight overlap"
        );
        before
    }

    /// Settles a ticket. Returns whether an announcement was accepted.
    pub(super) fn settle(&mut self, id: TicketId, outcome: Outcome, now: Moment, doubt_period: Duration) -> bool {
        let Some(position) = self.tickets.iter().position(|ticket| ticket.id == id) else { return false };
        let ticket = self.tickets.swap_remove(position);
        match outcome {
            Outcome::Accepted => return self.accepted(&ticket, now),
            Outcome::Refused if !ticket.overlapped => {
                debug_assert!(
                    self.tickets.is_empty() && self.known.is_none(),
                    "nothing was in flight beside a ticket that releases, so nothing else is known"
                );
                self.known = ticket.before;
            }
            Outcome::Refused => {}
            // Some of it may have been applied, so what was known before is not known now; nothing more will be, so it
            // is not in doubt either.
            Outcome::Partial => self.known = None,
            Outcome::Ambiguous => {
                self.known = None;
                self.doubt_until = self.doubt_until.max(until(now, doubt_period));
                for other in &mut self.tickets {
                    other.contested = true;
                }
            }
        }
        false
    }

    /// Makes the channel unknown for good: no ticket in flight commits or releases, and a doubt stays.
    pub(super) fn forget(&mut self) {
        self.known = None;
        for ticket in &mut self.tickets {
            ticket.overlapped = true;
            ticket.contested = true;
        }
    }

    /// Forgets what is known because it was not asked for in a long time. The tickets in flight are as good as before.
    pub(super) fn expire(&mut self) {
        self.known = None;
    }

    /// What is known, if the app still keeps it.
    pub(super) fn known(&self, now: Moment, snapshot: AppSnapshot) -> Option<&Known> {
        self.known.as_ref().filter(|known| !self.in_doubt(now) && snapshot.keeps(known.epoch))
    }

    /// What is known, or was in an epoch of the app that is over.
    pub(super) const fn last_known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Whether a request with an ambiguous outcome may still be applied.
    pub(super) fn in_doubt(&self, now: Moment) -> bool {
        now < self.doubt_until
    }

    /// Whether nothing can change the channel but a new claim.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        self.tickets.is_empty() && !self.in_doubt(now)
    }

    /// Number of tickets in flight.
    pub(super) const fn in_flight(&self) -> usize {
        self.tickets.len()
    }

    /// Upstream applied the whole of `ticket`: if nothing else can have come between, that is what it shows.
    fn accepted(&mut self, ticket: &Ticket, now: Moment) -> bool {
        let Some(assignment) = ticket.value.shows() else { return false };
        if !ticket.contested && !self.in_doubt(now) {
            debug_assert!(
                self.tickets.iter().all(|other| other.value.same(&ticket.value)),
                "nothing of another value is in flight beside a ticket that commits"
            );
            // The same as before (a rule that only observes forwards it all the same) is known since then.
            let unchanged = ticket
                .before
                .as_ref()
                .filter(|before| before.assignment == *assignment && before.epoch == ticket.epoch);
            let since = unchanged.map_or(now, |before| before.since);
            // The epoch is the claim's, not the present one: a request that may touch any channel and began in between
            // makes it unknown by that alone.
            self.known = Some(Known { assignment: assignment.clone(), since, epoch: ticket.epoch });
        }
        true
    }
}

/// The end of a doubt that begins now. One millisecond more than the period: `now` was rounded down.
pub(super) fn until(now: Moment, doubt_period: Duration) -> Moment {
    now.after(doubt_period).after(Duration::from_millis(1))
}
