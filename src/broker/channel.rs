//! One channel: who is subscribed, and on presence channels who that is. Every change and what it makes the subscribers
//! see happen together, so that all of them see the same history.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::allowance::Allowance;
use super::frame::{self, Frame};
use super::kind::{Access, Kind};
use super::mailbox::{Mailbox, PendingWakes};
use super::socket_id::SocketId;
use crate::clock::Moment;

/// Most members of a presence channel (`pusher-protocol.md` 1.4).
pub(super) const MAX_MEMBERS: usize = 100;

/// Above this many subscribers, their number is told at most once in [`COUNT_PAUSE`] (`pusher-protocol.md` 4.3). Fewer
/// are told whenever it changes, but no more often than an [`Allowance`] has it: anybody may join a public channel and
/// leave it again, as fast as messages can be sent, and the others would have to read all of that.
const MANY: usize = 100;
/// See [`MANY`].
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// Who somebody is on a presence channel.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The user's id.
    pub(super) user_id: Arc<str>,
    /// What else the app tells of the user.
    pub(super) user_info: Option<Arc<RawValue>>,
}

/// A channel with its subscribers.
#[derive(Debug)]
pub(super) struct Channel {
    name: Arc<str>,
    kind: Kind,
    /// Whether the number of subscribers is told.
    tells_count: bool,
    subscribers: HashMap<SocketId, Subscriber>,
    members: BTreeMap<Arc<str>, Member>,
    count: Count,
    /// How often the number may be told at once.
    counts_at_once: Allowance,
}

#[derive(Debug)]
struct Subscriber {
    mailbox: Arc<Mailbox>,
    user_id: Option<Arc<str>>,
}

#[derive(Debug)]
struct Member {
    user_info: Option<Arc<RawValue>>,
    /// One user may be there several times.
    connections: usize,
}

/// What the subscribers know of their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// It was told at this moment.
    Told(Moment),
    /// It was told at this moment, and has changed since.
    Stale(Moment),
}

/// What is to be done about the number of subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountNews {
    /// Nothing.
    None,
    /// It has to be told later: [`Channel::tell_count`].
    Later,
}

/// Why somebody may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// How many are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Connections.
    pub(super) subscriptions: usize,
    /// Users, on presence channels.
    pub(super) users: usize,
}

impl Channel {
    /// A channel that nobody is subscribed to yet.
    pub(super) fn new(name: Arc<str>, kind: Kind, tells_count: bool) -> Self {
        let tells_count = tells_count && !matches!(kind.access, Access::Presence | Access::User);
        Self {
            name,
            kind,
            tells_count,
            subscribers: HashMap::new(),
            members: BTreeMap::new(),
            count: Count::Told(Moment::default()),
            counts_at_once: Allowance::ten_a_second(),
        }
    }

    /// Its name.
    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its kind.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether nobody is subscribed.
    pub(super) fn is_vacant(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// How many are there.
    pub(super) fn counts(&self) -> Counts {
        Counts { subscriptions: self.subscribers.len(), users: self.members.len() }
    }

    /// The ids of its members.
    pub(super) fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.keys()
    }

    /// Subscribes a connection that is not subscribed yet: it gets its confirmation and, on a cache channel, `last` or
    /// a miss; the others learn of a member that is new.
    ///
    /// # Errors
    /// If a presence channel has no place for one more member; nothing has changed then.
    pub(super) fn join(
        &mut self,
        mailbox: &Arc<Mailbox>,
        identity: Option<Identity>,
        last: Option<Frame>,
        wakes: &mut PendingWakes,
    ) -> Result<(), Full> {
        let user_id = identity.as_ref().map(|identity| Arc::clone(&identity.user_id));
        if let Some(identity) = identity {
            self.add_member(identity, wakes)?;
        }
        self.subscribers.insert(mailbox.id(), Subscriber { mailbox: Arc::clone(mailbox), user_id });
        match self.kind.access {
            // Signing in has an answer of its own.
            Access::User => return Ok(()),
            Access::Presence => {
                let members = self.members.iter().map(|(id, member)| (&**id, member.user_info.as_deref()));
                mailbox.push(frame::subscribed_among(&self.name, members), wakes);
            }
            Access::Public | Access::Private | Access::Encrypted => mailbox.push(frame::subscribed(&self.name), wakes),
        }
        if self.kind.cached {
            mailbox.push(last.unwrap_or_else(|| frame::cache_miss(&self.name)), wakes);
        }
        Ok(())
    }

    /// Ends a connection's subscription; the others learn of a member that is gone. Returns whether it was subscribed.
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

    /// Hands `frame` to all subscribers but `except`.
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

    /// After a change: tells the number of subscribers, or says that it has to be told later.
    pub(super) fn count_changed(&mut self, now: Moment, wakes: &mut PendingWakes) -> CountNews {
        match self.count {
            _ if !self.tells_count || self.is_vacant() => CountNews::None,
            // Whoever looks after that finds the new number.
            Count::Stale(_) => CountNews::None,
            Count::Told(at) => {
                let may_tell = if self.subscribers.len() > MANY {
                    now.since(at) >= COUNT_PAUSE
                } else {
                    self.counts_at_once.take(now)
                };
                if !may_tell {
                    self.count = Count::Stale(at);
                    return CountNews::Later;
                }
                self.tell_now(now, wakes);
                CountNews::None
            }
        }
    }

    /// Tells the number of subscribers if it has changed since it was told and the pause is over.
    pub(super) fn tell_count(&mut self, now: Moment, wakes: &mut PendingWakes) -> CountNews {
        match self.count {
            Count::Stale(at) if self.subscribers.len() > MANY && now.since(at) < COUNT_PAUSE => CountNews::Later,
            Count::Stale(_) => {
                self.tell_now(now, wakes);
                CountNews::None
            }
            Count::Told(_) => CountNews::None,
        }
    }

    fn tell_now(&mut self, now: Moment, wakes: &mut PendingWakes) {
        self.count = Count::Told(now);
        self.publish(&frame::subscription_count(&self.name, self.subscribers.len()), None, wakes);
    }

    fn add_member(&mut self, identity: Identity, wakes: &mut PendingWakes) -> Result<(), Full> {
        let Identity { user_id, user_info } = identity;
        if let Some(member) = self.members.get_mut(&user_id) {
            member.connections += 1;
            return Ok(());
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Full);
        }
        self.publish(&frame::member_added(&self.name, &user_id, user_info.as_deref()), None, wakes);
        self.members.insert(user_id, Member { user_info, connections: 1 });
        Ok(())
    }
}
