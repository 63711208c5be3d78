//! The turn of a trigger: what it takes of the limits before it may go upstream, and how long it waits for that.

use std::time::Duration;

use super::limit::Permit;
use super::limited::Limited;
use super::limiters::AppLimits;
use super::waiters::WaitGuard;

/// What one trigger has taken. It takes once, however often it is judged.
#[derive(Debug, Default)]
pub struct RateReservation {
    acquired: bool,
    /// Kept only while it waits: what goes at once gives nothing back.
    permits: Vec<Permit>,
}

/// Whether a trigger may go upstream.
#[derive(Debug)]
pub enum RateDecision {
    /// Now.
    Admit,
    /// When its turn has come, which is its own from now on.
    Delay(ScheduledSlot),
    /// Not in time.
    Reject(Limited),
}

/// A turn to be waited for. Until it is dropped it has a place among those who wait.
#[must_use = "wait for it"]
#[derive(Debug)]
pub struct ScheduledSlot {
    /// How long until it comes.
    pub wait: Duration,
    _place: WaitGuard,
}

impl RateReservation {
    /// Takes what a trigger of the app needs that is about to go upstream with an event on each of `channels`. Nothing
    /// is taken twice, and nothing stays taken if it may not go.
    pub fn acquire<'a>(&mut self, limits: &AppLimits, channels: impl Iterator<Item = &'a str>) -> RateDecision {
        if self.acquired {
            return RateDecision::Admit;
        }
        let mut permits = Vec::new();
        let rejection = match limits.acquire(channels, &mut permits) {
            Ok((_, wait)) if wait.is_zero() => return RateDecision::Admit,
            Ok((scope, wait)) => match limits.wait(scope) {
                Some(place) => {
                    *self = Self { acquired: true, permits };
                    return RateDecision::Delay(ScheduledSlot { wait, _place: place });
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

    /// The trigger does not go upstream after all: gives back what it took.
    pub fn refund(&mut self) {
        std::mem::take(self).permits.into_iter().for_each(Permit::refund);
    }
}
