//! The table of families, and the last event on each channel that is followed: pure, and bounded.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use super::leaves::{self, Leaves};
use super::report::{Discovered, FamilyReport};
use super::shape::{ALLOCATION, MAX_NAME, Shape};
use super::statistics::{Cost, Statistics, Values};
use crate::clock::Moment;

/// The most families.
const MAX_FAMILIES: usize = 256;

/// The most channels that are followed, once for each family that they have events of.
const MAX_CHANNELS: usize = 6_144;

/// How long the last event of a channel is kept for a comparison, if there is no room for others.
const MAX_IDLE: u64 = 3_600_000;

/// The longest data that is looked at, in bytes.
pub(super) const MAX_DATA: usize = 16_384;

/// At the highest level, one channel in a million is followed.
const MAX_LEVEL: u32 = 20;

/// How many names differ in one word before that counts as a place that varies.
const VARYING: usize = 3;

/// The most different kinds of one event that are told apart.
const MAX_KINDS: usize = 16;

/// A family that has been seen so often keeps its place.
const ESTABLISHED: u64 = 3;

/// An event on one channel.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The app's id.
    pub app: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The subscribers of the channel; `None`: unknown.
    pub audience: Option<u64>,
    /// Whether the call that brought it is counted with it: for one of the channels of a trigger.
    pub is_call: bool,
    /// When it came.
    pub at: Moment,
}

/// The data of an event, as it is compared.
#[derive(Debug)]
pub struct Data(Leaves);

/// The table.
#[derive(Debug)]
pub struct Table {
    keys: RandomState,
    families: Vec<Family>,
    channels: HashMap<(u64, u32), Followed>,
    /// One channel in `1 << level` is followed.
    level: u32,
    /// Comparisons across a gap are not made.
    gaps: u32,
    next_id: u32,
    left_out: u64,
    too_long: u64,
}

#[derive(Debug)]
struct Family {
    id: u32,
    app: Box<str>,
    event: Box<str>,
    kinds: Vec<(String, String)>,
    shape: Shape,
    statistics: Statistics,
}

/// The last event of a family on a channel.
#[derive(Debug)]
struct Followed {
    values: Values,
    at: Moment,
    gaps: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            families: Vec::new(),
            channels: HashMap::new(),
            level: 0,
            gaps: 0,
            next_id: 0,
            left_out: 0,
            too_long: 0,
        }
    }
}

impl Table {
    /// The key of the hashes.
    pub(super) fn keys(&self) -> RandomState {
        self.keys.clone()
    }

    /// Reads the data of an event for [`Table::see`]; `None`: it is too long.
    #[must_use]
    pub fn read(&mut self, data: &str) -> Option<Data> {
        if data.len() > MAX_DATA {
            self.too_long += 1;
            return None;
        }
        Some(read(data, &self.keys))
    }

    /// An event whose data is too long.
    pub(super) const fn too_long(&mut self) {
        self.too_long += 1;
    }

    /// Takes in an event, unless its channel is not followed.
    pub fn see(&mut self, sighting: Sighting<'_>, data: &Data) {
        let channel = channel_hash(&self.keys, sighting.app, sighting.channel);
        if !is_followed(channel, self.level) || sighting.channel.len() > MAX_NAME || sighting.event.len() > MAX_NAME {
            return;
        }
        let Data(leaves) = data;
        let event = Shape::of(sighting.event).to_string();
        let (kinds, elsewhere) = self.kinds(sighting.app, &event, leaves);
        let Some(index) = self.family(sighting.app, &event, kinds, Shape::of(sighting.channel)) else {
            self.left_out += 1 << self.level;
            return;
        };
        let weight = 1 << self.level;
        let Family { id, statistics, .. } = &mut self.families[index];
        let values = statistics.see(leaves, elsewhere, weight);
        let key = (channel, *id);
        match self.channels.get_mut(&key) {
            Some(followed) => {
                if followed.gaps == self.gaps {
                    let cost = Cost { weight, is_call: sighting.is_call, audience: sighting.audience };
                    statistics.compare(&values, &followed.values, cost);
                }
                *followed = Followed { values, at: sighting.at, gaps: self.gaps };
            }
            None => {
                statistics.channels += 1;
                self.make_room(sighting.at);
                if is_followed(channel, self.level) {
                    self.channels.insert(key, Followed { values, at: sighting.at, gaps: self.gaps });
                }
            }
        }
    }

