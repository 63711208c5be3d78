//! The events of one webhook on their way out: held back for a while, put together in batches, and bounded. Without
//! I/O: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::event_kind::{EventKind, EventKinds};
use super::held::Held;
use crate::broker::Occurrence;
use crate::clock::Moment;

/// How long the end of a subscription is held back: a client that is back by then was never gone, as a page that is
/// loaded again (`pusher-protocol.md` 5.2).
const GRACE: Duration = Duration::from_secs(3);
/// How long an event waits for others, and how many of them are sent without a wait (`pusher-protocol.md` 5.2).
const BATCH_DELAY: Duration = Duration::from_millis(250);
const FULL_BATCH: usize = 20;
/// The bounds of a batch, which has more than [`FULL_BATCH`] events if the receiver is slow.
const MAX_BATCH: usize = 100;
const MAX_BATCH_BYTES: usize = 512 * 1024;
/// The bound of the queue in bytes, beside the one in events.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// With more subscribers than this, their number is sent at most once in [`MANY_PAUSE`] (`pusher-protocol.md` 4.3).
const MANY: usize = 100;
const MANY_PAUSE: Duration = Duration::from_secs(5);

/// The events of a webhook that were not delivered yet.
#[derive(Debug)]
pub(super) struct Outbox {
    wanted: EventKinds,
    /// The largest number of events.
    max: usize,
    held: Held<Key, HeldEvent>,
    queued: VecDeque<QueuedEvent>,
    /// Of `queued`.
    bytes: usize,
    /// The number of events in the batch that is being sent.
    sending: usize,
    /// The number of events that found no space, since it was last asked for.
    lost: u64,
}

/// What is held back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Channel(Box<str>),
    Member(Box<str>, Box<str>),
    Count(Box<str>),
}

#[derive(Debug)]
enum HeldEvent {
    /// The end of a subscription.
    Ended,
    /// The number of subscribers that the receiver knows, and the present one.
    Count { told: usize, count: usize },
}

#[derive(Debug)]
struct QueuedEvent {
    json: Box<str>,
    /// Until when it may wait for others.
    due: Moment,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send these events, each as JSON; [`Outbox::sent`] has to follow.
    Batch(Vec<Box<str>>),
    /// Ask again at this moment, or after the next event.
    WaitUntil(Option<Moment>),
}

