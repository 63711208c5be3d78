//! The last decisions, for the operator: which announcement was forwarded or dropped, and why.

mod record;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use record::{Decided, MAX_TEXT, Reason, Record};

use self::ring::Ring;

/// Records that a reader looks at in one hold of the lock: for some microseconds.
const HOLD: u64 = 64;

/// Which records to give. The default is all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only those of this app.
    pub app: Option<&'a str>,
    /// Only those whose channel begins so.
    pub channel_prefix: &'a str,
}

impl Filter<'_> {
    /// Whether `record` is wanted.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        self.app.is_none_or(|app| *record.app == *app) && record.channel().starts_with(self.channel_prefix)
    }
}

/// What was decided since a reader looked last.
#[derive(Debug, Default)]
pub struct News {
    /// How many decisions gave way before the reader came for them. They all came before `records`.
    pub missed: u64,
    /// The decisions that are wanted, oldest first, each with its number: they are numbered from 0 on, in their order.
    pub records: Vec<(u64, Record)>,
    /// The number of the decision to ask for next: every one before it was missed, is in `records`, or is not wanted.
    pub next: u64,
}

/// A bounded log of the last decisions. A reader reads from the log itself, at its own pace: a slow reader
/// costs no memory, and learns how many decisions it has missed.
#[derive(Debug)]
pub struct Decisions {
    capacity: usize,
    /// A std lock, held to overwrite one record, or to look at [`HOLD`] of them and copy those that are wanted: whoever
    /// decides triggers never waits for more. The numbers of the records tell a reader where to go on under the next
    /// hold, and what has given way since the last one.
    log: Mutex<Log>,
    /// Wakes the readers that wait.
    woken: Notify,
}

#[derive(Debug)]
struct Log {
    ring: Ring,
    /// Whether somebody waits for the next one; without a reader a push wakes nobody.
    followed: bool,
}

impl Decisions {
    /// A log of the last `capacity` decisions; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, log: Mutex::new(Log { ring: Ring::new(capacity), followed: false }), woken: Notify::new() }
    }

    /// Whether decisions are kept at all: if not, a caller need not tell them.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.capacity > 0
    }

    /// How many decisions are kept.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends a decision; the oldest gives way to it. Texts longer than [`MAX_TEXT`] are cut at a character's end.
    pub fn push(&self, decided: &Decided<'_>) {
        if !self.are_kept() {
            return;
        }
        let mut log = self.lock();
        log.ring.push(decided);
        let followed = std::mem::take(&mut log.followed);
        drop(log);
        if followed {
            self.woken.notify_waiters();
        }
    }

    /// The newest `limit` decisions that `filter` admits, newest first. What is pushed meanwhile is not among them, and
    /// they end where the older ones have given way to it: so they are a stretch of the log without a gap, but for what
    /// is not wanted.
    #[must_use]
    pub fn latest(&self, limit: usize, filter: Filter<'_>) -> Vec<Record> {
        let mut records = Vec::new();
        let mut end = u64::MAX;
        loop {
            let log = self.lock();
            end = end.min(log.ring.pushed());
            let begin = end.saturating_sub(HOLD).max(log.ring.oldest());
            if begin >= end || records.len() >= limit {
                return records;
            }
            let looked_at = (begin..end).rev().filter_map(|number| log.ring.get(number));
            records.extend(looked_at.filter(|record| filter.admits(record)).take(limit - records.len()).cloned());
            end = begin;
        }
    }

    /// The number of the next decision.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.lock().ring.pushed()
    }

    /// What `filter` admits of up to `most` decisions from number `next` on, or from the oldest that is left. What
    /// gives way while they are copied ends the news, and is told by the next ones.
    #[must_use]
    pub fn since(&self, next: u64, most: u64, filter: Filter<'_>) -> News {
        let mut log = self.lock();
        let first = next.max(log.ring.oldest());
        let end = first.saturating_add(most);
        let mut news = News { missed: first - next, records: Vec::new(), next: first };
        while log.ring.oldest() <= news.next {
            let until = end.min(log.ring.pushed()).min(news.next.saturating_add(HOLD));
            if until <= news.next {
                break;
            }
            let looked_at = (news.next..until).filter_map(|number| Some((number, log.ring.get(number)?)));
            let wanted = looked_at.filter(|(_, record)| filter.admits(record));
            news.records.extend(wanted.map(|(number, record)| (number, record.clone())));
            news.next = until;
            drop(log);
            log = self.lock();
        }
        news
    }

    /// Waits until there is a decision with the number `next` or a later one.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn pushed(&self, next: u64) {
        loop {
            let woken = self.woken.notified();
            tokio::pin!(woken);
            // Before the look at the log: a decision between the look and the wait would wake nobody.
            woken.as_mut().enable();
            if self.follow(next) {
                return;
            }
            woken.await;
        }
    }

    /// Whether the decision with the number `next` is there; if not, the next push wakes those who wait.
    fn follow(&self, next: u64) -> bool {
        let mut log = self.lock();
        let there = log.ring.pushed() > next;
        log.followed |= !there;
        there
    }

    /// A thread that panicked while it held the lock left a whole log behind: nothing in there can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
