//! One channel with its subscribers and, on presence channels, its members. A change and the frames about it are one
//! step under the lock of the channel's entry, so that all subscribers see the same history.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::channel_type::{Access, ChannelType};
use super::frame::{self, Frame};
use super::mailbox::{Mailbox, PendingWakes};
use super::socket_id::SocketId;
use super::token_bucket::TokenBucket;
use crate::clock::Moment;

/// The largest number of members of a presence channel (`pusher-protocol.md` 1.4).
pub(super) const MAX_MEMBERS: usize = 100;

/// With more subscribers than this, their number is sent at most once in [`COUNT_PAUSE`] (`pusher-protocol.md` 4.3).
/// With fewer, it is sent after every change, limited by a [`TokenBucket`]: any client may join and leave a public
/// channel as fast as it can send messages, and the other subscribers would receive a message for each change.
const MANY: usize = 100;
/// See [`MANY`].
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// The identity of a member of a presence channel.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The user's id.
    pub(super) user_id: Arc<str>,
    /// What else the app says about the user.
    pub(super) user_info: Option<Arc<RawValue>>,
}

/// A channel with its subscribers.
#[derive(Debug)]
pub(super) struct Channel {
    name: Arc<str>,
    channel_type: ChannelType,
    /// Whether the number of subscribers is sent.
    sends_count: bool,
    subscribers: HashMap<SocketId, Subscriber>,
    members: BTreeMap<Arc<str>, Member>,
    count: SentCount,
    /// Limits how often the number is sent to few subscribers.
    count_bucket: TokenBucket,
}

#[derive(Debug)]
struct Subscriber {
    mailbox: Arc<Mailbox>,
    user_id: Option<Arc<str>>,
}

#[derive(Debug)]
struct Member {
    user_info: Option<Arc<RawValue>>,
    /// A user may have several connections.
    connections: usize,
}

/// The state of the number of subscribers that was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentCount {
    /// Sent at this moment, and correct.
    Current(Moment),
    /// Sent at this moment, and changed since.
    Stale(Moment),
}

/// What remains to be done about the number of subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountUpdate {
    /// Nothing.
    None,
    /// [`Channel::send_deferred_count`] has to be called later.
    Deferred,
}

/// The presence channel has [`MAX_MEMBERS`] members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelFull;

/// The numbers of a channel's subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Subscribed connections.
    pub(super) subscriptions: usize,
    /// Users, on presence channels.
    pub(super) users: usize,
}

impl Channel {
    /// A channel without subscribers.
    pub(super) fn new(name: Arc<str>, channel_type: ChannelType, sends_count: bool) -> Self {
        let sends_count = sends_count && !matches!(channel_type.access, Access::Presence | Access::User);
        Self {
            name,
            channel_type,
            sends_count,
            subscribers: HashMap::new(),
            members: BTreeMap::new(),
            count: SentCount::Current(Moment::default()),
            count_bucket: TokenBucket::ten_per_second(),
        }
    }

    /// The name.
    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The type.
    pub(super) const fn channel_type(&self) -> ChannelType {
        self.channel_type
    }

    /// Whether there are no subscribers.
    pub(super) fn is_vacant(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Whether a connection is subscribed.
    pub(super) fn has(&self, id: SocketId) -> bool {
        self.subscribers.contains_key(&id)
    }

    /// The numbers of a channel's subscribers.
    pub(super) fn counts(&self) -> Counts {
        Counts { subscriptions: self.subscribers.len(), users: self.members.len() }
    }

    /// The user of the connection `id`, on presence channels.
    pub(super) fn user_of(&self, id: SocketId) -> Option<Arc<str>> {
        self.subscribers.get(&id).and_then(|subscriber| subscriber.user_id.clone())
    }

    /// The ids of the members.
    pub(super) fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.keys()
    }

