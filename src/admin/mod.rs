//! The operator's listener, separate from the public one:
//!
//! - `GET /metrics`: every series, for Prometheus
//! - `GET /livez`: 200 while the process runs
//! - `GET /readyz`: 200, or 503 once the end is announced
//! - `GET /assignments?app=&rule=&channel=<prefix>&limit=`: the stored assignments
//! - `DELETE /assignments?app=&channel=[&rule=]`: deletes one channel's assignments; requires the
//!   token
//! - `GET /triggers?app=&channel=<prefix>&event=&decision=&reason=&status=&caller=&refused=&failed=&before=&limit=`: the
//!   last triggers, newest first
//! - `GET /triggers/<id>`: one trigger
//! - `GET /triggers/stream?…&backlog=`: new triggers as server-sent events
//! - `GET /record?redact=`: triggers as JSON lines, whole; requires the token that allows everything
//! - `GET /events?app=&limit=`: what came, by event and channel
//! - `GET /discovery?app=&limit=`: what comes, by event and family of channels, and what it suggests
//! - `GET /report`: what each rule has suppressed or would suppress, and misplaced events
//! - `GET /overview`: rules with their modes, and the main counters
//! - `GET /cluster`: the members of each app's shared memory, and what this process may do there
//! - `POST /cluster/close?app=`, `DELETE /cluster/members/<node>?app=`: the operator's word that nobody else lives, or that
//!   a missing member has ended; require the token
//! - `GET /config`: every key with its effective value and its source; secrets are masked
//! - `POST /rules/mode`: changes the mode of a rule; requires the token
//! - `GET /token`: whether the token is right; requires it
//! - `GET /`: the operator's page for browsers; this list for other clients
//!
//! On a loopback address, reading requires no token; on any other address everything except the first three endpoints
//! and the page requires it. `admin.read_token` allows reading, `admin.token` everything. The `Host` check (DNS rebinding, threats.md ADM-02) and the absence of CORS headers
//! exclude other pages in the operator's browser. If other hosts can reach the listener, the first three endpoints
//! accept any `Host`: they are open in this case, and scrapers address the listener by name.

mod assignments;
mod cluster;
mod discovery;
mod effective;
mod events;
mod guard;
mod listener;
mod misplaced;
mod modes;
mod nearest;
mod overview;
mod page;
mod query;
mod record;
mod refusal;
mod reply;
mod report;
mod rfc3339;
mod sample;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod trigger_view;
mod triggers;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::assignment::Assignments;
use crate::clock::Calendar;
use crate::metrics::Metrics;
use crate::recording::Recorders;
use crate::replay::Replays;
use crate::report::Report;
use crate::shutdown::{Drain, Tasks};
use crate::triggers::Triggers;

pub use effective::EffectiveConfig;
pub use listener::{MAX_CONNECTIONS, serve};
pub use modes::{ModeSwitch, Modes, NotSwitched, RuleMode};
pub use trigger_view::record_json;

/// The data that the listener serves, and who is let in.
pub struct Admin {
    /// The series of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The records behind `/triggers` and `/events`.
    pub triggers: Arc<Triggers>,
    /// Those who record, by `/record`.
    pub recorders: Arc<Recorders>,
    /// The data of `/report`.
    pub report: Arc<Report>,
    /// The assignments behind `/assignments`.
    pub assignments: Arc<Assignments>,
    /// The announcements that late subscribers may get.
    pub replays: Arc<Replays>,
    /// What became of the memory of the process before, in one sentence.
    pub state: Arc<str>,
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
    /// Who is let in. A reload replaces it.
    pub access: Arc<ArcSwap<Access>>,
}

/// Who is let in, and what a reload may change beside.
#[derive(Clone, Default)]
pub struct Access {
    /// The bearer token that allows everything. `None` or empty: nothing can be changed.
    pub token: Option<String>,
    /// The bearer token that allows reading only.
    pub read_token: Option<String>,
    /// Names, in lower case, that are accepted in `Host` beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The name of the environment, for people; may be empty.
    pub name: String,
    /// Whether triggers may be recorded whole, by `/record`.
    pub recording: bool,
}

impl fmt::Debug for Access {
    /// Omits the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("token", &self.token.as_ref().map(|_| "MASKED"))
            .field("read_token", &self.read_token.as_ref().map(|_| "MASKED"))
            .field("allowed_hosts", &self.allowed_hosts)
            .field("name", &self.name)
            .field("recording", &self.recording)
            .finish()
    }
}

impl fmt::Debug for Admin {
    /// Omits the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("drain", &self.drain).field("access", &self.access.load()).finish_non_exhaustive()
    }
}
