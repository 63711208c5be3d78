//! The channels of misplaced events, as the records of the last triggers have them.

use std::collections::HashMap;

use super::Admin;
use crate::report::Misplaced;
use crate::rules::{Contract, ContractEntry, EventSpec, OTHER};
use crate::triggers::Record;

/// Most channels that are listed for one kind of misplaced events.
const MAX_CHANNELS: usize = 5;

/// Most channels that are counted for one kind. Further ones are left out.
const MAX_COUNTED: usize = 1000;

/// A kind of misplaced events, and how often each of its channels is in the records.
#[derive(Debug)]
struct Kind<'a> {
    kind: &'a Misplaced,
    /// The channels where the event belongs.
    expected: Contract,
    /// The channels of the family; `None`: those of no other family.
    family: Option<Contract>,
    channels: HashMap<String, u64>,
}

/// The channels of each of `kinds`, the most frequent first, as far as their triggers are recorded. Looks at all
/// records: for a thread that may block.
pub(super) fn channels(admin: &Admin, kinds: &[&Misplaced]) -> Vec<Vec<String>> {
    let mut kinds: Vec<Kind<'_>> = kinds.iter().map(|kind| Kind::new(kind)).collect();
    if !kinds.is_empty() {
        admin.triggers.for_each(|record| add(&mut kinds, record));
    }
    kinds.into_iter().map(Kind::most_frequent).collect()
}

fn add(kinds: &mut [Kind<'_>], record: &Record<'_>) {
    for event in &record.head.events {
        for channel in &event.channels {
            let of_event =
                |kind: &Kind<'_>| kind.is_for(record.head.request.app, event.name) && kind.is_misplaced(channel);
            let place = kinds
                .iter()
                .position(|kind| of_event(kind) && kind.has_family_of(channel))
                .or_else(|| kinds.iter().position(|kind| of_event(kind) && kind.family.is_none()));
            if let Some(place) = place {
                kinds[place].count(channel);
            }
        }
    }
}

impl<'a> Kind<'a> {
    fn new(kind: &'a Misplaced) -> Self {
        let contract = |templates: &str| {
            let entry = |channel: &str| {
                ContractEntry::new(EventSpec {
                    name: kind.event.to_string(),
                    channel: channel.to_owned(),
                    apps: Vec::new(),
                })
                .ok()
            };
            let entries: Vec<ContractEntry> = templates.split(" or ").filter_map(entry).collect();
            Contract::new(&entries, &kind.app)
        };
        let family = (*kind.channel_family != *OTHER).then(|| contract(&kind.channel_family));
        Self { kind, expected: contract(&kind.expected), family, channels: HashMap::new() }
    }

    fn is_for(&self, app: &str, event: &str) -> bool {
        *self.kind.app == *app && *self.kind.event == *event
    }

    fn is_misplaced(&self, channel: &str) -> bool {
        self.expected.misplaced(&self.kind.event, channel).is_some()
    }

    fn has_family_of(&self, channel: &str) -> bool {
        self.family.as_ref().is_some_and(|family| family.misplaced(&self.kind.event, channel).is_none())
    }

    fn count(&mut self, channel: &str) {
        if let Some(count) = self.channels.get_mut(channel) {
            *count += 1;
        } else if self.channels.len() < MAX_COUNTED {
            self.channels.insert(channel.to_owned(), 1);
        }
    }

    fn most_frequent(self) -> Vec<String> {
        let mut channels: Vec<(String, u64)> = self.channels.into_iter().collect();
        channels.sort_unstable_by(|(one, count), (other, of_other)| (of_other, one).cmp(&(count, other)));
        channels.truncate(MAX_CHANNELS);
        channels.into_iter().map(|(channel, _)| channel).collect()
    }
}
