//! The contract: which event belongs on which family of channels. An event elsewhere is a mistake of the backend that
//! nothing else reports. It is counted and always forwarded.

use std::collections::HashMap;
use std::sync::Arc;

use super::RuleError;
use super::template::Template;

/// The longest event name that any client library sends (`pusher-protocol.md` 1.4).
const MAX_EVENT_NAME: usize = 200;

/// The family of a channel that no template of the contract matches.
pub const OTHER: &str = "other";

/// An entry of the contract as configured, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSpec {
    /// The event's name.
    pub name: String,
    /// The template of the channels that it belongs on; `{name}` matches one or more characters.
    pub channel: String,
    /// Ids of the apps it is for; empty: all.
    pub apps: Vec<String>,
}

/// A checked entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractEntry {
    spec: EventSpec,
    channel: Template,
}

/// The contract of one app.
#[derive(Debug, Default)]
pub struct Contract {
    by_name: HashMap<Arc<str>, usize>,
    events: Vec<ContractEvent>,
    /// All templates of the contract, each once, in the order of the configuration.
    families: Vec<(Arc<str>, Template)>,
    other: Arc<str>,
}

/// One event and where it belongs.
#[derive(Debug)]
struct ContractEvent {
    name: Arc<str>,
    /// The indices of its families in [`Contract::families`].
    families: Vec<usize>,
    /// The templates of its families, joined by `or`.
    expected: Arc<str>,
}

/// An event on a channel where it does not belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MisplacedEvent<'a> {
    /// The event's index in [`Contract::events`].
    pub index: usize,
    /// Its name, as configured.
    pub event: &'a Arc<str>,
    /// The family of the channel: the first template that matches, or `other`.
    pub family: &'a Arc<str>,
    /// The templates of its own families, joined by `or`.
    pub expected: &'a Arc<str>,
}

impl ContractEntry {
    /// Checks `spec`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(spec: EventSpec) -> Result<Self, Vec<RuleError>> {
        let name = check_event_name(&spec.name).map_err(|problem| RuleError { key: "name", problem });
        let channel = Template::parse_any(&spec.channel).map_err(|problem| RuleError { key: "channel", problem });
        match (name, channel) {
            (Ok(()), Ok(channel)) => Ok(Self { spec, channel }),
            (name, channel) => Err(name.err().into_iter().chain(channel.err()).collect()),
        }
    }

    /// The entry as configured.
    #[must_use]
    pub const fn spec(&self) -> &EventSpec {
        &self.spec
    }

    /// The checked template of its channels.
    pub(super) const fn template(&self) -> &Template {
        &self.channel
    }

    /// Whether it is for the app with this id.
    #[must_use]
    pub fn is_for(&self, app: &str) -> bool {
        self.spec.apps.is_empty() || self.spec.apps.iter().any(|id| id == app)
    }
}

impl Contract {
    /// The contract of the app with this id, out of the `entries` of all apps.
    #[must_use]
    pub fn new(entries: &[ContractEntry], app: &str) -> Self {
        let mut contract = Self { other: OTHER.into(), ..Self::default() };
        for entry in entries.iter().filter(|entry| entry.is_for(app)) {
            let family = contract.family(entry);
            let index = *contract.by_name.entry(entry.spec.name.as_str().into()).or_insert(contract.events.len());
            if index == contract.events.len() {
                contract.events.push(ContractEvent {
                    name: entry.spec.name.as_str().into(),
                    families: Vec::new(),
                    expected: "".into(),
                });
            }
            contract.events[index].families.push(family);
        }
        for event in &mut contract.events {
            let templates: Vec<&str> = event.families.iter().map(|family| &*contract.families[*family].0).collect();
            event.expected = templates.join(" or ").into();
        }
        contract
    }

    /// The names of its events.
    pub fn events(&self) -> impl Iterator<Item = &Arc<str>> {
        self.events.iter().map(|event| &event.name)
    }

