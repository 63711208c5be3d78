//! The channels that have most of something, out of any number of them, in a memory of fixed size: the Space-Saving
//! sketch (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).
//!
//! It is asked once for every redundant announcement, and where there are many channels nearly none of them is among
//! its entries. So what tells that is kept apart from the rest and small: two bytes an entry.

use std::array;

/// Channels that are counted at once. One that has more than this share of all is among them, whatever else came.
const COUNTERS: usize = 64;

/// The sketch.
#[derive(Debug)]
pub(super) struct HeavyHitters {
    /// The tag of each channel: compared first, and all at once.
    tags: [u16; COUNTERS],
    counters: [Counter; COUNTERS],
    /// The channels: as many as there are entries in use.
    channels: Vec<String>,
    /// No counter has less, once all are in use.
    least: u64,
    /// Every counter before this one has more than `least`.
    next_least: usize,
}

/// What one channel has.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    /// No less than it has.
    count: u64,
    /// What of it may be others'.
    error: u64,
}

impl Default for HeavyHitters {
    fn default() -> Self {
        Self {
            tags: [0; COUNTERS],
            counters: array::from_fn(|_| Counter::default()),
            channels: Vec::new(),
            least: 0,
            next_least: 0,
        }
    }
}

impl HeavyHitters {
    /// Counts one of `channel`. Allocates only as long as the sketch grows: a counter that changes hands keeps its
    /// memory.
    pub(super) fn count(&mut self, channel: &str) {
        let tag = tag(channel);
        if let Some(index) = self.find(tag, channel) {
            self.counters[index].count += 1;
        } else if self.channels.len() < COUNTERS {
            self.grow(tag, channel);
        } else {
            let index = self.least_index();
            let count = self.counters[index].count;
            (self.tags[index], self.counters[index]) = (tag, Counter { count: count + 1, error: count });
            self.channels[index].clear();
            self.channels[index].push_str(channel);
        }
    }

    #[cold]
    fn grow(&mut self, tag: u16, channel: &str) {
        let index = self.channels.len();
        (self.tags[index], self.counters[index]) = (tag, Counter { count: 1, error: 0 });
        self.channels.push(channel.to_owned());
    }

    /// The `most` channels that have most, with what each has at least; the first one has most.
    pub(super) fn top(&self, most: usize) -> Vec<(String, u64)> {
        let counted = self.channels.iter().zip(&self.counters);
        let mut top: Vec<_> =
            counted.map(|(channel, counter)| (channel.clone(), counter.count - counter.error)).collect();
        top.sort_by(|(one, has), (other, others)| others.cmp(has).then_with(|| one.cmp(other)));
        top.truncate(most);
        top
    }

    /// The index of `channel`, if it has one.
    fn find(&self, tag: u16, channel: &str) -> Option<usize> {
        // Without a branch for each counter, which makes it a few vector instructions.
        if !self.tags.iter().fold(false, |found, other| found | (*other == tag)) {
            return None;
        }
        let mut named = self.tags.iter().zip(&self.channels);
        named.position(|(other, name)| *other == tag && name == channel)
    }

    /// The first counter with the least count. Counts only grow, so the search goes on where it ended last: where each
    /// newcomer takes over the next counter, all are looked through once for 64 newcomers.
    fn least_index(&mut self) -> usize {
        while self.next_least < COUNTERS && self.counters[self.next_least].count > self.least {
            self.next_least += 1;
        }
        if self.next_least == COUNTERS {
            self.restart_search();
        }
        self.next_least
    }

    #[cold]
    fn restart_search(&mut self) {
        self.least = self.counters.iter().map(|counter| counter.count).min().unwrap_or_default();
        self.next_least = self.counters.iter().position(|counter| counter.count == self.least).unwrap_or_default();
    }
}

