//! A channel as it is read from the store and written back: the state machine, and who holds its tickets.
//!
//! Moments are those of the server's clock, in milliseconds since the Unix epoch; epochs are the store's random numbers.

use std::time::Duration;

use crate::assignment::machine::{Channel, Known, Ticket, TicketId};
use crate::assignment::snapshot::{AppSnapshot, Epoch};
use crate::assignment::{Assignment, Outcome, Reach, Socket, Value};
use crate::clock::Moment;
use crate::cluster::{self, Reached, Read, Record, SwappedChannel, TicketValue, Unreadable};

/// A channel of the store.
#[derive(Debug, Clone)]
pub(super) struct SharedChannel {
    /// The version that was read; `None`: the channel was unknown.
    read: Option<[u8; 8]>,
    pub(super) channel: Channel,
    /// Who holds each of the channel's tickets.
    holders: Vec<Holder>,
    /// When a claim last named it, as far as it is written.
    seen: u64,
    announced: u32,
    /// Whether a request waits for a settlement.
    pub(super) awaited: bool,
    /// Whether anything has changed since it was read.
    pub(super) has_changed: bool,
}

#[derive(Debug, Clone)]
struct Holder {
    id: TicketId,
    node: String,
    generation: String,
    until: u64,
}

/// What tells which tickets may still be settled: the time at the server, and the members that are not missing, each
/// with its generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    pub(super) now: Moment,
    pub(super) members: &'a [(String, String)],
    pub(super) doubt_period: Duration,
}

impl<'a> Present<'a> {
    /// As it was read.
    pub(super) fn of(read: &'a Read, doubt_period: Duration) -> Self {
        Self { now: Moment::from_millis(read.now), members: &read.members, doubt_period }
    }
}

/// The state of the app as it was read. While it is open, nothing is known, as in a doubt.
pub(super) fn snapshot(read: &Read) -> AppSnapshot {
    AppSnapshot {
        epoch: Epoch::of(read.epoch),
        in_flight: read.wide > 0,
        in_doubt: read.open.is_some() || !read.doubt_left.is_zero(),
    }
}

impl SharedChannel {
    /// The channel of these bytes. A ticket whose holder is gone or late is ambiguous.
    ///
    /// # Errors
    /// They are not those of a channel in a version that is known.
    pub(super) fn decode(bytes: &[u8], present: Present<'_>) -> Result<Self, Unreadable> {
        let (record, read) = if bytes.is_empty() {
            (Record::default(), None)
        } else {
            let (record, version) = Record::decode(bytes)?;
            (record, Some(version))
        };
        let Record { known, tickets, doubt_until, seen, announced, awaited } = record;
        let (tickets, holders) = tickets.into_iter().map(read_ticket).unzip();
        let channel = Channel::from_parts(known.map(read_known), tickets, Moment::from_millis(doubt_until));
        let mut it = Self { read, channel, holders, seen, announced, awaited, has_changed: false };
        let Present { now, members, doubt_period } = present;
        let gone: Vec<TicketId> =
            it.holders.iter().filter(|holder| !holder.is_there(now, members)).map(|holder| holder.id).collect();
        for id in gone {
            it.settle(id, Outcome::Ambiguous, now, doubt_period);
        }
        Ok(it)
    }

    /// The channel with this key as it is written at `now` of the server, in its new `version`; for a rule that remembers
    /// it for a time. From then on it is as if it had been read in this version.
    pub(super) fn swapped(
        &mut self,
        (key, remember_for): (&[u8], Duration),
        now: Moment,
        version: u64,
        publishes: bool,
    ) -> SwappedChannel {
        let record = self.record();
        SwappedChannel {
            key: key.to_vec(),
            read: self.read.replace(version.to_be_bytes()),
            value: record.encode(version),
            lifetime: record.lifetime(now.as_millis(), remember_for),
            publishes,
        }
    }

    /// A claim names it.
    pub(super) fn see(&mut self, now: Moment) {
        self.seen = self.seen.max(now.as_millis());
    }

    /// Says who holds the ticket `id`, which was claimed just now, and until when.
    pub(super) fn hold(&mut self, id: TicketId, node: &str, generation: &str, until: Moment) {
        self.holders.push(Holder {
            id,
            node: node.to_owned(),
            generation: generation.to_owned(),
            until: until.as_millis(),
        });
        self.has_changed = true;
    }

