//! All memories: one for every app, and one for every rule of it. Outlives a change of the configuration.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::MemoryContext;
use super::sync::{Mutex, lock};
use super::{AppMemory, Bounds, Evictions, Generation, RuleMemory};
use crate::clock::{Clock, Moment};

/// A rule of an app, as the memory needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name, unique within the app.
    pub rule: Arc<str>,
    /// A fingerprint of what the rule means: while it is the same, what is remembered stays true.
    pub definition: [u8; 32],
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
    context: Arc<MemoryContext>,
    /// A std mutex: taken when the configuration changes, for the operator, and once per sweep; never by a request.
    registry: Mutex<Registry>,
}

/// The apps and rules of the present configuration.
#[derive(Debug, Default)]
struct Registry {
    /// Those configured, and those that were and still have requests in flight.
    apps: HashMap<Arc<str>, RegisteredApp>,
    /// In the order of the configuration.
    rules: Vec<(Watch, Arc<RuleMemory>)>,
    /// Of requests for apps that are not configured.
    unknown_apps: Arc<Generation>,
    configured: bool,
}

#[derive(Debug, Clone)]
struct RegisteredApp {
    shared: ConfiguredApp,
    configured: bool,
}

/// What a configuration asked for.
#[derive(Debug)]
pub struct Configured {
    /// The memory of each rule, in the order in which they were wanted.
    pub rules: Vec<Arc<RuleMemory>>,
    /// Each app, in the order in which they were wanted.
    pub apps: Vec<ConfiguredApp>,
    /// Counts the requests for apps that are not configured.
    pub unknown_apps: Arc<Generation>,
}

/// What an app's requests share.
#[derive(Debug, Clone)]
pub struct ConfiguredApp {
    /// What its rules share.
    pub memory: Arc<AppMemory>,
    /// Counts the requests that are judged under its present rules.
    pub generation: Arc<Generation>,
}

impl Assignments {
    /// No memories yet.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            context: MemoryContext::new(clock, Arc::new(bounds)),
            registry: Mutex::new(Registry::default()),
        })
    }

    /// Makes the memories those of the `wanted` rules of `apps`, in their order. A rule whose definition is unchanged
    /// keeps what it remembers, with the new `remember_for` and the present bound on channels. A new or changed one, and
    /// one whose memory cannot take that bound, begins with nothing: requests in
    /// flight hold no ticket in it and count as requests that may touch any channel of the app until they are settled,
    /// and the app is in doubt for those that have ended. The same goes for an app that was not configured before. (Not
    /// at the first configuration: before it, this process has forwarded nothing.) Memories no longer wanted are
    /// dropped; reservations on them stay valid and change nothing.
    ///
    /// Put the result in force only after this has returned.
    pub fn configure(&self, apps: &[Arc<str>], wanted: &[Watch]) -> Configured {
        let mut registry = lock(&self.registry);
        let changed = registry.list(apps, &self.context);
        let mut changed = if registry.configured { changed } else { Vec::new() };
        let before = std::mem::take(&mut registry.rules).into_iter();
        let mut kept: HashMap<RuleName, (Watch, Arc<RuleMemory>)> = before.map(|rule| (rule.0.name(), rule)).collect();
        for watch in wanted {
            let app = Arc::clone(&registry.app(&watch.app, &self.context).shared.memory);
            let memory = match kept.remove(&watch.name()) {
                Some((old, memory)) if old.definition == watch.definition && memory.follow_max_channels() => {
                    memory.set_remember_for(watch.remember_for);
                    memory
                }
                _ => {
                    if registry.configured && !changed.contains(&watch.app) {
                        changed.push(Arc::clone(&watch.app));
                    }
                    RuleMemory::new(app, watch.remember_for)
                }
            };
            registry.rules.push((watch.clone(), memory));
        }
        // Before the apps are counted: these memories hold theirs.
        drop(kept);
        registry.supersede(&changed, self.context.clock.now());
        registry.configured = true;
        registry.drop_unused_apps();
        Configured {
            rules: registry.rules.iter().map(|(_, memory)| Arc::clone(memory)).collect(),
            apps: apps.iter().map(|id| registry.app(id, &self.context).shared.clone()).collect(),
            unknown_apps: Arc::clone(&registry.unknown_apps),
        }
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
        self.context.evictions()
    }

    /// Requests that wait for an equal announcement at present.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.context.waiting()
    }

    /// Until when everything is in doubt because the process has only just started; the beginning of time, if it never
    /// was.
    #[must_use]
    pub fn end_of_start_doubt(&self) -> Moment {
        self.context.end_of_start_doubt()
    }

    /// Changes how many channels each rule may remember, from the next [`Assignments::configure`] on.
    pub fn set_max_channels(&self, max_channels: usize) {
        self.context.set_max_channels(max_channels);
    }

    /// How many channels each rule may remember.
    #[must_use]
    pub fn max_channels(&self) -> usize {
        self.context.max_channels()
    }
}

impl Registry {
    fn app(&mut self, id: &Arc<str>, context: &Arc<MemoryContext>) -> &mut RegisteredApp {
        self.apps.entry(Arc::clone(id)).or_insert_with(|| RegisteredApp {
            shared: ConfiguredApp { memory: AppMemory::within(Arc::clone(context)), generation: Arc::default() },
            configured: false,
        })
    }

    /// Configures just these apps. Requests for those that were not until now are in flight as such for apps that are
    /// not configured, and count as requests that may touch any of their channels. Returns these.
    fn list(&mut self, apps: &[Arc<str>], context: &Arc<MemoryContext>) -> Vec<Arc<str>> {
        for (id, app) in &mut self.apps {
            app.configured &= apps.contains(id);
        }
        let added: Vec<Arc<str>> =
            apps.iter().filter(|id| !std::mem::replace(&mut self.app(id, context).configured, true)).cloned().collect();
        if self.configured && !added.is_empty() {
            let memories = added.iter().map(|id| Arc::clone(&self.app(id, context).shared.memory)).collect();
            std::mem::take(&mut self.unknown_apps).supersede(memories);
        }
        added
    }

    /// Ends the generations of these apps: requests in flight hold no tickets in some of their rules. Those that have
    /// ended leave the app in doubt.
    fn supersede(&mut self, apps: &[Arc<str>], now: Moment) {
        for id in apps {
            let Some(RegisteredApp { shared: ConfiguredApp { memory, generation }, .. }) = self.apps.get_mut(id) else {
                continue;
            };
            std::mem::take(generation).supersede(vec![Arc::clone(memory)]);
            memory.doubt(now);
        }
    }

    /// Drops the apps that nothing but this registry knows. Nobody can take one up meanwhile: that needs the registry's
    /// lock, or a handle, which counts. A request in flight is such a handle: should the app come back meanwhile, its
    /// rules are new and its generation ends then.
    fn drop_unused_apps(&mut self) {
        self.apps.retain(|_, RegisteredApp { shared: ConfiguredApp { memory, generation }, configured }| {
            *configured || Arc::strong_count(memory) > 1 || Arc::strong_count(generation) > 1
        });
    }
}
