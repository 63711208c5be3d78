//! The channels on which this process is about to settle a ticket. A claim waits for that, so that who was answered and
//! announces again by the same process finds what is known from the answer, as with a memory in the process.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The longest wait: a store that is slow costs redundancy only.
const MAX_WAIT: Duration = Duration::from_millis(200);

/// The channels, by their keys, each with the number of settlements; the empty key: all channels of the app.
#[derive(Debug, Default)]
pub(super) struct Settling {
    keys: Mutex<HashMap<Vec<u8>, usize>>,
    ended: Notify,
}

impl Settling {
    /// A settlement begins.
    pub(super) fn begin<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut counted = self.keys.lock();
        for key in keys {
            *counted.entry(key.to_vec()).or_default() += 1;
        }
    }

    /// It has ended.
    pub(super) fn end<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut counted = self.keys.lock();
        for key in keys {
            if let Some(count) = counted.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counted.remove(key);
                }
            }
        }
        drop(counted);
        self.ended.notify_waiters();
    }

    /// Returns once nothing is about to be settled on any of these channels, or after [`MAX_WAIT`].
    pub(super) async fn done<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        let end = Instant::now() + MAX_WAIT;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the look: an end between the look and the wait would wake nobody.
            ended.as_mut().enable();
            if !self.is_busy(keys.clone()) || timeout_at(end, ended).await.is_err() {
                return;
            }
        }
    }

    fn is_busy<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let counted = self.keys.lock();
        !counted.is_empty() && (counted.contains_key(&b""[..]) || keys.any(|key| counted.contains_key(key)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn keys<'k>(keys: &'k [&'k str]) -> impl Iterator<Item = &'k [u8]> + Clone {
        keys.iter().map(|key| key.as_bytes())
    }

    #[tokio::test]
    async fn a_claim_waits_for_the_settlements_on_its_channels_alone() {
        let settling = Settling::default();
        settling.done(keys(&["a"])).await;
        settling.begin(keys(&["a", "b"]));
        settling.begin(keys(&["a"]));
        settling.done(keys(&["c"])).await;
        let mut waits = Box::pin(settling.done(keys(&["c", "a"])));
        assert!(waits.as_mut().now_or_never().is_none());
        settling.end(keys(&["a", "b"]));
        assert!(waits.as_mut().now_or_never().is_none());
        settling.end(keys(&["a"]));
        waits.await;
        settling.begin(keys(&[""]));
        assert!(settling.done(keys(&["c"])).now_or_never().is_none(), "one for all channels");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let settling = Settling::default();
        settling.begin(keys(&["a"]));
        settling.done(keys(&["a"])).await;
    }
}
