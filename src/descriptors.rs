//! File descriptors: how many this process may have open, how many it needs, how many connections fit, and what to say
//! when there is none left.
//!
//! Each connection of a caller takes one, and before a remote upstream another one for the connection that its request
//! goes out on, or that relays its WebSocket. What else has to work when all places are taken has a reserve: the
//! operator's listener, and connections to upstream that are kept idle.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

/// What the process holds whatever it does, and a little for what it opens for a moment: standard streams, listeners,
/// signals, the main thread's runtime (12 in all); a connection that is accepted and has no place yet, files of a
/// reload, readings of `/proc` for a scrape.
const PROCESS: u64 = 24;

/// What a worker holds: its runtime (4), and a little for look-ups of names and attempts to connect that are raced.
const WORKER: u64 = 6;

/// Of what the reserve leaves, one part in so many is for idle connections to upstream where descriptors are short.
const IDLE_SHARE: u64 = 5;

/// With fewer places than this usher does not start, unless `limits.max_connections` asks for fewer: a backend alone
/// opens some.
pub const LEAST_CONNECTIONS: u64 = 8;

/// How often failures to accept are logged of.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What a configuration needs, in connections. [`Need::total`] is the number of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Connections of callers that may be open at once: `limits.max_connections`.
    pub connections: usize,
    /// Connections of the operator that may be open at once.
    pub operator: usize,
    /// Worker threads.
    pub workers: usize,
    /// Pools of connections to a remote upstream; 0 with the embedded broker, before which a connection takes one
    /// descriptor instead of two.
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
    /// Descriptors that the whole of it takes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.reserve() + self.each() * to_u64(self.connections) + self.idle()
    }

    /// The fewest descriptors with which usher starts.
    #[must_use]
    pub const fn least(&self) -> u64 {
        self.reserve() + self.each() * self.least_connections()
    }

    /// What fits into a limit of so many descriptors. If not all of it does, idle connections to upstream give way
    /// first, down to a fifth of what the reserve leaves, and then the places of connections. `None`: the limit is
    /// below [`Need::least`].
    #[must_use]
    pub fn fit(&self, limit: u64) -> Option<Fit> {
        let available = limit.checked_sub(self.least())? + self.least() - self.reserve();
        let spare = |places: u64| available.saturating_sub(self.each() * places);
        // The places without which there is no start come before idle connections.
        let share = spare(to_u64(self.connections)).max(available / IDLE_SHARE).min(spare(self.least_connections()));
        let pools = to_u64(self.pools);
        let max_idle = share.checked_div(pools).unwrap_or_default().min(to_u64(self.max_idle));
        let fitting = (available - max_idle * pools) / self.each();
        Some(Fit { connections: to_usize(fitting).min(self.connections), max_idle: to_usize(max_idle) })
    }

    const fn least_connections(&self) -> u64 {
        if to_u64(self.connections) < LEAST_CONNECTIONS { to_u64(self.connections) } else { LEAST_CONNECTIONS }
    }

    /// Descriptors that are kept for what is no connection of a caller and no connection to upstream.
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
    /// Descriptors that there are.
    pub limit: u64,
    /// What is needed.
    pub need: Need,
    /// What fits; `None`: usher does not start.
    pub fit: Option<Fit>,
}

impl Shortage {
    /// That of `need` in a limit of so many descriptors; `None` if all connections of callers fit.
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
        let wish = if self.fit.is_none() {
            ", or lower server.workers and limits.max_connections"
        } else {
            ", or lower limits.max_connections"
        };
        format!(
            "set LimitNOFILE={0} (systemd), ulimits.nofile: {0} (compose) or `ulimit -n {0}`{wish}",
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

/// The descriptors that this process could have open: its hard limit. `u64::MAX`: as many as it likes.
#[must_use]
pub fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one, which needs no rights, and returns how many descriptors this process may have
/// open now. What the system says against it goes into the log: the soft limit stays in force then.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, soft = current, hard = maximum, "the soft limit of open files cannot be raised to the hard one");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whose descriptors are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Those of this process (`EMFILE`).
    Process,
    /// Those of the whole machine (`ENFILE`).
    Machine,
}

impl Exhausted {
    /// Whether that is what an error of the system says.
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

/// Tells of connections that a listener cannot accept, at a bounded rate.
#[derive(Debug)]
pub struct AcceptFailures {
    listener: &'static str,
    logged: Option<Instant>,
    /// Since the last line.
    failures: u64,
}

impl AcceptFailures {
    /// Nothing has failed yet. `listener`: the configuration's key.
    #[must_use]
    pub const fn new(listener: &'static str) -> Self {
        Self { listener, logged: None, failures: 0 }
    }

    /// Accepting failed. Returns whether that was logged.
    pub fn failed(&mut self, error: &io::Error) -> bool {
        self.failures += 1;
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return false;
        }
        self.logged = Some(now);
        let failures = std::mem::take(&mut self.failures);
        let listener = self.listener;
        match Exhausted::of(error) {
            Some(exhausted) => {
                tracing::warn!(listener, %error, failures, "connections wait to be accepted: {exhausted}")
            }
            None => tracing::warn!(listener, %error, failures, "a connection could not be accepted"),
        }
        true
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