    /// Whether the ticket `id` is held.
    pub(super) fn holds(&self, id: TicketId) -> bool {
        self.holders.iter().any(|holder| holder.id == id)
    }

    /// Whether the ticket `id` is held by this member.
    pub(super) fn is_held_by(&self, id: TicketId, node: &str, generation: &str) -> bool {
        self.holders.iter().any(|holder| holder.id == id && holder.node == node && holder.generation == generation)
    }

    /// Settles a ticket.
    pub(super) fn settle(&mut self, id: TicketId, outcome: Outcome, now: Moment, doubt_period: Duration) {
        if self.channel.settle(id, outcome, now, doubt_period) {
            self.announced = self.announced.saturating_add(1);
        }
        self.holders.retain(|holder| holder.id != id);
        self.has_changed = true;
    }

    /// Somebody has subscribed to it.
    pub(super) fn joined(&mut self) {
        self.has_changed |= self.channel.joined();
    }

    /// Makes it unknown: no ticket on it commits or releases.
    pub(super) fn forget(&mut self) {
        self.channel.forget();
        self.has_changed = true;
    }

    /// Announcements forwarded and accepted.
    pub(super) const fn announced(&self) -> u32 {
        self.announced
    }

    /// When a claim last named it, as far as it is written.
    pub(super) const fn seen(&self) -> Moment {
        Moment::from_millis(self.seen)
    }

    fn record(&self) -> Record {
        let (known, tickets, doubt_until) = self.channel.clone().into_parts();
        let tickets = tickets.into_iter().filter_map(|ticket| {
            let holder = self.holders.iter().find(|holder| holder.id == ticket.id)?;
            Some(written_ticket(ticket, holder))
        });
        Record {
            known: known.map(written_known),
            tickets: tickets.collect(),
            doubt_until: doubt_until.as_millis(),
            seen: self.seen,
            announced: self.announced,
            awaited: self.awaited,
        }
    }
}

impl Holder {
    /// Whether it may still settle its ticket.
    fn is_there(&self, now: Moment, members: &[(String, String)]) -> bool {
        let is_member = members.iter().any(|(node, generation)| *node == self.node && *generation == self.generation);
        is_member && now.as_millis() < self.until
    }
}

fn read_known(cluster::Known { shown, since, epoch, reach }: cluster::Known) -> Known {
    Known {
        assignment: Assignment::from_text(&shown),
        since: Moment::from_millis(since),
        epoch: Epoch::of(epoch),
        reach: read_reach(reach),
    }
}

fn written_known(Known { assignment, since, epoch, reach }: Known) -> cluster::Known {
    cluster::Known {
        shown: assignment.text().to_owned(),
        since: since.as_millis(),
        epoch: epoch.count(),
        reach: written_reach(reach),
    }
}

const fn read_reach(reach: Reached) -> Reach {
    match reach {
        Reached::All => Reach::All,
        Reached::AllBut(first, second) => Reach::AllBut(Socket::of((first, second))),
        Reached::NotAll => Reach::NotAll,
    }
}

const fn written_reach(reach: Reach) -> Reached {
    match reach {
        Reach::All => Reached::All,
        Reach::AllBut(socket) => {
            let (first, second) = socket.numbers();
            Reached::AllBut(first, second)
        }
        Reach::NotAll => Reached::NotAll,
    }
}

fn read_ticket(ticket: cluster::Ticket) -> (Ticket, Holder) {
    let cluster::Ticket { node, generation, id, until, value, reach, before, overlapped, contested, renews, epoch } =
        ticket;
    let value = match value {
        TicketValue::One(shown) => Value::One(Assignment::from_text(&shown)),
        TicketValue::Last(shown) => Value::Last(Assignment::from_text(&shown)),
        TicketValue::Opaque => Value::Opaque,
    };
    let (reach, before, epoch) = (read_reach(reach), before.map(read_known), Epoch::of(epoch));
    let ticket = Ticket { id, value, reach, before, overlapped, contested, renews, epoch };
    (ticket, Holder { id, node, generation, until })
}

