//! `/config`: every key of the configuration with the value that is in effect, and where it comes from.

use std::fmt;

use serde_json::Value;

use super::Admin;
use super::reply::{self, Reply};

/// The effective values of the running process. The owner of the configuration implements it; this room does not use
/// the configuration.
pub trait EffectiveConfig: fmt::Debug + Send + Sync {
    /// An object for each key, in the order of the configuration: `key`, `value`, `source` (`default`, `file`,
    /// `variable` or `flag`) with `file` and `line` or `variable`; `pending`, if another value was reloaded and waits for
    /// a restart; `switched`, the modes that the operator has set, by app. Secrets are masked.
    fn values(&self) -> Vec<Value>;
}

/// Answers with all values.
pub(super) fn show(admin: &Admin) -> Reply {
    reply::json(&admin.config.values())
}
