//! One app: its credentials, its channels and its connections. A reload of the configuration keeps it as long as its id
//! is configured.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use super::backpressure::Backpressure;
use super::channels::{ChannelOptions, Channels};
use super::greeting::GreeterSlot;
use super::mailbox::{Mailbox, QueueLimits, wake_after};
use super::newcomers::Told;
use super::session::SessionOptions;
use super::socket_id::{SocketId, SocketIds};
use super::wake_queue::WakeQueue;
use super::watchlists::Watchlists;
use crate::metrics::RealtimeMetrics;
use crate::pusher::{App, ErrorCode};
use crate::shutdown::{Drain, Phase};

/// The options that all apps share.
#[derive(Debug, Clone, Copy)]
pub(super) struct AppOptions {
    pub(super) session_options: SessionOptions,
    pub(super) channel_options: ChannelOptions,
    pub(super) queue_limits: QueueLimits,
    /// The largest number of connections of one app.
    pub(super) max_connections: usize,
}

/// The state of one app.
#[derive(Debug)]
pub(super) struct BrokerApp {
    pub(super) app: ArcSwap<App>,
    pub(super) channels: Channels,
    /// Shared with the signed-in connections.
    pub(super) watchlists: Arc<Watchlists>,
    pub(super) metrics: RealtimeMetrics,
    pub(super) options: AppOptions,
    /// Shared by all apps.
    told: Arc<Told>,
    pub(super) greeter: GreeterSlot,
    ids: SocketIds,
    /// Shared by all apps, because they share the workers.
    backpressure: Arc<Backpressure>,
    /// A lock: held to add or remove a connection and to close all; never across an await.
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: HashMap<SocketId, Arc<Mailbox>>,
    /// Whether the app was removed from the configuration.
    disabled: bool,
}

impl BrokerApp {
    pub(super) fn new(
        app: App,
        options: AppOptions,
        backpressure: Arc<Backpressure>,
        told: Arc<Told>,
        greeter: GreeterSlot,
        metrics: RealtimeMetrics,
    ) -> Self {
        let channels = Channels::new(options.channel_options, metrics.clone());
        Self {
            app: ArcSwap::from_pointee(app),
            channels,
            watchlists: Arc::default(),
            metrics,
            options,
            told,
            greeter,
            ids: SocketIds::new(),
            backpressure,
            connections: Mutex::default(),
        }
    }

    /// Admits a connection. [`BrokerApp::remove`] has to follow.
    ///
    /// # Errors
    /// The code with which the connection has to be closed.
    pub(super) fn admit(&self, drain: &Drain, wake_queue: &Arc<WakeQueue>) -> Result<Arc<Mailbox>, ErrorCode> {
        let mut connections = self.lock();
        // Checked while the lock is held: what closes all connections later finds this one in the list.
        if drain.has_reached(Phase::Closed) {
            return Err(ErrorCode::Reconnect);
        }
        if connections.disabled {
            return Err(ErrorCode::AppDisabled);
        }
        // Not 4004: clients would never connect again, but there may soon be space.
        if connections.open.len() >= self.options.max_connections {
            return Err(ErrorCode::OverCapacity);
        }
        let mailbox = Arc::new(Mailbox::new(
            self.ids.next(),
            self.options.queue_limits,
            Arc::clone(wake_queue),
            Arc::clone(&self.backpressure),
        ));
        connections.open.insert(mailbox.id(), Arc::clone(&mailbox));
        Ok(mailbox)
    }

    /// A connection, which does not know it yet, has subscribed to `channel`.
    pub(super) fn came(&self, channel: &str) {
        self.told.came(self.app.load().id(), channel);
    }

    /// Removes a closed connection.
    pub(super) fn remove(&self, id: SocketId) {
        self.lock().open.remove(&id);
    }

    /// The connections that are not ending.
    pub(super) fn open(&self) -> Vec<Arc<Mailbox>> {
        self.lock().open.values().filter(|mailbox| !mailbox.is_ending()).cloned().collect()
    }

    /// Ends all connections and admits none from now on.
    pub(super) fn disable(&self) {
        wake_after(|wakes| {
            let mut connections = self.lock();
            connections.disabled = true;
            connections.open.values().for_each(|mailbox| mailbox.end(ErrorCode::AppDisabled, wakes));
        });
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock()
    }
}
