//! The bytes of one channel at the server.
//!
//! A value is the version of its encoding in one byte, its own version in eight random ones (so that a channel that was
//! removed and came back is not taken for the one that was read), and the fields. A reader does not change what is
//! written in a later version than it knows: fields would be lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of the encoding that this code writes. Version 1 did not say whom announcements have reached.
pub const VERSION: u8 = 2;

/// The length of what is in front of the fields: the two versions.
const HEAD: usize = 9;

/// One channel. Times are milliseconds of the server's clock since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// What it is known to show.
    pub known: Option<Known>,
    /// The tickets in flight on it.
    pub tickets: Vec<Ticket>,
    /// It is in doubt until then.
    pub doubt_until: u64,
    /// When a claim last named it.
    pub seen: u64,
    /// Announcements forwarded and accepted.
    pub announced: u32,
    /// Whether a request of any process waits for a settlement, which is then published.
    pub awaited: bool,
}

/// What a channel is known to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The text of the assignment.
    pub shown: String,
    /// When it became known, or was last announced as news.
    pub since: u64,
    /// The epoch of the app in which it counts.
    pub epoch: u64,
    /// Who has had it.
    pub reach: Reached,
}

/// Which of a channel's clients have had an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reached {
    /// All of them.
    All,
    /// All but the connection with these two numbers as its socket id.
    AllBut(u64, u64),
    /// Somebody has subscribed since.
    NotAll,
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The node that holds it.
    pub node: String,
    /// The generation of that node.
    pub generation: String,
    /// Its number: a read that finds it tells that the swap whose answer was lost was done.
    pub id: u64,
    /// By then its holder has settled it, or never will.
    pub until: u64,
    /// What is announced.
    pub value: TicketValue,
    /// Whom it reaches.
    pub reach: Reached,
    /// What was known before.
    pub before: Option<Known>,
    /// Another ticket was in flight beside it: it may not release.
    pub overlapped: bool,
    /// One for something else was, or the channel was in doubt: it may not commit.
    pub contested: bool,
    /// It was news.
    pub renews: bool,
    /// The app's epoch when it was claimed.
    pub epoch: u64,
}

/// What a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketValue {
    /// Exactly this assignment.
    One(String),
    /// Several, of which this is the last one.
    Last(String),
    /// Anything.
    Opaque,
}

/// A channel whose bytes cannot be read. It is claimed as if it were in doubt, and not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later version of usher wrote it.
    #[error("it is written in version {0} of the encoding")]
    Later(u8),
    /// Nothing that usher writes.
    #[error("its bytes are not those of a channel")]
    Malformed,
}

impl Record {
    /// The bytes of the channel, whose own version is `version` from now on.
    #[must_use]
    pub fn encode(&self, version: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(VERSION);
        bytes.extend(version.to_be_bytes());
        // Fails only where a length is not known before or a writer fails: neither is possible here.
        postcard::to_extend(self, bytes).expect("a record has known lengths, and a list takes all bytes")
    }

    /// Reads the bytes of a channel, and its own version. Nothing is taken from an earlier version of the encoding: while
    /// any process writes that, nobody suppresses, and when none does any more, the app begins a new epoch in doubt.
    ///
    /// # Errors
    /// They are not those of a channel in a version that is known.
    pub fn decode(bytes: &[u8]) -> Result<(Self, [u8; 8]), Unreadable> {
        let (head, fields) = bytes.split_at_checked(HEAD).ok_or(Unreadable::Malformed)?;
        let (&encoding, own) = head.split_first().ok_or(Unreadable::Malformed)?;
        if encoding > VERSION {
            return Err(Unreadable::Later(encoding));
        }
        let own = own.try_into().map_err(|_| Unreadable::Malformed)?;
        if (1..VERSION).contains(&encoding) {
            return Ok((Self::default(), own));
        }
        match postcard::take_from_bytes(fields) {
            Ok((record, [])) if encoding == VERSION => Ok((record, own)),
            Ok(_) | Err(_) => Err(Unreadable::Malformed),
        }
    }

