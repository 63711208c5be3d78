//! Why a trigger is rejected.

use std::time::Duration;

/// Why the rate limits reject a trigger. `Display` is the message in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// The app sends too many triggers.
    #[error(
        "the app sends more than {per_second} triggers a second, and the queue is longer than limits.rates.max_wait; send fewer, or raise \
         limits.rates.app_triggers"
    )]
    App {
        /// The configured limit.
        per_second: u32,
        /// The time until a retry may succeed.
        retry_after: Duration,
    },
    /// Too many events are sent on a channel.
    #[error(
        "a channel is sent more than {per_second} events a second, and the queue is longer than limits.rates.max_wait; send fewer, or raise \
         limits.rates.channel_triggers"
    )]
    Channel {
        /// The configured limit.
        per_second: u32,
        /// The time until a retry may succeed.
        retry_after: Duration,
    },
    /// A permit would be valid in time, but too many triggers wait.
    #[error("the maximum number of triggers wait already (limits.rates.max_waiters); send fewer at once, or raise it")]
    Crowded {
        /// The time until the permit would be valid.
        retry_after: Duration,
    },
}

impl Limited {
    /// The `Retry-After` value in whole seconds; at least 1.
    #[must_use]
    pub const fn retry_after(self) -> u64 {
        let (Self::App { retry_after, .. } | Self::Channel { retry_after, .. } | Self::Crowded { retry_after }) = self;
        let begun = if retry_after.subsec_nanos() > 0 { 1 } else { 0 };
        let seconds = retry_after.as_secs().saturating_add(begun);
        if seconds == 0 { 1 } else { seconds }
    }
}
