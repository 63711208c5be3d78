//! The active configuration: the one that was loaded last, and the modes that the operator has set since.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};

use crate::admin::{EffectiveConfig, ModeSwitch, NotSwitched, RuleMode};
use crate::assignment::Assignments;
use crate::audience::Audience;
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

    /// Applies a newly loaded configuration with its own modes. Returns how many of the operator's overrides this
    /// ended.
    pub(super) fn replace(&self, config: Config) -> usize {
        let mut state = self.lock();
        let switched = std::mem::replace(&mut *state, ConfigState { config, overrides: Vec::new() });
        self.apply(&state.config);
        switched.overrides.len()
    }

    fn apply(&self, config: &Config) {
        let limiters = self.shared.routing.load().limiters.rebuilt_for(&config.limits.rates);
        let observers = Observers { events: &config.events, report: &self.shared.report, audience: &self.audience };
        let routing = super::routing(config, limiters, &self.assignments, &self.shared.metrics, observers);
        self.shared.routing.store(Arc::new(routing));
    }

    /// A thread that panicked while it built a routing has stored nothing.
    fn lock(&self) -> MutexGuard<'_, ConfigState> {
        self.state.lock()
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

    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Result<Mode, NotSwitched> {
        let mut state = self.lock();
        let named = state.rule(app, rule).ok_or(NotSwitched::NoSuchRule)?;
        if mode == Mode::Enforce && state.config.observe {
            return Err(NotSwitched::Observing);
        }
        let (before, configured) = (state.mode(app, named), named.spec().mode);
        if mode != before {
            state.overrides.retain(|switch| (switch.app.as_str(), switch.rule.as_str()) != (app, rule));
            if mode != configured {
                state.overrides.push(ModeOverride { app: app.to_owned(), rule: rule.to_owned(), mode });
            }
            self.apply(&state.effective());
        }
        Ok(before)
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
        let switch = self.overrides.iter().find(|switch| (switch.app.as_str(), switch.rule.as_str()) == (app, name));
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
