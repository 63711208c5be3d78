//! The active configuration: the one that was loaded last, and the modes that the operator has set since.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};

use crate::admin::{EffectiveConfig, ModeSwitch, Modes, NotSwitched, RuleMode};
use crate::assignment::Assignments;
use crate::audience::Audience;
use crate::cluster::SwitchedModes;
use crate::config::{Config, RunningValue};
use crate::gateway::{Observers, Shared};
use crate::rules::{Mode, Rule};

/// Rebuilds the gateway's routing at a reload, and when the operator sets a mode.
#[derive(Debug)]
pub(super) struct ActiveConfig {
    shared: Arc<Shared>,
    assignments: Arc<Assignments>,
    audience: Audience,
    /// What the process started with: values that no reload applies stay these.
    started: Config,
    /// A lock: held while a routing is built and stored, so that a reload and a mode change cannot undo one
    /// another; never by a request.
    state: Mutex<ConfigState>,
}

#[derive(Debug)]
struct ConfigState {
    config: Config,
    /// At most one for each rule of each app, since one for any other is refused.
    overrides: Vec<ModeOverride>,
}

/// A rule of an app that the operator has set to another mode than the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModeOverride {
    app: String,
    rule: String,
    mode: Mode,
}

impl ActiveConfig {
    /// Starts with `config`, whose routing is stored already.
    pub(super) fn new(
        config: Config,
        shared: Arc<Shared>,
        assignments: Arc<Assignments>,
        audience: Audience,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            assignments,
            audience,
            started: config.clone(),
            state: Mutex::new(ConfigState { config, overrides: Vec::new() }),
        })
    }

    /// Applies a newly loaded configuration with its own modes: in a shared memory, they are those of all members again.
    /// Returns how many of the operator's overrides this ended.
    pub(super) fn replace(&self, config: Config) -> usize {
        let mut state = self.lock();
        for (_, store) in self.assignments.stores() {
            store.member().end_switches();
        }
        let switched = std::mem::replace(&mut *state, ConfigState { config, overrides: Vec::new() });
        self.apply(&state.config);
        switched.overrides.len()
    }

    /// Follows what is switched at other members of a shared memory, for as long as it is polled. Returns at once if the
    /// memory is not shared.
    pub(super) async fn follow(self: Arc<Self>) {
        let Some(mut switched) = self.assignments.switched() else { return };
        while switched.changed().await.is_ok() {
            // Locked first: what is told meanwhile is told once more.
            let mut state = self.lock();
            let apps = switched.borrow_and_update().clone();
            if state.take_over(&apps) {
                self.apply(&state.effective());
            }
        }
    }

    fn apply(&self, config: &Config) {
        let before = self.shared.routing.load();
        let kept = (before.limiters.rebuilt_for(&config.limits.rates), Arc::clone(&before.replays));
        let Shared { report, bypasses, .. } = &*self.shared;
        let observers = Observers { events: &config.events, report, audience: &self.audience, bypasses };
        let routing = super::routing(config, kept, &self.assignments, &self.shared.metrics, observers);
        self.shared.routing.store(Arc::new(routing));
    }

    /// A thread that panicked while it built a routing has stored nothing.
    fn lock(&self) -> MutexGuard<'_, ConfigState> {
        self.state.lock()
    }
}

impl ModeOverride {
    fn is_for(&self, app: &str, rule: &str) -> bool {
        (self.app.as_str(), self.rule.as_str()) == (app, rule)
    }
}

impl ModeSwitch for ActiveConfig {
    fn rules(&self) -> Vec<RuleMode> {
        let state = self.lock();
        let apps = state.config.apps.iter();
        let rules = || state.config.rules.iter().zip(&state.config.modes);
        let pairs = apps.flat_map(|app| {
            rules().filter(|(rule, _)| rule.is_for(app.id())).map(move |(rule, written)| (app, rule, written))
        });
        pairs
            .map(|(app, rule, written)| {
                let spec = rule.spec();
                let mode = state.mode(app.id(), rule);
                RuleMode {
                    app: app.id().into(),
                    rule: spec.name.as_str().into(),
                    event: spec.event.clone(),
                    channel: spec.channel.clone(),
                    mode,
                    configured: spec.mode,
                    source: if mode == spec.mode { written.source_of(mode) } else { "switched" },
                    definition: rule.adapted(app.id(), mode),
                }
            })
            .collect()
    }

    fn observes(&self) -> bool {
        self.lock().config.observe
    }

