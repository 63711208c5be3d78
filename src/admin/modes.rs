//! `/rules/mode`: changes the mode of a rule at run time.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Admin;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use crate::rules::{Mode, Rule};

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
    /// The rule in its current mode.
    pub definition: Rule,
}

/// Changes the modes of rules. The owner of the gateway's routing implements it; this room does not use the gateway.
pub trait ModeSwitch: fmt::Debug + Send + Sync {
    /// All rules of all apps, including disabled ones, in the order of the configuration.
    fn rules(&self) -> Vec<RuleMode>;

    /// Changes the mode of a rule; the new mode is in effect on return. Returns the previous mode; `None`: there is no
    /// such rule.
    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Option<Mode>;
}

/// The body of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    app: String,
    rule: String,
    mode: Mode,
}

/// Changes the mode of the rule that `body` names.
///
/// # Errors
/// The body is invalid, or names no configured rule.
pub(super) fn switch(admin: &Admin, body: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct ModeChange {
        from: &'static str,
        to: &'static str,
    }
    let request: ModeRequest = serde_json::from_slice(body).map_err(|_invalid| Refusal::BadBody(INVALID_BODY))?;
    let from = admin.mode_switch.switch(&request.app, &request.rule, request.mode).ok_or(Refusal::NotWatched)?;
    let (from, to) = (from.label(), request.mode.label());
    tracing::warn!(
        by = "admin",
        app = request.app,
        rule = request.rule,
        from,
        to,
        "the operator switched a rule; it lasts until the next reload or restart"
    );
    Ok(reply::json(&ModeChange { from, to }))
}

/// The error for an invalid body.
const INVALID_BODY: &str =
    "The body is JSON: {\"app\": \"<id>\", \"rule\": \"<name>\", \"mode\": \"enforce\" | \"observe\" | \"off\"}.";
