//! The turn of a trigger: what it takes of the limits before it may go upstream, and how long it waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::limit::Taken;
use super::limiters::AppLimits;
use crate::metrics::{OpenGuard, RateScope};

/// What one trigger has taken. It takes once, however often it is judged.
#[derive(Debug, Default)]
pub struct RateReservation {
    paid: bool,
    /// Kept only while it waits: what goes at once gives nothing back.
    takings: Vec<Taken>,
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
    _place: Waiting,
}

/// Why a trigger does not go upstream. `Display` is the sentence that its caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// The app sends too many.
    #[error(
        "the app sends more than {per_second} triggers a second, and the queue is longer than limits.rates.max_wait; send fewer, or raise \
         limits.rates.app_triggers"
    )]
    App {
        /// What may be sent.
        per_second: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much is sent on a channel.
    #[error(
        "a channel is sent more than {per_second} events a second, and the queue is longer than limits.rates.max_wait; send fewer, or raise \
         limits.rates.channel_triggers"
    )]
    Channel {
        /// What may be sent.
        per_second: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// Its turn would come in time, but too many wait.
    #[error("as many triggers wait for their turns as may (limits.rates.max_waiters); send fewer at once, or raise it")]
    Crowded {
        /// When its turn would come.
        retry_after: Duration,
    },
}

impl Limited {
    /// When to try again, in whole seconds; never 0.
    #[must_use]
    pub const fn retry_after(self) -> u64 {
        let (Self::App { retry_after, .. } | Self::Channel { retry_after, .. } | Self::Crowded { retry_after }) = self;
        let begun = if retry_after.subsec_nanos() > 0 { 1 } else { 0 };
        let seconds = retry_after.as_secs().saturating_add(begun);
        if seconds == 0 { 1 } else { seconds }
    }
}

impl RateReservation {
    /// Takes what a trigger of the app needs that is about to go upstream with an event on each of `channels`. Nothing
    /// is taken twice, and nothing stays taken if it may not go.
    pub fn acquire<'a>(&mut self, limits: &AppLimits, channels: impl Iterator<Item = &'a str>) -> RateDecision {
        if self.paid {
            return RateDecision::Admit;
        }
        let mut takings = Vec::new();
        let closed = match limits.take(channels, &mut takings) {
            Ok((_, wait)) if wait.is_zero() => return RateDecision::Admit,
            Ok((scope, wait)) => match limits.wait(scope) {
                Some(place) => {
                    *self = Self { paid: true, takings };
                    return RateDecision::Delay(ScheduledSlot { wait, _place: place });
                }
                None => (scope, Limited::Crowded { retry_after: wait }),
            },
            Err(limited) => limited,
        };
        takings.into_iter().for_each(Taken::give_back);
        let (scope, limited) = closed;
        limits.count_refused(scope);
        RateDecision::Reject(limited)
    }

    /// The trigger does not go upstream after all: gives back what it took.
    pub fn refund(&mut self) {
        std::mem::take(self).takings.into_iter().for_each(Taken::give_back);
    }
}

/// How many triggers wait for their turns.
#[derive(Debug, Default)]
pub(super) struct Waiters(Arc<AtomicUsize>);

/// A place among them; given back when dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    waiters: Arc<AtomicUsize>,
    _gauge: OpenGuard,
}

impl Waiters {
    /// A place, if fewer than `most` are taken.
    pub(super) fn enter(&self, most: usize, gauge: impl FnOnce() -> OpenGuard) -> Option<Waiting> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= most {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Waiting { waiters: Arc::clone(&self.0), _gauge: gauge() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The scope that decides, and how long it makes a trigger wait.
pub(super) type Longest = (RateScope, Duration);
