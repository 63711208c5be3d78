//! `[[events]]`: the contract of which event belongs on which channels.

use std::collections::BTreeMap;

use super::rules::{known, refuse};
use super::section::Section;
use crate::rules::{ContractEntry, EventSpec};

/// Entries; each is looked at for every event of its name.
const MOST: usize = 256;

/// The entries, for apps with these `ids`.
pub(super) fn read(root: &mut Section<'_>, ids: &[String]) -> Vec<ContractEntry> {
    let mut seen = BTreeMap::new();
    let entries: Vec<_> = root.sections("events", |section| entry(section, ids, &mut seen));
    if entries.len() > MOST {
        root.problem(
            "events",
            format!(
                "There are {} entries; {MOST} are taken at most. Let one template stand for a family of channels.",
                entries.len()
            ),
        );
    }
    entries.into_iter().flatten().collect()
}

/// Where each event on each family stands, for those that say for which apps.
type Seen = BTreeMap<(String, String, Vec<String>), String>;

fn entry(section: &mut Section<'_>, ids: &[String], seen: &mut Seen) -> Option<ContractEntry> {
    let apps = section.texts("apps");
    let spec = EventSpec {
        name: section.required("name", "staff-assigned", |_| Ok(())),
        channel: section.required("channel", "{hotelSlug}-room-{roomNumber}-chat", |_| Ok(())),
        apps: apps.iter().map(|(id, _)| id.clone()).collect(),
    };
    known(section, apps, ids);
    let this = (spec.name.clone(), spec.channel.clone(), spec.apps.clone());
    match seen.get(&this) {
        Some(other) if !spec.name.is_empty() => {
            section.problem("name", format!("`{other}` says the same. Once is enough."))
        }
        _ => {
            seen.insert(this, section.key("name"));
        }
    }
    ContractEntry::new(spec).map_err(|errors| refuse(section, errors)).ok()
}
