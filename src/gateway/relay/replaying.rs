//! Handing late subscribers of a relayed connection the last announcement, behind the confirmation of their subscription
//! ([`crate::replay`]).
//!
//! The messages of upstream are passed on by one task, which looks an announcement up and queues it before it looks at
//! upstream's next message. So what is claimed after the look-up is delivered after what was handed out; what upstream
//! delivers late, of before, is not passed on.

use std::borrow::Cow;
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::assignment::{Settlement, Socket};
use crate::audience::{SubscriptionRequest, confirmed_channel, event_and_data, subscription_request};
use crate::clock::Moment;
use crate::gateway::Shared;
use crate::gateway::app_rules::RuleRoute;
use crate::gateway::routing::{AppRoute, Routing};
use crate::pusher::socket_id;
use crate::replay::{LookUp, RuleReplays};

/// The largest number of subscriptions of a connection of which anything is kept here. Beyond it, a subscription is
/// handed nothing, and the next announcement goes on.
const MAX_KEPT: usize = 256;

/// What a relayed connection is handed.
#[derive(Debug)]
pub(super) struct Replaying {
    /// The key that the client connected with.
    key: Box<str>,
    /// The id of its app, once that is configured. The key may be taken from the app later.
    app: OnceLock<Arc<str>>,
    /// The connection's id at upstream; `None` inside: upstream's first message says none.
    socket: OnceLock<Option<Socket>>,
    /// A lock without contention: both directions of a relay run in one task. `None`: there is nothing to keep.
    state: Mutex<Option<Box<State>>>,
}

#[derive(Debug, Default)]
struct State {
    /// The channels to which the client asked to be subscribed with a filter.
    filtered: HashSet<Box<str>>,
    /// Whether some did not fit in there.
    filters_any: bool,
    waiting: Vec<Waiting>,
    guards: Vec<Guard>,
}

/// A subscription that waits for something in flight.
#[derive(Debug)]
struct Waiting {
    channel: Box<str>,
    rule: Arc<str>,
    settlement: Settlement,
}

/// A channel on which something was handed out that upstream may still deliver older announcements than.
#[derive(Debug)]
struct Guard {
    channel: Box<str>,
    rule: Arc<RuleReplays>,
    sequence: u64,
    until: Moment,
}

impl Replaying {
    /// A connection with this key. Its app need not be configured yet.
    pub(super) fn new(key: &str, app: Option<&AppRoute>) -> Self {
        let app = app.map_or_else(OnceLock::new, |app| OnceLock::from(Arc::clone(&app.id)));
        Self { key: key.into(), app, socket: OnceLock::new(), state: Mutex::default() }
    }