    fn switchable(&self, app: &str, rule: &str, mode: Mode) -> Result<Modes, NotSwitched> {
        self.lock().switchable(app, rule, mode)
    }

    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Result<Mode, NotSwitched> {
        let mut state = self.lock();
        let Modes { present, configured } = state.switchable(app, rule, mode)?;
        if mode != present {
            state.overrides.retain(|switch| !switch.is_for(app, rule));
            if mode != configured {
                state.overrides.push(ModeOverride { app: app.to_owned(), rule: rule.to_owned(), mode });
            }
            self.apply(&state.effective());
        }
        Ok(present)
    }
}

impl EffectiveConfig for ActiveConfig {
    fn values(&self) -> Vec<Value> {
        let state = self.lock();
        let shown = |value: RunningValue| {
            let mut shown = value.json();
            let switched = state.switched(&value.current.key);
            if !switched.is_empty() {
                shown["switched"] = switched.into();
            }
            shown
        };
        self.started.running_values(&state.config).into_iter().map(shown).collect()
    }
}

impl ConfigState {
    /// The rule of this name, if it is for the configured app `app`.
    fn rule(&self, app: &str, rule: &str) -> Option<&Rule> {
        self.config.apps.iter().find(|its| its.id() == app)?;
        self.config.rules.iter().find(|its| its.spec().name == rule && its.is_for(app))
    }

    fn switchable(&self, app: &str, rule: &str, mode: Mode) -> Result<Modes, NotSwitched> {
        let rule = self.rule(app, rule).ok_or(NotSwitched::NoSuchRule)?;
        if mode == Mode::Enforce && self.config.observe {
            return Err(NotSwitched::Observing);
        }
        Ok(Modes { present: self.mode(app, rule), configured: rule.spec().mode })
    }

    /// The overrides become those of the members of these apps' shared memories, as far as this configuration can follow.
    /// Returns whether any has changed.
    fn take_over(&mut self, apps: &HashMap<Arc<str>, Arc<SwitchedModes>>) -> bool {
        let mut overrides = Vec::new();
        for (app, switched) in apps {
            for (rule, mode) in &switched.modes {
                // Another member's configuration may have what this one has not.
                let Some(mode) = Mode::from_label(mode) else { continue };
                let Ok(modes) = self.switchable(app, rule, mode) else { continue };
                if mode != modes.configured {
                    overrides.push(ModeOverride { app: app.to_string(), rule: rule.clone(), mode });
                }
            }
        }
        let in_order = |one: &ModeOverride, other: &ModeOverride| (&one.app, &one.rule).cmp(&(&other.app, &other.rule));
        overrides.sort_by(in_order);
        self.overrides.sort_by(in_order);
        if overrides == self.overrides {
            return false;
        }
        let before = std::mem::replace(&mut self.overrides, overrides);
        for ModeOverride { app, rule, mode } in self.overrides.iter().filter(|switch| !before.contains(switch)) {
            tracing::warn!(app, rule, mode = mode.label(), "a rule is switched for all members of the cluster");
        }
        let is_over = |switch: &&ModeOverride| !self.overrides.iter().any(|now| now.is_for(&switch.app, &switch.rule));
        for ModeOverride { app, rule, mode: _ } in before.iter().filter(is_over) {
            tracing::warn!(app, rule, "a rule is in its configured mode again, for all members of the cluster");
        }
        true
    }

    /// The overrides of the mode with this key (`rules.0.mode`): the modes in effect, by the ids of the apps.
    fn switched(&self, key: &str) -> Map<String, Value> {
        let index = key.strip_prefix("rules.").and_then(|rest| rest.strip_suffix(".mode")).and_then(|n| n.parse().ok());
        let Some(rule) = index.and_then(|index: usize| self.config.rules.get(index)) else { return Map::new() };
        let overrides = self.overrides.iter().filter(|switch| switch.rule == rule.spec().name);
        overrides.map(|switch| (switch.app.clone(), switch.mode.label().into())).collect()
    }

    /// The present mode of `rule` for `app`.
    fn mode(&self, app: &str, rule: &Rule) -> Mode {
        let name = rule.spec().name.as_str();
        let switch = self.overrides.iter().find(|switch| switch.is_for(app, name));
        switch.map_or_else(|| rule.spec().mode, |switch| switch.mode)
    }

    /// The configuration with the overrides applied: a rule with an override for some of its apps is replaced by one
    /// rule for each of its apps.
    fn effective(&self) -> Config {
        let mut config = self.config.clone();
        config.rules = self.config.rules.iter().flat_map(|rule| self.adapted(rule)).collect();
        config
    }

    fn adapted(&self, rule: &Rule) -> Vec<Rule> {
        if !self.overrides.iter().any(|switch| switch.rule == rule.spec().name) {
            return vec![rule.clone()];
        }
        let apps = self.config.apps.iter().map(crate::pusher::App::id).filter(|app| rule.is_for(app));
        apps.map(|app| rule.adapted(app, self.mode(app, rule))).collect()
    }
}
