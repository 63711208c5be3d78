//! `/triggers`: the records of the last triggers, newest first; `/triggers/<id>`: one of them.

use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::trigger_view::TriggerView;
use crate::triggers::{Filter, TriggerId};

/// The parameters that filter records.
pub(super) const FILTERS: [&str; 9] =
    ["app", "channel", "event", "decision", "reason", "status", "caller", "refused", "failed"];

/// The query of a listing.
#[derive(Debug)]
pub(super) struct TriggerQuery {
    filter: Filter,
    before: Option<TriggerId>,
    limit: usize,
}

/// A listing.
#[derive(Serialize)]
struct Listing<'a> {
    triggers: Vec<TriggerView<'a>>,
    /// Records that were removed since usher started, because newer ones needed the bytes.
    missed: u64,
    /// Whether older triggers match, too: go on with `before`.
    more: bool,
}

impl TriggerQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// The query has unknown parameters, or invalid values.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let known: Vec<&str> = FILTERS.into_iter().chain(["before", "limit"]).collect();
        let query = Query::parse(query, &known)?;
        let before = query.get("before").map(str::parse).transpose();
        let before =
            before.map_err(|invalid: crate::triggers::InvalidId| Refusal::BadQuery(format!("before: {invalid}.")))?;
        Ok(Self { filter: filter(&query)?, before, limit: query.limit()? })
    }

    /// Lists the triggers.
    pub(super) fn list(&self, admin: &Admin) -> Reply {
        let page = admin.triggers.list(self.limit, self.before, &self.filter);
        let records: Vec<_> = page.records.iter().filter_map(|encoded| encoded.record()).collect();
        let triggers = records.iter().map(|record| TriggerView::new(admin, record)).collect();
        reply::json(&Listing { triggers, missed: page.removed, more: page.more })
    }
}

/// The filter in `query`.
///
/// # Errors
/// A value is invalid.
pub(super) fn filter(query: &Query) -> Result<Filter, Refusal> {
    let text = |key: &str| query.get(key).map(str::to_owned);
    let status = query.get("status").map(str::parse).transpose();
    Ok(Filter {
        app: text("app"),
        channel: text("channel"),
        event: text("event"),
        decision: text("decision"),
        reason: text("reason"),
        status: status
            .map_err(|invalid: crate::triggers::InvalidStatus| Refusal::BadQuery(format!("status: {invalid}.")))?,
        caller: text("caller"),
        refused: query.flag("refused")?,
        failed: query.flag("failed")?,
    })
}

/// Shows the trigger whose id is `id`.
///
/// # Errors
/// There is no record with this id.
pub(super) fn show(admin: &Admin, id: &str) -> Result<Reply, Refusal> {
    let id: TriggerId = id.parse().map_err(|_invalid| Refusal::NoTrigger)?;
    let encoded = admin.triggers.get(id).ok_or(Refusal::NoTrigger)?;
    let record = encoded.record().ok_or(Refusal::Failed)?;
    Ok(reply::json(&TriggerView::detailed(admin, &record, &admin.mode_switch.rules())))
}
