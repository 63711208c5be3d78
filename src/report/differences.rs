//! What redundant announcements of one rule say otherwise than those that guests show, outside identity, context and
//! what the rule ignores.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::assignment::Digest;
use crate::rules::Leaf;

/// The number of channels whose last forwarded announcement is known leaf by leaf.
const CHANNELS: usize = 4_096;

/// The number of pointers that are counted and told apart. The data of triggers decides how many there are.
const POINTERS: usize = 128;

/// What redundant announcements said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DifferenceSummary {
    /// The announcements of which it is known.
    pub compared: u64,
    /// Those of them that said something otherwise.
    pub differing: u64,
    /// Those of which it is not known what.
    pub unexplained: u64,
    /// The pointers to what differed, each with the number of announcements, the most frequent one first.
    pub pointers: Vec<(String, u64)>,
}

/// The share of the compared announcements, in percent, above which a difference is more than an exception.
const EXCEPTIONS: u64 = 1;

impl DifferenceSummary {
    /// What differed in more than 1 percent of the compared announcements.
    pub fn frequent(&self) -> impl Iterator<Item = FrequentDifference<'_>> {
        let frequent = self.pointers.iter().filter(|(_, count)| count * 100 > self.compared * EXCEPTIONS);
        frequent.map(|(pointer, count)| FrequentDifference { pointer, count: *count, compared: self.compared })
    }
}

/// Something that differs in many announcements that a rule takes for redundant. `Display`: the problem and its cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrequentDifference<'s> {
    /// Where it is.
    pub pointer: &'s str,
    /// In how many announcements it differs.
    pub count: u64,
    /// Of how many.
    pub compared: u64,
}

impl FrequentDifference<'_> {
    /// What is wrong, as a sentence without a full stop.
    #[must_use]
    pub fn problem(&self) -> String {
        let Self { pointer, count, compared } = self;
        format!(
            "{pointer} differed in {count} of {compared} redundant announcements: what is dropped with them never reaches the guests"
        )
    }

    /// What to do about it, as a sentence without a full stop.
    #[must_use]
    pub fn cure(&self) -> String {
        let pointer = self.pointer;
        format!(
            "If that does not matter, write ignore = [\"{pointer}\"]; if it does, name it in identity or context, or set on_difference = \"forward\""
        )
    }
}

impl fmt::Display for FrequentDifference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.problem(), self.cure())
    }
}

/// The differences of one rule of one app.
#[derive(Debug, Default)]
pub(super) struct Differences {
    compared: u64,
    differing: u64,
    unexplained: u64,
    pointers: Vec<Pointer>,
    recent: Recent,
}

#[derive(Debug)]
struct Pointer {
    pointer: Box<str>,
    count: u64,
}

/// The announcements that were forwarded last, one for each channel.
#[derive(Debug, Default)]
struct Recent {
    /// By the hashes of the channels' names.
    channels: HashMap<u64, Announced>,
    /// The channels in the order of their announcements, each with the number of its entry: an entry with another number
    /// is a later one.
    order: VecDeque<(u64, u64)>,
    entries: u64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Announced {
    entry: u64,
    digest: Digest,
    /// Each leaf's pointer, as its index, and a part of its hash.
    leaves: Box<[(u16, u32)]>,
}

impl Differences {
    /// A redundant announcement was compared.
    pub(super) const fn compared(&mut self, differs: bool) {
        self.compared += 1;
        self.differing += differs as u64;
    }

    /// An announcement is forwarded that has these leaves, and this digest of all of them.
    pub(super) fn announced(&mut self, channel: &str, digest: Digest, leaves: &[Leaf]) {
        let leaves = self.indexed(leaves);
        self.recent.insert(channel, digest, leaves);
    }

    /// An announcement differs from the one with the digest `shown`, and has these leaves.
    pub(super) fn differed(&mut self, channel: &str, shown: Digest, leaves: &[Leaf]) {
        let own = self.indexed(leaves);
        let Some(before) = self.recent.get(channel).filter(|announced| announced.digest == shown) else {
            self.unexplained += 1;
            return;
        };
        let is_gone = |pointer: u16| own.iter().all(|(other, _)| *other != pointer);
        let changed = own.iter().filter(|leaf| !before.leaves.contains(leaf)).map(|(pointer, _)| *pointer);
        let gone = before.leaves.iter().map(|(pointer, _)| *pointer).filter(|pointer| is_gone(*pointer));
        let pointers: Vec<_> = changed.chain(gone).collect();
        if pointers.is_empty() {
            self.unexplained += 1;
        }
        for pointer in pointers {
            self.pointers[usize::from(pointer)].count += 1;
        }
    }

