//! What was seen of one family: how often, and what changed from one event to the next on the same channel.

use super::leaves::{Forms, Leaves};
use super::report::{ChangeReport, PointerReport};
use super::shape::ALLOCATION;

/// The most pointers of a family that are told apart: the leaves of its events, and of addresses what stands before the
/// query. The last bit of a [`Change`] is for everything else.
const MAX_SLOTS: usize = 62;

const ELSEWHERE: u64 = 1 << 63;

/// The most different values of a pointer that are told apart.
const MAX_VALUES: usize = 32;

/// The most sets of pointers that are told apart which changed together.
const MAX_CHANGES: usize = 48;

/// Counts of one family.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    /// Events, estimated: where one channel in four is followed, each counts four times.
    pub(super) count: u64,
    /// Events that were looked at.
    pub(super) sampled: u64,
    /// Channels that were followed.
    pub(super) channels: u64,
    /// Events that were compared with the one before on their channel.
    pub(super) compared: u64,
    /// Whether the number of subscribers was known for any of them.
    pub(super) audience_known: bool,
    /// Events whose data was no JSON object.
    pub(super) unstructured: u64,
    pointers: Vec<Pointer>,
    changes: Vec<Change>,
}

/// A pointer into the data of a family.
#[derive(Debug)]
struct Pointer {
    pointer: Box<str>,
    /// Whether it is what stands before the query of the address there.
    is_base: bool,
    forms: Forms,
    present: u64,
    changed: u64,
    /// Hashes of its values.
    values: Vec<u64>,
}

/// Events in which the same pointers changed, and nothing else.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// A bit for each pointer.
    pointers: u64,
    count: u64,
    calls: u64,
    deliveries: u64,
}

/// What an event would cost at Pusher: messages, estimated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// How many events it stands for.
    pub(super) weight: u64,
    /// Whether its call is counted with it.
    pub(super) is_call: bool,
    /// The subscribers of its channel, where they are known.
    pub(super) audience: Option<u64>,
}

/// The values of one event: slots and hashes, in the order of the slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Values {
    slots: Box<[(u8, u64)]>,
    elsewhere: u64,
}

impl Values {
    /// How many bytes it takes beside itself.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.slots) + ALLOCATION
    }

    /// The slots whose values differ, as bits.
    fn difference(&self, before: &Self) -> u64 {
        let mut bits = if self.elsewhere == before.elsewhere { 0 } else { ELSEWHERE };
        let (mut these, mut those) = (self.slots.iter().peekable(), before.slots.iter().peekable());
        loop {
            let (this, that) = (these.peek().map(|(slot, _)| *slot), those.peek().map(|(slot, _)| *slot));
            let slot = match (this, that) {
                (Some(this), Some(that)) => this.min(that),
                (Some(slot), None) | (None, Some(slot)) => slot,
                (None, None) => return bits,
            };
            let value = these.next_if(|(its, _)| *its == slot);
            if value != those.next_if(|(its, _)| *its == slot) {
                bits |= 1 << slot;
            }
        }
    }
}

impl Statistics {
    /// Counts an event, and returns its values.
    pub(super) fn see(&mut self, leaves: &Leaves, elsewhere: u64, weight: u64) -> Values {
        self.count += weight;
        self.sampled += 1;
        self.unstructured += u64::from(!leaves.is_object);
        let mut slots: Vec<(u8, u64)> = Vec::with_capacity(leaves.leaves.len() + 2);
        let mut beyond = elsewhere;
        let mut guess = 0;
        for leaf in &leaves.leaves {
            let parts = [Some((false, leaf.hash)), leaf.base.map(|base| (true, base))];
            for (is_base, hash) in parts.into_iter().flatten() {
                match self.slot(&leaf.pointer, is_base, guess) {
                    Some(slot) => {
                        guess = slot + 1;
                        self.pointers[slot].see(leaf.forms, hash);
                        slots.push((slot as u8, hash));
                    }
                    None => beyond = beyond.rotate_left(7) ^ hash,
                }
            }
        }
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        slots.dedup_by_key(|(slot, _)| *slot);
        Values { slots: slots.into_boxed_slice(), elsewhere: beyond }
    }

    /// Counts what has changed since the event `before` on the same channel.
    pub(super) fn compare(&mut self, now: &Values, before: &Values, cost: Cost) {
        self.compared += 1;
        let bits = now.difference(before);
        for (slot, pointer) in self.pointers.iter_mut().enumerate() {
            pointer.changed += u64::from(bits >> slot & 1 == 1);
        }
        let calls = if cost.is_call { cost.weight } else { 0 };
        let deliveries = cost.audience.unwrap_or_default() * cost.weight;
        self.audience_known |= cost.audience.is_some();
        self.change(Change { pointers: bits, count: 1, calls, deliveries });
    }

