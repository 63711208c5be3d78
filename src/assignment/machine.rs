//! One channel as a pure state machine: what is known of it, the tickets in flight on it, and whether it is in doubt
//! (ARCHITECTURE.md "When an announcement is suppressed"). No lock, no clock, no I/O: `now` and the app's state are
//! arguments. `machine/exhaustive.rs` walks through every interleaving of a few requests.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::snapshot::{AppSnapshot, Epoch};
use super::{
    Announced, Assignment, Before, ClaimMode, Outcome, Reach, Renewal, Shown, Socket, Standing, Uncertainty, Value,
};
use crate::clock::Moment;

/// Identifies a ticket of one active channel.
pub(super) type TicketId = u64;

/// An assignment that upstream is known to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// The assignment.
    pub(super) assignment: Assignment,
    /// When it became known, or was last announced as news.
    pub(super) since: Moment,
    /// The app's epoch when its ticket was claimed: in a later epoch it is no longer known.
    pub(super) epoch: Epoch,
    /// Who has had it.
    pub(super) reach: Reach,
}

/// The time of a claim, and what is too old by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    pub(super) now: Moment,
    /// What was last announced before this moment is announced again.
    fresh_from: Moment,
}

/// A forwarded request that may change what the channel's guests see, until it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) value: Value,
    /// Whom it reaches, if it announces one assignment.
    pub(super) reach: Reach,
    /// What was known when it was claimed: known again if nothing of the request was applied.
    pub(super) before: Option<Known>,
    /// Another ticket was in flight at the same time: it may not release.
    pub(super) overlapped: bool,
    /// A ticket of another value was in flight at the same time, or the channel was in doubt at the claim or later: it
    /// may not commit.
    pub(super) contested: bool,
    /// Whether it was news: what it announces is known since its own acceptance, also if it was known before.
    pub(super) renews: bool,
    /// The app's epoch when it was claimed.
    pub(super) epoch: Epoch,
}

/// The result of comparing a claim with the channel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The channel is known to show exactly this.
    Redundant(Shown),
    /// This ticket announces the same to the same clients.
    InFlight(TicketId),
    /// The channel shows this, or a ticket announces it, and it is announced again for this reason. What is shown, if it
    /// is.
    Renews(Renewal, Option<Shown>),
    /// It may change what the channel shows.
    Open,
}

impl Comparison {
    /// Whether nobody would miss the announcement, if what is in flight is accepted.
    pub(super) const fn is_redundant(self) -> bool {
        matches!(self, Self::Redundant(_) | Self::InFlight(_))
    }

    /// What the channel is known to show, if that is the claim's assignment.
    pub(super) const fn shown(self) -> Option<Shown> {
        match self {
            Self::Redundant(shown) | Self::Renews(_, Some(shown)) => Some(shown),
            Self::InFlight(_) | Self::Renews(_, None) | Self::Open => None,
        }
    }

    /// Why the assignment is announced again.
    pub(super) const fn renewal(self) -> Option<Renewal> {
        if let Self::Renews(renewal, _) = self { Some(renewal) } else { None }
    }

    /// Whether a claim in this mode is news once it is forwarded ([`Ticket::renews`]).
    pub(super) fn renews(self, mode: ClaimMode) -> bool {
        !self.is_redundant() || mode != ClaimMode::Observed
    }
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Channel {
    known: Option<Known>,
    tickets: Vec<Ticket>,
    /// The channel is in doubt before this moment. The default: it never was.
    doubt_until: Moment,
}

impl Known {
    /// Why an announcement of the assignment that leaves `left_out` out goes on; `None`: it is redundant.
    pub(super) fn renewal(&self, left_out: Option<Socket>, occasion: Occasion) -> Option<Renewal> {
        self.reach.renewal(left_out, occasion.is_due(self.since))
    }
}

impl Occasion {
    /// A claim at `now`, where what is known is announced again from this age in milliseconds on; `u64::MAX`: never.
    // Every redundant announcement is compared so: one subtraction, and one comparison with what is known.
    #[inline]
    pub(super) fn new(now: Moment, refresh_after: u64) -> Self {
        let last_due = now.as_millis().checked_sub(refresh_after);
        Self { now, fresh_from: Moment::from_millis(last_due.map_or(0, |millis| millis.saturating_add(1))) }
    }

