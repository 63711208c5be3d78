//! The modes to which operators have switched an app's rules. They hold for all members, so the store has them beside the
//! members: every request that changes a membership carries what its process knows, and is answered with what counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

/// The switched modes of one app's rules, as one process knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwitchedModes {
    /// Larger with each switch: of two that a process knows or the store holds, the one with the larger number counts.
    pub number: u64,
    /// The mode of each rule that has been switched to another one than the configured. The store does not look at them.
    pub modes: BTreeMap<String, String>,
}

impl SwitchedModes {
    /// What these become when `rule` is switched to `mode`; `None`: to the configured one.
    #[must_use]
    pub fn with(&self, rule: &str, mode: Option<&str>) -> Self {
        let mut modes = self.modes.clone();
        match mode {
            Some(mode) => modes.insert(rule.to_owned(), mode.to_owned()),
            None => modes.remove(rule),
        };
        Self { number: self.number + 1, modes }
    }

    /// What these become when all rules are as they are configured.
    #[must_use]
    pub const fn without_any(&self) -> Self {
        Self { number: self.number + 1, modes: BTreeMap::new() }
    }

    /// The modes as the store holds them: `rule=mode`, with spaces between. Neither has one of these characters.
    pub(super) fn text(&self) -> String {
        let modes: Vec<_> = self.modes.iter().map(|(rule, mode)| format!("{rule}={mode}")).collect();
        modes.join(" ")
    }

    /// Those with this number that the store holds; `None`: they are no such text.
    pub(super) fn parse(number: u64, text: &str) -> Option<Self> {
        let mode = |part: &str| part.split_once('=').map(|(rule, mode)| (rule.to_owned(), mode.to_owned()));
        let modes = text.split_ascii_whitespace().map(mode).collect::<Option<_>>()?;
        Some(Self { number, modes })
    }
}

/// Tells of the switched modes of all apps.
#[derive(Debug, Clone, Default)]
pub struct Switchboard(watch::Sender<HashMap<Arc<str>, Arc<SwitchedModes>>>);

impl Switchboard {
    /// Follows the switched modes of each app, by its id.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<HashMap<Arc<str>, Arc<SwitchedModes>>> {
        self.0.subscribe()
    }

    /// Those of `app` are these now.
    pub(super) fn tell(&self, app: &Arc<str>, modes: Arc<SwitchedModes>) {
        self.0.send_modify(|apps| {
            apps.insert(Arc::clone(app), modes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let none = SwitchedModes::default();
        let one = none.with("joined", Some("off"));
        let two = one.with("left-2", Some("observe"));
        for modes in [&none, &one, &two, &two.with("joined", None), &two.without_any()] {
            assert_eq!(SwitchedModes::parse(modes.number, &modes.text()).as_ref(), Some(modes));
        }
        assert_eq!(one.with("joined", None), SwitchedModes { number: 2, ..none });
        assert_eq!(two.without_any(), SwitchedModes { number: 3, modes: BTreeMap::new() });
        assert_eq!(two.text(), "joined=off left-2=observe");
        assert_eq!(SwitchedModes::parse(1, "off"), None);
    }
}
