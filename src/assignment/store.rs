//! Where the assignments of an app are held, and the claims of one decision there. A request claims in no other way, so
//! a place differs from another one in this file alone.

use std::sync::Arc;

use super::{AppMemory, Before, Claim, ClaimMode, Generation, Outcome, RuleMemory, Tickets, Value, Waiter};
use crate::clock::Moment;

/// Where the assignments of one app are held, for all of its rules.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process, for it alone.
    InProcess(InProcess),
}

/// The memory of one app in this process, as one configuration has it.
#[derive(Debug, Clone)]
pub struct InProcess {
    /// The state that its rules share.
    pub(super) memory: Arc<AppMemory>,
    /// Counts the requests that are decided under these rules.
    pub(super) generation: Arc<Generation>,
    /// In the order of the configuration.
    pub(super) rules: Box<[Arc<RuleMemory>]>,
}

impl Store {
    /// Begins the claims of a decision that is made at `now`.
    #[inline]
    pub fn claims(&self, now: Moment) -> Claims<'_> {
        Claims { store: self, now, tickets: Tickets::default() }
    }

    /// Whether the start of the process is the reason why the app is in doubt: no other doubt lasts longer.
    #[must_use]
    pub fn in_start_doubt(&self, now: Moment) -> bool {
        match self {
            Self::InProcess(app) => app.memory.in_start_doubt(now),
        }
    }
}

/// The answer to a claim, whose ticket, if it has got one, is held by the [`Claims`].
#[derive(Debug)]
pub enum Claimed {
    /// The channel is known to show exactly this assignment, since the given moment.
    Redundant {
        /// When it was committed, to a tenth of a second.
        since: Moment,
    },
    /// Wait, then decide again.
    Wait(Waiter),
    /// Forward it: a ticket on the channel is held. The fields are those of [`Claim::Reserved`].
    Held {
        /// What was known of the channel before.
        before: Before,
        /// Whether an equal claim was in flight or known.
        redundant: bool,
        /// When the channel became known to show exactly this, if it is known to.
        since: Option<Moment>,
    },
    /// Forward it: the memory is full, so the ticket for all channels of the app is held.
    HeldAll,
}

/// The claims of one decision, and the tickets that they have got. Dropped, they put what they hold in doubt.
#[must_use = "dropped, they put what they hold in doubt"]
#[derive(Debug)]
pub struct Claims<'a> {
    store: &'a Store,
    now: Moment,
    tickets: Tickets,
}

