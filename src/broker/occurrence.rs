//! What happens on the channels of an app, for a sink that tells the app's backend: the events of Pusher's webhooks
//! (`pusher-protocol.md` 5.2). The channels of users are internal, and nothing of them is told.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use serde_json::value::RawValue;

use super::channel::{Channel, Counts};
use super::channel_type::Access;
use super::frame::{self, Frame};
use super::socket_id::SocketId;

/// Something that happened on a channel.
#[derive(Debug, Clone, Copy)]
pub enum Occurrence<'a> {
    /// The channel has its first subscriber.
    ChannelOccupied {
        /// The channel.
        channel: &'a str,
    },
    /// The channel's last subscriber is gone.
    ChannelVacated {
        /// The channel.
        channel: &'a str,
    },
    /// A user subscribed to a presence channel with its first connection.
    MemberAdded {
        /// The channel.
        channel: &'a str,
        /// The user.
        user_id: &'a str,
    },
    /// The last connection of a user left a presence channel.
    MemberRemoved {
        /// The channel.
        channel: &'a str,
        /// The user.
        user_id: &'a str,
    },
    /// A client sent an event, and the other subscribers were sent it.
    ClientEvent {
        /// The channel.
        channel: &'a str,
        /// The event's name.
        event: &'a str,
        /// The event's data, as the client sent it; `None`: it sent none.
        data: Option<&'a RawValue>,
        /// The client's connection.
        socket_id: &'a str,
        /// The user, on presence channels.
        user_id: Option<&'a str>,
    },
    /// A client subscribed to a cache channel that has no cached event.
    CacheMiss {
        /// The channel.
        channel: &'a str,
    },
    /// The number of subscribed connections has changed; never told of a presence channel.
    SubscriptionCount {
        /// The channel.
        channel: &'a str,
        /// The number before.
        before: usize,
        /// The number now.
        count: usize,
    },
}

/// Is told what happens on the channels of an app.
pub trait OccurrenceSink: fmt::Debug + Send + Sync {
    /// Notes `occurrence`. It is called while the channel is locked, so that those of one channel come in their order:
    /// it has to return at once, and must not call the broker.
    fn note(&self, occurrence: &Occurrence<'_>);

    /// Whether [`Occurrence::ClientEvent`] is of interest: reading a client's event costs something.
    fn wants_client_events(&self) -> bool;
}

/// The sink of an app, if it has one.
#[derive(Debug, Default)]
pub(super) struct SinkSlot(ArcSwap<Option<Arc<dyn OccurrenceSink>>>);

impl SinkSlot {
    /// Replaces the sink.
    pub(super) fn set(&self, sink: Option<Arc<dyn OccurrenceSink>>) {
        self.0.store(Arc::new(sink));
    }

    /// The present sink.
    pub(super) fn get(&self) -> PresentSink {
        PresentSink(self.0.load())
    }
}

/// The sink at the beginning of a change.
pub(super) struct PresentSink(Guard<Arc<Option<Arc<dyn OccurrenceSink>>>>);

impl PresentSink {
    /// The user of this subscription, if anybody is told of it.
    pub(super) fn member(&self, channel: &Channel, id: SocketId) -> Option<Arc<str>> {
        self.sink().and_then(|_| channel.user_of(id))
    }

    /// Tells of a subscription to `channel`, which had `before` until then.
    pub(super) fn joined(&self, channel: &Channel, id: SocketId, before: Counts, is_cache_miss: bool) {
        let Some(sink) = self.sink_for(channel) else { return };
        let (name, counts) = (&**channel.name(), channel.counts());
        if before.subscriptions == 0 {
            sink.note(&Occurrence::ChannelOccupied { channel: name });
        }
        if counts.users > before.users
            && let Some(user_id) = channel.user_of(id)
        {
            sink.note(&Occurrence::MemberAdded { channel: name, user_id: &user_id });
        }
        if is_cache_miss {
            sink.note(&Occurrence::CacheMiss { channel: name });
        }
        note_count(sink, channel, before);
    }

    /// Tells of the end of a subscription to `channel`, which had `before` until then, by the user `member`.
    pub(super) fn left(&self, channel: &Channel, before: Counts, member: Option<&str>) {
        let Some(sink) = self.sink_for(channel) else { return };
        let (name, counts) = (&**channel.name(), channel.counts());
        note_count(sink, channel, before);
        if counts.users < before.users
            && let Some(user_id) = member
        {
            sink.note(&Occurrence::MemberRemoved { channel: name, user_id });
        }
        if channel.is_vacant() {
            sink.note(&Occurrence::ChannelVacated { channel: name });
        }
    }

    /// Tells of the event `frame` that a client has sent.
    pub(super) fn sent(&self, channel: &Channel, frame: &Frame, from: SocketId) {
        let Some(sink) = self.sink_for(channel).filter(|sink| sink.wants_client_events()) else { return };
        let Some(frame::ClientEvent { event, channel, data, user_id }) = frame::read_client_event(frame) else {
            return;
        };
        let (socket_id, user_id) = (from.to_string(), user_id.as_deref());
        sink.note(&Occurrence::ClientEvent { channel: &channel, event: &event, data, socket_id: &socket_id, user_id });
    }

    fn sink(&self) -> Option<&dyn OccurrenceSink> {
        (**self.0).as_deref()
    }

    fn sink_for(&self, channel: &Channel) -> Option<&dyn OccurrenceSink> {
        self.sink().filter(|_| channel.channel_type().access != Access::User)
    }
}

fn note_count(sink: &dyn OccurrenceSink, channel: &Channel, before: Counts) {
    if !channel.channel_type().is_presence() {
        let (before, count) = (before.subscriptions, channel.counts().subscriptions);
        sink.note(&Occurrence::SubscriptionCount { channel: channel.name(), before, count });
    }
}
