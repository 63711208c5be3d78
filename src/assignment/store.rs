//! Where the assignments of an app are held, and the claims of one decision there. A request claims in no other way, so
//! a place differs from another one in this file alone.

use std::sync::Arc;

use super::{
    Announced, AppMemory, Ask, Before, Carried, Claim, ClaimMode, Generation, InProcessTickets, Outcome, Prepared,
    Renewal, RuleMemory, Shared, SharedClaims, Shown, Tickets, Uncertainty, Waiter,
};
use crate::clock::Moment;

/// Where the assignments of one app are held, for all of its rules.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process, for it alone.
    InProcess(InProcess),
    /// At a store that several processes share.
    Shared(Shared),
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
    /// Begins the claims of a decision that is made at `now`. `carried`: what the request has learned before.
    #[inline]
    pub fn claims(&self, now: Moment, carried: Carried) -> Claims<'_> {
        let place = match self {
            Self::InProcess(app) => Place::InProcess(app, InProcessTickets::default()),
            Self::Shared(shared) => Place::Shared(Box::new(SharedClaims::new(shared, now, carried))),
        };
        Claims { place, now }
    }

    /// Somebody has subscribed to `channel`, for the app's rule of this number, in the order of the configuration. In a
    /// shared memory this is known a little later.
    pub fn joined(&self, rule: usize, channel: &str) {
        match self {
            Self::InProcess(app) => app.rules[rule].joined(channel),
            Self::Shared(shared) => shared.joined(rule, channel),
        }
    }

    /// The memory of the app's rule of this number, if it is in this process.
    #[must_use]
    pub fn rule_memory(&self, rule: usize) -> Option<&Arc<RuleMemory>> {
        match self {
            Self::InProcess(app) => app.rules.get(rule),
            Self::Shared(_) => None,
        }
    }

    /// Whether the start of the process is the reason why the app is in doubt: no other doubt lasts longer.
    #[must_use]
    pub fn in_start_doubt(&self, now: Moment) -> bool {
        match self {
            Self::InProcess(app) => app.memory.in_start_doubt(now),
            // Whoever enters the store is in doubt there.
            Self::Shared(_) => false,
        }
    }
}

/// The answer to a claim, whose ticket, if it has got one, is held by the [`Claims`].
#[derive(Debug)]
pub enum Claimed {
    /// The channel is known to show exactly this assignment.
    Redundant(Shown),
    /// Wait, then decide again.
    Wait(Waiter),
    /// Forward it: a ticket on the channel is held (unless a shared memory is out of reach). The fields are those of
    /// [`Claim::Reserved`].
    Held {
        /// What was known of the channel before.
        before: Before,
        /// Whether an equal claim was in flight or known.
        redundant: bool,
        /// What it is known to show, if that is exactly this.
        shown: Option<Shown>,
        /// Why it is announced again, if an equal claim is in flight or known, and does not make it redundant.
        renewal: Option<Renewal>,
    },
    /// Forward it: the ticket for all channels of the app is held, for this reason.
    HeldAll(Uncertainty),
}

/// The claims of one decision, and the tickets that they have got. Dropped, they put what they hold in doubt.
#[must_use = "dropped, they put what they hold in doubt"]
#[derive(Debug)]
pub struct Claims<'a> {
    place: Place<'a>,
    now: Moment,
}

