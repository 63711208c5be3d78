//! An idle channel in one block of bytes, so that a claim costs one memory access beyond the table's bucket.
//!
//! The block holds numbers at fixed offsets, little-endian; then the channel's name; then the text of the assignment that
//! the channel is known to show, which is empty if that is unknown; and to the end the connection that the announcement
//! left out, if it did. Names and texts are compared as bytes, and decoded only for the operator.

use std::time::Duration;

use super::machine::{Known, Occasion};
use super::reach::SOCKET_LENGTH;
use super::snapshot::{AppSnapshot, Epoch};
use super::{Announced, Assignment, KeptChannel, Reach, Shown, Socket};
use crate::clock::Moment;

/// The longest name that an entry can hold.
pub(super) const MAX_NAME: usize = u16::MAX as usize;

/// Milliseconds in the unit of time of an idle entry.
const MILLIS_PER_TICK: u64 = 100;

// The offset of each field in the block: `u32` four times, `u64`, `u16`, flags, bytes.
const SINCE: usize = 0;
const ANNOUNCED: usize = 4;
const SUPPRESSED: usize = 8;
const SEEN: usize = 12;
const EPOCH: usize = 16;
const NAME_LEN: usize = 24;
const FLAGS: usize = 26;
const NAME: usize = 27;

// The flags.
/// A claim named it again since it was appended to the eviction queue.
const REFERENCED: u8 = 1;
/// Somebody has subscribed since its assignment was announced ([`Reach::NotAll`]).
const MISSED: u8 = 2;
/// The announcement left out the connection at the end of the block ([`Reach::AllBut`]).
const LEFT_OUT: u8 = 4;

/// An idle channel.
///
/// Times are in tenths of a second, rounded down: an entry may appear older than it is, never younger, so it is
/// forgotten too early rather than too late. They overflow after 13 years; from then on every entry appears old.
#[derive(Debug)]
pub(super) struct IdleEntry {
    block: Box<[u8]>,
}

impl IdleEntry {
    /// A channel of this name; `None` if that is longer than [`MAX_NAME`].
    pub(super) fn new(
        name: &str,
        known: Option<&Known>,
        seen: Moment,
        announced: u32,
        suppressed: u32,
        referenced: bool,
    ) -> Option<Self> {
        let (since, epoch, shown, reach) = known
            .map_or_else(Default::default, |known| (known.since, known.epoch, known.assignment.text(), known.reach));
        let kept = KeptChannel { name, shown, reach, since, seen, announced, suppressed, doubt_left: Duration::ZERO };
        Self::from_kept(kept, epoch, referenced)
    }

    /// The channel that `kept` describes, known in `epoch`; `None` if its name is longer than [`MAX_NAME`].
    pub(super) fn from_kept(kept: KeptChannel<'_>, epoch: Epoch, referenced: bool) -> Option<Self> {
        let KeptChannel { name, shown, reach, since, seen, announced, suppressed, doubt_left: _ } = kept;
        let name_len = u16::try_from(name.len()).ok()?;
        let mut flags = if referenced { REFERENCED } else { 0 };
        let mut left_out = None;
        match reach {
            _ if shown.is_empty() => {}
            Reach::All => {}
            Reach::AllBut(socket) => {
                flags |= LEFT_OUT;
                left_out = Some(socket.to_bytes());
            }
            Reach::NotAll => flags |= MISSED,
        }
        let parts: [&[u8]; 10] = [
            &ticks(since).to_le_bytes(),
            &announced.to_le_bytes(),
            &suppressed.to_le_bytes(),
            &ticks(seen).to_le_bytes(),
            &epoch.count().to_le_bytes(),
            &name_len.to_le_bytes(),
            &[flags],
            name.as_bytes(),
            shown.as_bytes(),
            left_out.as_ref().map_or(&[][..], |socket| &socket[..]),
        ];
        Some(Self { block: parts.concat().into_boxed_slice() })
    }

