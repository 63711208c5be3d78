//! `/decisions`: the last decisions, newest first.

use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use super::token::JsonToken;
use crate::clock::Calendar;
use crate::decisions::{Filter, Record};

/// The query of a listing.
#[derive(Debug)]
pub(super) struct DecisionQuery {
    app: Option<String>,
    channel_prefix: String,
    limit: usize,
}

impl DecisionQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// The query has unknown parameters, or a limit out of bounds.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "channel", "limit"])?;
        Ok(Self {
            app: query.get("app").map(Into::into),
            channel_prefix: query.get("channel").unwrap_or_default().into(),
            limit: query.limit()?,
        })
    }

    /// Lists the decisions.
    pub(super) fn list(&self, admin: &Admin) -> Reply {
        let filter = Filter { app: self.app.as_deref(), channel_prefix: &self.channel_prefix };
        // One more than the limit, to know whether the listing is truncated.
        let records = admin.decisions.latest(self.limit + 1, filter);
        let views: Vec<_> =
            records.iter().take(self.limit).map(|record| DecisionView::new(record, &admin.calendar)).collect();
        let listing = reply::json(&views);
        if records.len() > self.limit { reply::truncated(listing) } else { listing }
    }
}

/// A decision in a listing or a stream.
#[derive(Serialize)]
pub(super) struct DecisionView<'a> {
    time: String,
    app: &'a str,
    rule: &'a str,
    channel: &'a str,
    identity: Option<JsonToken<'a>>,
    decision: &'static str,
    reason: String,
}

impl<'a> DecisionView<'a> {
    /// The view of `record`; `calendar` converts its moment.
    pub(super) fn new(record: &'a Record, calendar: &Calendar) -> Self {
        Self {
            time: rfc3339(calendar.unix_time(record.at)),
            app: &record.app,
            rule: &record.rule,
            channel: record.channel(),
            identity: record.identity().map(JsonToken),
            decision: record.decision.label(),
            reason: record.reason.to_string(),
        }
    }
}