fn written_ticket(ticket: Ticket, holder: &Holder) -> cluster::Ticket {
    let Ticket { id, value, reach, before, overlapped, contested, renews, epoch } = ticket;
    let value = match value {
        Value::One(assignment) => TicketValue::One(assignment.text().to_owned()),
        Value::Last(assignment) => TicketValue::Last(assignment.text().to_owned()),
        Value::Opaque => TicketValue::Opaque,
    };
    cluster::Ticket {
        node: holder.node.clone(),
        generation: holder.generation.clone(),
        id,
        until: holder.until,
        value,
        reach: written_reach(reach),
        before: before.map(written_known),
        overlapped,
        contested,
        renews,
        epoch: epoch.count(),
    }
}

/// The channel as it comes back from the store, with all holders of its tickets present: nothing may have changed.
#[cfg(test)]
pub(in crate::assignment) fn stored(channel: Channel) -> Channel {
    let members = [("node".to_owned(), "generation".to_owned())];
    let holders = channel.tickets().iter().map(|ticket| Holder {
        id: ticket.id,
        node: members[0].0.clone(),
        generation: members[0].1.clone(),
        until: u64::MAX,
    });
    let holders = holders.collect();
    let written =
        SharedChannel { read: None, channel, holders, seen: 0, announced: 0, awaited: false, has_changed: true };
    let present = Present { now: Moment::default(), members: &members, doubt_period: Duration::ZERO };
    let read = SharedChannel::decode(&written.record().encode(7), present).expect("what was written");
    assert!(!read.has_changed);
    read.channel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::machine::Occasion;

    const DOUBT: Duration = Duration::from_secs(30);
    const CALM: AppSnapshot = AppSnapshot { epoch: Epoch::of(7), in_flight: false, in_doubt: false };

    fn at(now: u64, members: &[(String, String)]) -> Present<'_> {
        Present { now: Moment::from_millis(now), members, doubt_period: DOUBT }
    }

    fn anna() -> Value {
        Value::One(Assignment::new(0, "7", ["123"]))
    }

    fn members() -> Vec<(String, String)> {
        vec![("a".to_owned(), "g".to_owned()), ("b".to_owned(), "h".to_owned())]
    }

    /// A channel with one ticket of the node `a` for Anna, claimed at 1,000 and late from 2,000 on.
    fn claimed() -> SharedChannel {
        let members = members();
        let mut channel = SharedChannel::decode(&[], at(1_000, &members)).unwrap();
        let occasion = Occasion::new(Moment::from_millis(1_000), u64::MAX);
        channel.channel.claim(1, (&anna()).into(), true, occasion, CALM);
        channel.hold(1, "a", "g", Moment::from_millis(2_000));
        channel
    }

    #[test]
    fn a_channel_comes_back_as_it_was_written() {
        let members = members();
        let mut channel = claimed();
        assert!(channel.has_changed && channel.read.is_none());
        let back = SharedChannel::decode(&channel.record().encode(5), at(1_500, &members)).unwrap();
        assert_eq!((back.channel.clone(), back.read), (channel.channel.clone(), Some(5_u64.to_be_bytes())));
        assert!(back.holds(1) && !back.has_changed);
        channel.settle(1, Outcome::Accepted, Moment::from_millis(1_600), DOUBT);
        let back = SharedChannel::decode(&channel.record().encode(6), at(1_700, &members)).unwrap();
        assert_eq!((back.channel, back.announced), (channel.channel, 1));
    }

    #[test]
    fn a_ticket_whose_holder_is_gone_or_late_is_ambiguous() {
        let bytes = claimed().record().encode(5);
        let other_generation = vec![("a".to_owned(), "another".to_owned())];
        for (now, members) in [(1_500, vec![]), (1_500, other_generation), (2_000, members())] {
            let channel = SharedChannel::decode(&bytes, at(now, &members)).unwrap();
            assert!(channel.channel.in_doubt(Moment::from_millis(now)) && !channel.holds(1) && channel.has_changed);
        }
        let channel = SharedChannel::decode(&bytes, at(1_999, &members())).unwrap();
        assert!(!channel.channel.in_doubt(Moment::from_millis(1_999)) && channel.holds(1));
    }
}
