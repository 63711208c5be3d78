//! `/assignments`: what is remembered of each channel, and forgetting one of them.

use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use super::token::JsonToken;
use crate::assignment::{Assignment, Assignments, Entry, Watched};
use crate::clock::Calendar;

/// Which entries are listed.
#[derive(Debug)]
pub(super) struct Asked {
    app: Option<String>,
    rule: Option<String>,
    channel_prefix: String,
    limit: usize,
}

impl Asked {
    /// Reads the query of a listing.
    ///
    /// # Errors
    /// It has parameters that a listing does not take, or a limit out of bounds.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "rule", "channel", "limit"])?;
        Ok(Self {
            app: query.get("app").map(Into::into),
            rule: query.get("rule").map(Into::into),
            channel_prefix: query.get("channel").unwrap_or_default().into(),
            limit: query.limit()?,
        })
    }

    /// Lists the entries: those of one rule after those of another, each rule's by channel. They are copied out of the
    /// memory before they are written.
    ///
    /// # Errors
    /// An app or a rule was named that is not configured.
    pub(super) fn list(&self, admin: &Admin) -> Result<Reply, Refusal> {
        let watches = watches(&admin.assignments, self.app.as_deref(), self.rule.as_deref())?;
        let mut found: Vec<(&Watched, Entry)> = Vec::new();
        for watch in &watches {
            // One more than is shown tells whether there are more.
            let entries = watch.memory.entries(&self.channel_prefix, self.limit + 1 - found.len());
            found.extend(entries.into_iter().map(|entry| (watch, entry)));
            if found.len() > self.limit {
                break;
            }
        }
        let shown: Vec<_> =
            found.iter().take(self.limit).map(|(watch, entry)| Shown::new(watch, entry, &admin.calendar)).collect();
        let listing = reply::json(&shown);
        Ok(if found.len() > self.limit { reply::truncated(listing) } else { listing })
    }
}

/// Forgets the channel that `query` names, for one rule or for all rules of the app: its next announcement is forwarded
/// whatever it says.
///
/// # Errors
/// The query names no app or no channel, or an app or a rule that is not configured.
pub(super) fn forget(admin: &Admin, query: &str) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Forgotten {
        /// For how many rules something was remembered of the channel.
        forgotten: usize,
    }
    let query = Query::parse(query, &["app", "rule", "channel"])?;
    let (app, channel) = (query.required("app")?, query.required("channel")?);
    let watches = watches(&admin.assignments, Some(app), query.get("rule"))?;
    let forgotten = watches.iter().filter(|watch| watch.memory.forget(channel)).count();
    tracing::info!(app, forgotten, "the operator had a channel forgotten");
    Ok(reply::json(&Forgotten { forgotten }))
}

/// The rules that were named, or all of them, in the order of the configuration.
///
/// # Errors
/// Something was named, and nothing fits.
fn watches(assignments: &Assignments, app: Option<&str>, rule: Option<&str>) -> Result<Vec<Watched>, Refusal> {
    let mut watches = assignments.watches();
    watches.retain(|watch| app.is_none_or(|app| app == &*watch.app) && rule.is_none_or(|rule| rule == &*watch.rule));
    if watches.is_empty() && (app.is_some() || rule.is_some()) {
        return Err(Refusal::NotWatched);
    }
    Ok(watches)
}

/// An entry as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    app: &'a str,
    rule: &'a str,
    channel: &'a str,
    /// Null: unknown, in flight or in doubt.
    identity: Option<JsonToken<'a>>,
    context: Vec<JsonToken<'a>>,
    since: Option<String>,
    last_seen: String,
    announced: u32,
    suppressed: u32,
    in_flight: usize,
    in_doubt: bool,
}

impl<'a> Shown<'a> {
    fn new(watch: &'a Watched, entry: &'a Entry, calendar: &Calendar) -> Self {
        let time = |moment| rfc3339(calendar.unix_time(moment));
        Self {
            app: &watch.app,
            rule: &watch.rule,
            channel: &entry.channel,
            identity: entry.known.as_ref().map(Assignment::identity).map(JsonToken),
            context: entry.known.iter().flat_map(Assignment::context).map(JsonToken).collect(),
            since: entry.since.map(time),
            last_seen: time(entry.last_seen),
            announced: entry.announced,
            suppressed: entry.suppressed,
            in_flight: entry.in_flight,
            in_doubt: entry.in_doubt,
        }
    }
}
