//! The operator's listener, apart from the public one:
//!
//! - `GET /metrics`: every series, for Prometheus
//! - `GET /livez`: 200 while the process runs
//! - `GET /readyz`: 200, or 503 once draining has begun
//! - `GET /assignments?app=&rule=&channel=<prefix>&limit=`: what is remembered
//! - `DELETE /assignments?app=&channel=[&rule=]`: forgets one channel; needs the token
//! - `GET /decisions?app=&channel=<prefix>&limit=`: the last decisions, newest first
//! - `GET /decisions/stream?app=&channel=<prefix>&backlog=`: decisions as they are made
//! - `GET /report`: what each rule has saved or would have, and which events are misplaced
//! - `GET /overview`: rules with their modes, and the counters that a person looks at
//! - `POST /rules/mode`: switches a rule; needs the token
//! - `GET /`: the operator's page, for browsers; for others this list
//!
//! On a loopback address reading is free to whoever can connect; on any other one all but the first three and the page
//! need the token. A page in the operator's browser is kept out by the `Host` check (DNS rebinding, threats.md ADM-02)
//! and by never sending a CORS header. Where others can reach the listener, those three are answered under any name:
//! they are open there anyway, and scrapers ask by name.

mod assignments;
mod decisions;
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

pub use listener::{MAX_CONNECTIONS, serve};
pub use modes::{RuleMode, Switchboard};

/// What the operator is shown, and the secret that lets him in.
pub struct Admin {
    /// The series of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The log behind `/decisions`.
    pub decisions: Arc<Decisions>,
    /// What `/report` tells.
    pub report: Arc<Report>,
    /// The memory behind `/assignments`.
    pub assignments: Arc<Assignments>,
    /// Where rules are switched.
    pub switchboard: Arc<dyn Switchboard>,
    /// Tells readiness.
    pub drain: Drain,
    /// The tasks that `usher_tasks` counts: those of the gateway.
    pub tasks: Tasks,
    /// Tells the moments of the memory and the log as times of day.
    pub calendar: Calendar,
    /// The bearer token. `None` or empty: nothing that needs one is allowed.
    pub token: Option<String>,
}

impl fmt::Debug for Admin {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("drain", &self.drain)
            .field("token", &self.token.as_ref().map(|_| "MASKED"))
            .finish_non_exhaustive()
    }
}
