//! `/rules/mode`: changes the mode of a rule at run time.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Admin;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use crate::rules::{Mode, OnDifference, Rule};

/// A rule of an app with its modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMode {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The watched event.
    pub event: String,
    /// The template of the watched channels.
    pub channel: String,
    /// The current mode.
    pub mode: Mode,
    /// The configured mode, which the next reload or restart restores.
    pub configured: Mode,
    /// Where the current mode comes from: `default`, `file`, `variable`, `flag`, `observe` or `switched`.
    pub source: &'static str,
    /// The rule in its current mode.
    pub definition: Rule,
}

impl RuleMode {
    /// `rule` of `app`, in the mode that it has.
    pub(super) fn configured(app: &str, rule: &Rule) -> Self {
        let spec = rule.spec();
        Self {
            app: app.into(),
            rule: spec.name.as_str().into(),
            event: spec.event.clone(),
            channel: spec.channel.clone(),
            mode: spec.mode,
            configured: spec.mode,
            source: "file",
            definition: rule.clone(),
        }
    }
}

/// Changes the modes of rules. The owner of the gateway's routing implements it; this room does not use the gateway.
pub trait ModeSwitch: fmt::Debug + Send + Sync {
    /// All rules of all apps, including disabled ones, in the order of the configuration.
    fn rules(&self) -> Vec<RuleMode>;

    /// Whether usher is configured to observe, so that no rule can enforce.
    fn observes(&self) -> bool;

    /// The modes of a rule that may be switched to `mode`.
    ///
    /// # Errors
    /// There is no such rule, or it cannot have this mode.
    fn switchable(&self, app: &str, rule: &str, mode: Mode) -> Result<Modes, NotSwitched>;

    /// Changes the mode of a rule in this process; the new mode is in effect on return. Returns the previous mode.
    ///
    /// # Errors
    /// There is no such rule, or it cannot have this mode.
    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Result<Mode, NotSwitched>;
}

/// The modes of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// The present one.
    pub present: Mode,
    /// The configured one.
    pub configured: Mode,
}

/// Why a rule was not switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSwitched {
    /// There is no such rule of this app.
    NoSuchRule,
    /// usher is configured to observe, and the mode would enforce.
    Observing,
}

impl From<NotSwitched> for Refusal {
    fn from(not_switched: NotSwitched) -> Self {
        match not_switched {
            NotSwitched::NoSuchRule => Self::NotWatched,
            NotSwitched::Observing => Self::Observing,
        }
    }
}

/// The body of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    app: String,
    rule: String,
    mode: Mode,
}

/// Changes the mode of the rule that `body` names: for this process, or for all members of a shared memory.
///
/// # Errors
/// The body is invalid, names no configured rule, or asks to enforce while usher is configured to observe; or the store
/// of a shared memory does not have it.
pub(super) async fn switch(admin: &Admin, body: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct ModeChange {
        from: &'static str,
        to: &'static str,
        /// What is to be looked at before this mode is relied on.
        warnings: Vec<String>,
    }
    let request: ModeRequest = serde_json::from_slice(body).map_err(|_invalid| Refusal::BadBody(INVALID_BODY))?;
    let ModeRequest { app, rule, mode } = request;
    let Modes { present, configured } = admin.mode_switch.switchable(&app, &rule, mode)?;
    let stores = admin.assignments.stores();
    let shared = stores.iter().find(|(id, _)| **id == *app);
    let lasts = match shared {
        Some((_, store)) => {
            store.switch(&rule, (mode != configured).then_some(mode.label())).await?;
            "for all members, until the next reload of any of them, or until all have left"
        }
        None => "until the next reload or restart",
    };
    admin.mode_switch.switch(&app, &rule, mode)?;
    let (from, to) = (present.label(), mode.label());
    tracing::warn!(by = "admin", app, rule, from, to, lasts, "the operator switched a rule");
    let warnings = if mode == Mode::Enforce { doubts(admin, &app, &rule) } else { Vec::new() };
    for warning in &warnings {
        tracing::warn!(app, rule, "{warning}");
    }
    Ok(reply::json(&ModeChange { from, to, warnings }))
}

/// What speaks against enforcing a rule: something else that differs in more than a few of the announcements that it
/// drops.
fn doubts(admin: &Admin, app: &str, rule: &str) -> Vec<String> {
    let rules = admin.report.rules();
    let Some(report) = rules.iter().find(|report| (&*report.rule.app, &*report.rule.rule) == (app, rule)) else {
        return Vec::new();
    };
    if report.rule.on_difference == OnDifference::Forward {
        return Vec::new();
    }
    report.tally.differences().frequent().map(|difference| difference.to_string()).collect()
}

/// The error for an invalid body.
const INVALID_BODY: &str =
    "The body is JSON: {\"app\": \"<id>\", \"rule\": \"<name>\", \"mode\": \"enforce\" | \"observe\" | \"off\"}.";
