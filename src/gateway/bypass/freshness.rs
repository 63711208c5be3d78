//! Whether what is read from upstream has come just now. A client that does not read makes upstream's messages wait, for as
//! long as it likes: what it gets then may be older than anything that usher remembers.

use std::time::Duration;

use crate::clock::Moment;

/// Messages that were there already and are read later than this after one for which usher had waited have waited
/// themselves.
const STALL: Duration = Duration::from_secs(1);

/// What is known of the messages of one connection.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Freshness {
    /// When a message was read for which usher had waited.
    last: Moment,
    /// What is read before this may have waited.
    from: Moment,
}

impl Freshness {
    /// A message is read. `waited`: whether usher had waited for it. Returns whether it is younger than `doubt_period`, as
    /// far as this connection is concerned.
    pub(super) fn read(&mut self, waited: bool, now: Moment, doubt_period: Duration) -> bool {
        if waited {
            self.last = now;
        } else if now.since(self.last) > STALL {
            // Upstream may have queued messages, too, which follow with pauses in between.
            self.from = now.after(doubt_period);
        }
        now >= self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_the_client_is_not_fresh() {
        let mut freshness = Freshness::default();
        let mut read = |waited, millis| freshness.read(waited, Moment::from_millis(millis), Duration::from_secs(30));
        assert!(read(true, 5_000) && read(false, 5_010) && read(true, 60_000) && read(false, 61_000));
        assert!(!read(false, 61_001), "the client took more than a second for what came before");
        assert!(!read(true, 61_500) && !read(true, 91_000) && read(true, 91_001));
    }
}