    pub(super) fn summary(&self) -> DifferenceSummary {
        let counted = self.pointers.iter().filter(|pointer| pointer.count > 0);
        let mut pointers: Vec<_> = counted.map(|pointer| (pointer.pointer.to_string(), pointer.count)).collect();
        pointers.sort_by(|(one, many), (other, more)| more.cmp(many).then_with(|| one.cmp(other)));
        let Self { compared, differing, unexplained, .. } = *self;
        DifferenceSummary { compared, differing, unexplained, pointers }
    }

    /// The leaves by the indices of their pointers.
    fn indexed(&mut self, leaves: &[Leaf]) -> Box<[(u16, u32)]> {
        leaves.iter().filter_map(|leaf| Some((self.index(&leaf.pointer)?, part(leaf.hash)))).collect()
    }

    /// The index of a pointer; `None`: there are too many.
    fn index(&mut self, pointer: &str) -> Option<u16> {
        let known = self.pointers.iter().position(|known| *known.pointer == *pointer);
        let index = known.or_else(|| {
            (self.pointers.len() < POINTERS).then(|| {
                self.pointers.push(Pointer { pointer: pointer.into(), count: 0 });
                self.pointers.len() - 1
            })
        });
        index.and_then(|index| u16::try_from(index).ok())
    }
}

impl Recent {
    fn get(&self, channel: &str) -> Option<&Announced> {
        self.channels.get(&self.hasher.hash_one(channel))
    }

    fn insert(&mut self, channel: &str, digest: Digest, leaves: Box<[(u16, u32)]>) {
        let channel = self.hasher.hash_one(channel);
        self.entries += 1;
        self.channels.insert(channel, Announced { entry: self.entries, digest, leaves });
        self.order.push_back((channel, self.entries));
        while self.channels.len() > CHANNELS || self.order.len() > 2 * CHANNELS {
            let Some((channel, entry)) = self.order.pop_front() else { return };
            if self.channels.get(&channel).is_some_and(|announced| announced.entry == entry) {
                if self.channels.len() > CHANNELS {
                    self.channels.remove(&channel);
                } else {
                    // It is the oldest one, and there is room for it.
                    self.order.push_back((channel, entry));
                }
            }
        }
    }
}

/// The part of a hash that is kept: it only explains.
const fn part(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(values: &[(&str, u64)]) -> Vec<Leaf> {
        values.iter().map(|(pointer, hash)| Leaf { pointer: (*pointer).to_owned(), hash: *hash }).collect()
    }

    #[test]
    fn what_changed_came_and_went_is_counted_by_pointer() {
        let mut differences = Differences::default();
        let (one, two) = (Digest::new(1, 0), Digest::new(2, 0));
        differences.announced("room", one, &leaves(&[("/a", 1), ("/b", 2), ("/c", 3)]));
        differences.compared(false);
        for _ in 0..2 {
            differences.compared(true);
            differences.differed("room", one, &leaves(&[("/a", 1), ("/b", 9), ("/d", 4)]));
        }
        differences.compared(true);
        differences.differed("room", one, &leaves(&[("/a", 1), ("/b", 9), ("/c", 3)]));
        let counted =
            |list: &[(&str, u64)]| list.iter().map(|(one, many)| ((*one).to_owned(), *many)).collect::<Vec<_>>();
        let summary = differences.summary();
        assert_eq!((summary.compared, summary.differing, summary.unexplained), (4, 3, 0));
        assert_eq!(summary.pointers, counted(&[("/b", 3), ("/c", 2), ("/d", 2)]));
        let frequent: Vec<_> = summary.frequent().map(|one| (one.pointer, one.count)).collect();
        assert_eq!(frequent, [("/b", 3), ("/c", 2), ("/d", 2)]);
        let rare = DifferenceSummary { compared: 300, ..summary };
        assert!(rare.frequent().next().is_none(), "3 of 300 are exceptions");
        // Another announcement is known, another channel, or only the order differs.
        differences.differed("room", two, &leaves(&[("/a", 5)]));
        differences.differed("other", one, &leaves(&[("/a", 5)]));
        differences.differed("room", one, &leaves(&[("/c", 3), ("/a", 1), ("/b", 2)]));
        assert_eq!(differences.summary().unexplained, 3);
    }

    #[test]
    fn neither_channels_nor_pointers_grow_without_bound() {
        let mut differences = Differences::default();
        let digest = Digest::new(1, 0);
        for number in 0..3 * CHANNELS {
            differences.announced(&number.to_string(), digest, &leaves(&[(&format!("/{number}"), 1)]));
            differences.announced("room", digest, &leaves(&[("/0", 7)]));
        }
        let Differences { pointers, recent, .. } = &differences;
        assert_eq!((pointers.len(), recent.channels.len()), (POINTERS, CHANNELS));
        assert!(recent.order.len() <= 2 * CHANNELS && recent.get("0").is_none());
        let last = (3 * CHANNELS - 1).to_string();
        assert!(recent.get("room").is_some() && recent.get(&last).is_some());
    }
}
