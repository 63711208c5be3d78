//! The configuration in force: the one that was loaded last, and the modes that the operator has switched since.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::{ModeSwitch, RuleMode};
use crate::assignment::Assignments;
use crate::audience::Audience;
use crate::config::Config;
use crate::gateway::{Observers, Shared};
use crate::rules::{Mode, Rule};

/// Rebuilds the gateway's routing at a reload and at the operator's switches.
#[derive(Debug)]
pub(super) struct Rulebook {
    shared: Arc<Shared>,
    assignments: Arc<Assignments>,
    audience: Audience,
    /// A std mutex: held while a routing is built and put in force, so that a reload and a switch cannot undo one
    /// another; never by a request.
    in_force: Mutex<InForce>,
}

#[derive(Debug)]
struct InForce {
    config: Config,
    /// One for each rule of each app at most, since a switch of another is refused.
    switches: Vec<Switch>,
}

/// A rule of an app that is in another mode than the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Switch {
    app: String,
    rule: String,
    mode: Mode,
}

impl Rulebook {
    /// With `config`, whose routing is in force already.
    pub(super) fn new(
        config: Config,
        shared: Arc<Shared>,
        assignments: Arc<Assignments>,
        audience: Audience,
    ) -> Arc<Self> {
        Arc::new(Self { shared, assignments, audience, in_force: Mutex::new(InForce { config, switches: Vec::new() }) })
    }

    /// Puts a newly loaded configuration in force, with its own modes. Returns how many of the operator's switches that
    /// ended.
    pub(super) fn replace(&self, config: Config) -> usize {
        let mut in_force = self.lock();
        let switched = std::mem::replace(&mut *in_force, InForce { config, switches: Vec::new() });
        self.put_in_force(&in_force.config);
        switched.switches.len()
    }

    fn put_in_force(&self, config: &Config) {
        let limiters = self.shared.routing.load().limiters.rebuilt_for(&config.limits.rates);
        let observers = Observers { events: &config.events, report: &self.shared.report, audience: &self.audience };
        let routing = super::routing(config, limiters, &self.assignments, &self.shared.metrics, observers);
        self.shared.routing.store(Arc::new(routing));
    }

    /// A thread that panicked while it built a routing has put nothing in force.
    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModeSwitch for Rulebook {
    fn rules(&self) -> Vec<RuleMode> {
        let in_force = self.lock();
        let apps = in_force.config.apps.iter();
        let pairs = apps.flat_map(|app| {
            in_force.config.rules.iter().filter(|rule| rule.is_for(app.id())).map(move |rule| (app, rule))
        });
        pairs
            .map(|(app, rule)| {
                let spec = rule.spec();
                RuleMode {
                    app: app.id().into(),
                    rule: spec.name.as_str().into(),
                    event: spec.event.clone(),
                    channel: spec.channel.clone(),
                    mode: in_force.mode(app.id(), rule),
                    configured: spec.mode,
                }
            })
            .collect()
    }

    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Option<Mode> {
        let mut in_force = self.lock();
        in_force.config.apps.iter().find(|its| its.id() == app)?;
        let named = in_force.config.rules.iter().find(|its| its.spec().name == rule && its.is_for(app))?;
        let (before, configured) = (in_force.mode(app, named), named.spec().mode);
        if mode != before {
            in_force.switches.retain(|switch| (switch.app.as_str(), switch.rule.as_str()) != (app, rule));
            if mode != configured {
                in_force.switches.push(Switch { app: app.to_owned(), rule: rule.to_owned(), mode });
            }
            self.put_in_force(&in_force.effective());
        }
        Some(before)
    }
}

impl InForce {
    /// The mode that `rule` is in for `app`.
    fn mode(&self, app: &str, rule: &Rule) -> Mode {
        let name = rule.spec().name.as_str();
        let switch = self.switches.iter().find(|switch| (switch.app.as_str(), switch.rule.as_str()) == (app, name));
        switch.map_or_else(|| rule.spec().mode, |switch| switch.mode)
    }

    /// The configuration with the switches applied: a rule that is switched for some apps stands there once for each of
    /// its apps, in its place.
    fn effective(&self) -> Config {
        let mut config = self.config.clone();
        config.rules = self.config.rules.iter().flat_map(|rule| self.adapted(rule)).collect();
        config
    }

    fn adapted(&self, rule: &Rule) -> Vec<Rule> {
        if !self.switches.iter().any(|switch| switch.rule == rule.spec().name) {
            return vec![rule.clone()];
        }
        let apps = self.config.apps.iter().map(crate::pusher::App::id).filter(|app| rule.is_for(app));
        apps.map(|app| rule.adapted(app, self.mode(app, rule))).collect()
    }
}
