//! `/rules/mode`: what each rule does, and switching it while usher runs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Admin;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use crate::rules::Mode;

/// A rule of an app, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMode {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The event that it watches.
    pub event: String,
    /// The template of the channels that it watches.
    pub channel: String,
    /// What it does at present.
    pub mode: Mode,
    /// What the configuration says that it does: so it will be after the next reload or restart.
    pub configured: Mode,
}

/// Where rules are switched. This room does not know how the gateway routes; whoever makes the routing implements it.
pub trait Switchboard: fmt::Debug + Send + Sync {
    /// Every rule of every app, those that are off included, in the order of the configuration.
    fn rules(&self) -> Vec<RuleMode>;

    /// Puts a rule of an app in another mode, which is in force on return. Returns the mode before; `None`: there is no
    /// such rule.
    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Option<Mode>;
}

/// The body of a switch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    app: String,
    rule: String,
    mode: Mode,
}

/// Switches the rule that `body` names.
///
/// # Errors
/// The body is not as it has to be, or names no rule of the configuration.
pub(super) fn switch(admin: &Admin, body: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Switched {
        from: &'static str,
        to: &'static str,
    }
    let wish: Wish = serde_json::from_slice(body).map_err(|_invalid| Refusal::BadBody(SHAPE))?;
    let from = admin.switchboard.switch(&wish.app, &wish.rule, wish.mode).ok_or(Refusal::NotWatched)?;
    let (from, to) = (from.label(), wish.mode.label());
    tracing::warn!(
        by = "admin",
        app = wish.app,
        rule = wish.rule,
        from,
        to,
        "the operator switched a rule; it lasts until the next reload or restart"
    );
    Ok(reply::json(&Switched { from, to }))
}

/// What a switch looks like.
const SHAPE: &str =
    "The body is JSON: {\"app\": \"<id>\", \"rule\": \"<name>\", \"mode\": \"enforce\" | \"observe\" | \"off\"}.";
