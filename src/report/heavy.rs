//! The channels that have most of something, out of any number of them, in a memory of fixed size: the Space-Saving sketch (Metwally, Agrawal,
//! El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).

use std::hash::{BuildHasher, RandomState};

/// Channels that are counted at once. One that has more than this share of all is among them, whatever else came.
const PLACES: usize = 64;

/// The sketch.
#[derive(Debug, Default)]
pub(super) struct HeavyHitters {
    hasher: RandomState,
    places: Vec<Place>,
}

/// One channel that is counted.
#[derive(Debug)]
struct Place {
    /// Of the channel: compared first.
    hash: u64,
    channel: String,
    /// No less than the channel has.
    count: u64,
    /// What of it may be others'.
    taken_over: u64,
}

impl HeavyHitters {
    /// Counts one of `channel`. Allocates only as long as the sketch grows: a place that changes hands keeps its memory.
    pub(super) fn count(&mut self, channel: &str) {
        let hash = self.hasher.hash_one(channel);
        if let Some(place) = self.places.iter_mut().find(|place| place.hash == hash && place.channel == channel) {
            place.count += 1;
        } else if self.places.len() < PLACES {
            self.places.push(Place { hash, channel: channel.to_owned(), count: 1, taken_over: 0 });
        } else if let Some(least) = self.places.iter_mut().min_by_key(|place| place.count) {
            least.hash = hash;
            least.channel.clear();
            least.channel.push_str(channel);
            least.taken_over = least.count;
            least.count += 1;
        }
    }

    /// The `most` channels that have most, with what each has at least; the first one has most.
    pub(super) fn top(&self, most: usize) -> Vec<(String, u64)> {
        let mut top: Vec<_> = self.places.iter().map(|place| (place.channel.clone(), place.count - place.taken_over)).collect();
        top.sort_by(|(one, has), (other, others)| others.cmp(has).then_with(|| one.cmp(other)));
        top.truncate(most);
        top
    }
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
        assert_eq!(sketch.places.len(), PLACES);
    }
}