    /// After how long, counted from `now`, the server may forget the channel: `remember_for` after a claim named it, and
    /// not before its doubt is over, nor while a ticket on it may be in flight.
    #[must_use]
    pub fn lifetime(&self, now: u64, remember_for: Duration) -> Duration {
        let remembered = Duration::from_millis(self.seen).saturating_add(remember_for);
        let held = self.tickets.iter().map(|ticket| ticket.until).max().unwrap_or(0);
        let until = remembered.max(Duration::from_millis(self.doubt_until.max(held)));
        // A lifetime of zero is refused by the server.
        until.saturating_sub(Duration::from_millis(now)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn reach() -> impl Strategy<Value = Reached> {
        let all_but = any::<(u64, u64)>().prop_map(|(first, second)| Reached::AllBut(first, second));
        prop_oneof![Just(Reached::All), Just(Reached::NotAll), all_but]
    }

    fn known() -> impl Strategy<Value = Known> {
        let known = |(shown, since, epoch, reach)| Known { shown, since, epoch, reach };
        (".{0,20}", any::<u64>(), any::<u64>(), reach()).prop_map(known)
    }

    fn ticket() -> impl Strategy<Value = Ticket> {
        let value = prop_oneof![
            ".{0,20}".prop_map(TicketValue::One),
            ".{0,20}".prop_map(TicketValue::Last),
            Just(TicketValue::Opaque)
        ];
        let effect = (value, reach(), proptest::option::of(known()));
        (effect, any::<[u64; 3]>(), any::<[bool; 3]>(), "[a-z]{1,9}").prop_map(
            |((value, reach, before), [id, until, epoch], [overlapped, contested, renews], node)| Ticket {
                generation: format!("of {node}"),
                epoch,
                node,
                id,
                until,
                value,
                reach,
                before,
                overlapped,
                contested,
                renews,
            },
        )
    }

    fn record() -> impl Strategy<Value = Record> {
        (proptest::option::of(known()), vec(ticket(), 0..4), any::<(u64, u64, u32, bool)>()).prop_map(
            |(known, tickets, (doubt_until, seen, announced, awaited))| Record {
                known,
                tickets,
                doubt_until,
                seen,
                announced,
                awaited,
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_comes_back(record in record(), version: u64) {
            let bytes = record.encode(version);
            prop_assert_eq!(bytes[0], VERSION);
            prop_assert_eq!(Record::decode(&bytes), Ok((record, version.to_be_bytes())));
        }

        #[test]
        fn no_part_of_a_record_is_one(record in record(), cut in 1_usize..200) {
            let bytes = record.encode(7);
            prop_assert_eq!(Record::decode(&bytes[..bytes.len().saturating_sub(cut)]), Err(Unreadable::Malformed));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
            // Nothing that is read may panic, and what is read is what is written again.
            if let Ok((record, own)) = Record::decode(&bytes) {
                prop_assert_eq!(Record::decode(&record.encode(u64::from_be_bytes(own))), Ok((record, own)));
            }
        }
    }

    #[test]
    fn a_later_version_and_more_bytes_are_not_read() {
        let mut bytes = Record::default().encode(7);
        bytes.push(0);
        assert_eq!(Record::decode(&bytes), Err(Unreadable::Malformed));
        bytes[0] = VERSION + 1;
        assert_eq!(Record::decode(&bytes), Err(Unreadable::Later(VERSION + 1)));
        bytes[0] = 0;
        assert_eq!(Record::decode(&bytes), Err(Unreadable::Malformed));
    }

    #[test]
    fn nothing_is_taken_from_an_earlier_version() {
        let mut bytes = Record { announced: 3, ..Record::default() }.encode(7);
        bytes[0] = 1;
        assert_eq!(Record::decode(&bytes), Ok((Record::default(), 7_u64.to_be_bytes())));
        assert_eq!(Record::decode(&bytes[..HEAD - 1]), Err(Unreadable::Malformed));
    }

    #[test]
    fn a_record_outlives_its_doubt_and_its_tickets() {
        let (day, minute) = (Duration::from_hours(24), Duration::from_mins(1));
        let mut record = Record { seen: 1_000, ..Record::default() };
        assert_eq!(record.lifetime(1_000, day), day);
        assert_eq!(record.lifetime(90_000_000, day), Duration::from_millis(1), "its time is over");
        record.doubt_until = 90_030_000;
        assert_eq!(record.lifetime(90_000_000, day), Duration::from_secs(30));
        record.tickets.push(Ticket {
            node: "a".into(),
            generation: "g".into(),
            id: 1,
            until: 90_060_000,
            value: TicketValue::Opaque,
            reach: Reached::All,
            before: None,
            overlapped: false,
            contested: false,
            renews: true,
            epoch: 1,
        });
        assert_eq!(record.lifetime(90_000_000, day), minute);
    }
}