    /// The level: one channel in `1 << level` is followed.
    pub(super) const fn level(&self) -> u32 {
        self.level
    }

    /// Follows half as many channels.
    pub(super) fn raise(&mut self) {
        self.level = (self.level + 1).min(MAX_LEVEL);
        let level = self.level;
        self.channels.retain(|(channel, _), _| is_followed(*channel, level));
    }

    /// Follows twice as many channels, if there is room for them.
    pub(super) fn lower(&mut self) {
        if self.channels.len() < MAX_CHANNELS / 4 {
            self.level = self.level.saturating_sub(1);
        }
    }

    /// Events were missed: what comes next on a channel may not be what follows what came last.
    pub(super) const fn miss(&mut self) {
        self.gaps = self.gaps.wrapping_add(1);
    }

    /// Everything so far, the most frequent families first.
    #[must_use]
    pub fn report(&self) -> Discovered {
        let mut families: Vec<FamilyReport> = self.families.iter().map(Family::report).collect();
        families.sort_by(|one, other| {
            (other.count, &one.app, &one.event, &one.channel).cmp(&(
                one.count,
                &other.app,
                &other.event,
                &other.channel,
            ))
        });
        Discovered { families, one_in: 1 << self.level, left_out: self.left_out, too_long: self.too_long }
    }

