//! What a client is handed that subscribes to a channel late: the last accepted announcement of the channel's
//! assignment, for the rules that say `late_joiners = "replay"`.
//!
//! [`Replays`] holds announcements that were sent, and [`RuleReplays`] finds the one that a new subscriber gets. In
//! reading order: `frame` is an announcement as a server writes it, `channel` what is held of one channel, `store` all
//! channels within a bound in bytes, `candidates` what a request that is in flight may become.
//!
//! Why nothing older is handed out: the memory is asked first, under the lock of its channel. What it knows then is the
//! newest of all that was claimed before, and whatever is claimed later is sent to upstream later. So it must be written
//! to the client before anything that upstream sends afterwards; what upstream sends late is held against
//! [`RuleReplays::is_overtaken`].
//!
//! Why nothing is missing: while something is in flight, the client waits for it and is looked up again
//! ([`LookUp::Wait`]); where nothing is held that could be handed out, the memory is told that somebody came, and the
//! next announcement goes on.

mod candidates;
mod channel;
mod frame;
#[cfg(test)]
mod histories;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::frame::Digester;
use self::store::{RuleId, Store};
use crate::assignment::{Outcome, Present, RuleMemory, Settlement, Socket};
use crate::clock::{Clock, Moment};

pub use candidates::Candidates;
pub use frame::Announcement;

/// The announcements that late subscribers may get, of all apps and rules of a process.
pub struct Replays {
    clock: Clock,
    /// How long upstream may deliver something late.
    doubt_period: Duration,
    digester: Digester,
    /// A lock: held for one look-up or change, never across an await, and alone.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    store: Store,
    /// The rules that are configured.
    rules: Vec<Weak<RuleReplays>>,
}

/// The announcements of one rule of one app.
pub struct RuleReplays {
    replays: Arc<Replays>,
    id: RuleId,
    memory: Arc<RuleMemory>,
}

/// What a new subscriber gets.
#[must_use]
#[derive(Debug)]
pub enum LookUp {
    /// This, at once.
    Replay(Replayed),
    /// Something is in flight: look up again once this ends.
    Wait(Settlement),
    /// Nothing: it is left out, or the next announcement goes on.
    Nothing,
}

/// An announcement that is handed out.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The frame, as a server writes it.
    pub frame: Utf8Bytes,
    /// Which one it is. A later one has a greater number.
    pub sequence: u64,
    /// Until when upstream may deliver an older one; `None`: there is none.
    pub guarded_until: Option<Moment>,
}

/// What is held at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldBytes {
    /// Bytes, with what keeping them takes.
    pub bytes: usize,
    /// Channels whose announcements were given up for lack of space, since the process began.
    pub evicted: u64,
}

impl Replays {
    /// None are held. `doubt_period`: how long upstream may deliver something late.
    #[must_use]
    pub fn new(clock: Clock, doubt_period: Duration) -> Arc<Self> {
        let held = Held { store: Store::default(), rules: Vec::new() };
        Arc::new(Self { clock, doubt_period, digester: Digester::default(), held: Mutex::new(held) })
    }

    /// Holds announcements of the rules with these memories, in `max_bytes` at most. What is held of rules that have
    /// kept their memory stays; everything else goes.
    pub fn configure(self: &Arc<Self>, memories: &[&Arc<RuleMemory>], max_bytes: usize) -> Vec<Arc<RuleReplays>> {
        let mut held = self.lock();
        let before: Vec<Arc<RuleReplays>> = held.rules.iter().filter_map(Weak::upgrade).collect();
        let mut rules = Vec::with_capacity(memories.len());
        for memory in memories {
            let same = before.iter().find(|rule| Arc::ptr_eq(&rule.memory, memory)).map(Arc::clone);
            rules.push(same.unwrap_or_else(|| {
                let (replays, memory) = (Arc::clone(self), Arc::clone(memory));
                Arc::new(RuleReplays { replays, id: held.store.add_rule(), memory })
            }));
        }
        held.store.keep_rules(|id| rules.iter().any(|rule| rule.id == id));
        held.store.set_max_bytes(max_bytes, self.clock.now());
        held.rules = rules.iter().map(Arc::downgrade).collect();
        rules
    }

    /// What is held now.
    #[must_use]
    pub fn held(&self) -> HeldBytes {
        let store = &self.lock().store;
        HeldBytes { bytes: store.bytes(), evicted: store.evicted() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }
}

impl RuleReplays {
    /// What a connection gets that has just subscribed to `channel`, or that has waited. `socket`: its id at upstream, if
    /// it is known.
    pub fn look_up(&self, channel: &str, socket: Option<Socket>) -> LookUp {
        let known = match self.memory.present(channel) {
            Present::Known(assignment) => Some(assignment),
            Present::InFlight(settlement) => return LookUp::Wait(settlement),
            Present::Unknown => None,
        };
        let now = self.replays.clock.now();
        if let Some(known) = known {
            let held = self.replays.lock();
            let found = held.store.find(self.id, channel, now).filter(|sent| sent.content.shows(&known));
            match found {
                Some(sent) if sent.content.left_out.is_none_or(|left_out| socket.is_some_and(|it| it != left_out)) => {
                    return LookUp::Replay(Replayed {
                        frame: sent.content.frame.clone(),
                        sequence: sent.sequence,
                        guarded_until: held.store.older_until(self.id, channel, sent.sequence, now),
                    });
                }
                Some(_) if socket.is_some() => return LookUp::Nothing,
                Some(_) | None => {}
            }
        }
        // Also where nothing is known: what is known may be hidden by a doubt about the app.
        self.memory.joined(channel);
        LookUp::Nothing
    }

    /// Tells the memory that somebody came who is handed nothing.
    pub fn missed(&self, channel: &str) {
        self.memory.joined(channel);
    }

    /// Whether a delivery, the text of a frame, is of an announcement on `channel` before the one with the number
    /// `sequence`, which the client has got already, and of none after it.
    #[must_use]
    pub fn is_overtaken(&self, channel: &str, sequence: u64, delivery: &str) -> bool {
        let Some(digest) = self.replays.digester.of_delivery(delivery, channel) else { return false };
        let last = self.replays.lock().store.last_of(self.id, channel, digest, self.replays.clock.now());
        last.is_some_and(|last| last < sequence)
    }

    /// Notes an announcement that goes on. Returns its number.
    fn send(&self, channel: &str, announcement: &Announcement<'_>) -> u64 {
        let digest = self.replays.digester.of(announcement.event, announcement.text());
        let content = announcement.content(channel);
        let now = self.replays.clock.now();
        self.replays.lock().store.send(self.id, channel, Some(digest), content, now)
    }

    /// The same of an event that cannot be read.
    fn send_unread(&self, channel: &str) -> u64 {
        let now = self.replays.clock.now();
        self.replays.lock().store.send(self.id, channel, None, None, now)
    }

    fn settle(&self, channel: &str, sequence: u64, outcome: Outcome) {
        let (now, doubt_period) = (self.replays.clock.now(), self.replays.doubt_period);
        self.replays.lock().store.settle(self.id, channel, sequence, outcome, now, doubt_period);
    }

    /// The end of a request that may have been an event on any channel.
    fn settle_any(&self, outcome: Outcome) {
        if outcome != Outcome::Refused {
            let until = self.replays.clock.now().after(self.replays.doubt_period);
            self.replays.lock().store.blind(self.id, until);
        }
    }
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is held.
        f.debug_struct("Replays").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RuleReplays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleReplays").field("id", &self.id).finish_non_exhaustive()
    }
}
