//! Why rules did not match a trigger, and which rule comes nearest.

use serde::Serialize;

use super::modes::RuleMode;
use crate::rules::Mismatch;
use crate::triggers::Record;

/// A rule that did not match an event on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NotMatched {
    rule: String,
    event: String,
    channel: String,
    /// `event`, `channel`, `channel_name`, `channel_kind`, `where` or `off`.
    cause: &'static str,
    why: String,
}

/// The rule that comes nearest to watching an event on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Nearest {
    rule: String,
    cause: &'static str,
    why: String,
}

/// Most entries: a trigger has up to 100 channels, and an app any number of rules.
const MAX_ENTRIES: usize = 200;

/// Each rule of the record's app that did not match, for each of its events and channels.
pub(super) fn not_matched(record: &Record<'_>, rules: &[RuleMode]) -> Vec<NotMatched> {
    let head = &record.head;
    let of_app: Vec<&RuleMode> = rules.iter().filter(|rule| *rule.app == *head.request.app).collect();
    let mut entries = Vec::new();
    for (index, event) in head.events.iter().enumerate() {
        for channel in &event.channels {
            for rule in &of_app {
                let filtered = head
                    .filtered
                    .iter()
                    .find(|filtered| usize::from(filtered.event) == index && *filtered.rule == *rule.rule);
                let (cause, why) = match (rule.definition.mismatch(event.name, channel), filtered) {
                    (Some(mismatch), _) => (mismatch.code(), mismatch.to_string()),
                    (None, Some(filtered)) => ("where", where_differs(filtered.pointer)),
                    (None, None) => continue,
                };
                let (event, channel) = (event.name.to_owned(), (*channel).to_owned());
                entries.push(NotMatched { rule: rule.rule.to_string(), event, channel, cause, why });
                if entries.len() == MAX_ENTRIES {
                    return entries;
                }
            }
        }
    }
    entries
}

/// The rule of `app` that comes nearest to watching `event` on `channel`, unless one does watch it. `filtered`: a rule
/// whose `where` did not match, and the pointer.
pub(super) fn nearest(
    rules: &[RuleMode],
    app: &str,
    event: &str,
    channel: &str,
    filtered: Option<(&str, &str)>,
) -> Option<Nearest> {
    if let Some((rule, pointer)) = filtered {
        return Some(Nearest { rule: rule.to_owned(), cause: "where", why: where_differs(pointer) });
    }
    let mismatches = rules.iter().filter(|rule| *rule.app == *app).map(|rule| {
        let mismatch = rule.definition.mismatch(event, channel);
        (distance(mismatch, event), rule, mismatch)
    });
    let (_, rule, mismatch) = mismatches.min_by_key(|(distance, ..)| *distance)?;
    let mismatch = mismatch?;
    let why = match mismatch {
        Mismatch::Event { expected } => format!("event `{event}` is not `{expected}`"),
        Mismatch::Channel { template } => format!("channel `{channel}` does not match `{template}`"),
        Mismatch::ChannelName | Mismatch::ChannelKind | Mismatch::Off => mismatch.to_string(),
    };
    Some(Nearest { rule: rule.rule.to_string(), cause: mismatch.code(), why })
}

/// How far a rule is from watching an event: the event first, by its spelling, then the channel.
fn distance(mismatch: Option<Mismatch<'_>>, event: &str) -> usize {
    match mismatch {
        None => 0,
        Some(Mismatch::Off) => 1,
        Some(Mismatch::ChannelName | Mismatch::ChannelKind) => 2,
        Some(Mismatch::Channel { .. }) => 3,
        Some(Mismatch::Event { expected }) => 4 + strsim::levenshtein(event, expected),
    }
}

fn where_differs(pointer: &str) -> String {
    format!("the value at `{pointer}` in its data is not the one that `where` asks for")
}
