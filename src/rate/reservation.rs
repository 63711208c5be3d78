//! The permits of a trigger: acquired from the limits before the trigger is forwarded, possibly after a wait.

use std::time::Duration;

use super::limit::Permit;
use super::limited::Limited;
use super::limiters::AppLimits;
use super::waiters::WaitGuard;

/// The permits of one trigger. They are acquired once, however often the trigger is decided.
#[derive(Debug, Default)]
pub struct RateReservation {
    acquired: bool,
    /// Stored only if the trigger was delayed: an admitted trigger refunds nothing.
    permits: Vec<Permit>,
}

/// Whether a trigger may be forwarded.
#[derive(Debug)]
pub enum RateDecision {
    /// It may be forwarded now.
    Admit,
    /// It holds its permits and may be forwarded after the wait.
    Delay(ScheduledSlot),
    /// No permit is available in time.
    Reject(Limited),
}

/// Permits that become valid after a wait. Until it is dropped, the trigger counts as waiting.
#[must_use = "wait for it"]
#[derive(Debug)]
pub struct ScheduledSlot {
    /// The time until the permits are valid.
    pub wait: Duration,
    _waiting: WaitGuard,
}

impl RateReservation {
    /// Acquires the permits of a trigger of the app with an event on each of `channels`. Permits are acquired at most
    /// once, and none are kept if the trigger is rejected.
    pub fn acquire<'a>(&mut self, limits: &AppLimits, channels: impl Iterator<Item = &'a str>) -> RateDecision {
        if self.acquired {
            return RateDecision::Admit;
        }
        let mut permits = Vec::new();
        let rejection = match limits.acquire(channels, &mut permits) {
            Ok((_, wait)) if wait.is_zero() => return RateDecision::Admit,
            Ok((scope, wait)) => match limits.wait(scope) {
                Some(waiting) => {
                    *self = Self { acquired: true, permits };
                    return RateDecision::Delay(ScheduledSlot { wait, _waiting: waiting });
                }
                None => (scope, Limited::Crowded { retry_after: wait }),
            },
            Err(limited) => limited,
        };
        permits.into_iter().for_each(Permit::refund);
        let (scope, limited) = rejection;
        limits.count_refused(scope);
        RateDecision::Reject(limited)
    }

    /// Refunds the permits of a trigger that is not forwarded after all.
    pub fn refund(&mut self) {
        std::mem::take(self).permits.into_iter().for_each(Permit::refund);
    }
}