    fn change(&mut self, new: Change) {
        let known = self.changes.iter().position(|change| change.pointers == new.pointers);
        let index = known.unwrap_or_else(|| {
            // What finds no place of its own counts as if everything had changed.
            let pointers = if self.changes.len() + 1 < MAX_CHANGES { new.pointers } else { u64::MAX };
            self.changes.iter().position(|change| change.pointers == pointers).unwrap_or_else(|| {
                self.changes.push(Change { pointers, count: 0, calls: 0, deliveries: 0 });
                self.changes.len() - 1
            })
        });
        let change = &mut self.changes[index];
        change.count += new.count;
        change.calls += new.calls;
        change.deliveries += new.deliveries;
    }

    /// The slot of a pointer; `None`: there are too many. `guess`: where it may be.
    fn slot(&mut self, pointer: &str, is_base: bool, guess: usize) -> Option<usize> {
        let is_it = |known: &Pointer| known.is_base == is_base && *known.pointer == *pointer;
        if self.pointers.get(guess).is_some_and(is_it) {
            return Some(guess);
        }
        self.pointers.iter().position(is_it).or_else(|| {
            let slot = self.pointers.len();
            (slot < MAX_SLOTS).then(|| {
                self.pointers.push(Pointer {
                    pointer: pointer.into(),
                    is_base,
                    forms: Forms::default(),
                    present: 0,
                    changed: 0,
                    values: Vec::new(),
                });
                slot
            })
        })
    }

    /// Adds the counts of a family that is part of this one from now on.
    pub(super) fn absorb(&mut self, other: Self) {
        self.count += other.count;
        self.sampled += other.sampled;
        self.channels += other.channels;
        self.compared += other.compared;
        self.audience_known |= other.audience_known;
        self.unstructured += other.unstructured;
        let slots: Vec<Option<usize>> = other
            .pointers
            .into_iter()
            .map(|pointer| {
                let slot = self.slot(&pointer.pointer, pointer.is_base, 0);
                slot.inspect(|slot| self.pointers[*slot].absorb(pointer))
            })
            .collect();
        for change in other.changes {
            let bits = slots.iter().enumerate().filter(|(slot, _)| change.pointers >> slot & 1 == 1);
            let moved = bits
                .fold(change.pointers & ELSEWHERE, |bits, (_, slot)| bits | slot.map_or(ELSEWHERE, |slot| 1 << slot));
            let pointers = if change.pointers == u64::MAX { u64::MAX } else { moved };
            self.change(Change { pointers, ..change });
        }
    }

    /// The pointers, and what changed together.
    pub(super) fn report(&self) -> (Vec<PointerReport>, Vec<ChangeReport>) {
        let types = |forms: Forms| {
            let names = Forms::NAMES.into_iter().filter(move |(form, _)| forms.has(*form));
            names.map(|(_, name)| name.to_owned()).collect()
        };
        let pointer = |pointer: &Pointer| PointerReport {
            pointer: pointer.pointer.to_string(),
            before_query: pointer.is_base,
            types: types(pointer.forms),
            present: pointer.present,
            changed: pointer.changed,
            values: pointer.values.len() as u64,
            more_values: pointer.values.len() == MAX_VALUES,
        };
        let slots = self.pointers.len();
        let change = |change: &Change| ChangeReport {
            pointers: (0..slots).filter(|slot| change.pointers >> slot & 1 == 1).collect(),
            elsewhere: change.pointers & ELSEWHERE != 0,
            count: change.count,
            calls: change.calls,
            deliveries: change.deliveries,
        };
        (self.pointers.iter().map(pointer).collect(), self.changes.iter().map(change).collect())
    }

    /// How many bytes it takes beside itself.
    pub(super) fn size(&self) -> usize {
        let pointer = |pointer: &Pointer| pointer.pointer.len() + pointer.values.capacity() * 8 + 2 * ALLOCATION;
        self.pointers.capacity() * size_of::<Pointer>()
            + self.pointers.iter().map(pointer).sum::<usize>()
            + self.changes.capacity() * size_of::<Change>()
            + 2 * ALLOCATION
    }
}

impl Pointer {
    fn see(&mut self, forms: Forms, hash: u64) {
        self.forms = self.forms.and(forms);
        self.present += 1;
        if self.values.len() < MAX_VALUES && !self.values.contains(&hash) {
            self.values.push(hash);
        }
    }

    fn absorb(&mut self, other: Self) {
        let present = self.present + other.present;
        self.changed += other.changed;
        other.values.into_iter().for_each(|hash| self.see(other.forms, hash));
        self.present = present;
    }
}