    /// The channel as it outlives the process.
    pub(super) fn kept(&self, snapshot: AppSnapshot) -> KeptChannel<'_> {
        KeptChannel {
            name: self.name(),
            shown: if snapshot.keeps(self.epoch()) { text(self.shown()) } else { "" },
            reach: self.reach(),
            since: moment(self.u32_at(SINCE)),
            seen: self.seen(),
            announced: self.announced(),
            suppressed: self.suppressed(),
            doubt_left: Duration::ZERO,
        }
    }

    /// Whether it is the channel of this name.
    pub(super) fn is_named(&self, channel: &str) -> bool {
        self.name_len() == channel.len() && self.block[NAME..].starts_with(channel.as_bytes())
    }

    /// What it is known to show, if that makes the claim redundant. A shortcut for the hot path, with the same result as
    /// `Channel::compare`.
    pub(super) fn shows(&self, claim: &Announced<'_>, occasion: Occasion, snapshot: AppSnapshot) -> Option<Shown> {
        let assignment = claim.value.announced()?;
        let text = assignment.text().as_bytes();
        // Compared from the end, whose position is known without reading the block: so its cache lines are fetched in
        // parallel, not one after the other.
        let shown = &self.block[self.block.len().checked_sub(text.len())?..];
        let same = self.block.len() == NAME + self.name_len() + text.len() && assignment.equals_text(shown);
        let flags = self.block[FLAGS];
        if flags & LEFT_OUT != 0 {
            return self.shows_all_but_one(claim, occasion, snapshot);
        }
        let since = moment(self.u32_at(SINCE));
        (same && flags & MISSED == 0 && snapshot.keeps(self.epoch()) && !occasion.is_due(since))
            .then(|| Shown { since, difference: assignment.difference_from_text(shown) })
    }

    /// The same for a channel whose announcement left a connection out.
    #[cold]
    fn shows_all_but_one(&self, claim: &Announced<'_>, occasion: Occasion, snapshot: AppSnapshot) -> Option<Shown> {
        let (known, announced) = (self.known()?, claim.value.announced()?);
        let shown = || Shown { since: known.since, difference: announced.difference_from(&known.assignment) };
        (*announced == known.assignment
            && snapshot.keeps(known.epoch)
            && known.renewal(claim.left_out, occasion).is_none())
        .then(shown)
    }

    /// Counts a redundant announcement.
    pub(super) fn suppress(&mut self, now: Moment) {
        let seen = self.u32_at(SEEN).max(ticks(now));
        self.block[SEEN..][..size_of::<u32>()].copy_from_slice(&seen.to_le_bytes());
        self.block[FLAGS] |= REFERENCED;
        let suppressed = self.suppressed().saturating_add(1);
        self.block[SUPPRESSED..][..size_of::<u32>()].copy_from_slice(&suppressed.to_le_bytes());
    }

    pub(super) fn name(&self) -> &str {
        text(&self.block[NAME..self.name_end()])
    }

    /// The assignment that it is known to show.
    pub(super) fn known(&self) -> Option<Known> {
        let shown = self.shown();
        let known = || Known {
            assignment: Assignment::from_text(text(shown)),
            since: moment(self.u32_at(SINCE)),
            epoch: self.epoch(),
            reach: self.reach(),
        };
        (!shown.is_empty()).then(known)
    }

    /// The time of the last claim that named it.
    pub(super) fn seen(&self) -> Moment {
        moment(self.u32_at(SEEN))
    }

    /// Whether a claim named it again since it was appended to the eviction queue.
    pub(super) fn referenced(&self) -> bool {
        self.has(REFERENCED)
    }

    /// The same; resets the flag.
    pub(super) fn take_referenced(&mut self) -> bool {
        let was = self.referenced();
        self.block[FLAGS] &= !REFERENCED;
        was
    }

    /// Somebody has subscribed. Whom the announcement left out does not matter any more, but its place remains.
    pub(super) fn joined(&mut self) {
        self.block[FLAGS] |= MISSED;
    }

    /// Announcements forwarded and accepted.
    pub(super) fn announced(&self) -> u32 {
        self.u32_at(ANNOUNCED)
    }

    /// Announcements found redundant.
    pub(super) fn suppressed(&self) -> u32 {
        self.u32_at(SUPPRESSED)
    }

    /// The text of the assignment that it is known to show; empty: unknown.
    fn shown(&self) -> &[u8] {
        let left_out = if self.has(LEFT_OUT) { SOCKET_LENGTH } else { 0 };
        &self.block[self.name_end()..self.block.len() - left_out]
    }

    /// Who has had its assignment.
    fn reach(&self) -> Reach {
        match self.block.last_chunk() {
            _ if self.has(MISSED) => Reach::NotAll,
            Some(socket) if self.has(LEFT_OUT) => Reach::AllBut(Socket::from_bytes(*socket)),
            _ => Reach::All,
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.block[FLAGS] & flag != 0
    }

    /// The app's epoch in which its assignment became known.
    fn epoch(&self) -> Epoch {
        Epoch::of(u64::from_le_bytes(self.bytes_at(EPOCH)))
    }

    fn name_len(&self) -> usize {
        usize::from(u16::from_le_bytes(self.bytes_at(NAME_LEN)))
    }

    fn name_end(&self) -> usize {
        NAME + self.name_len()
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes_at(offset))
    }

    fn bytes_at<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.block[offset..].first_chunk().expect("a block holds all its numbers")
    }
}

