//! One app: its credentials, its channels and its connections. A reload keeps it as long as its id is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::backlog::Backlog;
use super::channels::{ChannelOptions, Channels};
use super::mailbox::{Mailbox, QueueLimits, wake_after};
use super::session::SessionOptions;
use super::socket_id::{SocketId, SocketIds};
use super::wake_queue::WakeQueue;
use super::watchlists::Watchlists;
use crate::metrics::RealtimeMetrics;
use crate::pusher::{App, ErrorCode};
use crate::shutdown::Drain;

/// What is the same for all apps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) session_options: SessionOptions,
    pub(super) channel_options: ChannelOptions,
    pub(super) queue_limits: QueueLimits,
    /// Connections of one app.
    pub(super) max_connections: usize,
}

/// One app's part of the broker.
#[derive(Debug)]
pub(super) struct BrokerApp {
    pub(super) app: ArcSwap<App>,
    pub(super) channels: Channels,
    /// Shared with the connections that are signed in.
    pub(super) watchlists: Arc<Watchlists>,
    pub(super) metrics: RealtimeMetrics,
    pub(super) rules: Rules,
    ids: SocketIds,
    /// That of all apps: they share the workers.
    backlog: Arc<Backlog>,
    /// A std lock: held to come, to go, and to close all; never across an await.
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: HashMap<SocketId, Arc<Mailbox>>,
    /// Whether the app was taken out of the configuration.
    disabled: bool,
}

impl BrokerApp {
    pub(super) fn new(app: App, rules: Rules, backlog: Arc<Backlog>, metrics: RealtimeMetrics) -> Self {
        let channels = Channels::new(rules.channel_options, metrics.clone());
        Self {
            app: ArcSwap::from_pointee(app),
            channels,
            watchlists: Arc::default(),
            metrics,
            rules,
            ids: SocketIds::new(),
            backlog,
            connections: Mutex::default(),
        }
    }

    /// Lets a connection in. [`BrokerApp::forget`] is to follow.
    ///
    /// # Errors
    /// The code that the connection is closed with.
    pub(super) fn admit(&self, drain: &Drain, wake_queue: &Arc<WakeQueue>) -> Result<Arc<Mailbox>, ErrorCode> {
        let mut connections = self.lock();
        // Asked inside the lock: who closes all connections after draining began finds this one.
        if drain.has_begun() {
            return Err(ErrorCode::Reconnect);
        }
        if connections.disabled {
            return Err(ErrorCode::AppDisabled);
        }
        // Not 4004: that would keep clients away for ever, and there may soon be a place.
        if connections.open.len() >= self.rules.max_connections {
            return Err(ErrorCode::OverCapacity);
        }
        let mailbox = Arc::new(Mailbox::new(
            self.ids.next(),
            self.rules.queue_limits,
            Arc::clone(wake_queue),
            Arc::clone(&self.backlog),
        ));
        connections.open.insert(mailbox.id(), Arc::clone(&mailbox));
        Ok(mailbox)
    }

    /// A connection is gone.
    pub(super) fn forget(&self, id: SocketId) {
        self.lock().open.remove(&id);
    }

    /// The connections that are not told to end yet.
    pub(super) fn open(&self) -> Vec<Arc<Mailbox>> {
        self.lock().open.values().filter(|mailbox| !mailbox.is_ending()).cloned().collect()
    }

    /// Ends all connections and lets none in any more.
    pub(super) fn disable(&self) {
        wake_after(|wakes| {
            let mut connections = self.lock();
            connections.disabled = true;
            connections.open.values().for_each(|mailbox| mailbox.end(ErrorCode::AppDisabled, wakes));
        });
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
