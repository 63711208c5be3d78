//! What redundant announcements of one rule say otherwise than those that guests show, outside identity, context and
//! what the rule ignores.

use std::fmt;

use super::channel_sample::{ChannelSample, HashedChannel};
use crate::assignment::Digest;
use crate::clock::Moment;
use crate::rules::Leaf;

/// The most channels on which announcements are compared leaf by leaf, which costs more than to drop them.
const CHANNELS: usize = 256;

/// The number of pointers that are counted and told apart. The data of triggers decides how many there are.
const POINTERS: usize = 128;

/// What redundant announcements said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DifferenceSummary {
    /// The announcements of which it is known.
    pub compared: u64,
    /// Those of them that said something otherwise.
    pub differing: u64,
    /// Those of which it is not known what: estimated on a sample of channels, if there are many.
    pub unexplained: u64,
    /// The pointers to what differed, each with the number of announcements, estimated as well, the most frequent one
    /// first.
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
#[derive(Debug)]
pub(super) struct Differences {
    compared: u64,
    differing: u64,
    unexplained: u64,
    pointers: Vec<Pointer>,
    /// The announcements that were forwarded last; `None`: it is not known.
    last: ChannelSample<Option<Announced>>,
}

#[derive(Debug)]
struct Pointer {
    pointer: Box<str>,
    count: u64,
}

#[derive(Debug)]
struct Announced {
    digest: Digest,
    /// Each leaf's pointer, as its index, and a part of its hash.
    leaves: Box<[(u16, u32)]>,
}

impl Default for Differences {
    fn default() -> Self {
        Self { compared: 0, differing: 0, unexplained: 0, pointers: Vec::new(), last: ChannelSample::new(CHANNELS) }
    }
}

impl Differences {
    /// A redundant announcement was compared.
    pub(super) const fn compared(&mut self, differs: bool) {
        self.compared += 1;
        self.differing += differs as u64;
    }

    /// Whether announcements on `channel`, which has one now, are compared leaf by leaf.
    pub(super) fn follow(&mut self, channel: HashedChannel<'_>, at: Moment) -> bool {
        self.last.entry(channel, at, || None).is_some()
    }

    /// An announcement is forwarded on a channel that is followed. It has these leaves, and this digest of all of them.
    pub(super) fn announced(&mut self, channel: HashedChannel<'_>, digest: Digest, leaves: &[Leaf]) {
        let leaves = self.indexed(leaves);
        if let Some(last) = self.last.get_mut(channel) {
            *last = Some(Announced { digest, leaves });
        }
    }

    /// An announcement on a channel that is followed differs from the one with the digest `shown`, and has these leaves.
    pub(super) fn differed(&mut self, channel: HashedChannel<'_>, shown: Digest, leaves: &[Leaf]) {
        let own = self.indexed(leaves);
        let weight = self.last.weight();
        let last = self.last.get_mut(channel).and_then(|last| last.as_ref());
        let Some(before) = last.filter(|announced| announced.digest == shown) else {
            self.unexplained += weight;
            return;
        };
        let is_gone = |pointer: u16| own.iter().all(|(other, _)| *other != pointer);
        let changed = own.iter().filter(|leaf| !before.leaves.contains(leaf)).map(|(pointer, _)| *pointer);
        let gone = before.leaves.iter().map(|(pointer, _)| *pointer).filter(|pointer| is_gone(*pointer));
        let pointers: Vec<_> = changed.chain(gone).collect();
        if pointers.is_empty() {
            self.unexplained += weight;
        }
        for pointer in pointers {
            self.pointers[usize::from(pointer)].count += weight;
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
        const ROOM: HashedChannel<'_> = HashedChannel { name: "room", hash: 7 };
        const OTHER: HashedChannel<'_> = HashedChannel { name: "other", hash: 8 };
        let mut differences = Differences::default();
        let (one, two) = (Digest::new(1, 0), Digest::new(2, 0));
        for channel in [ROOM, OTHER] {
            assert!(differences.follow(channel, Moment::default()));
        }
        differences.announced(ROOM, one, &leaves(&[("/a", 1), ("/b", 2), ("/c", 3)]));
        differences.compared(false);
        for _ in 0..2 {
            differences.compared(true);
            differences.differed(ROOM, one, &leaves(&[("/a", 1), ("/b", 9), ("/d", 4)]));
        }
        differences.compared(true);
        differences.differed(ROOM, one, &leaves(&[("/a", 1), ("/b", 9), ("/c", 3)]));
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
        differences.differed(ROOM, two, &leaves(&[("/a", 5)]));
        differences.differed(OTHER, one, &leaves(&[("/a", 5)]));
        differences.differed(ROOM, one, &leaves(&[("/c", 3), ("/a", 1), ("/b", 2)]));
        assert_eq!(differences.summary().unexplained, 3);
    }

    #[test]
    fn many_channels_are_represented_by_some_and_pointers_are_bounded() {
        const ALL: u64 = 40 * CHANNELS as u64;
        let mut differences = Differences::default();
        let digest = Digest::new(1, 0);
        let mut followed = 0;
        for round in 0..4 {
            for number in 0..ALL {
                let name = number.to_string();
                // The high bits of a multiplicative hash are evenly spread.
                let channel = HashedChannel { name: &name, hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
                if differences.follow(channel, Moment::from_millis(round)) {
                    followed += u64::from(round == 3);
                    differences.differed(channel, digest, &leaves(&[("/picture", round)]));
                    differences.announced(channel, digest, &leaves(&[("/picture", 7), (&format!("/{number}"), 1)]));
                }
            }
        }
        assert!(followed <= CHANNELS as u64 && followed > CHANNELS as u64 / 4, "{followed}");
        assert_eq!((differences.pointers.len(), differences.last.len() <= CHANNELS), (POINTERS, true));
        // The pointer of the picture comes first, and differs in each of the last three rounds.
        let summary = differences.summary();
        let (pointer, count) = &summary.pointers[0];
        assert!(pointer == "/picture" && (ALL..6 * ALL).contains(count), "{count} of {}", 3 * ALL);
    }
}