/// Where a decision claims.
#[derive(Debug)]
enum Place<'a> {
    InProcess(&'a InProcess, InProcessTickets),
    Shared(Box<SharedClaims<'a>>),
}

impl Claims<'_> {
    /// Whether nothing is held, so that the request may wait.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.place {
            Place::InProcess(_, tickets) => tickets.is_empty(),
            Place::Shared(claims) => claims.is_empty(),
        }
    }

    /// Prepares claims of the `named` channels, each for the rule of a number, or of all channels of the app
    /// (`claims_all`). Nothing else is claimed.
    #[inline]
    pub fn prepare<'c>(&mut self, named: impl Iterator<Item = (usize, &'c str)>, claims_all: bool) -> Prepared {
        match &mut self.place {
            Place::InProcess(..) => Prepared::Ready,
            Place::Shared(claims) => claims.prepare(named, claims_all),
        }
    }

    /// What has to be answered before the request may go on with what it has claimed; `None`: nothing.
    #[inline]
    pub fn commit(&mut self) -> Option<Box<Ask>> {
        match &mut self.place {
            Place::InProcess(..) => None,
            Place::Shared(claims) => claims.commit(),
        }
    }

    /// Claims `channel` for `value` in the memory of the app's rule of this number, in the order of the configuration.
    #[inline]
    pub fn claim<'v>(
        &mut self,
        rule: usize,
        channel: &str,
        announced: impl Into<Announced<'v>>,
        mode: ClaimMode,
    ) -> Claimed {
        let announced = announced.into();
        let (app, tickets) = match &mut self.place {
            Place::InProcess(app, tickets) => (app, tickets),
            Place::Shared(claims) => return claims.claim(rule, channel, announced, mode),
        };
        match app.rules[rule].claim(channel, announced, mode, self.now) {
            Claim::Redundant(shown) => Claimed::Redundant(shown),
            Claim::InFlight(waiter) => Claimed::Wait(waiter),
            Claim::Reserved { reservation, before, redundant, shown, renewal } => {
                tickets.hold(reservation);
                Claimed::Held { before, redundant, shown, renewal }
            }
            Claim::Full => {
                tickets.hold_app(&app.memory);
                Claimed::HeldAll(Uncertainty::Full)
            }
        }
    }

    /// Claims `channel` for a request that goes on whatever is known of it.
    pub fn hold<'v>(&mut self, rule: usize, channel: &str, announced: impl Into<Announced<'v>>) {
        match self.claim(rule, channel, announced, ClaimMode::Forced) {
            Claimed::Held { .. } | Claimed::HeldAll(_) => {}
            // A forced claim returns none of these; the ticket for all of the app covers any.
            Claimed::Redundant(_) | Claimed::Wait(_) => self.claim_all(),
        }
    }

    /// Claims all channels of the app.
    pub fn claim_all(&mut self) {
        match &mut self.place {
            Place::InProcess(app, tickets) => tickets.hold_app(&app.memory),
            Place::Shared(claims) => claims.claim_all(),
        }
    }

    /// The request goes on with these tickets. Nothing is claimed for it after that.
    pub fn into_tickets(self) -> Tickets {
        match self.place {
            Place::InProcess(app, mut tickets) => {
                tickets.hold_generation(&app.generation);
                Tickets::InProcess(tickets)
            }
            Place::Shared(claims) => Tickets::Shared(claims.into_tickets()),
        }
    }

    /// Nothing was sent: what was known before is known again.
    pub fn give_back(self) {
        match self.place {
            Place::InProcess(_, tickets) => tickets.settle(Outcome::Refused),
            // Dropped, they are given back.
            Place::Shared(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Assignment, Assignments, Bounds, RuleSettings, Value};
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
        let settings = |rule: &str| RuleSettings {
            app: "1".into(),
            rule: rule.into(),
            definition: [7; 32],
            remember_for,
            refresh_after: None,
        };
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
        let mut claims = store.claims(clock.now(), Carried::default());
        assert!(claims.is_empty());
        let claimed = claims.claim(1, "room", &anna(), ClaimMode::MayWait);
        assert!(
            matches!(claimed, Claimed::Held { before: Before::Nothing, redundant: false, shown: None, renewal: None }),
            "{claimed:?}"
        );
        assert!(!claims.is_empty());
        claims.into_tickets().settle(Outcome::Accepted);
        let mut claims = store.claims(clock.now(), Carried::default());
        let claimed = claims.claim(1, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Redundant(_)) && claims.is_empty(), "{claimed:?}");
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Held { before: Before::Nothing, .. }), "{claimed:?}");
        claims.give_back();
    }

    #[test]
    fn who_subscribes_is_told_to_one_rule() {
        let clock = Clock::start();
        let store = store(clock);
        for rule in [0, 1] {
            let mut claims = store.claims(clock.now(), Carried::default());
            claims.hold(rule, "room", &anna());
            claims.into_tickets().settle(Outcome::Accepted);
        }
        store.joined(1, "room");
        let mut claims = store.claims(clock.now(), Carried::default());
        assert!(matches!(claims.claim(0, "room", &anna(), ClaimMode::MayWait), Claimed::Redundant(_)));
        let claimed = claims.claim(1, "room", &anna(), ClaimMode::MayWait);
        let late_joiner = Some(Renewal::LateJoiner);
        assert!(matches!(claimed, Claimed::Held { redundant: false, renewal, .. } if renewal == late_joiner));
        claims.give_back();
    }

    #[test]
    fn what_is_given_back_is_known_again() {
        let clock = Clock::start();
        let store = store(clock);
        let mut claims = store.claims(clock.now(), Carried::default());
        claims.hold(0, "room", &anna());
        claims.into_tickets().settle(Outcome::Accepted);
        let mut claims = store.claims(clock.now(), Carried::default());
        claims.hold(0, "room", &anna());
        claims.give_back();
        let mut claims = store.claims(clock.now(), Carried::default());
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Redundant(_)), "{claimed:?}");
    }

    #[test]
    fn claims_that_are_dropped_leave_a_doubt() {
        let clock = Clock::start();
        let store = store(clock);
        let mut claims = store.claims(clock.now(), Carried::default());
        claims.hold(0, "room", &anna());
        drop(claims);
        let mut claims = store.claims(clock.now(), Carried::default());
        let claimed = claims.claim(0, "room", &anna(), ClaimMode::MayWait);
        let in_doubt = Before::Uncertain(Uncertainty::InDoubt);
        assert!(matches!(&claimed, Claimed::Held { before, .. } if *before == in_doubt), "{claimed:?}");
    }

    #[test]
    fn an_equal_claim_waits_and_a_full_memory_holds_the_app() {
        let clock = Clock::start();
        let store = store(clock);
        let mut first = store.claims(clock.now(), Carried::default());
        first.hold(0, "room", &anna());
        let mut second = store.claims(clock.now(), Carried::default());
        let claimed = second.claim(0, "room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::Wait(_)) && second.is_empty(), "{claimed:?}");
        drop(claimed);
        first.hold(0, "other room", &anna());
        let claimed = second.claim(0, "third room", &anna(), ClaimMode::MayWait);
        assert!(matches!(claimed, Claimed::HeldAll(Uncertainty::Full)), "{claimed:?}");
        let mut third = store.claims(clock.now(), Carried::default());
        let claimed = third.claim(1, "room", &anna(), ClaimMode::MustNotWait);
        let app_in_flight = Before::Uncertain(Uncertainty::AppInFlight);
        assert!(matches!(&claimed, Claimed::Held { before, .. } if *before == app_in_flight), "{claimed:?}");
    }
}
