//! One snapshot of apps, rules and limits. A request keeps the snapshot it began with.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Limits, UnknownApps};
use crate::assignment::{AppMemory, Assignments, RuleMemory, Watch};
use crate::metrics::{AppMetrics, Metrics, RuleMetrics};
use crate::pusher::App;
use crate::rules::{Mode, Rule};

/// Apps with their rules, and what else a reload may change.
#[derive(Debug)]
pub struct Routing {
    /// Limits on requests.
    pub limits: Limits,
    /// What becomes of triggers for apps that are not here.
    pub unknown_apps: UnknownApps,
    by_id: HashMap<Box<str>, Arc<AppRoute>>,
    by_key: HashMap<Box<str>, Arc<AppRoute>>,
}

/// One app, its rules and its memory.
#[derive(Debug)]
pub(super) struct AppRoute {
    pub(super) app: App,
    pub(super) id: Arc<str>,
    pub(super) memory: Arc<AppMemory>,
    pub(super) rules: Vec<WatchedRule>,
    pub(super) metrics: AppMetrics,
}

/// One rule of one app, with its memory.
#[derive(Debug)]
pub(super) struct WatchedRule {
    pub(super) rule: Rule,
    pub(super) name: Arc<str>,
    pub(super) memory: Arc<RuleMemory>,
    pub(super) metrics: RuleMetrics,
}

impl Routing {
    /// Builds the snapshot. Memories of rules that mean what they meant before are kept; rules that are off are left out.
    #[must_use]
    pub fn new(apps: &[App], rules: &[Rule], limits: Limits, unknown_apps: UnknownApps, assignments: &Assignments, metrics: &Metrics) -> Self {
        let pairs: Vec<(&App, &Rule)> =
            apps.iter().flat_map(|app| rules.iter().filter(|rule| is_for(rule, app)).map(move |rule| (app, rule))).collect();
        let wanted: Vec<Watch> = pairs
            .iter()
            .map(|(app, rule)| Watch {
                app: app.id().into(),
                rule: rule.spec().name.as_str().into(),
                definition: meaning(rule),
                remember_for: rule.spec().remember_for,
            })
            .collect();
        let memories = assignments.configure(&wanted);
        let routes: Vec<Arc<AppRoute>> = apps
            .iter()
            .map(|app| {
                let watched = pairs.iter().zip(&wanted).zip(&memories).filter(|((pair, _), _)| pair.0.id() == app.id());
                Arc::new(AppRoute {
                    app: app.clone(),
                    id: app.id().into(),
                    memory: assignments.app(app.id()),
                    rules: watched
                        .map(|((pair, watch), (_, memory))| WatchedRule {
                            rule: pair.1.clone(),
                            name: Arc::clone(&watch.rule),
                            memory: Arc::clone(memory),
                            metrics: metrics.rule(app.id(), &watch.rule),
                        })
                        .collect(),
                    metrics: metrics.app(app.id()),
                })
            })
            .collect();
        Self {
            limits,
            unknown_apps,
            by_id: routes.iter().map(|route| (route.app.id().into(), Arc::clone(route))).collect(),
            by_key: routes.iter().map(|route| (route.app.key().into(), Arc::clone(route))).collect(),
        }
    }

    /// The app whose id is just this.
    pub(super) fn app(&self, id: &str) -> Option<&Arc<AppRoute>> {
        self.by_id.get(id)
    }

    /// The app whose key is just this.
    pub(super) fn app_with_key(&self, key: &str) -> Option<&Arc<AppRoute>> {
        self.by_key.get(key)
    }
}

fn is_for(rule: &Rule, app: &App) -> bool {
    rule.spec().mode != Mode::Off && rule.is_for(app.id())
}

/// A fingerprint of everything that makes two rules remember the same thing. `mode` and `remember_for` may change without forgetting.
fn meaning(rule: &Rule) -> u64 {
    let spec = rule.spec();
    let mut hasher = DefaultHasher::new();
    (&spec.event, &spec.channel, &spec.identity, &spec.context, &spec.released_by).hash(&mut hasher);
    for (pointer, value) in &spec.filter {
        (pointer, value.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}
