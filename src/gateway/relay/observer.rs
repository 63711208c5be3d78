//! What usher reads in the messages of a relayed connection: subscriptions, for the operator, for the rules that ask who
//! comes and for late subscribers, and deliveries of what usher did not forward.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Side;
use super::replaying::Replaying;
use crate::audience::{Newcomers as _, RelayedClient};
use crate::gateway::bypass::{Deliveries, Freshness};
use crate::gateway::{Routing, Shared};

/// What happens to a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is passed on.
    Pass,
    /// It is passed on, and the client gets these right behind it.
    PassAndHandOut(Vec<Utf8Bytes>),
    /// It is not passed on.
    LeaveOut,
}

/// Looks at the messages of one relayed connection.
#[derive(Debug)]
pub(super) struct Observer {
    /// The client, if its app is configured.
    guest: Option<Guest>,
    /// Hands the client what it has missed; `None`: it is no client of an app.
    pub(super) replaying: Option<Replaying>,
}

/// A client of a configured app.
#[derive(Debug)]
struct Guest {
    app: Arc<str>,
    /// Records the client's subscriptions.
    relayed_client: RelayedClient,
    /// What comes to the app's clients.
    deliveries: Option<Arc<Deliveries>>,
}

impl Observer {
    /// Of a client that connects to `path`.
    pub(super) fn of(shared: &Shared, routing: &Routing, path: &str) -> Self {
        let Some(key) = key_of(path) else { return Self { guest: None, replaying: None } };
        let app = routing.app_with_key(key).map(|app| &**app);
        let guest = app.and_then(|app| {
            let relayed_client = app.audience.as_ref()?.relayed_client()?;
            Some(Guest { app: Arc::clone(&app.id), relayed_client, deliveries: shared.bypasses.deliveries(&app.id) })
        });
        Self { guest, replaying: Some(Replaying::new(key, app)) }
    }

    /// Looks at a text that the client has sent, before it is passed on.
    pub(super) fn look_at_client(&self, shared: &Shared, text: &str) {
        if !RelayedClient::is_relevant(Side::Client.into(), text) {
            return;
        }
        self.note(Side::Client, shared, text);
        if let Some(replaying) = &self.replaying {
            replaying.note_request(text);
        }
    }

    /// Looks at a text that upstream has sent, before it is passed on. `waited`: whether it was read as soon as it came.
    pub(super) fn look_at_upstream(
        &self,
        shared: &Arc<Shared>,
        text: &str,
        freshness: &mut Freshness,
        waited: bool,
    ) -> Verdict {
        if self.replaying.as_ref().is_some_and(|replaying| !replaying.passes(shared, text)) {
            return Verdict::LeaveOut;
        }
        // Before it is passed on: what the client may lack from now on is marked by then.
        let is_relevant = RelayedClient::is_relevant(Side::Upstream.into(), text);
        if is_relevant {
            self.note(Side::Upstream, shared, text);
        }
        if let Some(Guest { deliveries: Some(deliveries), .. }) = &self.guest
            && deliveries.are_watched()
        {
            deliveries.see(shared, text, freshness, waited);
        }
        match &self.replaying {
            Some(replaying) if is_relevant => Verdict::PassAndHandOut(replaying.confirmed(shared, text)),
            _ => Verdict::Pass,
        }
    }

    /// Reads a text that may be about a subscription. Whoever has subscribed is announced to the app's present rules.
    fn note(&self, from: Side, shared: &Shared, text: &str) {
        if let Some(Guest { app, relayed_client, .. }) = &self.guest
            && let Some(channel) = relayed_client.note(from.into(), text, shared.clock.now())
        {
            shared.came(app, &channel);
        }
    }
}

/// The key of a client of `/app/{key}`. The server may have a path prefix.
fn key_of(path: &str) -> Option<&str> {
    path.rsplit_once("/app/").map(|(_base, key)| key)
}
