//! What must hold of a schedule, by the record of what upstream applied, what callers were answered and what clients were
//! sent. It knows nothing of usher's rules of decision.

use std::time::Duration;

use tokio::time::Instant;

/// Something that upstream applied on a channel.
#[derive(Debug, Clone)]
pub struct Applied {
    pub at: Instant,
    pub id: usize,
    /// `None`: it released the channel.
    pub person: Option<u64>,
    pub left_out: Option<String>,
}

/// What a client sees of a channel, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Confirmed,
    Event(usize),
    Left,
}

/// An announcement that was dropped.
#[derive(Debug, Clone)]
pub struct Dropped {
    pub sent: Instant,
    pub answered: Instant,
    pub person: u64,
}

/// A client's record of a channel.
#[derive(Debug, Clone)]
pub struct Client {
    pub socket: String,
    pub seen: Vec<(Instant, Seen)>,
}

/// A time in which a client was subscribed.
struct Subscription<'c> {
    confirmed: Instant,
    left: Option<Instant>,
    events: Vec<&'c (Instant, Seen)>,
}

/// The record of one channel of one app.
#[derive(Debug)]
pub struct Channel {
    pub place: String,
    /// In upstream's order.
    pub applied: Vec<Applied>,
    pub dropped: Vec<Dropped>,
    pub clients: Vec<Client>,
    /// How much later than it was so the record may say that something was applied.
    pub slack: Duration,
}

impl Channel {
    /// What is wrong.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for client in &self.clients {
            self.check_order(client, &mut faults);
        }
        for dropped in &self.dropped {
            self.check_dropped(dropped, &mut faults);
        }
        faults
    }

    /// How often what the channel shows had changed when this was applied.
    fn run(&self, id: usize) -> Option<usize> {
        let position = self.applied.iter().position(|applied| applied.id == id)?;
        let changes = self.applied[..=position].windows(2);
        Some(changes.filter(|pair| pair[0].person != pair[1].person || pair[0].person.is_none()).count())
    }

    /// Never an older one behind a newer one on the same socket, and none to one that was left out.
    fn check_order(&self, client: &Client, faults: &mut Vec<String>) {
        let mut newest = None;
        for (_, seen) in &client.seen {
            let Seen::Event(id) = seen else { continue };
            let Some(run) = self.run(*id) else {
                faults.push(format!("{} of {} was sent {id}, which upstream never applied", client.socket, self.place));
                continue;
            };
            if newest.is_some_and(|newest| run < newest) {
                faults.push(format!("{} was sent {id} behind something newer: {self:#?}", client.socket));
            }
            newest = newest.max(Some(run));
            if self.applied.iter().any(|applied| applied.id == *id && applied.left_out.as_ref() == Some(&client.socket))
            {
                faults.push(format!("{} was sent {id}, which left it out: {self:#?}", client.socket));
            }
        }
    }

    /// Whoever was subscribed when an announcement was dropped sees that person, or somebody later.
    fn check_dropped(&self, dropped: &Dropped, faults: &mut Vec<String>) {
        let Some(shown) = self.shown_at(dropped) else {
            faults.push(format!("dropped, though nobody saw it: {dropped:?} {self:#?}"));
            return;
        };
        for client in &self.clients {
            for subscription in client.subscriptions() {
                let was_there = subscription.confirmed < dropped.sent
                    && subscription.left.is_none_or(|left| left > dropped.answered + Duration::from_millis(300));
                let sees = subscription.events.iter().any(|(_, seen)| match seen {
                    Seen::Event(id) => self.run(*id).is_some_and(|run| run >= shown),
                    Seen::Confirmed | Seen::Left => false,
                });
                let is_left_out = self.applied.iter().any(|applied| {
                    applied.left_out.as_ref() == Some(&client.socket) && self.run(applied.id) == Some(shown)
                });
                if was_there && !sees && !is_left_out {
                    faults.push(format!("{} misses {dropped:?} (run {shown}): {self:#?}", client.socket));
                }
            }
        }
    }

    /// The first run in which the channel may have shown the dropped person while that was decided.
    fn shown_at(&self, dropped: &Dropped) -> Option<usize> {
        let next = self.applied.iter().skip(1).map(|applied| Some(applied.at)).chain([None]);
        let current = self.applied.iter().zip(next).filter(|(applied, next)| {
            applied.at <= dropped.answered + self.slack && next.is_none_or(|next| next >= dropped.sent)
        });
        current
            .filter(|(applied, _)| applied.person == Some(dropped.person))
            .filter_map(|(applied, _)| self.run(applied.id))
            .min()
    }
}

impl Client {
    fn subscriptions(&self) -> Vec<Subscription<'_>> {
        let mut subscriptions: Vec<Subscription<'_>> = Vec::new();
        for item in &self.seen {
            let (at, seen) = item;
            match (seen, subscriptions.last_mut()) {
                (Seen::Confirmed, _) => {
                    subscriptions.push(Subscription { confirmed: *at, left: None, events: Vec::new() });
                }
                (Seen::Event(_), Some(last)) => last.events.push(item),
                (Seen::Left, Some(last)) if last.left.is_none() => last.left = Some(*at),
                (Seen::Event(_) | Seen::Left, _) => {}
            }
        }
        subscriptions
    }
}
