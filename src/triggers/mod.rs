//! The records of the last triggers, for the operator: what came, what was decided and why, what upstream said, and
//! what the caller was answered.
//!
//! A record goes into one of three rings, so that neither traffic nor a scanner removes the others: triggers that a
//! rule watches or that upstream did not take, triggers that matched no rule, and triggers that usher refused. Each is
//! bounded in bytes.

mod encoding;
mod filter;
mod id;
mod record;
mod ring;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub use encoding::{Encode, List};
pub use filter::{Filter, InvalidStatus, StatusPattern};
pub use id::{InvalidId, TriggerId};
pub use record::{
    AssignmentRecord, EventRecord, Filtered, Finding, Head, Limits, MAX_DATA, MAX_LIST, MAX_TEXT, Record,
    RequestRecord, Tail, UpstreamRecord, cut,
};
pub use ring::MIN_CAPACITY;

use self::id::Process;
use self::ring::Ring;

/// Records that a reader copies in one hold of the lock: for some microseconds.
const HOLD: u64 = 64;

/// Of which events the data is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Payloads {
    /// Of none.
    None,
    /// Of those that a rule watches.
    Announcements,
    /// Of all.
    All,
}

impl Payloads {
    /// The value in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Announcements => "announcements",
            Self::All => "all",
        }
    }
}

/// Which ring a record goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A rule watches an event of it, or upstream did not take it.
    Watched,
    /// No rule watches any event of it.
    Unmatched,
    /// usher refused it.
    Refused,
}

impl Kind {
    /// The number of kinds.
    const COUNT: usize = 3;
}

/// The number of channels of a trigger whose events were not read.
const UNREAD: u32 = u32::MAX;

/// What is recorded of a trigger before it is answered: an encoded [`Head`].
#[must_use = "push it with the answer"]
#[derive(Debug)]
pub struct Draft {
    kind: Kind,
    head: Vec<u8>,
    /// [`UNREAD`]: it is not known. An `Option` would need eight bytes more in each trigger that waits for upstream.
    channels: u32,
}

impl Draft {
    /// Encodes the [`Head`] that `head` makes within limits. It is called again with narrower ones if the first is too
    /// long.
    #[inline]
    pub fn new<H: Encode>(kind: Kind, head: impl Fn(Limits) -> H) -> Self {
        Self { kind, head: record::encoding(head), channels: UNREAD }
    }

    /// No record is kept.
    pub const fn none() -> Self {
        Self { kind: Kind::Unmatched, head: Vec::new(), channels: UNREAD }
    }

    /// With the number that [`Draft::channels`] returns.
    pub fn naming(mut self, channels: Option<u32>) -> Self {
        self.channels = channels.unwrap_or(UNREAD);
        self
    }

    /// How many channels the trigger's events name, if they were read: for the log, which also names what is not
    /// recorded.
    #[must_use]
    pub fn channels(&self) -> Option<u32> {
        (self.channels != UNREAD).then_some(self.channels)
    }
}

/// Where a reader is: the number of the next record of each ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor([u64; Kind::COUNT]);

impl Cursor {
    /// The numbers, to be read back by [`Cursor::from_numbers`].
    #[must_use]
    pub const fn numbers(self) -> [u64; 3] {
        self.0
    }

    /// The cursor with these numbers.
    #[must_use]
    pub const fn from_numbers(numbers: [u64; 3]) -> Self {
        Self(numbers)
    }
}

/// The encoding of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Box<[u8]>);

impl Encoded {
    /// The record.
    #[must_use]
    pub fn record(&self) -> Option<Record<'_>> {
        Record::decode(&self.0)
    }
}

/// What was recorded since a reader looked last.
#[derive(Debug, Default)]
pub struct News {
    /// How many records were removed before the reader came for them.
    pub missed: u64,
    /// The records, in the order of their ids.
    pub records: Vec<Encoded>,
    /// Where to go on.
    pub next: Cursor,
}

/// A part of the records.
#[derive(Debug, Default)]
pub struct Page {
    /// The records that are wanted, newest first.
    pub records: Vec<Encoded>,
    /// Whether older ones are wanted, too.
    pub more: bool,
    /// How many records were removed since the process began.
    pub removed: u64,
}