    /// Subscribes a connection that is not subscribed yet. It receives the confirmation and, on a cache channel, `last`
    /// or a cache miss; the other subscribers are notified of a new member.
    ///
    /// # Errors
    /// The presence channel is full. Nothing has changed then.
    pub(super) fn join(
        &mut self,
        mailbox: &Arc<Mailbox>,
        identity: Option<Identity>,
        last: Option<Frame>,
        wakes: &mut PendingWakes,
    ) -> Result<(), ChannelFull> {
        let user_id = identity.as_ref().map(|identity| Arc::clone(&identity.user_id));
        if let Some(identity) = identity {
            self.add_member(identity, wakes)?;
        }
        self.subscribers.insert(mailbox.id(), Subscriber { mailbox: Arc::clone(mailbox), user_id });
        match self.channel_type.access {
            // The answer to a sign-in is sent elsewhere.
            Access::User => return Ok(()),
            Access::Presence => {
                let members = self.members.iter().map(|(id, member)| (&**id, member.user_info.as_deref()));
                mailbox.push(frame::subscribed_with_members(&self.name, members), wakes);
            }
            Access::Public | Access::Private | Access::Encrypted => mailbox.push(frame::subscribed(&self.name), wakes),
        }
        if self.channel_type.cached {
            mailbox.push(last.unwrap_or_else(|| frame::cache_miss(&self.name)), wakes);
        }
        Ok(())
    }

    /// Ends a subscription; the other subscribers are notified of a removed member. Returns whether it existed.
    pub(super) fn leave(&mut self, id: SocketId, wakes: &mut PendingWakes) -> bool {
        let Some(subscriber) = self.subscribers.remove(&id) else { return false };
        if let Some(user_id) = subscriber.user_id
            && let Some(member) = self.members.get_mut(&user_id)
        {
            member.connections -= 1;
            if member.connections == 0 {
                self.members.remove(&user_id);
                self.publish(&frame::member_removed(&self.name, &user_id), None, wakes);
            }
        }
        true
    }

    /// Sends `frame` to all subscribers except `except`.
    pub(super) fn publish(&self, frame: &Frame, except: Option<SocketId>, wakes: &mut PendingWakes) {
        for (id, subscriber) in &self.subscribers {
            if Some(*id) != except {
                subscriber.mailbox.push(frame.clone(), wakes);
            }
        }
    }

    /// The mailboxes of all subscribers.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.subscribers.values().map(|subscriber| &subscriber.mailbox)
    }

    /// After a change: sends the number of subscribers, or returns that it has to be sent later.
    pub(super) fn count_changed(&mut self, now: Moment, wakes: &mut PendingWakes) -> CountUpdate {
        match self.count {
            _ if !self.sends_count || self.is_vacant() => CountUpdate::None,
            // The deferred update will send the new number.
            SentCount::Stale(_) => CountUpdate::None,
            SentCount::Current(at) => {
                let may_send = if self.subscribers.len() > MANY {
                    now.since(at) >= COUNT_PAUSE
                } else {
                    self.count_bucket.take(now)
                };
                if !may_send {
                    self.count = SentCount::Stale(at);
                    return CountUpdate::Deferred;
                }
                self.send_count(now, wakes);
                CountUpdate::None
            }
        }
    }

    /// Sends the number of subscribers if it has changed since it was last sent and the pause is over.
    pub(super) fn send_deferred_count(&mut self, now: Moment, wakes: &mut PendingWakes) -> CountUpdate {
        match self.count {
            SentCount::Stale(at) if self.subscribers.len() > MANY && now.since(at) < COUNT_PAUSE => {
                CountUpdate::Deferred
            }
            SentCount::Stale(_) => {
                self.send_count(now, wakes);
                CountUpdate::None
            }
            SentCount::Current(_) => CountUpdate::None,
        }
    }

    fn send_count(&mut self, now: Moment, wakes: &mut PendingWakes) {
        self.count = SentCount::Current(now);
        self.publish(&frame::subscription_count(&self.name, self.subscribers.len()), None, wakes);
    }

    fn add_member(&mut self, identity: Identity, wakes: &mut PendingWakes) -> Result<(), ChannelFull> {
        let Identity { user_id, user_info } = identity;
        if let Some(member) = self.members.get_mut(&user_id) {
            member.connections += 1;
            return Ok(());
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(ChannelFull);
        }
        self.publish(&frame::member_added(&self.name, &user_id, user_info.as_deref()), None, wakes);
        self.members.insert(user_id, Member { user_info, connections: 1 });
        Ok(())
    }
}
