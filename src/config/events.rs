//! `[[events]]`: the contract of which event belongs on which channels.

use std::collections::BTreeMap;

use super::rules::{check_app_ids, report_errors};
use super::section::Section;
use crate::rules::{ContractEntry, EventSpec};

/// The most entries: for every event, the entries of its name are compared.
const MAX_ENTRIES: usize = 256;

/// The entries, for apps with these `ids`.
pub(super) fn read(root: &mut Section<'_>, ids: &[String]) -> Vec<ContractEntry> {
    let mut known_entries = BTreeMap::new();
    let entries: Vec<_> = root.sections("events", |section| entry(section, ids, &mut known_entries));
    if entries.len() > MAX_ENTRIES {
        root.problem(
            "events",
            format!(
                "There are {} entries; {MAX_ENTRIES} are taken at most. Let one template stand for a family of channels.",
                entries.len()
            ),
        );
    }
    entries.into_iter().flatten().collect()
}

/// The key of each entry, by its event, family and apps.
type KnownEntries = BTreeMap<(String, String, Vec<String>), String>;

fn entry(section: &mut Section<'_>, ids: &[String], known_entries: &mut KnownEntries) -> Option<ContractEntry> {
    let apps = section.texts("apps");
    let spec = EventSpec {
        name: section.required("name", "staff-assigned", |_| Ok(())),
        channel: section.required("channel", "{hotelSlug}-room-{roomNumber}-chat", |_| Ok(())),
        apps: apps.iter().map(|(id, _)| id.clone()).collect(),
    };
    check_app_ids(section, apps, ids);
    let this = (spec.name.clone(), spec.channel.clone(), spec.apps.clone());
    match known_entries.get(&this) {
        Some(other) if !spec.name.is_empty() => {
            section.problem("name", format!("`{other}` says the same. Once is enough."))
        }
        _ => {
            known_entries.insert(this, section.key("name"));
        }
    }
    ContractEntry::new(spec).map_err(|errors| report_errors(section, errors)).ok()
}