/// The records of the last triggers. A reader reads from the rings themselves, at its own pace: a slow reader costs no
/// memory, and learns how many records it has missed.
#[derive(Debug)]
pub struct Triggers {
    process: Process,
    numbers: AtomicU64,
    /// Bytes of each ring; 0: nothing is recorded.
    capacity: usize,
    payloads: Payloads,
    /// Held to copy one record in, or [`HOLD`] of them out.
    rings: Mutex<Rings>,
    /// Wakes the readers that wait.
    woken: Notify,
}

#[derive(Debug)]
struct Rings {
    rings: [Ring; Kind::COUNT],
    /// Whether a reader waits for the next record; without a reader a push wakes nobody.
    followed: bool,
}

impl Triggers {
    /// Records at most `capacity` bytes of each kind; 0: none.
    #[must_use]
    pub fn new(capacity: usize, payloads: Payloads) -> Self {
        // Keyed at random, so each process gets another number.
        let process = RandomState::new().hash_one(0);
        Self {
            process: Process::new(u32::try_from(process >> 32).unwrap_or_default()),
            numbers: AtomicU64::new(1),
            capacity,
            payloads,
            rings: Mutex::new(Rings { rings: std::array::from_fn(|_| Ring::new(capacity)), followed: false }),
            woken: Notify::new(),
        }
    }

    /// The id of the next trigger.
    pub fn next_id(&self) -> TriggerId {
        TriggerId { process: self.process, number: self.numbers.fetch_add(1, Ordering::Relaxed) }
    }

    /// The id of the record with this number.
    #[must_use]
    pub const fn id(&self, number: u64) -> TriggerId {
        TriggerId { process: self.process, number }
    }