/// Bytes of a block as text.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("names and assignments are text")
}

/// Rounded down, and saturating.
fn ticks(moment: Moment) -> u32 {
    u32::try_from(moment.as_millis() / MILLIS_PER_TICK).unwrap_or(u32::MAX)
}

fn moment(ticks: u32) -> Moment {
    Moment::from_millis(u64::from(ticks) * MILLIS_PER_TICK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::assignment::{Value, machine};

    const CALM: AppSnapshot = AppSnapshot { epoch: Epoch::of(u64::MAX), in_flight: false, in_doubt: false };

    fn known(identity: &str) -> Known {
        let assignment = Assignment::new(1, identity, ["null"]);
        Known { assignment, since: Moment::from_millis(300), epoch: CALM.epoch, reach: Reach::All }
    }

    fn never() -> Occasion {
        Occasion::new(Moment::from_millis(900), u64::MAX)
    }

    fn shown(entry: &IdleEntry, identity: &str) -> Option<Moment> {
        let value = Value::One(Assignment::new(1, identity, ["null"]));
        entry.shows(&(&value).into(), never(), CALM).map(|shown| shown.since)
    }

    #[test]
    fn every_field_is_read_back_as_written() {
        let anna = known("\"Änna\"");
        let mut entry =
            IdleEntry::new("zimmer-ü", Some(&anna), Moment::from_millis(799), 0x0102_0304, u32::MAX - 1, false)
                .expect("a short name");
        let fields = |entry: &IdleEntry| {
            (entry.name().to_owned(), entry.known(), entry.seen().as_millis(), entry.announced(), entry.suppressed())
        };
        assert_eq!(fields(&entry), ("zimmer-ü".to_owned(), Some(anna.clone()), 700, 0x0102_0304, u32::MAX - 1));
        entry.suppress(Moment::from_millis(900));
        entry.suppress(Moment::from_millis(800));
        assert_eq!(fields(&entry), ("zimmer-ü".to_owned(), Some(anna), 900, 0x0102_0304, u32::MAX));
    }

    #[test]
    fn name_and_assignment_are_compared_whole() {
        let entry = IdleEntry::new("room-1", Some(&known("7")), Moment::default(), 1, 0, false).expect("a short name");
        assert!(entry.is_named("room-1"));
        assert!(
            ["", "room-", "room-2", "room-11", "room-11\u{1f}7\u{1f}null"].iter().all(|other| !entry.is_named(other))
        );
        assert_eq!(shown(&entry, "7"), Some(Moment::from_millis(300)));
        assert!(["", "8", "77"].iter().all(|other| shown(&entry, other).is_none()));
        let one = Value::One(known("7").assignment);
        assert_eq!(entry.shows(&(&one).into(), never(), AppSnapshot { in_doubt: true, ..CALM }), None);
        assert_eq!(entry.shows(&(&one).into(), never(), AppSnapshot { epoch: Epoch::of(0), ..CALM }), None);
        assert_eq!(entry.shows(&(&Value::Last(known("7").assignment)).into(), never(), CALM), None);
        let age = |millis| Occasion::new(Moment::from_millis(900), millis);
        assert!(entry.shows(&(&one).into(), age(601), CALM).is_some());
        assert_eq!(entry.shows(&(&one).into(), age(600), CALM), None);
    }

    #[test]
    fn who_has_had_it_is_read_back_and_compared() {
        let (anna, ben) = (Socket::of((1, u64::MAX)), Socket::of((u64::MAX, 2)));
        let value = Value::One(known("7").assignment);
        let shows = |entry: &IdleEntry| {
            [None, Some(anna), Some(ben)]
                .map(|left_out| entry.shows(&Announced { value: &value, left_out }, never(), CALM).is_some())
        };
        let entry = |reach| {
            let known = Known { reach, ..known("7") };
            let entry = IdleEntry::new("room", Some(&known), Moment::default(), 1, 0, true).expect("a short name");
            assert_eq!((entry.known(), entry.kept(CALM).reach, entry.referenced()), (Some(known), reach, true));
            entry
        };
        let all = entry(Reach::All);
        assert_eq!(shows(&all), [true; 3]);
        let mut all_but = entry(Reach::AllBut(anna));
        assert_eq!((shows(&all_but), all_but.block.len()), ([false, true, false], all.block.len() + 16));
        assert_eq!(all_but.shows(&(&Value::One(known("8").assignment)).into(), never(), CALM), None);
        all_but.joined();
        let mut missed = entry(Reach::All);
        missed.joined();
        for mut entry in [all_but, missed, entry(Reach::NotAll)] {
            assert_eq!((shows(&entry), entry.known().map(|known| known.reach)), ([false; 3], Some(Reach::NotAll)));
            entry.suppress(Moment::default());
            assert!(entry.take_referenced() && !entry.referenced());
            assert_eq!(entry.known().map(|known| known.reach), Some(Reach::NotAll));
        }
        // The name and the assignment of one channel may be as long as those and the connection of another.
        let longer = Value::One(Assignment::new(1, "7", ["null", "0123456789abcde"]));
        let entry = entry(Reach::AllBut(anna));
        assert_eq!(entry.shows(&(&longer).into(), never(), CALM), None);
    }

    proptest! {
        /// The shortcut says the same as the state machine.
        #[test]
        fn an_entry_shows_what_a_channel_compares_as_redundant(
            (reach, left_out) in (reach(), proptest::option::of(socket())),
            (identity, age, epoch) in (0..2_u8, 0..1_200_u64, 0..2_u64),
            missed: bool,
        ) {
            let known = Known { reach, epoch: Epoch::of(u64::MAX - epoch), ..known("7") };
            let mut entry = IdleEntry::new("room", Some(&known), Moment::default(), 1, 0, true).expect("a short name");
            let mut channel = machine::Channel::idle(entry.known());
            if missed {
                entry.joined();
                channel.joined();
            }
            let value = Value::One(Assignment::new(1, ["7", "8"][usize::from(identity)], ["null"]));
            let announced = Announced { value: &value, left_out };
            let occasion = Occasion::new(Moment::from_millis(900), age);
            let compared = channel.compare(announced, occasion, CALM);
            let shown = entry.shows(&announced, occasion, CALM).map(machine::Comparison::Redundant);
            prop_assert_eq!(shown, Some(compared).filter(|compared| compared.is_redundant()));
        }
    }

    fn socket() -> impl Strategy<Value = Socket> {
        (0..2_u64).prop_map(|number| Socket::of((number, 1)))
    }

    fn reach() -> impl Strategy<Value = Reach> {
        prop_oneof![Just(Reach::All), Just(Reach::NotAll), socket().prop_map(Reach::AllBut)]
    }

    #[test]
    fn what_is_unknown_is_no_assignment() {
        let entry = IdleEntry::new("room", None, Moment::default(), 1, 0, false).expect("a short name");
        assert_eq!((entry.known(), entry.name()), (None, "room"));
        // A name that ends with the text of an assignment.
        let entry = IdleEntry::new("room1\u{1f}7\u{1f}null", None, Moment::default(), 1, 0, false)
            .expect("a name like any other");
        assert_eq!((entry.known(), shown(&entry, "7")), (None, None));
    }

    #[test]
    fn a_name_may_be_as_long_as_its_length_field_allows() {
        let name = "x".repeat(MAX_NAME + 1);
        let entry = |name: &str| IdleEntry::new(name, None, Moment::default(), 0, 0, false);
        assert!(entry(&name).is_none() && entry(&name[1..]).is_some_and(|entry| entry.is_named(&name[1..])));
    }
}