    /// Checks an event on a channel: `None` if it belongs there, or if the contract does not name it.
    #[must_use]
    pub fn misplaced(&self, event: &str, channel: &str) -> Option<MisplacedEvent<'_>> {
        let index = *self.by_name.get(event)?;
        let ContractEvent { name, families, expected } = &self.events[index];
        if families.iter().any(|family| self.families[*family].1.matches(channel)) {
            return None;
        }
        let family =
            self.families.iter().find(|(_, template)| template.matches(channel)).map_or(&self.other, |(text, _)| text);
        Some(MisplacedEvent { index, event: name, family, expected })
    }

    /// Whether this contract can report a [`MisplacedEvent`] with these values.
    #[must_use]
    pub fn expects(&self, event: &str, family: &str, expected: &str) -> bool {
        let is_expected = self.by_name.get(event).is_some_and(|index| *self.events[*index].expected == *expected);
        is_expected && (family == OTHER || self.families.iter().any(|(text, _)| **text == *family))
    }

    fn family(&mut self, entry: &ContractEntry) -> usize {
        let known = self.families.iter().position(|(text, _)| **text == *entry.spec.channel);
        known.unwrap_or_else(|| {
            self.families.push((entry.spec.channel.as_str().into(), entry.channel.clone()));
            self.families.len() - 1
        })
    }
}

/// Checks that a library can send an event of this name; the error says what is wrong with it.
pub(super) fn check_event_name(event: &str) -> Result<(), String> {
    match event.chars().count() {
        0 => Err("an event's name is empty: write it as the backend sends it, e.g. \"staff-assigned\"".into()),
        1..=MAX_EVENT_NAME => Ok(()),
        length => Err(format!(
            "an event's name has {length} characters: Pusher's libraries send at most {MAX_EVENT_NAME}; shorten it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "{hotel}-room-{room}-chat";
    const CONVERSATION: &str = "{hotel}-conversation-{id}-chat";

    fn entry(name: &str, channel: &str, apps: &[&str]) -> Result<ContractEntry, Vec<RuleError>> {
        ContractEntry::new(EventSpec {
            name: name.into(),
            channel: channel.into(),
            apps: apps.iter().map(|id| (*id).to_owned()).collect(),
        })
    }

    fn contract(app: &str) -> Contract {
        let entries = [
            ("staff-assigned", ROOM, &[][..]),
            ("new-message", CONVERSATION, &[]),
            ("new-message", ROOM, &["1"]),
            ("x", "cache-{a}", &["2"]),
        ];
        Contract::new(&entries.map(|(name, channel, apps)| entry(name, channel, apps).unwrap()), app)
    }

    /// The family and the expectation.
    fn misplaced(contract: &Contract, event: &str, channel: &str) -> Option<(String, String)> {
        let misplaced = contract.misplaced(event, channel)?;
        assert!(contract.expects(misplaced.event, misplaced.family, misplaced.expected));
        assert_eq!(contract.events().nth(misplaced.index), Some(misplaced.event));
        Some((misplaced.family.to_string(), misplaced.expected.to_string()))
    }

    #[test]
    fn events_belong_on_one_family_or_several() {
        let contract = contract("1");
        for (event, channel) in [
            ("staff-assigned", "inn-room-1-chat"),
            ("new-message", "inn-room-1-chat"),
            ("new-message", "inn-conversation-7-chat"),
        ] {
            assert_eq!(misplaced(&contract, event, channel), None, "{event} on {channel}");
        }
        assert_eq!(misplaced(&contract, "unnamed", "anywhere"), None);
        let expected = |family: &str, expected: &str| Some((family.to_owned(), expected.to_owned()));
        assert_eq!(misplaced(&contract, "staff-assigned", "inn-conversation-7-chat"), expected(CONVERSATION, ROOM));
        assert_eq!(misplaced(&contract, "staff-assigned", "inn"), expected("other", ROOM));
        assert_eq!(
            misplaced(&contract, "new-message", "lobby"),
            expected("other", &format!("{CONVERSATION} or {ROOM}"))
        );
    }

    #[test]
    fn an_entry_may_be_for_one_app() {
        let (one, two) = (contract("1"), contract("2"));
        assert!(
            one.misplaced("x", "y").is_none()
                && two.misplaced("x", "y").is_some()
                && two.misplaced("x", "cache-1").is_none()
        );
        assert!(two.misplaced("new-message", "inn-room-1-chat").is_some());
        assert!(
            !two.expects("new-message", "other", "elsewhere")
                && !two.expects("new-message", "gone", CONVERSATION)
                && !two.expects("gone", "other", ROOM)
        );
    }

    #[test]
    fn nonsense_is_refused_with_its_key() {
        let keys = |name: &str, channel: &str| {
            entry(name, channel, &[]).unwrap_err().iter().map(|error| error.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("", "{a"), ["name", "channel"]);
        assert_eq!(keys(&"x".repeat(201), ROOM), ["name"]);
    }
}
