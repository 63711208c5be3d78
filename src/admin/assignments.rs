//! `/assignments`: lists the stored assignments of channels, and deletes those of one channel.

use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use super::token::JsonToken;
use crate::assignment::{
    Assignment, Assignments, Entry, NotReached, Reach, RegisteredRule, Remainder, SharedRuleChannels,
};
use crate::clock::Calendar;

/// The query of a listing.
#[derive(Debug)]
pub(super) struct AssignmentQuery {
    app: Option<String>,
    rule: Option<String>,
    channel_prefix: String,
    limit: usize,
}

impl AssignmentQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// The query has unknown parameters, or a limit out of bounds.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "rule", "channel", "limit"])?;
        Ok(Self {
            app: query.get("app").map(Into::into),
            rule: query.get("rule").map(Into::into),
            channel_prefix: query.get("channel").unwrap_or_default().into(),
            limit: query.limit()?,
        })
    }

    /// Lists the entries, ordered by rule and then by channel. The entries are copied before they are serialised.
    ///
    /// # Errors
    /// The app or the rule is not configured.
    pub(super) fn list(&self, admin: &Admin) -> Result<Reply, Refusal> {
        let rules = rules(&admin.assignments, self.app.as_deref(), self.rule.as_deref())?;
        let mut found: Vec<(&RegisteredRule, Entry)> = Vec::new();
        for rule in &rules {
            // One more than the limit, to know whether the listing is truncated.
            let entries = rule.memory.entries(&self.channel_prefix, self.limit + 1 - found.len());
            found.extend(entries.into_iter().map(|entry| (rule, entry)));
            if found.len() > self.limit {
                break;
            }
        }
        let views: Vec<_> = found
            .iter()
            .take(self.limit)
            .map(|(rule, entry)| EntryView::new((&rule.app, &rule.rule), entry, &admin.calendar))
            .collect();
        let listing = reply::json(&views);
        Ok(if found.len() > self.limit { reply::truncated(listing) } else { listing })
    }

    /// The same for a memory that processes share.
    ///
    /// # Errors
    /// The app or the rule is not configured, or the memory says nothing.
    pub(super) async fn list_shared(&self, admin: &Admin) -> Result<Reply, Refusal> {
        let rules = shared_rules(&admin.assignments, self.app.as_deref(), self.rule.as_deref())?;
        let now = admin.calendar.clock().now();
        let mut found: Vec<(&SharedRuleChannels, Entry)> = Vec::new();
        let mut has_more = false;
        for rule in &rules {
            let listing = rule.entries(&self.channel_prefix, self.limit - found.len(), now).await.map_err(unreached)?;
            found.extend(listing.entries.into_iter().map(|entry| (rule, entry)));
            has_more |= listing.has_more;
        }
        let view = |(rule, entry)| {
            let rule: &SharedRuleChannels = rule;
            EntryView::new((&rule.app, &rule.rule), entry, &admin.calendar)
        };
        let views: Vec<_> = found.iter().map(|(rule, entry)| view((*rule, entry))).collect();
        let listing = reply::json(&views);
        Ok(if has_more { reply::truncated(listing) } else { listing })
    }
}

/// Deletes the assignment of the channel in `query`, for one rule or for all rules of the app: the channel's next
/// announcement is forwarded in any case.
///
/// # Errors
/// The query names no app or no channel, the app or the rule is not configured, or a shared memory says nothing.
pub(super) async fn forget(admin: &Admin, query: &str) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Forgotten {
        /// The number of rules that had an assignment of the channel.
        forgotten: usize,
    }
    let query = Query::parse(query, &["app", "rule", "channel"])?;
    let (app, channel) = (query.required("app")?, query.required("channel")?);
    let forgotten = if admin.assignments.is_shared() {
        let mut forgotten = 0;
        for rule in shared_rules(&admin.assignments, Some(app), query.get("rule"))? {
            forgotten += usize::from(rule.forget(channel).await.map_err(unreached)?);
        }
        forgotten
    } else {
        let rules = rules(&admin.assignments, Some(app), query.get("rule"))?;
        rules.iter().filter(|rule| rule.memory.forget(channel)).count()
    };
    tracing::info!(app, forgotten, "the operator had a channel forgotten");
    Ok(reply::json(&Forgotten { forgotten }))
}

fn unreached(error: NotReached) -> Refusal {
    Refusal::Unreached(error.to_string())
}

/// The rules that match, of a memory that processes share.
///
/// # Errors
/// An app or a rule was given, and no rule matches.
fn shared_rules(
    assignments: &Assignments,
    app: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<SharedRuleChannels>, Refusal> {
    let mut rules = assignments.shared_rules();
    rules.retain(|rule| app.is_none_or(|app| app == &*rule.app) && name.is_none_or(|name| name == &*rule.rule));
    if rules.is_empty() && (app.is_some() || name.is_some()) {
        return Err(Refusal::NotWatched);
    }
    Ok(rules)
}

/// The rules that match, in the order of the configuration.
///
/// # Errors
/// An app or a rule was given, and no rule matches.
fn rules(assignments: &Assignments, app: Option<&str>, name: Option<&str>) -> Result<Vec<RegisteredRule>, Refusal> {
    let mut rules = assignments.rules();
    rules.retain(|rule| app.is_none_or(|app| app == &*rule.app) && name.is_none_or(|name| name == &*rule.rule));
    if rules.is_empty() && (app.is_some() || name.is_some()) {
        return Err(Refusal::NotWatched);
    }
    Ok(rules)
}

/// An entry of the listing.
#[derive(Serialize)]
struct EntryView<'a> {
    app: &'a str,
    rule: &'a str,
    channel: &'a str,
    /// `null`: unknown, in flight or in doubt.
    identity: Option<JsonToken<'a>>,
    context: Vec<JsonToken<'a>>,
    /// The number of the rule's identity pointer that it was read from, from 0 on.
    identity_pointer: Option<usize>,
    /// `null`: nobody looks at what else its announcement said.
    remainder: Option<RemainderView>,
    /// The `socket_id` that its announcement had; `null`: all clients have had it, or it is unknown.
    left_out: Option<String>,
    /// Whether a client has subscribed since.
    late_joiner: bool,
    since: Option<String>,
    last_seen: String,
    announced: u32,
    suppressed: u32,
    in_flight: usize,
    in_doubt: bool,
}

/// What else the announcement said that the channel is known to show.
#[derive(Serialize)]
struct RemainderView {
    /// The hash of it, with a key that follows from the app's secret.
    digest: String,
    /// Whether an announcement that says something else is news.
    compared: bool,
}

impl RemainderView {
    fn of(assignment: &Assignment) -> Option<Self> {
        let (digest, compared) = match assignment.said() {
            Remainder::Ignored => return None,
            Remainder::Noted(digest) => (digest, false),
            Remainder::Compared(digest) => (digest, true),
        };
        Some(Self { digest: digest.text(), compared })
    }
}

impl<'a> EntryView<'a> {
    /// `rule`: the app's id and the rule's name.
    fn new((app, rule): (&'a str, &'a str), entry: &'a Entry, calendar: &Calendar) -> Self {
        let time = |moment| rfc3339(calendar.unix_time(moment));
        Self {
            app,
            rule,
            channel: &entry.channel,
            identity: entry.known.as_ref().map(Assignment::identity).map(JsonToken),
            identity_pointer: entry.known.as_ref().map(Assignment::pointer),
            remainder: entry.known.as_ref().and_then(RemainderView::of),
            left_out: if let Reach::AllBut(socket) = entry.reach { Some(socket.to_string()) } else { None },
            late_joiner: entry.reach == Reach::NotAll,
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
