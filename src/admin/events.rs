//! `/events`: what came, by event and channel, among the triggers whose records are kept.

use std::collections::HashMap;

use serde::Serialize;

use super::Admin;
use super::modes::RuleMode;
use super::nearest::{Nearest, nearest};
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use crate::clock::Moment;
use crate::triggers::Record;

/// Most different events and channels that are counted. The records of three full rings have some 100,000.
const MAX_EVENTS: usize = 20_000;

/// The query of a listing.
#[derive(Debug)]
pub(super) struct EventQuery {
    app: Option<String>,
    limit: usize,
}

#[derive(Serialize)]
struct Listing {
    events: Vec<EventView>,
    /// Events on channels that are not listed.
    more: usize,
    /// The time of the oldest record that was counted.
    since: Option<String>,
}

#[derive(Serialize)]
struct EventView {
    app: String,
    event: String,
    channel: String,
    count: u64,
    last: String,
    /// Whether a rule watches it.
    watched: bool,
    /// The rule that comes nearest, unless one watches it.
    nearest: Option<Nearest>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    app: String,
    event: String,
    channel: String,
}

#[derive(Debug, Default)]
struct Count {
    count: u64,
    last: u64,
    watched: bool,
    /// A rule whose `where` did not match, and the pointer.
    filtered: Option<(String, String)>,
}

/// The counts of a listing.
#[derive(Debug, Default)]
struct Counts {
    events: HashMap<Key, Count>,
    left_out: usize,
    oldest: Option<u64>,
}

impl EventQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// The query has unknown parameters, or a limit out of bounds.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "limit"])?;
        Ok(Self { app: query.get("app").map(Into::into), limit: query.limit()? })
    }

    /// Lists the events, the most frequent first.
    pub(super) fn list(&self, admin: &Admin) -> Reply {
        let mut counts = Counts::default();
        admin.triggers.for_each(|record| {
            if self.app.as_ref().is_none_or(|app| app == record.head.request.app) {
                counts.add(record);
            }
        });
        let rules = admin.mode_switch.rules();
        let time = |at| rfc3339(admin.calendar.unix_time(Moment::from_millis(at)));
        let mut events: Vec<(Key, Count)> = counts.events.into_iter().collect();
        events.sort_unstable_by(|(one_key, one), (other_key, other)| {
            (other.count, &one_key.event, &one_key.channel).cmp(&(one.count, &other_key.event, &other_key.channel))
        });
        let more = counts.left_out + events.len().saturating_sub(self.limit);
        events.truncate(self.limit);
        let events = events.into_iter().map(|(key, count)| view(key, &count, &rules, time(count.last))).collect();
        reply::json(&Listing { events, more, since: counts.oldest.map(time) })
    }
}

impl Counts {
    fn add(&mut self, record: &Record<'_>) {
        let head = &record.head;
        self.oldest = Some(self.oldest.map_or(head.request.at, |oldest| oldest.min(head.request.at)));
        for (index, event) in head.events.iter().enumerate() {
            for (position, channel) in event.channels.iter().enumerate() {
                let key = Key {
                    app: head.request.app.to_owned(),
                    event: event.name.to_owned(),
                    channel: (*channel).to_owned(),
                };
                if self.events.len() >= MAX_EVENTS && !self.events.contains_key(&key) {
                    self.left_out += 1;
                    continue;
                }
                let count = self.events.entry(key).or_default();
                count.count += 1;
                count.last = count.last.max(head.request.at);
                count.watched |= head
                    .findings
                    .iter()
                    .any(|finding| (usize::from(finding.event), usize::from(finding.channel)) == (index, position));
                let filtered = head.filtered.iter().find(|filtered| usize::from(filtered.event) == index);
                if let Some(filtered) = filtered {
                    count.filtered = Some((filtered.rule.to_owned(), filtered.pointer.to_owned()));
                }
            }
        }
    }
}

fn view(key: Key, count: &Count, rules: &[RuleMode], last: String) -> EventView {
    let Key { app, event, channel } = key;
    let filtered = count.filtered.as_ref().map(|(rule, pointer)| (rule.as_str(), pointer.as_str()));
    let nearest = if count.watched { None } else { nearest(rules, &app, &event, &channel, filtered) };
    EventView { app, event, channel, count: count.count, last, watched: count.watched, nearest }
}