impl Claims<'_> {
    /// Whether nothing is held, so that the request may wait.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Claims `channel` for `value` in the memory of the app's rule of this number, in the order of the configuration.
    #[inline]
    pub fn claim(&mut self, rule: usize, channel: &str, value: &Value, mode: ClaimMode) -> Claimed {
        let claim = match self.store {
            Store::InProcess(app) => app.rules[rule].claim(channel, value, mode, self.now),
        };
        match claim {
            Claim::Redundant { since } => Claimed::Redundant { since },
            Claim::InFlight(waiter) => Claimed::Wait(waiter),
            Claim::Reserved { reservation, before, redundant, since } => {
                self.tickets.hold(reservation);
                Claimed::Held { before, redundant, since }
            }
            Claim::Full => {
                self.claim_all();
                Claimed::HeldAll
            }
        }
    }

    /// Claims `channel` for a request that goes on whatever is known of it.
    pub fn hold(&mut self, rule: usize, channel: &str, value: &Value) {
        match self.claim(rule, channel, value, ClaimMode::Forced) {
            Claimed::Held { .. } | Claimed::HeldAll => {}
            // A forced claim returns none of these; the ticket for all of the app covers any.
            Claimed::Redundant { .. } | Claimed::Wait(_) => self.claim_all(),
        }
    }

    /// Claims all channels of the app.
    pub fn claim_all(&mut self) {
        match self.store {
            Store::InProcess(app) => self.tickets.hold_app(&app.memory),
        }
    }

    /// The request goes on with these tickets. Nothing is claimed for it after that.
    pub fn into_tickets(mut self) -> Tickets {
        match self.store {
            Store::InProcess(app) => self.tickets.hold_generation(&app.generation),
        }
        self.tickets
    }

    /// Nothing was sent: what was known before is known again.
    pub fn give_back(self) {
        self.tickets.settle(Outcome::Refused);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Assignment, Assignments, Bounds, RuleSettings};
    use super::*;
    use crate::clock::Clock;

    const RULES: [&str; 2] = ["joined", "left"];

    /// An app with two rules of two channels each.
    fn store(clock: Clock) -> Store {
        let bounds = Bounds {
            max_channels: 2,
            max_waiters_per_channel: 1,
            max_waiters: 1,
            doubt_period: Duration::from_secs(30),
            start_doubt: Duration::ZERO,
        };
        let remember_for = Duration::from_secs(60);
        let settings =
            |rule: &str| RuleSettings { app: "1".into(), rule: rule.into(), definition: [7; 32], remember_for };
        let other = RuleSettings { app: "2".into(), ..settings("joined") };
        let wanted = [settings(RULES[0]), other, settings(RULES[1])];
        Assignments::new(clock, bounds).configure(&["2".into(), "1".into()], &wanted).apps.remove(1)
    }

    fn anna() -> Value {
        Value::One(Assignment::new(0, "7", []))
    }

    #[test]
    fn what_is_settled_is_redundant_under_its_own_rule_alone() {
        let clock = Clock::start();
        let store = store(clock);
        let mut claims = store.claims(clock.now());
        assert!(claims.is_empty());
        let claimed = claims.claim(1, "room", &anna(), ClaimMode::MayWait);
        assert!(
            matches!(claimed, Claimed::Held { before: Before::Nothing, redundant: false, since: None }),
            "{claimed:?}"
        );
        assert!(!claims.is_empty());
        claims.into_tickets().settle(Outcome::Accepted);
        let mut claims = store.claims(clock.now());
        let claimed = claims.claim(1, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Redundant { .. }) && claims.is_empty(), "{claimed:?}");
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Held { before: Before::Nothing, .. }), "{claimed:?}");
        claims.give_back();
    }

    #[test]
    fn what_is_given_back_is_known_again() {
        let clock = Clock::start();
        let store = store(clock);
        let mut claims = store.claims(clock.now());
        claims.hold(0, "room", &anna());
        claims.into_tickets().settle(Outcome::Accepted);
        let mut claims = store.claims(clock.now());
        claims.hold(0, "room", &anna());
        claims.give_back();
        let mut claims = store.claims(clock.now());
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Redundant { .. }), "{claimed:?}");
    }

    #[test]
    fn claims_that_are_dropped_leave_a_doubt() {
        let clock = Clock::start();
        let store = store(clock);
        let mut claims = store.claims(clock.now());
        claims.hold(0, "room", &anna());
        drop(claims);
        let mut claims = store.claims(clock.now());
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        let in_doubt = Before::Uncertain(super::super::Uncertainty::InDoubt);
        assert!(matches!(&claimed, Claimed::Held { before, .. } if *before == in_doubt), "{claimed:?}");
    }

    #[test]
    fn an_equal_claim_waits_and_a_full_memory_holds_the_app() {
        let clock = Clock::start();
        let store = store(clock);
        let mut first = store.claims(clock.now());
        first.hold(0, "room", &anna());
        let mut second = store.claims(clock.now());
        let claimed = second.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Wait(_)) && second.is_empty(), "{claimed:?}");
        drop(claimed);
        first.hold(0, "other room", &anna());
        let claimed = second.claim(0, "third room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::HeldAll), "{claimed:?}");
        let mut third = store.claims(clock.now());
        let claimed = third.claim(1, "room", &anna(), ClaimMode::MustNotWait);
        let app_in_flight = Before::Uncertain(super::super::Uncertainty::AppInFlight);
        assert!(matches!(&claimed, Claimed::Held { before, .. } if *before == app_in_flight), "{claimed:?}");
    }
}
