//! The operator's listener, separate from the public one:
//!
//! - `GET /metrics`: every series, for Prometheus
//! - `GET /livez`: 200 while the process runs
//! - `GET /readyz`: 200, or 503 once draining has begun
//! - `GET /assignments?app=&rule=&channel=<prefix>&limit=`: the stored assignments
//! - `DELETE /assignments?app=&channel=[&rule=]`: deletes one channel's assignments; requires the
//!   token
//! - `GET /decisions?app=&channel=<prefix>&limit=`: the last decisions, newest first
//! - `GET /decisions/stream?app=&channel=<prefix>&backlog=`: new decisions as server-sent events
//! - `GET /report`: what each rule has suppressed or would suppress, and misplaced events
//! - `GET /overview`: rules with their modes, and the main counters
//! - `GET /config`: every key with its effective value and its source; secrets are masked
//! - `POST /rules/mode`: changes the mode of a rule; requires the token
//! - `GET /`: the operator's page for browsers; this list for other clients
//!
//! On a loopback address, reading requires no token; on any other address everything except the first three endpoints
//! and the page requires it. The `Host` check (DNS rebinding, threats.md ADM-02) and the absence of CORS headers
//! exclude other pages in the operator's browser. If other hosts can reach the listener, the first three endpoints
//! accept any `Host`: they are open in this case, and scrapers address the listener by name.

mod assignments;
mod decisions;
mod effective;
mod guard;
mod listener;
mod modes;
mod overview;
mod page;
mod query;
mod refusal;
mod reply;
mod report;
mod rfc3339;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;

use crate::assignment::Assignments;
use crate::clock::Calendar;
use crate::decisions::Decisions;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::shutdown::{Drain, Tasks};

pub use effective::EffectiveConfig;
pub use listener::{MAX_CONNECTIONS, serve};
pub use modes::{ModeSwitch, RuleMode};

/// The data that the listener serves, and the token that it requires.
pub struct Admin {
    /// The series of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The log behind `/decisions`.
    pub decisions: Arc<Decisions>,
    /// The data of `/report`.
    pub report: Arc<Report>,
    /// The assignments behind `/assignments`.
    pub assignments: Arc<Assignments>,
    /// Changes the modes of rules.
    pub mode_switch: Arc<dyn ModeSwitch>,
    /// The effective values behind `/config`.
    pub config: Arc<dyn EffectiveConfig>,
    /// Determines readiness.
    pub drain: Drain,
    /// The gateway's tasks, which `usher_tasks` counts.
    pub tasks: Tasks,
    /// Converts moments to times of day.
    pub calendar: Calendar,
    /// The bearer token. `None` or empty: calls that require a token are refused.
    pub token: Option<String>,
}

impl fmt::Debug for Admin {
    /// Omits the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("drain", &self.drain)
            .field("token", &self.token.as_ref().map(|_| "MASKED"))
            .finish_non_exhaustive()
    }
}
