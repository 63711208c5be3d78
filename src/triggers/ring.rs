//! A bounded sequence of encoded records.

use std::collections::VecDeque;

/// Encoded records, numbered from 0 on. When the bytes are used up, the oldest records are removed, a segment at a
/// time.
#[derive(Debug)]
pub(super) struct Ring {
    segments: VecDeque<Segment>,
    /// Most segments.
    max_segments: usize,
    /// Bytes of a segment.
    segment_size: usize,
    /// The number of the next record.
    next: u64,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// The end of each record in `bytes`.
    ends: Vec<u32>,
    /// The number of the first record.
    first: u64,
}

/// Least bytes of a ring, so that a segment has room for any record (48 KiB and its second part).
pub const MIN_CAPACITY: usize = 1024 * 1024;

/// Segments of a ring. One of them is removed at a time, so a full ring holds at least 15/16 of its bytes.
const SEGMENTS: usize = 16;

impl Ring {
    /// An empty ring for at most `capacity` bytes. Memory is taken as it is needed.
    pub(super) const fn new(capacity: usize) -> Self {
        Self { segments: VecDeque::new(), max_segments: SEGMENTS, segment_size: capacity / SEGMENTS, next: 0 }
    }

    /// The number of the next record.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest record that is left; [`Ring::next`] if there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.first)
    }

    /// Appends an encoded record. One that is larger than a segment ([`MIN_CAPACITY`] excludes it) is left out.
    pub(super) fn push(&mut self, record: &[u8]) {
        let length = record.len();
        if length > self.segment_size {
            return;
        }
        let number = self.next;
        self.next += 1;
        if self.segments.back().is_none_or(|segment| segment.bytes.len() + length > self.segment_size) {
            self.begin_segment(number);
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes.extend_from_slice(record);
            // At most `segment_size` bytes, far below 4 GiB.
            segment.ends.push(u32::try_from(segment.bytes.len()).unwrap_or(u32::MAX));
        }
    }

    /// The encoding of the record with this number, if it is left.
    pub(super) fn get(&self, number: u64) -> Option<&[u8]> {
        let index = self.segments.partition_point(|segment| segment.first <= number).checked_sub(1)?;
        let segment = self.segments.get(index)?;
        let place = usize::try_from(number - segment.first).ok()?;
        let end = *segment.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| segment.ends[before]);
        Some(&segment.bytes[start as usize..end as usize])
    }

    #[cold]
    fn begin_segment(&mut self, first: u64) {
        let mut segment = if self.segments.len() < self.max_segments {
            Segment { bytes: Vec::with_capacity(self.segment_size), ..Segment::default() }
        } else {
            self.segments.pop_front().unwrap_or_default()
        };
        segment.bytes.clear();
        segment.ends.clear();
        segment.first = first;
        self.segments.push_back(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_records_are_left_and_keep_their_numbers() {
        let mut ring = Ring::new(16 * 100);
        for number in 0..10_000_u64 {
            let record = vec![u8::try_from(number % 251).unwrap(); usize::try_from(number % 37).unwrap()];
            ring.push(&record);
            assert_eq!(ring.next(), number + 1);
            for older in ring.oldest()..=number {
                let expected = vec![u8::try_from(older % 251).unwrap(); usize::try_from(older % 37).unwrap()];
                assert_eq!(ring.get(older), Some(&*expected));
            }
            assert_eq!(ring.get(ring.next()), None);
            if let Some(gone) = ring.oldest().checked_sub(1) {
                assert_eq!(ring.get(gone), None);
            }
            let held: usize = ring.segments.iter().map(|segment| segment.bytes.capacity()).sum();
            assert!(held <= 16 * 100);
        }
        assert!(ring.next() - ring.oldest() >= 15 * 100 / 37);
    }

    #[test]
    fn a_record_that_is_too_large_is_left_out() {
        let mut ring = Ring::new(16 * 100);
        ring.push(b"ab");
        ring.push(&[0; 101]);
        assert_eq!((ring.oldest(), ring.next()), (0, 1));
        ring.push(b"c");
        assert_eq!((ring.get(0), ring.get(1)), (Some(&b"ab"[..]), Some(&b"c"[..])));
    }
}
