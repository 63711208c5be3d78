//! All memories: one for every app, and one for every rule of it. Outlives a change of the configuration.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::Census;
use super::sync::{Mutex, lock};
use super::{AppMemory, Bounds, Evictions, RuleMemory};
use crate::clock::{Clock, Moment};

/// A rule of an app, as the memory needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name, unique within the app.
    pub rule: Arc<str>,
    /// A fingerprint of what the rule means: while it is the same, what is remembered stays true.
    pub definition: u64,
    /// How long a channel that nobody names is remembered.
    pub remember_for: Duration,
}

/// App and rule: what identifies a rule's memory.
type RuleName = (Arc<str>, Arc<str>);

impl Watch {
    fn name(&self) -> RuleName {
        (Arc::clone(&self.app), Arc::clone(&self.rule))
    }
}

/// The memory of one rule, and whose it is.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// Its memory.
    pub memory: Arc<RuleMemory>,
}

/// All memories of the process.
#[derive(Debug)]
pub struct Assignments {
    census: Arc<Census>,
    /// A std mutex: taken when the configuration changes, for the operator, and once per sweep; never by a request.
    registry: Mutex<Registry>,
}

/// The apps and rules of the present configuration.
#[derive(Debug, Default)]
struct Registry {
    apps: HashMap<Arc<str>, Arc<AppMemory>>,
    /// In the order of the configuration.
    rules: Vec<(Watch, Arc<RuleMemory>)>,
    configured: bool,
}

impl Assignments {
    /// No memories yet.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { census: Census::new(clock, Arc::new(bounds)), registry: Mutex::new(Registry::default()) })
    }

    /// Makes the memories those of `wanted`, in its order. A rule whose definition is unchanged keeps what it remembers, with the new `remember_for`.
    /// A new or changed one begins with nothing, and its app is in doubt from now on: requests that were forwarded without a ticket in it may still
    /// be in flight. (Not at the first configuration, before which nothing was forwarded.) Memories no longer wanted are dropped; reservations on
    /// them stay valid and change nothing.
    pub fn configure(&self, wanted: &[Watch]) -> Vec<(Arc<AppMemory>, Arc<RuleMemory>)> {
        let mut registry = lock(&self.registry);
        let before = std::mem::take(&mut registry.rules).into_iter();
        let mut kept: HashMap<RuleName, (Watch, Arc<RuleMemory>)> = before.map(|rule| (rule.0.name(), rule)).collect();
        let now = self.census.clock.now();
        for watch in wanted {
            let app = registry.app(&watch.app, &self.census);
            let memory = match kept.remove(&watch.name()) {
                Some((old, memory)) if old.definition == watch.definition => {
                    memory.set_remember_for(watch.remember_for);
                    memory
                }
                _ => {
                    if registry.configured {
                        app.doubt(now);
                    }
                    RuleMemory::new(app, watch.remember_for)
                }
            };
            registry.rules.push((watch.clone(), memory));
        }
        // Before the apps are counted: these memories hold theirs.
        drop(kept);
        registry.configured = true;
        registry.drop_unused_apps();
        registry.rules.iter().map(|(_, memory)| (Arc::clone(memory.app()), Arc::clone(memory))).collect()
    }

    /// The memory of the app with this id, which need not have rules. Call it for configured apps only: it is made if there is none, and kept until a
    /// configuration without it, and then while someone holds it.
    #[must_use]
    pub fn app(&self, id: &str) -> Arc<AppMemory> {
        lock(&self.registry).app(&Arc::from(id), &self.census)
    }

    /// Every rule's memory, in the order of the configuration.
    #[must_use]
    pub fn watches(&self) -> Vec<Watched> {
        let registry = lock(&self.registry);
        let watched = |(watch, memory): &(Watch, Arc<RuleMemory>)| Watched {
            app: Arc::clone(&watch.app),
            rule: Arc::clone(&watch.rule),
            memory: Arc::clone(memory),
        };
        registry.rules.iter().map(watched).collect()
    }

    /// Forgets what nobody has named for its rule's `remember_for`. Called now and then by a task of the server.
    pub fn sweep(&self, now: Moment) {
        for watched in self.watches() {
            watched.memory.sweep(now);
        }
    }

    /// Entries forgotten without being asked to, since the process began.
    #[must_use]
    pub fn evictions(&self) -> Evictions {
        self.census.evictions()
    }

    /// Requests that wait for an equal announcement at present.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.census.waiting()
    }

    /// The bounds.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.census.bounds
    }
}

impl Registry {
    fn app(&mut self, id: &Arc<str>, census: &Arc<Census>) -> Arc<AppMemory> {
        let app = self.apps.entry(Arc::clone(id)).or_insert_with(|| AppMemory::within(Arc::clone(census)));
        Arc::clone(app)
    }

    /// Drops the apps that nothing but this registry knows. Nobody can take one up meanwhile: that needs the registry's lock, or a handle, which
    /// counts. A request in flight that may touch all of an app's channels is such a handle; should the app come back, its rules are new and put it
    /// in doubt anyway.
    fn drop_unused_apps(&mut self) {
        self.apps.retain(|_, app| Arc::strong_count(app) > 1);
    }
}
