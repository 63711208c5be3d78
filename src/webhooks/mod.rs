//! Webhooks: what happens on the channels of the embedded broker is told to the apps' backends, as Pusher does it
//! (`docs/webhooks.md`). An `outbox` collects the events of one webhook in batches and holds some back; an `endpoint`
//! signs them, and sends and repeats them through a `receiver`, the client of one URL. The gateway uses a `receiver` as well, to
//! hand on the webhooks that come in.

mod endpoint;
mod event_kind;
mod held;
mod outbox;
mod receiver;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use parking_lot::Mutex;

pub use event_kind::{EventKind, EventKinds};
pub use receiver::{Receiver, cause};

use self::endpoint::Endpoint;
use crate::broker::{Occurrence, OccurrenceSink};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pusher::App;
use crate::shutdown::Tasks;
use crate::tls;

/// What applies to all webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a receiver may take for its answer, connecting included. Pusher waits 4 s.
    pub timeout: Duration,
    /// The largest number of events of one webhook that wait, those that are held back and sent at present included.
    pub queue: usize,
    /// The authorities that receivers' certificates may be from.
    pub tls: tls::Client,
}

/// One webhook of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The app's id.
    pub app: String,
    /// Where its events are sent, by `http` or `https`.
    pub url: Uri,
    /// Which events.
    pub events: EventKinds,
}

/// The webhooks of all apps.
#[derive(Debug)]
pub struct Webhooks {
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The tasks of the endpoints, which outlive those of the broker's clients.
    tasks: Tasks,
    /// The tasks that drive connections.
    connections: Tasks,
    /// A lock: held while a configuration is applied and at the end, never across an await.
    apps: Mutex<HashMap<Box<str>, Arc<AppWebhooks>>>,
}

/// The webhooks of one app.
#[derive(Debug, Default)]
struct AppWebhooks(ArcSwap<Vec<Arc<Endpoint>>>);

impl OccurrenceSink for AppWebhooks {
    fn note(&self, occurrence: &Occurrence<'_>) {
        self.0.load().iter().for_each(|endpoint| endpoint.note(occurrence));
    }

    fn wants_client_events(&self) -> bool {
        self.0.load().iter().any(|endpoint| endpoint.wants(EventKind::ClientEvent))
    }
}

impl Webhooks {
    /// No webhooks; [`Webhooks::configure`] has to follow.
    #[must_use]
    pub fn new(options: Options, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let (tasks, connections) = (Tasks::default(), Tasks::default());
        Self { options, clock, metrics, tasks, connections, apps: Mutex::default() }
    }

    /// Has these webhooks from now on. One whose app and URL are the same as before keeps its queue; what waits for a
    /// removed one is sent once, and given up at the first failure.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn configure(&self, apps: &[App], targets: &[Target]) {
        let mut present = self.apps.lock();
        let before = std::mem::take(&mut *present);
        for app in apps {
            let of_app = before.get(app.id()).cloned().unwrap_or_default();
            let endpoints = of_app.0.load_full();
            let wanted = targets.iter().filter(|target| target.app == app.id());
            let next: Vec<_> = wanted.filter_map(|target| self.endpoint(&endpoints, app, target)).collect();
            close(endpoints.iter().filter(|endpoint| !next.iter().any(|next| Arc::ptr_eq(next, endpoint))));
            if !next.is_empty() {
                of_app.0.store(Arc::new(next));
                present.insert(app.id().into(), of_app);
            } else if !endpoints.is_empty() {
                of_app.0.store(Arc::default());
            }
        }
        for (_, removed) in before.iter().filter(|(id, _)| !apps.iter().any(|app| app.id() == &***id)) {
            close(removed.0.load().iter());
        }
    }

    /// What is told of the channels of the app with this id; `None`: it has no webhook.
    #[must_use]
    pub fn sink(&self, app: &str) -> Option<Arc<dyn OccurrenceSink>> {
        self.apps.lock().get(app).map(|of_app| Arc::clone(of_app) as _)
    }

    /// Sends what waits, also what is held back, for at most `period`: the process ends, and the broker has no clients
    /// any more. Returns how many events were not delivered.
    pub async fn finish(&self, period: Duration) -> usize {
        let endpoints: Vec<_> = {
            let apps = self.apps.lock();
            apps.values().flat_map(|of_app| of_app.0.load().iter().cloned().collect::<Vec<_>>()).collect()
        };
        close(endpoints.iter());
        let _left = self.tasks.finish(period).await;
        endpoints.iter().map(|endpoint| endpoint.end()).sum()
    }

    /// The endpoint of `target` among those there are, or a new one.
    fn endpoint(&self, endpoints: &[Arc<Endpoint>], app: &App, target: &Target) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = endpoints.iter().find(|endpoint| *endpoint.url() == target.url) {
            endpoint.reconfigure(app, target.events);
            return Some(Arc::clone(endpoint));
        }
        let receiver = match Receiver::new(&target.url, &self.options.tls, self.connections.clone()) {
            Ok(receiver) => receiver,
            Err(error) => {
                tracing::error!(app = app.id(), %error, "a webhook cannot be sent, and is left out");
                return None;
            }
        };
        let metrics = self.metrics.webhooks(app.id());
        let endpoint = Arc::new(Endpoint::new(app, target, receiver, &self.options, self.clock, metrics));
        let _detached = self.tasks.spawn(Arc::clone(&endpoint).run());
        Some(endpoint)
    }
}

fn close<'e>(endpoints: impl Iterator<Item = &'e Arc<Endpoint>>) {
    endpoints.for_each(|endpoint| endpoint.close());
}