    /// Whether what was last announced at `since` is announced again.
    #[inline]
    pub(super) fn is_due(self, since: Moment) -> bool {
        since < self.fresh_from
    }
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
    pub(super) fn compare(&self, claim: Announced<'_>, occasion: Occasion, snapshot: AppSnapshot) -> Comparison {
        let Announced { value, left_out } = claim;
        let shown = match (self.known(occasion.now, snapshot), value.announced()) {
            (Some(known), Some(announced)) if *announced == known.assignment => {
                let shown = Shown { since: known.since, difference: announced.difference_from(&known.assignment) };
                match known.renewal(left_out, occasion) {
                    None => return Comparison::Redundant(shown),
                    Some(renewal) => Some((renewal, shown)),
                }
            }
            _ => None,
        };
        let equal = || self.tickets.iter().filter(|ticket| ticket.value.same(value));
        if let Some(leader) = equal().find(|ticket| ticket.reach.covers(left_out)) {
            return Comparison::InFlight(leader.id);
        }
        match shown {
            Some((renewal, shown)) => Comparison::Renews(renewal, Some(shown)),
            None => equal()
                .find_map(|ticket| ticket.reach.renewal(left_out, false))
                .map_or(Comparison::Open, |renewal| Comparison::Renews(renewal, None)),
        }
    }

    /// Claims the channel for a forwarded request: makes the channel unknown and adds a ticket. `renews`: see
    /// [`Ticket::renews`]. Returns what was known before.
    pub(super) fn claim(
        &mut self,
        id: TicketId,
        Announced { value, left_out }: Announced<'_>,
        renews: bool,
        occasion: Occasion,
        snapshot: AppSnapshot,
    ) -> Before {
        let now = occasion.now;
        debug_assert!(self.tickets.iter().all(|ticket| ticket.id != id), "a ticket is claimed once");
        // A request in flight that may touch any channel acts as an opaque ticket on this one, and a doubt about the
        // app as a doubt about this channel.
        let uncertainty = self.uncertainty(now, snapshot);
        let before = match (uncertainty, &self.known) {
            (Some(uncertainty), _) => Before::Uncertain(uncertainty),
            (None, Some(known)) if snapshot.keeps(known.epoch) => Before::Known {
                assignment: known.assignment.clone(),
                reach: known.reach,
                is_due: occasion.is_due(known.since),
            },
            (None, _) => Before::Nothing,
        };
        let uncertain = self.in_doubt(now) || snapshot.is_uncertain();
        let overlapped = snapshot.is_uncertain() || !self.tickets.is_empty();
        let contested = uncertain || self.tickets.iter().any(|other| !other.value.same(value));
        for other in &mut self.tickets {
            other.overlapped = true;
            other.contested |= !other.value.same(value);
        }
        self.tickets.push(Ticket {
            id,
            value: value.clone(),
            reach: Reach::without(left_out),
            before: self.known.take(),
            overlapped,
            contested,
            renews,
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

    /// Something else than what usher has forwarded may be applied: the channel is in doubt, as after an ambiguous
    /// outcome.
    pub(super) fn doubt(&mut self, now: Moment, doubt_period: Duration) {
        self.forget();
        self.doubt_until = self.doubt_until.max(until(now, doubt_period));
    }

    /// Somebody has subscribed: whatever is known, in flight, or known again if that is refused, may have come too early
    /// for them. Returns whether that changes anything.
    pub(super) fn joined(&mut self) -> bool {
        let mut reaches: Vec<&mut Reach> = self.known.iter_mut().map(|known| &mut known.reach).collect();
        for ticket in &mut self.tickets {
            reaches.push(&mut ticket.reach);
            reaches.extend(ticket.before.iter_mut().map(|known| &mut known.reach));
        }
        let mut changes = false;
        for reach in reaches {
            changes |= *reach != Reach::NotAll;
            *reach = Reach::NotAll;
        }
        changes
    }

    /// What clients see that subscribe now.
    pub(super) fn standing(&self, now: Moment, snapshot: AppSnapshot) -> Standing {
        match self.known(now, snapshot) {
            Some(known) => Standing::Known(known.assignment.clone()),
            None if self.uncertainty(now, snapshot).is_some() => Standing::Unsettled,
            None => Standing::Unknown,
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
            let mut since = now;
            let mut reach = ticket.reach;
            // What was known before, and what another ticket of the same value has made known since, still holds for whom
            // it has reached: nothing else was in flight. (A batch announces something else first.)
            let still_holds = |known: &&Known| known.assignment == *assignment && known.epoch == ticket.epoch;
            let known = [&ticket.before, &self.known].into_iter().flatten().filter(still_holds);
            for known in known.filter(|_| ticket.value.announced().is_some()) {
                reach = reach.and(known.reach);
                // A rule in observe mode forwards redundant announcements.
                if !ticket.renews {
                    since = since.min(known.since);
                }
            }
            // The epoch is the claim's, not the current one: a request that may touch any channel and began in between
            // makes it unknown.
            self.known = Some(Known { assignment: assignment.clone(), since, epoch: ticket.epoch, reach });
        }
        true
    }
}

/// The end of a doubt that begins now. One millisecond more than the period: `now` was rounded down.
pub(super) fn until(now: Moment, doubt_period: Duration) -> Moment {
    now.after(doubt_period).after(Duration::from_millis(1))
}
