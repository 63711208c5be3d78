//! The channels to which somebody has subscribed, until the store knows it. One task of an app tells it, in the background:
//! a subscription is not delayed, and an announcement that is claimed before the store knows is decided without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::SharedApp;
use super::channel::{Present, SharedChannel};
use super::tickets::PAUSE;
use crate::cluster::{Swap, Swapped, SwappedChannel, Tenure, Unusable};

/// The most channels that wait to be told. If there are more, the whole app is put in doubt instead, so that the next
/// announcement on every channel goes on.
const MAX_CHANNELS: usize = 16_384;

/// The most channels that are told at once.
const AT_ONCE: usize = 64;

/// The longest wait for another standing before the store is tried again.
const LOOK: Duration = Duration::from_secs(1);

/// The channels that the store does not know of yet.
#[derive(Debug, Default)]
pub(super) struct Joins(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    /// By their keys, each with the time for which it is remembered.
    channels: HashMap<Vec<u8>, Duration>,
    /// Whether there were too many.
    all: bool,
    /// Whether the task runs that tells the store.
    is_being_told: bool,
}

/// What is told at once.
enum Told {
    Channels(Vec<(Vec<u8>, Duration)>),
    All,
}

impl Joins {
    /// Adds a channel. Returns whether a task has to be started.
    fn add(&self, key: Vec<u8>, remember_for: Duration) -> bool {
        let mut untold = self.0.lock();
        if !untold.all {
            untold.channels.insert(key, remember_for);
        }
        if untold.channels.len() > MAX_CHANNELS {
            untold.all = true;
            untold.channels = HashMap::new();
        }
        !std::mem::replace(&mut untold.is_being_told, true)
    }

    /// What is to be told next, `at_once` channels at most; `None`: nothing, and the task ends.
    fn next(&self, at_once: usize) -> Option<Told> {
        let mut untold = self.0.lock();
        if std::mem::take(&mut untold.all) {
            return Some(Told::All);
        }
        let keys: Vec<_> = untold.channels.keys().take(at_once).cloned().collect();
        if keys.is_empty() {
            untold.is_being_told = false;
            return None;
        }
        // Taken out before they are read: who subscribes from then on is told again.
        Some(Told::Channels(keys.into_iter().filter_map(|key| untold.channels.remove_entry(&key)).collect()))
    }
}

impl SharedApp {
    /// Somebody has subscribed to the channel with this key, which is remembered for a time.
    pub(super) fn joined(self: &Arc<Self>, key: Vec<u8>, remember_for: Duration) {
        // Without a runtime the process ends.
        if Handle::try_current().is_ok() && self.joins.add(key, remember_for) {
            let app = Arc::clone(self);
            self.tasks.spawn(async move { app.tell().await });
        }
    }

    /// Tells the store until it knows everything.
    async fn tell(&self) {
        let mut at_once = AT_ONCE;
        while let Some(mut untold) = self.joins.next(at_once) {
            if matches!(untold, Told::All) {
                tracing::warn!(
                    "more clients subscribe than the shared memory can be told of: the app is in doubt instead"
                );
            }
            while !untold.is_empty() {
                let told = untold.first(at_once);
                at_once = match self.attempt(&told).await {
                    Some(Swapped::Done) => {
                        untold.without(&told);
                        (at_once * 2).min(AT_ONCE)
                    }
                    // Others have changed one of them.
                    Some(Swapped::Conflict) => (at_once / 2).max(1),
                    None => at_once,
                };
            }
        }
    }

    /// Tells the store, under the present membership; `None`: that has to be tried again, now.
    async fn attempt(&self, told: &Told) -> Option<Swapped> {
        let Some(tenure) = self.store.member().tenure() else {
            self.store.member().changed(LOOK).await;
            return None;
        };
        match self.swap_marks(&tenure, told).await {
            Ok(swapped) => Some(swapped),
            Err(Unusable::Membership | Unusable::Newer) => None,
            Err(Unusable::Failure(failure)) => {
                tracing::debug!(%failure, "the shared store was not told that somebody has subscribed; it is tried again");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    async fn swap_marks(&self, tenure: &Tenure, told: &Told) -> Result<Swapped, Unusable> {
        let swap = match told {
            Told::All => Swap { is_unsure: true, ..Swap::default() },
            Told::Channels(channels) => {
                let keys: Vec<_> = channels.iter().map(|(key, _)| key.clone()).collect();
                let read = self.store.look(tenure, &keys).await?;
                let present = Present::of(&read, self.context.bounds.doubt_period);
                let read = channels.iter().zip(&read.channels);
                let marked: Vec<_> = read.filter_map(|(channel, bytes)| self.marked(channel, bytes, present)).collect();
                if marked.is_empty() {
                    return Ok(Swapped::Done);
                }
                Swap { channels: marked, ..Swap::default() }
            }
        };
        self.store.swap(tenure, swap).await
    }

    /// The channel as it is to be written; `None`: the mark changes nothing. What a later version has written is in the
    /// hands of that version.
    fn marked(
        &self,
        (key, remember_for): &(Vec<u8>, Duration),
        bytes: &[u8],
        present: Present<'_>,
    ) -> Option<SwappedChannel> {
        let mut channel = SharedChannel::decode(bytes, present).ok()?;
        channel.joined();
        let version = self.tokens.number();
        channel.has_changed.then(|| channel.swapped((key, *remember_for), present.now, version, false))
    }
}

impl Told {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Channels(channels) if channels.is_empty())
    }

    /// The first `most` channels of it.
    fn first(&self, most: usize) -> Self {
        match self {
            Self::All => Self::All,
            Self::Channels(channels) => Self::Channels(channels.iter().take(most).cloned().collect()),
        }
    }

    /// Takes out what comes first.
    fn without(&mut self, told: &Self) {
        let count = if let Self::Channels(channels) = told { channels.len() } else { 0 };
        match self {
            Self::All => *self = Self::Channels(Vec::new()),
            Self::Channels(channels) => _ = channels.drain(..count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_told_once_and_again_if_somebody_comes_meanwhile() {
        let joins = Joins::default();
        let add = |key: &str| joins.add(key.into(), Duration::from_secs(1));
        assert_eq!([add("a"), add("b"), add("a")], [true, false, false], "one task tells everything");
        let Some(Told::Channels(mut told)) = joins.next(2) else { panic!("two channels") };
        told.sort();
        assert_eq!(told, [("a".into(), Duration::from_secs(1)), ("b".into(), Duration::from_secs(1))]);
        assert!(!add("b"));
        assert!(matches!(joins.next(1), Some(Told::Channels(told)) if told.len() == 1));
        assert!(joins.next(1).is_none());
        assert!(add("a"), "the task has ended");
    }

    #[test]
    fn more_than_so_many_are_the_whole_app() {
        let joins = Joins::default();
        for number in 0..=MAX_CHANNELS + 1 {
            joins.add(number.to_be_bytes().into(), Duration::ZERO);
        }
        let Some(all @ Told::All) = joins.next(1) else { panic!("all of them") };
        let (mut untold, told) = (Told::All, all.first(1));
        untold.without(&told);
        assert!(untold.is_empty() && !all.is_empty() && joins.next(1).is_none());
    }
}
