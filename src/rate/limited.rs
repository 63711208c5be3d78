//! Why a trigger is refused.

use std::time::Duration;

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
