//! The records of the log: numbered from 0 on, and the oldest overwritten in place by the next.

use super::record::{Decided, Record};

/// Records made room for at once. The log grows page by page, so that it never has to be moved.
const PAGE: usize = 1024;

/// The last `capacity` records.
#[derive(Debug)]
pub(super) struct Ring {
    /// At least 1 once something is pushed.
    capacity: usize,
    pages: Vec<Vec<Record>>,
    /// Records so far: the number of the next one.
    pushed: u64,
    /// Where the next one goes: `pushed` modulo `capacity`.
    place: usize,
}

impl Ring {
    /// None yet.
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, pages: Vec::new(), pushed: 0, place: 0 }
    }

    /// The number of the next record.
    pub(super) const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// The number of the oldest record that is left.
    pub(super) const fn oldest(&self) -> u64 {
        self.pushed.saturating_sub(self.capacity as u64)
    }

    /// The record with this number, if it is left.
    pub(super) fn get(&self, number: u64) -> Option<&Record> {
        if !(self.oldest()..self.pushed).contains(&number) {
            return None;
        }
        let place = usize::try_from(number % self.capacity as u64).ok()?;
        self.pages.get(place / PAGE)?.get(place % PAGE)
    }

    /// Appends a record; the oldest gives way, if there is no more room.
    pub(super) fn push(&mut self, decided: &Decided<'_>) {
        match self.pages.get_mut(self.place / PAGE).and_then(|page| page.get_mut(self.place % PAGE)) {
            Some(oldest) => oldest.overwrite(decided),
            None => self.grow(decided),
        }
        self.pushed += 1;
        self.place = if self.place + 1 == self.capacity { 0 } else { self.place + 1 };
    }

    #[cold]
    fn grow(&mut self, decided: &Decided<'_>) {
        let record = Record::new(decided);
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => page.push(record),
            Some(_) | None => {
                let mut page = Vec::with_capacity(PAGE.min(self.capacity - self.place));
                page.push(record);
                self.pages.push(page);
            }
        }
    }
}