    /// How many bytes it takes, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        // A table of std has up to 8/7 slots for each that is in use, rounded up to a power of two, and a byte for each.
        let slots = (self.channels.capacity() * 8 / 7).next_power_of_two();
        let entry = size_of::<((u64, u32), Followed)>() + 1;
        self.families.capacity() * size_of::<Family>()
            + self.families.iter().map(Family::size).sum::<usize>()
            + slots * entry
            + self.channels.values().map(|followed| followed.values.size()).sum::<usize>()
    }

    /// The kinds of an event that are told apart, and the hash of everything in it that has no pointer.
    fn kinds(&self, app: &str, event: &str, leaves: &Leaves) -> (Vec<(String, String)>, u64) {
        let mut elsewhere = leaves.elsewhere;
        let mut kinds = Vec::new();
        for kind in &leaves.kinds {
            let of_event = self.families.iter().filter(|family| *family.app == *app && *family.event == *event);
            let mut others: Vec<&str> = of_event
                .flat_map(|family| &family.kinds)
                .filter(|(pointer, value)| *pointer == kind.0 && *value != kind.1)
                .map(|(_, value)| value.as_str())
                .collect();
            others.sort_unstable();
            others.dedup();
            if others.len() < MAX_KINDS {
                kinds.push(kind.clone());
            } else {
                elsewhere = self.keys.hash_one((elsewhere, kind));
            }
        }
        kinds.sort_unstable();
        (kinds, elsewhere)
    }

    /// The index of a family; `None`: there are too many others.
    fn family(&mut self, app: &str, event: &str, kinds: Vec<(String, String)>, shape: Shape) -> Option<usize> {
        let of_event = |family: &Family| *family.app == *app && *family.event == *event && family.kinds == kinds;
        let known =
            self.families.iter().enumerate().filter(|(_, family)| of_event(family) && family.shape.covers(&shape));
        if let Some((index, _)) = known.max_by_key(|(_, family)| family.shape.literals()) {
            return Some(index);
        }
        let mut common: HashMap<Shape, Vec<String>> = HashMap::new();
        for family in self.families.iter().filter(|family| of_event(family)) {
            if let Some(found) = shape.common(&family.shape) {
                let others = common.entry(found.shape).or_default();
                if !others.contains(&found.other) {
                    others.push(found.other);
                }
            }
        }
        let varying = common.into_iter().filter(|(_, others)| others.len() + 1 >= VARYING);
        let varying = varying.max_by_key(|(shape, others)| (others.len(), shape.literals())).map(|(shape, _)| shape);
        let mut family = Family {
            id: self.next_id,
            app: app.into(),
            event: event.into(),
            kinds,
            shape: shape.clone(),
            statistics: Statistics::default(),
        };
        if let Some(varying) = varying {
            self.merge_into(&mut family, varying);
        }
        self.next_id = self.next_id.wrapping_add(1);
        self.place(family)
    }

    /// The families of the same event whose shapes `shape` covers become part of `family`.
    fn merge_into(&mut self, family: &mut Family, shape: Shape) {
        family.shape = shape;
        let is_part = |other: &mut Family| {
            (&other.app, &other.event, &other.kinds) == (&family.app, &family.event, &family.kinds)
                && family.shape.covers(&other.shape)
        };
        let parts: Vec<Family> = self.families.extract_if(.., is_part).collect();
        let ids: Vec<u32> = parts.iter().map(|part| part.id).collect();
        // Their values have other slots.
        self.channels.retain(|(_, id), _| !ids.contains(id));
        parts.into_iter().for_each(|part| family.statistics.absorb(part.statistics));
    }

    /// Adds a family, if need be in the place of one that was hardly ever seen.
    fn place(&mut self, family: Family) -> Option<usize> {
        if self.families.len() < MAX_FAMILIES {
            self.families.push(family);
            return Some(self.families.len() - 1);
        }
        let rarest = self.families.iter().enumerate().min_by_key(|(_, family)| family.statistics.sampled);
        let index = rarest.filter(|(_, family)| family.statistics.sampled < ESTABLISHED).map(|(index, _)| index)?;
        let replaced = std::mem::replace(&mut self.families[index], family);
        self.left_out += replaced.statistics.count;
        Some(index)
    }

    /// Room for one more channel: those that were silent for long, and those of families that are gone, give theirs. If
    /// they are few, fewer channels are followed.
    fn make_room(&mut self, now: Moment) {
        if self.channels.len() < MAX_CHANNELS {
            return;
        }
        let families: HashSet<u32> = self.families.iter().map(|family| family.id).collect();
        self.channels.retain(|(_, family), followed| {
            families.contains(family) && now.as_millis().saturating_sub(followed.at.as_millis()) < MAX_IDLE
        });
        while self.channels.len() > MAX_CHANNELS * 3 / 4 && self.level < MAX_LEVEL {
            self.raise();
        }
        if self.channels.len() >= MAX_CHANNELS {
            self.channels.clear();
        }
    }
}

impl Family {
    fn report(&self) -> FamilyReport {
        let Statistics { count, sampled, channels, compared, audience_known, unstructured, .. } = self.statistics;
        let (pointers, changes) = self.statistics.report();
        FamilyReport {
            app: self.app.to_string(),
            event: self.event.to_string(),
            channel: self.shape.to_string(),
            kinds: self.kinds.iter().cloned().collect(),
            count,
            sampled,
            channels,
            compared,
            unstructured,
            audience_known,
            pointers,
            changes,
        }
    }

    fn size(&self) -> usize {
        let kinds = self.kinds.iter().map(|(pointer, value)| pointer.capacity() + value.capacity() + 2 * ALLOCATION);
        self.app.len()
            + self.event.len()
            + 3 * ALLOCATION
            + self.kinds.capacity() * size_of::<(String, String)>()
            + kinds.sum::<usize>()
            + self.shape.size()
            + self.statistics.size()
    }
}

/// Reads data that is not too long.
pub(super) fn read(data: &str, keys: &RandomState) -> Data {
    Data(leaves::read(data, keys))
}

/// The hash that says whether a channel is followed.
pub(super) fn channel_hash(keys: &RandomState, app: &str, channel: &str) -> u64 {
    keys.hash_one((app, channel))
}

/// Whether one in `1 << level` channels includes the one with this hash.
pub(super) const fn is_followed(channel: u64, level: u32) -> bool {
    channel.trailing_zeros() >= level
}