/// An event in a webhook's body (`pusher-protocol.md` 5.2).
#[derive(Debug, Default, Serialize)]
struct Event<'a> {
    name: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl Outbox {
    /// An empty one for at most `max` events.
    pub(super) fn new(wanted: EventKinds, max: usize) -> Self {
        Self { wanted, max, held: Held::new(), queued: VecDeque::new(), bytes: 0, sending: 0, lost: 0 }
    }

    /// Wants these kinds of events from now on.
    pub(super) const fn set_wanted(&mut self, wanted: EventKinds) {
        self.wanted = wanted;
    }

    /// Whether `kind` is wanted.
    pub(super) const fn wants(&self, kind: EventKind) -> bool {
        self.wanted.has(kind)
    }

    /// The number of events that were not delivered yet.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.queued.len() + self.sending
    }

    /// Notes what has happened at `now`. Returns whether there is something to be done earlier than before, so that the
    /// sender has to be woken.
    pub(super) fn note(&mut self, occurrence: &Occurrence<'_>, now: Moment) -> bool {
        let before = self.wakes_at();
        self.settle(now);
        self.add(occurrence, now);
        let after = self.wakes_at();
        after.is_some() && before.is_none_or(|before| after < Some(before))
    }

    fn add(&mut self, occurrence: &Occurrence<'_>, now: Moment) {
        let due = now.after(BATCH_DELAY);
        match *occurrence {
            Occurrence::ChannelOccupied { channel } => {
                if self.held.take(&Key::Channel(channel.into())).is_none() {
                    self.push(EventKind::ChannelOccupied, Event { channel, ..Event::default() }, due);
                }
            }
            Occurrence::ChannelVacated { channel } => {
                if self.wants(EventKind::ChannelOccupied) || self.wants(EventKind::ChannelVacated) {
                    self.hold(Key::Channel(channel.into()), now.after(GRACE), HeldEvent::Ended);
                }
            }
            Occurrence::MemberAdded { channel, user_id } => {
                if self.held.take(&Key::Member(channel.into(), user_id.into())).is_none() {
                    let event = Event { channel, user_id: Some(user_id), ..Event::default() };
                    self.push(EventKind::MemberAdded, event, due);
                }
            }
            Occurrence::MemberRemoved { channel, user_id } => {
                if self.wants(EventKind::MemberAdded) || self.wants(EventKind::MemberRemoved) {
                    let key = Key::Member(channel.into(), user_id.into());
                    self.hold(key, now.after(GRACE), HeldEvent::Ended);
                }
            }
            Occurrence::ClientEvent { channel, event, data, socket_id, user_id } => {
                let (event, socket_id) = (Some(event), Some(socket_id));
                let event = Event { channel, event, data, socket_id, user_id, ..Event::default() };
                self.push(EventKind::ClientEvent, event, due);
            }
            Occurrence::CacheMiss { channel } => {
                self.push(EventKind::CacheMiss, Event { channel, ..Event::default() }, due);
            }
            Occurrence::SubscriptionCount { channel, before, count } => {
                if self.wants(EventKind::SubscriptionCount) {
                    self.note_count(channel, before, count, now);
                }
            }
        }
    }

    /// What is to be done at `now`. `is_last`: nothing is held back and nothing waits for others any more.
    pub(super) fn next(&mut self, now: Moment, is_last: bool) -> Next {
        self.settle(if is_last { Moment::from_millis(u64::MAX) } else { now });
        let is_due = is_last || self.batch_due().is_some_and(|due| due <= now);
        if self.queued.is_empty() || !is_due {
            return Next::WaitUntil(self.wakes_at());
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < MAX_BATCH
            && let Some(first) =
                self.queued.pop_front_if(|first| bytes == 0 || bytes + first.json.len() <= MAX_BATCH_BYTES)
        {
            bytes += first.json.len();
            batch.push(first.json);
        }
        self.bytes -= bytes;
        self.sending = batch.len();
        Next::Batch(batch)
    }

    /// The batch of [`Outbox::next`] was delivered or given up.
    pub(super) const fn sent(&mut self) {
        self.sending = 0;
    }

    /// Gives everything up, and takes nothing from now on. Returns how many events that are.
    pub(super) fn end(&mut self) -> usize {
        let left = self.len();
        self.max = 0;
        (self.held, self.queued) = (Held::new(), VecDeque::new());
        (self.bytes, self.sending) = (0, 0);
        left
    }

    /// The number of events that found no space since the last call.
    pub(super) const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    /// When the next batch is due; `None`: nothing is queued.
    fn batch_due(&self) -> Option<Moment> {
        let first = self.queued.front()?;
        Some(if self.queued.len() >= FULL_BATCH { Moment::default() } else { first.due })
    }

    /// When there is something to be done.
    fn wakes_at(&self) -> Option<Moment> {
        self.batch_due().into_iter().chain(self.held.next_due()).min()
    }

    /// Queues what was held back until now. It has waited for others already.
    fn settle(&mut self, until: Moment) {
        while let Some((due, key, held)) = self.held.pop_due(until) {
            match (&key, held) {
                (Key::Channel(channel), HeldEvent::Ended) => {
                    self.push(EventKind::ChannelVacated, Event { channel, ..Event::default() }, due);
                }
                (Key::Member(channel, user_id), HeldEvent::Ended) => {
                    let event = Event { channel, user_id: Some(user_id), ..Event::default() };
                    self.push(EventKind::MemberRemoved, event, due);
                }
                (Key::Count(channel), HeldEvent::Count { told, count }) if told != count => {
                    let event = Event { channel, subscription_count: Some(count), ..Event::default() };
                    self.push(EventKind::SubscriptionCount, event, due);
                }
                _ => {}
            }
        }
    }

    /// The number is sent once it was not 0 for a moment; a number that is back at what the receiver knows is not sent.
    fn note_count(&mut self, channel: &str, before: usize, count: usize, now: Moment) {
        let key = Key::Count(channel.into());
        let due = now.after(if count == 0 {
            GRACE
        } else if count > MANY {
            MANY_PAUSE
        } else {
            BATCH_DELAY
        });
        match self.held.take(&key) {
            Some((earlier, HeldEvent::Count { told, count: last })) => {
                let due = if count == 0 || last == 0 { due } else { due.min(earlier) };
                self.held.put(key, due, HeldEvent::Count { told, count });
            }
            Some((_, HeldEvent::Ended)) | None => self.hold(key, due, HeldEvent::Count { told: before, count }),
        }
    }

    fn hold(&mut self, key: Key, due: Moment, event: HeldEvent) {
        if self.has_space() {
            self.held.put(key, due, event);
        }
    }

    /// Queues an event that may wait for others until `due`.
    fn push(&mut self, kind: EventKind, event: Event<'_>, due: Moment) {
        if !self.wants(kind) || !self.has_space() {
            return;
        }
        let event = Event { name: kind.name(), ..event };
        let json = serde_json::to_string(&event).expect("text and numbers can always be written as JSON");
        self.bytes += json.len();
        self.queued.push_back(QueuedEvent { json: json.into(), due });
    }

    /// Whether there is space for one more event; one that has none is counted as lost.
    fn has_space(&mut self) -> bool {
        let fits = self.len() < self.max && self.bytes < MAX_BYTES;
        self.lost += u64::from(!fits);
        fits
    }
}
