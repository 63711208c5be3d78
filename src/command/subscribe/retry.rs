//! Whether and when to connect again after the loss of a connection (pusher-protocol.md 4.6).

use std::time::Duration;

/// The pause after the first failure; doubled at each further one.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Whether to connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// No: the next connection would end the same way.
    Stop,
    /// Connect again after this pause.
    After(Duration),
}

/// Counts consecutive failures.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

impl Retry {
    /// Resets the count: a connection was established.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Whether to connect again after a connection that ended with this close code, or without one.
    ///
    /// 4000 to 4099 are final, and so are those from 4300 on, as in pusher-js. After 4200 to 4299 the client connects
    /// again at once, but only after the first failure: a server may close every connection like that.
    pub(super) fn after(&mut self, code: Option<u16>) -> RetryDecision {
        let at_once = match code {
            Some(4000..=4099 | 4300..=4999) => return RetryDecision::Stop,
            Some(4200..=4299) => self.failures == 0,
            _ => false,
        };
        self.failures = self.failures.saturating_add(1);
        if at_once {
            return RetryDecision::After(Duration::ZERO);
        }
        RetryDecision::After(SHORTEST.saturating_mul(2_u32.saturating_pow(self.failures - 1)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(code: Option<u16>) -> RetryDecision {
        Retry::default().after(code)
    }

    #[test]
    fn the_ranges_of_codes_are_honoured() {
        for code in [4000, 4001, 4009, 4099, 4300, 4301] {
            assert_eq!(first(Some(code)), RetryDecision::Stop, "{code}");
        }
        for code in [4200, 4201, 4299] {
            assert_eq!(first(Some(code)), RetryDecision::After(Duration::ZERO), "{code}");
        }
        for code in [Some(4100), Some(4199), Some(1000), Some(1006), Some(1011), None] {
            assert_eq!(first(code), RetryDecision::After(Duration::from_secs(1)), "{code:?}");
        }
    }

    #[test]
    fn failures_in_a_row_wait_longer_up_to_a_bound() {
        let mut retry = Retry::default();
        let pauses: Vec<_> = (0..7).map(|_| retry.after(None)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30].map(|seconds| RetryDecision::After(Duration::from_secs(seconds))));
        retry.reset();
        assert_eq!(retry.after(Some(4200)), RetryDecision::After(Duration::ZERO));
        assert_eq!(retry.after(Some(4200)), RetryDecision::After(Duration::from_secs(2)), "at once means once");
    }
}
