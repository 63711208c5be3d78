//! The requests of this process that wait for the settlement of an equal announcement, by the channel's key.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::SharedApp;
use super::channel::SharedChannel;
use super::round::RoundKey;
use crate::clock::Moment;
use crate::cluster::{Swap, Swapped, SwappedChannel, Tenure};

/// Says at the store that a channel is awaited, so that its settlement is published.
#[derive(Debug)]
pub(in crate::assignment) struct Awaited {
    app: Arc<SharedApp>,
    tenure: Tenure,
    channel: SwappedChannel,
}

impl Awaited {
    /// What is to be said of a channel of which it is not known there.
    pub(super) fn new(
        app: &Arc<SharedApp>,
        tenure: &Tenure,
        key: &RoundKey,
        channel: &SharedChannel,
        now: Moment,
    ) -> Self {
        let mut channel = channel.clone();
        channel.awaited = true;
        let channel = channel.swapped((&key.key, key.remember_for), now, app.tokens.number(), false);
        Self { app: Arc::clone(app), tenure: tenure.clone(), channel }
    }

    /// Says it. Returns whether it is known there; if not, the channel has changed, or the store says nothing.
    pub(in crate::assignment) async fn say(self) -> bool {
        let swap = Swap { channels: vec![self.channel], ..Swap::default() };
        matches!(self.app.store.swap(&self.tenure, swap).await, Ok(Swapped::Done))
    }
}

/// Who waits on which channel.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<Vec<u8>, Vec<oneshot::Sender<()>>>>);

impl Waiters {
    /// Adds one that waits on a channel, if fewer than `max` do.
    pub(super) fn add(&self, key: &[u8], max: usize) -> Option<oneshot::Receiver<()>> {
        let mut waiters = self.0.lock();
        let list = waiters.entry(key.to_vec()).or_default();
        list.retain(|waiter| !waiter.is_closed());
        if list.len() >= max {
            return None;
        }
        let (waiter, settled) = oneshot::channel();
        list.push(waiter);
        Some(settled)
    }

    /// Wakes those that wait on a channel.
    pub(super) fn wake(&self, key: &[u8]) {
        let woken = self.0.lock().remove(key);
        for waiter in woken.into_iter().flatten() {
            // An error means that the waiter was dropped.
            let (Ok(()) | Err(())) = waiter.send(());
        }
    }

    /// Removes those that wait no longer.
    pub(super) fn sweep(&self) {
        self.0.lock().retain(|_, list| {
            list.retain(|waiter| !waiter.is_closed());
            !list.is_empty()
        });
    }
}
