//! The channels of a rule in a shared memory, for the operator.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::channel::{Present, SharedChannel, snapshot};
use super::{Shared, SharedApp, here};
use crate::assignment::{Entry, Reach};
use crate::clock::Moment;
use crate::cluster::{Failure, Read, Swap, Swapped, Unusable};

/// The longest time for one listing. The store looks at all its keys for it.
const LISTING: Duration = Duration::from_secs(2);

/// The most channels that are read at once.
const READ_AT_ONCE: usize = 256;

/// How often a channel is forgotten anew that others change meanwhile.
pub(super) const ATTEMPTS: usize = 100;

/// One rule of an app, with the channels that it watches in a shared memory.
#[derive(Debug, Clone)]
pub struct SharedRuleChannels {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    remember_for: Duration,
    memory: Arc<SharedApp>,
}

/// Why the operator gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// It is no member of the app now.
    #[error("this usher does not reach the shared memory now (GET /cluster)")]
    NoMember,
    /// The store did not answer.
    #[error("the shared memory gave no answer: {0}")]
    Failure(#[from] Failure),
    /// Others were faster each time.
    #[error("the channel is changed all the time")]
    Busy,
}

/// Some of a rule's channels.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted by channel.
    pub entries: Vec<Entry>,
    /// Whether there are more, or may be.
    pub has_more: bool,
}

impl From<Unusable> for NotReached {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Failure(failure) => Self::Failure(failure),
            Unusable::Membership | Unusable::Newer => Self::NoMember,
        }
    }
}

impl Shared {
    /// The rules of the app, in the order of the configuration.
    pub(in crate::assignment) fn channels(&self, app: &Arc<str>) -> impl Iterator<Item = SharedRuleChannels> {
        self.rules.iter().map(|rule| SharedRuleChannels {
            app: Arc::clone(app),
            rule: Arc::clone(&rule.name),
            remember_for: rule.remember_for,
            memory: Arc::clone(&self.app),
        })
    }
}

impl SharedRuleChannels {
    /// Up to `limit` channels that begin with `prefix`. `now`: the time here.
    ///
    /// # Errors
    /// The store does not say.
    pub async fn entries(&self, prefix: &str, limit: usize, now: Moment) -> Result<Listing, NotReached> {
        let store = &self.memory.store;
        let tenure = store.member().tenure().ok_or(NotReached::NoMember)?;
        let (mut keys, mut has_more) = self.keys(prefix, limit).await?;
        has_more |= keys.len() > limit;
        keys.truncate(limit);
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let read = store.look(&tenure, keys).await?;
            entries
                .extend(keys.iter().zip(&read.channels).filter_map(|(key, bytes)| self.entry(key, bytes, &read, now)));
        }
        entries.sort_unstable_by(|one: &Entry, other| one.channel.cmp(&other.channel));
        Ok(Listing { entries, has_more })
    }

    /// Forgets one channel: its next announcement is forwarded in any case. Returns whether anything was remembered.
    ///
    /// # Errors
    /// The store does not say.
    pub async fn forget(&self, channel: &str) -> Result<bool, NotReached> {
        let store = &self.memory.store;
        let key = store.keys().channel(&self.rule, channel);
        for _ in 0..ATTEMPTS {
            let tenure = store.member().tenure().ok_or(NotReached::NoMember)?;
            let read = store.look(&tenure, std::slice::from_ref(&key)).await?;
            let bytes = read.channels.first().map_or(&[][..], Vec::as_slice);
            if bytes.is_empty() {
                return Ok(false);
            }
            let now = Moment::from_millis(read.now);
            // What a later version has written is not changed.
            let Ok(mut found) = SharedChannel::decode(bytes, self.present(&read)) else { return Err(NotReached::Busy) };
            found.forget();
            let mut swapped = found.swapped((&key, self.remember_for), now, self.memory.tokens.number(), false);
            if found.channel.is_quiet(now) {
                // It is removed.
                swapped.value.clear();
            }
            let swap = Swap { channels: vec![swapped], ..Swap::default() };
            if store.swap(&tenure, swap).await? == Swapped::Done {
                return Ok(true);
            }
        }
        Err(NotReached::Busy)
    }

    /// The keys of channels that begin with `prefix`, one more than `limit` if there are so many, and whether the search
    /// was cut off.
    async fn keys(&self, prefix: &str, limit: usize) -> Result<(Vec<Vec<u8>>, bool), NotReached> {
        let store = &self.memory.store;
        let beginning = store.keys().channel(&self.rule, prefix);
        let end = Instant::now() + LISTING;
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut cursor = 0;
        loop {
            let (next, keys) = store.scan(cursor, &beginning).await?;
            // A server may name a key twice.
            for key in keys {
                if !found.contains(&key) {
                    found.push(key);
                }
            }
            cursor = next;
            if cursor == 0 || found.len() > limit {
                return Ok((found, false));
            }
            if Instant::now() >= end {
                return Ok((found, true));
            }
        }
    }

    fn present<'r>(&self, read: &'r Read) -> Present<'r> {
        Present::of(read, self.memory.context.bounds.doubt_period)
    }

    /// `None`: the channel is gone, or cannot be read.
    fn entry(&self, key: &[u8], bytes: &[u8], read: &Read, now: Moment) -> Option<Entry> {
        if bytes.is_empty() {
            return None;
        }
        let start = self.memory.store.keys().channel(&self.rule, "").len();
        let channel = String::from_utf8(key.get(start..)?.to_vec()).ok()?;
        let found = SharedChannel::decode(bytes, self.present(read)).ok()?;
        let at_server = Moment::from_millis(read.now);
        let known = found.channel.known(at_server, snapshot(read));
        let local = |moment| here(moment, at_server, now);
        Some(Entry {
            channel,
            known: known.map(|known| known.assignment.clone()),
            reach: known.map_or(Reach::All, |known| known.reach),
            since: known.map(|known| local(known.since)),
            last_seen: local(found.seen()),
            announced: found.announced(),
            suppressed: 0,
            in_flight: found.channel.in_flight(),
            in_doubt: found.channel.in_doubt(at_server),
        })
    }
}
