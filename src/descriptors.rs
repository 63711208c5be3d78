//! File descriptors: how many this process may have open, how many it needs, how many connections fit, and what is
//! done when none is left to accept a
//! connection.
//!
//! Each connection of a caller takes one, and with a remote upstream another one for the connection to upstream that
//! carries its request or its WebSocket. There is a reserve for what has to work when all connections are open: the
//! operator's listener, and idle connections to upstream.

mod acceptor;

use std::fmt;
use std::io;

pub use acceptor::Acceptor;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process always has open, and a reserve for short uses: standard streams, listeners, signals, the main
/// thread's runtime (12 in all); a connection that is accepted and has no permit yet, files of a reload, reads of
/// `/proc` for a scrape.
const PROCESS: u64 = 24;

/// What a worker has open: its runtime (4), and a reserve for name look-ups and parallel connection attempts.
const WORKER: u64 = 6;

/// If descriptors are short, one part in this many of what the reserve leaves is for idle connections to upstream.
const IDLE_SHARE: u64 = 5;

/// The fewest connections with which usher starts, unless `limits.max_connections` is lower: a backend alone opens
/// some.
pub const LEAST_CONNECTIONS: u64 = 8;

/// What a configuration needs, as numbers of connections. [`Need::total`] is the number of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Connections of callers that may be open at once: `limits.max_connections`.
    pub connections: usize,
    /// Connections of the operator that may be open at once.
    pub operator: usize,
    /// Worker threads.
    pub workers: usize,
    /// Pools of connections to a remote upstream; 0 with the embedded broker: a connection takes one descriptor then
    /// instead of two.
    pub pools: usize,
    /// Idle connections that each pool may keep: `upstream.max_idle`.
    pub max_idle: usize,
}

/// What of a [`Need`] fits into a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Connections of callers that may be open at once.
    pub connections: usize,
    /// Idle connections that each pool may keep.
    pub max_idle: usize,
}

impl Need {
    /// Descriptors that all of it takes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.reserve() + self.each() * to_u64(self.connections) + self.idle()
    }

    /// The fewest descriptors with which usher starts.
    #[must_use]
    pub const fn least(&self) -> u64 {
        self.reserve() + self.each() * self.least_connections()
    }

    /// What fits into a `limit` of descriptors. If not all of it does, the number of idle connections to upstream is
    /// lowered first, down to a fifth of what the reserve leaves, and then the number of connections. `None`: the limit
    /// is below [`Need::least`].
    #[must_use]
    pub fn fit(&self, limit: u64) -> Option<Fit> {
        let available = limit.checked_sub(self.least())? + self.least() - self.reserve();
        let spare = |connections: u64| available.saturating_sub(self.each() * connections);
        // The connections without which usher does not start come before idle ones.
        let share = spare(to_u64(self.connections)).max(available / IDLE_SHARE).min(spare(self.least_connections()));
        let pools = to_u64(self.pools);
        let max_idle = share.checked_div(pools).unwrap_or_default().min(to_u64(self.max_idle));
        let fitting = (available - max_idle * pools) / self.each();
        Some(Fit { connections: to_usize(fitting).min(self.connections), max_idle: to_usize(max_idle) })
    }

    /// The connections of callers that fit into a `limit` of descriptors beside all idle connections to upstream; at
    /// least one.
    #[must_use]
    pub fn fitting_connections(&self, limit: u64) -> usize {
        let available = limit.saturating_sub(self.reserve() + self.idle());
        to_usize(available / self.each()).min(self.connections).max(1)
    }

    const fn least_connections(&self) -> u64 {
        if to_u64(self.connections) < LEAST_CONNECTIONS { to_u64(self.connections) } else { LEAST_CONNECTIONS }
    }

    /// Descriptors for everything but connections of callers and connections to upstream.
    const fn reserve(&self) -> u64 {
        PROCESS + WORKER * to_u64(self.workers) + to_u64(self.operator)
    }

    /// Descriptors that a connection of a caller takes.
    const fn each(&self) -> u64 {
        if self.pools > 0 { 2 } else { 1 }
    }

    /// Descriptors that idle connections to upstream may take.
    const fn idle(&self) -> u64 {
        to_u64(self.pools) * to_u64(self.max_idle)
    }
}

/// A limit that is too low for a [`Need`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The limit on descriptors.
    pub limit: u64,
    /// What is needed.
    pub need: Need,
    /// What fits; `None`: usher does not start.
    pub fit: Option<Fit>,
}

impl Shortage {
    /// The shortage of `need` under a `limit` of descriptors; `None` if all connections of callers fit.
    #[must_use]
    pub fn of(need: Need, limit: u64) -> Option<Self> {
        let fit = need.fit(limit);
        let is_short = fit.is_none_or(|fit| fit.connections < need.connections);
        is_short.then_some(Self { limit, need, fit })
    }

    /// What is wrong, in a sentence.
    #[must_use]
    pub fn problem(&self) -> String {
        let Self { limit, need, fit } = self;
        let (total, connections, least, workers) = (need.total(), need.connections, need.least(), need.workers);
        match fit {
            Some(Fit { connections: fitting, .. }) => format!(
                "{limit} files may be open, but limits.max_connections = {connections} needs {total} ({} for each connection, {} for {}): no more than \
                 {fitting} connections are accepted at once",
                need.each(),
                need.idle() + need.reserve(),
                if need.pools > 0 {
                    "idle connections to upstream, the operator and usher itself"
                } else {
                    "the operator and usher itself"
                },
            ),
            None => format!(
                "{limit} files may be open, but usher does not start with fewer than {least} ({workers} worker threads), and \
                 limits.max_connections = {connections} needs {total}"
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let alternative = if self.fit.is_none() {
            ", or lower server.workers and limits.max_connections"
        } else {
            ", or lower limits.max_connections"
        };
        format!(
            "set LimitNOFILE={0} (systemd), ulimits.nofile: {0} (compose) or `ulimit -n {0}`{alternative}",
            self.need.total()
        )
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too few file descriptors: {}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for Shortage {}

/// The hard limit of this process on descriptors. `u64::MAX`: no limit.
#[must_use]
pub fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one, which needs no privileges, and returns how many descriptors this process may
/// have open now. If the system refuses, that is logged and the soft limit stays.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, soft = current, hard = maximum, "the soft limit of open files cannot be raised to the hard one");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Which limit on descriptors is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The limit of this process (`EMFILE`).
    Process,
    /// The limit of the whole machine (`ENFILE`).
    Machine,
}

impl Exhausted {
    /// The limit that an error of the system reports, if it does.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE => Some(Self::Process),
            Errno::NFILE => Some(Self::Machine),
            _ => None,
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => {
                "usher has as many files open as it may; raise LimitNOFILE (systemd), ulimits.nofile (compose) or `ulimit -n`, or lower \
                 limits.max_connections"
            }
            Self::Machine => "usher's machine has as many files open as it may; raise fs.file-max, or end what holds so many",
        })
    }
}

/// No `usize` is wider than 64 bits.
const fn to_u64(count: usize) -> u64 {
    count as u64
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