/// Tells most channels apart, in a handful of instructions (words are taken in as FxHash does). No more is asked of it:
/// channels with the same tag are compared as well, so whoever makes such names gains nothing but that.
fn tag(channel: &str) -> u16 {
    let mixed = |tag: u64, word: u64| (tag.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let bytes = channel.as_bytes();
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    // Once more what the words have of the last eight: cheaper than a loop over the rest.
    let last = bytes.last_chunk::<8>().map_or_else(|| short(bytes), |word| u64::from_le_bytes(*word));
    let [.., low, high] = mixed(words.fold(bytes.len() as u64, mixed), last).to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cold]
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_channels_are_counted_exactly() {
        let mut sketch = HeavyHitters::default();
        for (channel, times) in [("b", 3), ("a", 3), ("c", 7)] {
            (0..times).for_each(|_| sketch.count(channel));
        }
        let named = |channel: &str, count| (channel.to_owned(), count);
        assert_eq!(sketch.top(9), [named("c", 7), named("a", 3), named("b", 3)]);
        assert_eq!(sketch.top(1), [named("c", 7)]);
    }

    #[test]
    fn heavy_ones_are_found_among_very_many_and_never_overstated() {
        let mut sketch = HeavyHitters::default();
        for round in 0..10_000 {
            sketch.count(&format!("rare-{round}"));
            if round % 10 == 0 {
                sketch.count("heavy");
            }
            if round % 20 == 0 {
                sketch.count("less heavy");
            }
        }
        let top = sketch.top(2);
        assert_eq!([&*top[0].0, &*top[1].0], ["heavy", "less heavy"]);
        assert!((800..=1000).contains(&top[0].1) && (300..=500).contains(&top[1].1), "{top:?}");
        assert_eq!(sketch.channels.len(), COUNTERS);
    }

    /// The sketch as the paper has it.
    #[derive(Default)]
    struct ReferenceSketch(Vec<(String, u64, u64)>);

    impl ReferenceSketch {
        fn count(&mut self, channel: &str) {
            if let Some((_, count, _)) = self.0.iter_mut().find(|(name, ..)| name == channel) {
                *count += 1;
            } else if self.0.len() < COUNTERS {
                self.0.push((channel.to_owned(), 1, 0));
            } else {
                let least = self.0.iter_mut().min_by_key(|(_, count, _)| *count).unwrap();
                *least = (channel.to_owned(), least.1 + 1, least.1);
            }
        }
    }

    fn entries(sketch: &HeavyHitters) -> Vec<(String, u64, u64)> {
        sketch
            .channels
            .iter()
            .zip(&sketch.counters)
            .map(|(channel, counter)| (channel.clone(), counter.count, counter.error))
            .collect()
    }

    #[test]
    fn it_counts_as_the_paper_does() {
        let (mut sketch, mut reference) = (HeavyHitters::default(), ReferenceSketch::default());
        // Numerical Recipes' generator: any will do. Channels come with very different shares, from one half down to a
        // thousandth.
        let mut random = 7_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let channel = format!("inn-room-{}-chat", ((random >> 8) % 1000) >> (random >> 28));
            sketch.count(&channel);
            reference.count(&channel);
        }
        assert_eq!(entries(&sketch), reference.0);
    }

    #[test]
    fn where_each_channel_is_new_the_places_are_taken_over_in_turn() {
        let mut sketch = HeavyHitters::default();
        for room in 0..COUNTERS * 100 {
            sketch.count(&format!("inn-room-{room}-chat"));
            assert!(room < COUNTERS || sketch.next_least == room % COUNTERS, "room {room}: {}", sketch.next_least);
        }
        assert!(sketch.counters.iter().all(|counter| (counter.count, counter.error) == (100, 99)));
        assert_eq!(sketch.top(1)[0].1, 1);
        assert_eq!(sketch.channels[0], format!("inn-room-{}-chat", COUNTERS * 99));
    }

    #[test]
    fn channels_of_one_tag_are_told_apart() {
        let (one, other) = same_tag();
        let mut sketch = HeavyHitters::default();
        [&*one, &*other, &*one, ""].iter().for_each(|channel| sketch.count(channel));
        assert_eq!(sketch.top(3), [(one, 2), (String::new(), 1), (other, 1)]);
    }

    fn same_tag() -> (String, String) {
        let mut seen = std::collections::HashMap::new();
        (0..)
            .map(|n: u32| n.to_string())
            .find_map(|name| seen.insert(tag(&name), name.clone()).map(|before| (before, name)))
            .unwrap()
    }

    #[test]
    fn tags_tell_most_channels_apart() {
        let rooms = (0..10_000).map(|room| format!("private-inn-of-the-seven-seas-room-{room}-chat"));
        let short = (0..10_000).map(|room| format!("r{room}"));
        for channels in [rooms.collect::<Vec<_>>(), short.collect()] {
            let tags: std::collections::HashSet<u16> = channels.iter().map(|channel| tag(channel)).collect();
            // At random it would be 9,279 of 65,536.
            assert!(tags.len() > 8000, "{}", tags.len());
        }
    }
}