    /// Its app, if it is configured and hands anything to late subscribers.
    fn app<'r>(&self, routing: &'r Routing) -> Option<&'r AppRoute> {
        let app = match self.app.get() {
            Some(id) => routing.app(id)?,
            None => {
                let app = routing.app_with_key(&self.key)?;
                let _id = self.app.get_or_init(|| Arc::clone(&app.id));
                app
            }
        };
        Some(app).filter(|app| app.replays()).map(|app| &**app)
    }

    /// Reads a text of upstream before it is passed on. Returns whether it is passed on: it is not an announcement that
    /// the client has got a later one than.
    pub(super) fn passes(&self, shared: &Shared, text: &str) -> bool {
        let _first = self.socket.get_or_init(|| established_socket(text));
        let mut state = self.state.lock();
        let Some(state) = state.as_mut().filter(|state| !state.guards.is_empty()) else { return true };
        let now = shared.clock.now();
        state.guards.retain(|guard| guard.until > now);
        !state.guards.iter().any(|guard| guard.rule.is_overtaken(&guard.channel, guard.sequence, text))
    }

    /// Reads a text of the client that may be about a subscription.
    pub(super) fn note_request(&self, text: &str) {
        // Of most requests nothing is kept.
        let has_filter = text.contains("filter");
        let mut state = self.state.lock();
        if !has_filter && state.is_none() {
            return;
        }
        let Some(request) = subscription_request(text) else { return };
        let state = state.get_or_insert_default();
        match request {
            SubscriptionRequest::Subscribe { channel, is_filtered: true } if state.filtered.len() < MAX_KEPT => {
                state.filtered.insert(channel.into());
            }
            SubscriptionRequest::Subscribe { is_filtered: true, .. } => state.filters_any = true,
            SubscriptionRequest::Subscribe { channel, is_filtered: false } => {
                state.filtered.remove(&*channel);
            }
            SubscriptionRequest::Unsubscribe(channel) => state.forget(&channel),
        }
    }

    /// What the client gets behind the confirmation of a subscription, which is passed on before anything else.
    pub(super) fn confirmed(&self, shared: &Shared, confirmation: &str) -> Vec<Utf8Bytes> {
        let routing = shared.routing.load();
        let Some(app) = self.app(&routing) else { return Vec::new() };
        let Some(channel) = confirmed_channel(confirmation) else { return Vec::new() };
        let mut state = self.state.lock();
        if let Some(state) = state.as_mut() {
            state.waiting.retain(|waiting| *waiting.channel != *channel);
        }
        let mut frames = Vec::new();
        for (route, rule) in app.replaying(&channel) {
            if state.as_ref().is_some_and(|state| state.is_filtered(&channel)) {
                rule.missed(&channel);
            } else {
                self.look_up(&mut state, &channel, (route, rule), &mut frames);
            }
        }
        frames
    }

    /// Whether a subscription waits for something in flight.
    pub(super) fn waits(&self) -> bool {
        self.state.lock().as_ref().is_some_and(|state| !state.waiting.is_empty())
    }

    /// Ready with what the client gets, once something is settled that subscriptions wait for.
    pub(super) fn poll_settled(&self, shared: &Shared, context: &mut Context<'_>) -> Poll<Vec<Utf8Bytes>> {
        self.poll_waiting(context).map(|settled| self.look_up_again(shared, settled))
    }

    /// Takes out the subscriptions that wait no longer.
    fn poll_waiting(&self, context: &mut Context<'_>) -> Poll<Vec<(Box<str>, Arc<str>)>> {
        let mut state = self.state.lock();
        let Some(state) = state.as_mut() else { return Poll::Pending };
        let is_settled = |waiting: &mut Waiting| Pin::new(&mut waiting.settlement).poll(context).is_ready();
        let settled: Vec<_> = state.waiting.extract_if(.., is_settled).map(|it| (it.channel, it.rule)).collect();
        if settled.is_empty() { Poll::Pending } else { Poll::Ready(settled) }
    }

    fn look_up_again(&self, shared: &Shared, settled: Vec<(Box<str>, Arc<str>)>) -> Vec<Utf8Bytes> {
        let mut frames = Vec::new();
        let routing = shared.routing.load();
        let Some(app) = self.app(&routing) else { return frames };
        let mut state = self.state.lock();
        for (channel, name) in settled {
            // By the present rules. Of a rule that has changed nothing is known, so the next announcement goes on.
            for found in app.replaying(&channel).filter(|(route, _)| route.name == name) {
                self.look_up(&mut state, &channel, found, &mut frames);
            }
        }
        frames
    }

    fn look_up(
        &self,
        state: &mut Option<Box<State>>,
        channel: &str,
        (route, rule): (&RuleRoute, &Arc<RuleReplays>),
        frames: &mut Vec<Utf8Bytes>,
    ) {
        match rule.look_up(channel, self.socket.get().copied().flatten()) {
            LookUp::Replay(replayed) => {
                let is_guarded = replayed.guarded_until.is_none_or(|until| {
                    let (channel, rule, sequence) = (channel.into(), Arc::clone(rule), replayed.sequence);
                    state.get_or_insert_default().guard(Guard { channel, rule, sequence, until })
                });
                if is_guarded {
                    route.metrics.replayed();
                    frames.push(replayed.frame);
                } else {
                    rule.missed(channel);
                }
            }
            LookUp::Wait(settlement) => {
                let state = state.get_or_insert_default();
                if state.waiting.len() < MAX_KEPT {
                    state.waiting.push(Waiting { channel: channel.into(), rule: Arc::clone(&route.name), settlement });
                } else {
                    rule.missed(channel);
                }
            }
            LookUp::Nothing => {}
        }
    }
}

impl State {
    fn is_filtered(&self, channel: &str) -> bool {
        self.filters_any || self.filtered.contains(channel)
    }

    /// Adds a guard in place of that of the same rule on the same channel. Returns whether there was room.
    fn guard(&mut self, guard: Guard) -> bool {
        let is_same = |other: &Guard| other.channel == guard.channel && Arc::ptr_eq(&other.rule, &guard.rule);
        self.guards.retain(|other| !is_same(other));
        let has_room = self.guards.len() < MAX_KEPT;
        if has_room {
            self.guards.push(guard);
        }
        has_room
    }

    /// The client has left a channel.
    fn forget(&mut self, channel: &str) {
        self.filtered.remove(channel);
        self.waiting.retain(|waiting| *waiting.channel != *channel);
        // The guards stay: what the client has got, it has got.
    }
}

/// The connection that upstream's first message says this is (`pusher-protocol.md` 4.2).
fn established_socket(text: &str) -> Option<Socket> {
    #[derive(Deserialize)]
    struct Established<'a> {
        #[serde(borrow)]
        socket_id: Cow<'a, str>,
    }
    let (event, data) = event_and_data(text)?;
    if event != "pusher:connection_established" {
        return None;
    }
    let established: Established<'_> = serde_json::from_str(&data).ok()?;
    socket_id(&established.socket_id).map(Socket::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_read_from_the_first_message() {
        let first =
            |data: &str| established_socket(&format!(r#"{{"event":"pusher:connection_established","data":{data}}}"#));
        let expected = Some(Socket::of((12, 34)));
        assert_eq!(first(r#""{\"socket_id\":\"12.34\",\"activity_timeout\":30}""#), expected);
        assert_eq!(first(r#"{"activity_timeout":30,"socket_id":"12.34"}"#), expected);
        assert_eq!(first(r#""{\"socket_id\":\"012.34\"}""#), None, "perhaps another one");
        assert_eq!(established_socket(r#"{"event":"pusher:error","data":{"socket_id":"12.34"}}"#), None);
        assert_eq!(established_socket("12.34"), None);
    }
}