    /// Whether triggers are recorded at all.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.capacity > 0
    }

    /// Bytes of each ring.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Of which events the data is recorded.
    #[must_use]
    pub const fn payloads(&self) -> Payloads {
        self.payloads
    }

    /// Records a trigger that is answered.
    pub fn push(&self, draft: Draft, tail: &Tail<'_>) {
        if !self.are_kept() || draft.head.is_empty() {
            return;
        }
        let kind = match (&tail.upstream, draft.kind) {
            (None, _) if tail.refusal.is_some() => Kind::Refused,
            (Some(upstream), _) if upstream.failed() => Kind::Watched,
            (_, kind) => kind,
        };
        let record = tail.encode_behind(draft.head);
        let mut rings = self.lock();
        rings.rings[kind as usize].push(&record);
        let followed = std::mem::take(&mut rings.followed);
        drop(rings);
        if followed {
            self.woken.notify_waiters();
        }
    }

    /// The newest `limit` records before the id `before` that `filter` admits. What is recorded meanwhile is not among
    /// them. Looks at all records: for a thread that may block.
    #[must_use]
    pub fn list(&self, limit: usize, before: Option<TriggerId>, filter: &Filter) -> Page {
        let before = match before {
            Some(id) if id.process == self.process => id.number,
            // Ids of another process: all its triggers came before.
            Some(_) => return Page::default(),
            None => u64::MAX,
        };
        let end = self.cursor();
        // The least of the wanted numbers is on top.
        let mut wanted: BinaryHeap<(Reverse<u64>, usize)> = BinaryHeap::new();
        let mut found: Vec<Option<Encoded>> = Vec::new();
        let mut more = false;
        for kind in 0..Kind::COUNT {
            self.visit(kind, end.0[kind], |encoding| {
                let Some(record) = Record::decode(encoding) else { return };
                let number = record.head.request.number;
                let is_older = wanted.len() == limit && wanted.peek().is_some_and(|(least, _)| number < least.0);
                if number >= before || !filter.admits(&record) {
                    return;
                }
                more |= wanted.len() == limit;
                if !is_older {
                    if wanted.len() == limit
                        && let Some((_, place)) = wanted.pop()
                    {
                        found[place] = None;
                    }
                    wanted.push((Reverse(number), found.len()));
                    found.push(Some(Encoded(encoding.into())));
                }
            });
        }
        // Ascending by `Reverse`: the greatest number first.
        let mut places = wanted.into_vec();
        places.sort_unstable();
        let records = places.into_iter().filter_map(|(_, place)| found[place].take()).collect();
        Page { records, more, removed: self.removed() }
    }

    /// Calls `visit` with every record that is kept, in any order. Looks at all records: for a thread that may block.
    pub fn for_each(&self, mut visit: impl FnMut(&Record<'_>)) {
        let end = self.cursor();
        for kind in 0..Kind::COUNT {
            self.visit(kind, end.0[kind], |encoding| {
                if let Some(record) = Record::decode(encoding) {
                    visit(&record);
                }
            });
        }
    }

    /// The record with this id. Looks at all records: for a thread that may block.
    #[must_use]
    pub fn get(&self, id: TriggerId) -> Option<Encoded> {
        if id.process != self.process {
            return None;
        }
        let end = self.cursor();
        let mut found = None;
        for kind in 0..Kind::COUNT {
            self.visit(kind, end.0[kind], |encoding| {
                if Record::number(encoding) == Some(id.number) {
                    found = Some(Encoded(encoding.into()));
                }
            });
        }
        found
    }

    /// The end of what is recorded.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let rings = self.lock();
        Cursor(std::array::from_fn(|kind| rings.rings[kind].next()))
    }

    /// The records of each ring that are kept, the last `most` of all of them at most.
    #[must_use]
    pub fn cursor_before(&self, most: u64) -> Cursor {
        let rings = self.lock();
        Cursor(std::array::from_fn(|kind| {
            let ring = &rings.rings[kind];
            ring.next().saturating_sub(most).max(ring.oldest())
        }))
    }

    /// Up to `most` records from `cursor` on, in each ring.
    #[must_use]
    pub fn since(&self, cursor: Cursor, most: u64) -> News {
        let mut news = News { next: cursor, ..News::default() };
        let mut numbered = Vec::new();
        for kind in 0..Kind::COUNT {
            let mut left = most;
            while left > 0 {
                let rings = self.lock();
                let ring = &rings.rings[kind];
                let next = &mut news.next.0[kind];
                let oldest = ring.oldest();
                news.missed += oldest.saturating_sub(*next);
                *next = (*next).max(oldest);
                let until = ring.next().min(*next + left.min(HOLD));
                if *next >= until {
                    break;
                }
                numbered.extend((*next..until).filter_map(|number| {
                    let encoding = ring.get(number)?;
                    Some((Record::number(encoding)?, Encoded(encoding.into())))
                }));
                left -= until - *next;
                *next = until;
            }
        }
        numbered.sort_unstable_by_key(|(number, _)| *number);
        news.records = numbered.into_iter().map(|(_, encoded)| encoded).collect();
        news
    }

    /// Waits until something is recorded behind `cursor`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn pushed(&self, cursor: Cursor) {
        loop {
            let woken = self.woken.notified();
            tokio::pin!(woken);
            // Before the look at the rings: a push between the look and the wait would wake nobody.
            woken.as_mut().enable();
            if self.follow(cursor) {
                return;
            }
            woken.await;
        }
    }

    /// Whether something is recorded behind `cursor`; if not, the next push wakes those who wait.
    fn follow(&self, cursor: Cursor) -> bool {
        let mut rings = self.lock();
        let there = rings.rings.iter().zip(cursor.0).any(|(ring, next)| ring.next() > next);
        rings.followed |= !there;
        there
    }

    /// How many records were removed since the process began.
    fn removed(&self) -> u64 {
        self.lock().rings.iter().map(Ring::oldest).sum()
    }

    /// Calls `visit` with the encodings of a ring from the oldest up to the number `end`.
    fn visit(&self, kind: usize, end: u64, mut visit: impl FnMut(&[u8])) {
        let mut next = 0;
        let mut copied: Vec<u8> = Vec::new();
        let mut lengths: Vec<usize> = Vec::new();
        loop {
            copied.clear();
            lengths.clear();
            let rings = self.lock();
            let ring = &rings.rings[kind];
            next = ring.oldest().max(next);
            let until = end.min(next + HOLD);
            for encoding in (next..until).filter_map(|number| ring.get(number)) {
                copied.extend_from_slice(encoding);
                lengths.push(encoding.len());
            }
            drop(rings);
            if next >= until {
                return;
            }
            next = until;
            let mut start = 0;
            for length in &lengths {
                visit(&copied[start..start + length]);
                start += length;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock()
    }
}
