//! How many connections of a configuration fit into the limit on file descriptors.

use std::num::NonZeroUsize;

use crate::admin;
use crate::config::Config;
use crate::descriptors::{self, Fit, Need, Shortage};

/// Pools of idle connections to upstream per worker: one for triggers on the fast path, one for everything else.
const POOLS: usize = 2;

/// What a configuration needs, and the limit on descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    need: Need,
    limit: u64,
}

impl Capacity {
    /// The capacity of a server that is started like this process: usher raises the soft limit to the hard one. This
    /// changes nothing.
    #[must_use]
    pub fn expected(config: &Config) -> Self {
        Self { need: need(config), limit: descriptors::hard_limit() }
    }

    /// Raises the soft limit of this process to the hard one, and returns its capacity.
    pub(super) fn raise(config: &Config) -> Self {
        Self { need: need(config), limit: descriptors::raise() }
    }

    /// Descriptors that the configuration needs.
    #[must_use]
    pub const fn needed(&self) -> u64 {
        self.need.total()
    }

    /// The limit on descriptors; `None`: no limit.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        (self.limit < u64::MAX).then_some(self.limit)
    }

    /// The shortage, if not all connections that may be open fit.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        Shortage::of(self.need, self.limit)
    }

    /// What fits. Logs if it is less than was configured.
    ///
    /// # Errors
    /// If too little fits to start.
    pub(super) fn fit(&self) -> Result<Fit, Shortage> {
        let shortage = self.shortage();
        let Some(fit) = self.need.fit(self.limit) else {
            return Err(Shortage { limit: self.limit, need: self.need, fit: None });
        };
        if let Some(shortage) = shortage {
            let (limit, needed) = (self.limit, self.needed());
            tracing::warn!(limit, needed, max_connections = fit.connections, "{shortage}");
        }
        if fit.max_idle < self.need.max_idle && self.need.pools > 0 {
            tracing::info!(
                limit = self.limit,
                needed = self.needed(),
                max_idle = fit.max_idle,
                "fewer idle connections to upstream are kept than upstream.max_idle allows, so that descriptors are left for those in use"
            );
        }
        Ok(fit)
    }
}

/// How many connections may be open once a reload sets `limits.max_connections` to `max_connections`. The workers of the
/// `running` configuration stay, and so do their idle connections to upstream. Logs if it is fewer.
pub(super) fn connections_after_reload(running: &Config, fit: Fit, max_connections: usize) -> usize {
    let need = Need { connections: max_connections, max_idle: fit.max_idle, ..need(running) };
    let limit = descriptors::raise();
    let fitting = need.fitting_connections(limit);
    if fitting < max_connections {
        tracing::warn!(
            limit,
            max_connections = fitting,
            "fewer connections are accepted than limits.max_connections = {max_connections}: file descriptors do not suffice for more"
        );
    }
    fitting
}

/// The worker threads of `config`.
pub(super) fn workers(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        count => count,
    }
}

fn need(config: &Config) -> Need {
    let workers = workers(config);
    Need {
        connections: config.limits.max_connections,
        operator: admin::MAX_CONNECTIONS,
        workers,
        pools: if config.upstream.is_local() { 0 } else { POOLS * workers },
        max_idle: config.upstream.max_idle,
    }
}
