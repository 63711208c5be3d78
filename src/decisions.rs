//! The last decisions, for the operator: which announcement was forwarded or dropped, and why.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::metrics::Decision;

/// Longest text kept of a channel or an identity, in bytes; the rest is cut off.
pub const MAX_TEXT: usize = 256;

/// Room made at once for that many records; a longer log grows as it fills.
const PREALLOCATED: usize = 4096;

/// One decision about one event on one channel.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name; empty when the request could not be read exactly.
    pub rule: Arc<str>,
    /// The channel; `*` when it could not be told.
    pub channel: Box<str>,
    /// The identity's JSON token, if it was read.
    pub identity: Option<Box<str>>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
}

/// Why something was decided; in words when it is shown. Most records are never looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// This.
    Words(&'static str),
    /// The channel has shown just this for so long.
    Known(Duration),
    /// The request could not be read exactly, because of this.
    Inexact(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Known(time) => match time.as_secs() {
                seconds @ 0..120 => write!(f, "same assignment, announced {seconds} s ago"),
                seconds @ 120..7200 => write!(f, "same assignment, announced {} min ago", seconds / 60),
                seconds => write!(f, "same assignment, announced {} h ago", seconds / 3600),
            },
            Self::Inexact(oddity) => write!(f, "not read exactly ({oddity}): what it may touch is forgotten"),
        }
    }
}

impl Record {
    fn cut(&mut self) {
        cut(&mut self.channel);
        if let Some(identity) = &mut self.identity {
            cut(identity);
        }
    }
}

fn cut(text: &mut Box<str>) {
    if text.len() > MAX_TEXT {
        *text = text[..text.floor_char_boundary(MAX_TEXT)].into();
    }
}

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
        self.app.is_none_or(|app| *record.app == *app) && record.channel.starts_with(self.channel_prefix)
    }
}

/// What was decided since a reader looked last.
#[derive(Debug, Default)]
pub struct News {
    /// How many decisions gave way before the reader came for them.
    pub missed: u64,
    /// The number of the first of `records`: decisions are numbered from 0 on, in their order.
    pub first: u64,
    /// Decisions, oldest first.
    pub records: Vec<Arc<Record>>,
}

/// A bounded log of the last decisions. Whoever follows it reads from the log itself, at his own pace: a slow reader costs no memory, and is told how
/// many decisions have passed him by.
#[derive(Debug)]
pub struct Decisions {
    capacity: usize,
    /// A std lock, held for one push and one pop, or to take another handle to each record; records are read, made and dropped outside of it.
    log: Mutex<Log>,
    /// Wakes those who follow.
    woken: Notify,
}

#[derive(Debug)]
struct Log {
    records: VecDeque<Arc<Record>>,
    /// Decisions so far: the number of the next one.
    pushed: u64,
    /// Whether somebody waits for the next one; without a reader a push wakes nobody.
    followed: bool,
}

impl Log {
    /// The number of the oldest record.
    fn oldest(&self) -> u64 {
        self.pushed - self.records.len() as u64
    }
}

impl Decisions {
    /// A log of the last `capacity` decisions; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let log = Log { records: VecDeque::with_capacity(capacity.min(PREALLOCATED)), pushed: 0, followed: false };
        Self { capacity, log: Mutex::new(log), woken: Notify::new() }
    }

    /// Whether decisions are kept at all: if not, a caller need not make records.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.capacity > 0
    }

    /// How many decisions are kept.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends a decision; the oldest gives way. Texts longer than [`MAX_TEXT`] are cut at a character's end.
    pub fn push(&self, mut record: Record) {
        if !self.are_kept() {
            return;
        }
        record.cut();
        let record = Arc::new(record);
        let mut log = self.lock();
        let oldest = if log.records.len() >= self.capacity { log.records.pop_front() } else { None };
        log.records.push_back(record);
        log.pushed += 1;
        let followed = std::mem::take(&mut log.followed);
        drop(log);
        drop(oldest);
        if followed {
            self.woken.notify_waiters();
        }
    }

    /// The newest `limit` decisions that `filter` admits, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize, filter: Filter<'_>) -> Vec<Arc<Record>> {
        let records: Vec<_> = self.lock().records.iter().map(Arc::clone).collect();
        records.into_iter().rev().filter(|record| filter.admits(record)).take(limit).collect()
    }

    /// The number of the next decision.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.lock().pushed
    }

    /// Up to `limit` decisions from number `next` on, or from the oldest that is left.
    #[must_use]
    pub fn since(&self, next: u64, limit: usize) -> News {
        let log = self.lock();
        let first = next.max(log.oldest());
        let skip = usize::try_from(first - log.oldest()).unwrap_or(usize::MAX);
        News { missed: first - next, first, records: log.records.iter().skip(skip).take(limit).map(Arc::clone).collect() }
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
        let there = log.pushed > next;
        log.followed |= !there;
        there
    }

    /// A thread that panicked while it held the lock left a whole log behind: nothing in there can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
