//! One channel as a pure state machine: what is known of it, the tickets in flight on it, and whether it is in doubt
//! (ARCHITECTURE.md "When an announcement is suppressed"). No lock, no clock, no I/O: `now` and the app's state are
//! arguments. `machine/exhaustive.rs` walks through every interleaving of a few requests.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::snapshot::{AppSnapshot, Epoch};
use super::{Assignment, Before, Outcome, Shown, Uncertainty, Value};
use crate::clock::Moment;

/// Identifies a ticket of one active channel.
pub(super) type TicketId = u64;

/// An assignment that upstream is known to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// The assignment.
    pub(super) assignment: Assignment,
    /// When it became known.
    pub(super) since: Moment,
    /// The app's epoch when its ticket was claimed: in a later epoch it is no longer known.
    pub(super) epoch: Epoch,
}

/// A forwarded request that may change what the channel's guests see, until it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) value: Value,
    /// What was known when it was claimed: known again if nothing of the request was applied.
    pub(super) before: Option<Known>,
    /// Another ticket was in flight at the same time: it may not release.
    pub(super) overlapped: bool,
    /// A ticket of another value was in flight at the same time, or the channel was in doubt at the claim or later: it
    /// may not commit.
    pub(super) contested: bool,
    /// The app's epoch when it was claimed.
    pub(super) epoch: Epoch,
}

/// The result of comparing a claim with the channel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The channel is known to show exactly this.
    Redundant(Shown),
    /// This ticket announces the same.
    InFlight(TicketId),
    /// It may change what the channel shows.
    Open,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Channel {
    known: Option<Known>,
    tickets: Vec<Ticket>,
    /// The channel is in doubt before this moment. The default: it never was.
    doubt_until: Moment,
}

impl Channel {
    /// A channel with nothing in flight.
    pub(super) const fn idle(known: Option<Known>) -> Self {
        Self { known, tickets: Vec::new(), doubt_until: Moment::from_millis(0) }
    }

    /// A channel of which nothing is known, in doubt until `doubt_until`.
    pub(super) const fn doubtful(doubt_until: Moment) -> Self {
        Self { known: None, tickets: Vec::new(), doubt_until }
    }

    /// A channel as it is held elsewhere.
    pub(super) const fn from_parts(known: Option<Known>, tickets: Vec<Ticket>, doubt_until: Moment) -> Self {
        Self { known, tickets, doubt_until }
    }

    /// The tickets in flight.
    #[cfg(test)]
    pub(super) fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// What is known (perhaps in a past epoch of the app), the tickets, and the end of the doubt.
    pub(super) fn into_parts(self) -> (Option<Known>, Vec<Ticket>, Moment) {
        (self.known, self.tickets, self.doubt_until)
    }

    /// Compares a claim with the channel; changes nothing.
    pub(super) fn compare(&self, value: &Value, now: Moment, snapshot: AppSnapshot) -> Comparison {
        match (self.known(now, snapshot), value.announced()) {
            (Some(known), Some(announced)) if *announced == known.assignment => Comparison::Redundant(Shown {
                since: known.since,
                difference: announced.difference_from(&known.assignment),
            }),
            _ => self
                .tickets
                .iter()
                .find(|ticket| ticket.value.same(value))
                .map_or(Comparison::Open, |ticket| Comparison::InFlight(ticket.id)),
        }
    }

    /// Claims the channel for a forwarded request: makes the channel unknown and adds a ticket. Returns what was known
    /// before.
    pub(super) fn claim(&mut self, id: TicketId, value: Value, now: Moment, snapshot: AppSnapshot) -> Before {
        debug_assert!(self.tickets.iter().all(|ticket| ticket.id != id), "a ticket is claimed once");
        // A request in flight that may touch any channel acts as an opaque ticket on this one, and a doubt about the
        // app as a doubt about this channel.
        let uncertainty = self.uncertainty(now, snapshot);
        let before = match (uncertainty, &self.known) {
            (Some(uncertainty), _) => Before::Uncertain(uncertainty),
            (None, Some(known)) if snapshot.keeps(known.epoch) => Before::Known(known.assignment.clone()),
            (None, _) => Before::Nothing,
        };
        let uncertain = self.in_doubt(now) || snapshot.is_uncertain();
        let overlapped = snapshot.is_uncertain() || !self.tickets.is_empty();
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

    /// Why nothing is known of the channel, if something that is not settled is the cause.
    fn uncertainty(&self, now: Moment, snapshot: AppSnapshot) -> Option<Uncertainty> {
        if !self.tickets.is_empty() {
            Some(Uncertainty::InFlight)
        } else if self.in_doubt(now) {
            Some(Uncertainty::InDoubt)
        } else if snapshot.in_flight {
            Some(Uncertainty::AppInFlight)
        } else if snapshot.in_doubt {
            Some(Uncertainty::AppInDoubt)
        } else {
            None
        }
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
            // Some of it may have been applied, so what was known before is no longer known; nothing more will be
            // applied, so the channel is not in doubt either.
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

    /// Makes the channel unknown: no ticket in flight commits or releases, and a doubt remains.
    pub(super) fn forget(&mut self) {
        self.known = None;
        for ticket in &mut self.tickets {
            ticket.overlapped = true;
            ticket.contested = true;
        }
    }

    /// Forgets what is known because no claim named the channel for `remember_for`. The tickets in flight remain valid.
    pub(super) fn expire(&mut self) {
        self.known = None;
    }

    /// What is known, if the app's epoch has not changed since.
    pub(super) fn known(&self, now: Moment, snapshot: AppSnapshot) -> Option<&Known> {
        self.known.as_ref().filter(|known| !self.in_doubt(now) && snapshot.keeps(known.epoch))
    }

    /// What is known, or was known in a past epoch of the app.
    pub(super) const fn last_known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Whether a request with an ambiguous outcome may still be applied.
    pub(super) fn in_doubt(&self, now: Moment) -> bool {
        now < self.doubt_until
    }

    /// How much longer such a request may be applied.
    pub(super) fn doubt_left(&self, now: Moment) -> Duration {
        self.doubt_until.since(now)
    }

    /// Whether only a new claim can change the channel.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        self.tickets.is_empty() && !self.in_doubt(now)
    }

    /// Number of tickets in flight.
    pub(super) const fn in_flight(&self) -> usize {
        self.tickets.len()
    }

    /// Upstream applied `ticket` completely: unless another request may have been applied meanwhile, the channel shows
    /// its value.
    fn accepted(&mut self, ticket: &Ticket, now: Moment) -> bool {
        let Some(assignment) = ticket.value.shows() else { return false };
        if !ticket.contested && !self.in_doubt(now) {
            debug_assert!(
                self.tickets.iter().all(|other| other.value.same(&ticket.value)),
                "nothing of another value is in flight beside a ticket that commits"
            );
            // If the assignment is the same as before (a rule in observe mode forwards redundant announcements), it is
            // known since the earlier moment.
            let unchanged = ticket
                .before
                .as_ref()
                .filter(|before| before.assignment == *assignment && before.epoch == ticket.epoch);
            let since = unchanged.map_or(now, |before| before.since);
            // The epoch is the claim's, not the current one: a request that may touch any channel and began in between
            // makes it unknown.
            self.known = Some(Known { assignment: assignment.clone(), since, epoch: ticket.epoch });
        }
        true
    }
}

/// The end of a doubt that begins now. One millisecond more than the period: `now` was rounded down.
pub(super) fn until(now: Moment, doubt_period: Duration) -> Moment {
    now.after(doubt_period).after(Duration::from_millis(1))
}
