//! The channels with the most redundant announcements, in memory of fixed size: the Space-Saving sketch (Metwally,
//! Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).
//!
//! It counts every redundant announcement. With many channels, nearly none of them has a counter. So the tags that show
//! that are stored apart from the counters and are small: two bytes each.

use std::array;

/// The number of channels counted at once. A channel with more than 1/64 of all announcements is always among them.
const COUNTERS: usize = 64;

/// The sketch.
#[derive(Debug)]
pub(super) struct HeavyHitters {
    /// The tag of each channel: compared first, all of them together.
    tags: [u16; COUNTERS],
    counters: [Counter; COUNTERS],
    /// The channels: one for each counter in use.
    channels: Vec<String>,
    /// A lower bound of all counts, once all counters are in use.
    least: u64,
    /// Every counter before this index has a count above `least`.
    next_least: usize,
}

/// The count of one channel.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    /// An upper bound of its announcements.
    count: u64,
    /// The part of `count` that may belong to channels that had this counter before (the error of the paper).
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
    /// Counts one announcement on `channel`. Allocates only while the sketch grows: a counter that is reassigned keeps
    /// its memory.
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

    /// The `most` channels with the highest counts, each with a lower bound of its count, in descending order.
    pub(super) fn top(&self, most: usize) -> Vec<(String, u64)> {
        let counted = self.channels.iter().zip(&self.counters);
        let mut top: Vec<_> =
            counted.map(|(channel, counter)| (channel.clone(), counter.count - counter.error)).collect();
        top.sort_by(|(one, has), (other, others)| others.cmp(has).then_with(|| one.cmp(other)));
        top.truncate(most);
        top
    }

    /// The index of the counter of `channel`, if it has one.
    fn find(&self, tag: u16, channel: &str) -> Option<usize> {
        // Without a branch for each counter, so the compiler makes it a few vector instructions.
        if !self.tags.iter().fold(false, |found, other| found | (*other == tag)) {
            return None;
        }
        let mut named = self.tags.iter().zip(&self.channels);
        named.position(|(other, name)| *other == tag && name == channel)
    }

    /// The first counter with the least count. Counts only grow, so the search continues where the last one ended: if
    /// every announcement is on a new channel, 64 of them cost one pass over all counters.
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

/// A hash of a few instructions that differs for most channels (it mixes words as FxHash does). Collisions are
/// harmless: names with the same tag are compared too, so a client that chooses colliding names only causes that
/// comparison.
fn tag(channel: &str) -> u16 {
    let mixed = |tag: u64, word: u64| (tag.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let bytes = channel.as_bytes();
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    // The last eight bytes may overlap the words before: cheaper than a loop over the remainder.
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
    fn heavy_channels_are_found_among_many_and_never_overestimated() {
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

    /// The algorithm as the paper describes it.
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
    fn it_agrees_with_the_algorithm_of_the_paper() {
        let (mut sketch, mut reference) = (HeavyHitters::default(), ReferenceSketch::default());
        // The generator of Numerical Recipes; any generator suffices. The channels' shares range from one half to a
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
    fn if_every_channel_is_new_the_counters_are_reassigned_in_order() {
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
    fn channels_with_the_same_tag_have_separate_counters() {
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
    fn most_channels_have_different_tags() {
        let rooms = (0..10_000).map(|room| format!("private-inn-of-the-seven-seas-room-{room}-chat"));
        let short = (0..10_000).map(|room| format!("r{room}"));
        for channels in [rooms.collect::<Vec<_>>(), short.collect()] {
            let tags: std::collections::HashSet<u16> = channels.iter().map(|channel| tag(channel)).collect();
            // For random tags, the expected number is 9,279 of 65,536.
            assert!(tags.len() > 8000, "{}", tags.len());
        }
    }
}
