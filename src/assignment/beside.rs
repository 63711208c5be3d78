//! Announcements that came another way than through this process: whether the memory explains them, and the doubt that they
//! leave. They never do more than put a channel in doubt.

use super::{Assignment, NotReached, Standing, Store};
use crate::clock::Moment;

impl Store {
    /// Whether this process, by itself, can say why `said` (`None`: something that is no assignment) is delivered on
    /// `channel`, for the app's rule of this number: the channel is known to show it, or the whole app is in doubt. In a
    /// shared memory only [`Store::doubt_beside`] can say.
    #[must_use]
    pub fn explains(&self, rule: usize, channel: &str, said: Option<&Assignment>, now: Moment) -> bool {
        let Self::InProcess(app) = self else { return false };
        app.memory.in_doubt(now)
            || matches!((app.rules[rule].standing(channel), said), (Standing::Known(known), Some(said)) if known == *said)
    }

    /// Puts `channel` in doubt for the app's rule of this number. Returns whether that is done: in a shared memory it is
    /// not, and [`Store::doubt_beside`] does it.
    #[must_use]
    pub fn doubt(&self, rule: usize, channel: &str) -> bool {
        match self {
            Self::InProcess(app) => {
                app.rules[rule].doubt(channel);
                true
            }
            Self::Shared(_) => false,
        }
    }

    /// Asks a shared memory, whose other members forward as well, whether it explains that `said` is delivered on `channel`,
    /// and puts the channel in doubt there if it does not. Returns whether it did so.
    ///
    /// # Errors
    /// The store does not say. What is not known is not suppressed.
    pub async fn doubt_beside(
        &self,
        rule: usize,
        channel: &str,
        said: Option<&Assignment>,
    ) -> Result<bool, NotReached> {
        match self {
            Self::InProcess(_) => Ok(self.doubt(rule, channel)),
            Self::Shared(shared) => shared.doubt_beside(rule, channel, said).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{
        Assignments, Before, Bounds, Carried, ClaimMode, Claimed, Outcome, RuleSettings, Uncertainty, Value,
    };
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_is_known_is_explained_and_a_doubt_is_all_that_is_left_behind() {
        let clock = Clock::start();
        let bounds = Bounds {
            max_channels: 2,
            max_waiters_per_channel: 1,
            max_waiters: 1,
            doubt_period: Duration::from_secs(30),
            start_doubt: Duration::ZERO,
        };
        let settings = RuleSettings {
            app: "1".into(),
            rule: "joined".into(),
            definition: [7; 32],
            remember_for: Duration::from_mins(1),
            refresh_after: None,
        };
        let store = Assignments::new(clock, bounds).configure(&["1".into()], &[settings]).apps.remove(0);
        let [anna, ben] = ["1", "2"].map(|identity| Assignment::new(0, identity, []));
        let explains = |said: &Assignment| store.explains(0, "room", Some(said), clock.now());
        assert!(!explains(&anna));
        let mut claims = store.claims(clock.now(), Carried::default());
        claims.hold(0, "room", &Value::One(anna.clone()));
        claims.into_tickets().settle(Outcome::Accepted);
        assert!(explains(&anna) && !explains(&ben) && !store.explains(0, "room", None, clock.now()));
        assert!(store.doubt(0, "room"));
        assert!(!explains(&anna));
        let mut claims = store.claims(clock.now(), Carried::default());
        let claimed = claims.claim(0, "room", &Value::One(anna), ClaimMode::MayWait);
        let in_doubt = Before::Uncertain(Uncertainty::InDoubt);
        assert!(matches!(&claimed, Claimed::Held { before, .. } if *before == in_doubt), "{claimed:?}");
    }
}
