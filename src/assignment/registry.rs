//! All memories: one for each app, and one for each of its rules. They are kept across changes of the configuration.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::bounds::MemoryContext;
use super::sync::{Mutex, lock};
use super::{
    AppMemory, Bounds, Evictions, Generation, InProcess, Kept, KeptApp, KeptRule, RuleMemory, Shared, SharedApp,
    SharedRuleChannels, StillInFlight, Store,
};
use crate::clock::{Clock, Moment};
use crate::cluster::{AppStore, ClusterOptions, SwitchedModes};
use crate::shutdown::Tasks;

/// The settings of a rule of an app that its memory depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSettings {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name, unique within the app.
    pub rule: Arc<str>,
    /// A fingerprint of the rule's definition: while it is unchanged, what is remembered remains valid.
    pub definition: [u8; 32],
    /// How long a channel that no claim names is remembered.
    pub remember_for: Duration,
    /// The age from which on what is known is announced again; `None`: it is not.
    pub refresh_after: Option<Duration>,
}

/// App and rule: what identifies a rule's memory.
type RuleKey = (Arc<str>, Arc<str>);

impl RuleSettings {
    fn name(&self) -> RuleKey {
        (Arc::clone(&self.app), Arc::clone(&self.rule))
    }

    /// Whether it means the same as `kept`, under the same name.
    fn continues(&self, kept: &KeptRule) -> bool {
        (&self.app, &self.rule, &self.definition) == (&kept.app, &kept.rule, &kept.definition)
    }
}

/// The memory of one rule, with the rule's app and name.
#[derive(Debug, Clone)]
pub struct RegisteredRule {
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
    /// A std mutex: locked when the configuration changes, for the operator, and once per sweep; never by a request.
    registry: Mutex<Registry>,
    /// How the process takes part in a shared memory; `None`: it has its own.
    cluster: Option<Membership>,
}

/// How a process takes part in a shared memory.
#[derive(Debug)]
pub struct Membership {
    /// Of all apps.
    pub options: ClusterOptions,
    /// Settlements: the end of the process waits for them.
    pub settlements: Tasks,
    /// What keeps the memberships and connections up, until the process has left.
    pub keepers: Tasks,
}

/// The apps and rules of the current configuration.
#[derive(Debug, Default)]
struct Registry {
    /// The configured apps, and formerly configured apps with requests in flight.
    apps: HashMap<Arc<str>, RegisteredApp>,
    /// In the order of the configuration.
    rules: Vec<(RuleSettings, Arc<RuleMemory>)>,
    /// The apps in a shared memory. One that is not configured any more stays there, without rules: as long as this
    /// process lives, the others have to know that it does not claim.
    shared: HashMap<Arc<str>, Shared>,
    /// The generation of requests for apps that are not configured.
    unknown_apps: Arc<Generation>,
    configured: bool,
}

#[derive(Debug, Clone)]
struct RegisteredApp {
    /// The state that its rules share.
    memory: Arc<AppMemory>,
    /// Counts the requests that are decided under its current rules.
    generation: Arc<Generation>,
    configured: bool,
}

/// The memories of a configuration.
#[derive(Debug)]
pub struct Configured {
    /// The memory of each rule, in the given order.
    pub rules: Vec<Arc<RuleMemory>>,
    /// Where the assignments of each app are held, in the given order.
    pub apps: Vec<Store>,
    /// Counts the requests for apps that are not configured.
    pub unknown_apps: Arc<Generation>,
}

impl Assignments {
    /// No memories yet.
    #[must_use]
    pub fn new(clock: Clock, bounds: Bounds) -> Arc<Self> {
        Self::with(clock, bounds, None)
    }

    /// No memories yet; those to come are shared with other processes, if there is a membership.
    #[must_use]
    pub fn with(clock: Clock, bounds: Bounds, cluster: Option<Membership>) -> Arc<Self> {
        Arc::new(Self {
            context: MemoryContext::new(clock, Arc::new(bounds)),
            registry: Mutex::new(Registry::default()),
            cluster,
        })
    }

    /// Replaces the rules by `wanted`, and the apps by `apps`, in their order. A rule whose definition is unchanged
    /// keeps its memory, with the new settings and the present bound on channels. A new or changed rule, and one
    /// whose memory cannot take that bound, begins with an empty memory: requests in
    /// flight hold no ticket in it and count as requests that may touch any channel of the app until they are settled,
    /// and the app is in doubt for those that have ended. The same applies to an app that was not configured before.
    /// (Not at the first configuration: before it, this process has forwarded nothing.) Other memories are dropped;
    /// reservations on them remain valid and change nothing.
    ///
    /// The caller puts the result in force only after this has returned.
    ///
    /// # Panics
    /// Outside a tokio runtime, if the memory is shared.
    pub fn configure(&self, apps: &[Arc<str>], wanted: &[RuleSettings]) -> Configured {
        let mut registry = lock(&self.registry);
        if let Some(cluster) = &self.cluster {
            return registry.share(cluster, &self.context, apps, wanted);
        }
        let changed = registry.list(apps, &self.context);
        let mut changed = if registry.configured { changed } else { Vec::new() };
        let before = std::mem::take(&mut registry.rules).into_iter();
        let mut kept: HashMap<RuleKey, (RuleSettings, Arc<RuleMemory>)> =
            before.map(|rule| (rule.0.name(), rule)).collect();
        for settings in wanted {
            let app = Arc::clone(&registry.app(&settings.app, &self.context).memory);
            let memory = match kept.remove(&settings.name()) {
                Some((old, memory)) if old.definition == settings.definition && memory.follow_max_channels() => memory,
                _ => {
                    if registry.configured && !changed.contains(&settings.app) {
                        changed.push(Arc::clone(&settings.app));
                    }
                    RuleMemory::new(app, settings.remember_for)
                }
            };
            memory.set(settings.remember_for, settings.refresh_after);
            registry.rules.push((settings.clone(), memory));
        }
        // Before unused apps are dropped: these memories hold references to their apps.
        drop(kept);
        registry.supersede(&changed, self.context.clock.now());
        registry.configured = true;
        registry.drop_unused_apps();
        Configured {
            rules: registry.rules.iter().map(|(_, memory)| Arc::clone(memory)).collect(),
            apps: apps.iter().map(|id| Store::InProcess(registry.in_process(id, &self.context))).collect(),
            unknown_apps: Arc::clone(&registry.unknown_apps),
        }
    }

    /// The apps in a shared memory, each with its id, in the order of the ids.
    fn shared(&self) -> Vec<(Arc<str>, Shared)> {
        let registry = lock(&self.registry);
        let mut apps: Vec<_> = registry.shared.iter().map(|(id, app)| (Arc::clone(id), app.clone())).collect();
        drop(registry);
        apps.sort_by(|(one, _), (other, _)| one.cmp(other));
        apps
    }

    /// The apps in a shared memory, each with its id, in the order of the ids. Empty if the memory is not shared.
    #[must_use]
    pub fn stores(&self) -> Vec<(Arc<str>, Arc<AppStore>)> {
        self.shared().into_iter().map(|(id, shared)| (id, Arc::clone(shared.app().store()))).collect()
    }

    /// Follows the switched modes of the apps in a shared memory, by their ids; `None`: the memory is not shared.
    #[must_use]
    pub fn switched(&self) -> Option<watch::Receiver<HashMap<Arc<str>, Arc<SwitchedModes>>>> {
        self.cluster.as_ref().map(|cluster| cluster.options.switchboard.follow())
    }

    /// Whether the memory is shared with other processes.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.cluster.is_some()
    }

    /// The rules of all apps in a shared memory; empty if the memory is not shared.
    #[must_use]
    pub fn shared_rules(&self) -> Vec<SharedRuleChannels> {
        self.shared().iter().flat_map(|(id, shared)| shared.channels(id).collect::<Vec<_>>()).collect()
    }

    /// Leaves a shared memory, once nothing that this process has sent is in flight. Returns the ids of the apps in which
    /// the others do not know it, and miss the process.
    pub async fn leave(&self) -> Vec<Arc<str>> {
        let mut missed = Vec::new();
        for (id, store) in self.stores() {
            if !store.leave().await {
                missed.push(id);
            }
        }
        missed
    }

    /// Every rule's memory, in the order of the configuration.
    #[must_use]
    pub fn rules(&self) -> Vec<RegisteredRule> {
        let registry = lock(&self.registry);
        let rule = |(settings, memory): &(RuleSettings, Arc<RuleMemory>)| RegisteredRule {
            app: Arc::clone(&settings.app),
            rule: Arc::clone(&settings.rule),
            memory: Arc::clone(memory),
        };
        registry.rules.iter().map(rule).collect()
    }

    /// Forgets the channels that no claim named for their rule's `remember_for`. A task of the server calls it
    /// periodically.
    pub fn sweep(&self, now: Moment) {
        for rule in self.rules() {
            rule.memory.sweep(now);
        }
        for (_, shared) in self.shared() {
            shared.app().sweep();
        }
    }

    /// The entries forgotten without the operator's request, since the process began.
    #[must_use]
    pub fn evictions(&self) -> Evictions {
        self.context.evictions()
    }

    /// The number of requests that wait for an equal announcement.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.context.waiting()
    }

    /// The end of the doubt after the start of the process: a past moment if there is none, or none any more; `None`
    /// while it is not known.
    #[must_use]
    pub fn end_of_start_doubt(&self) -> Option<Moment> {
        Some(self.context.end_of_start_doubt()).filter(|end| end.as_millis() != u64::MAX)
    }

    /// Whether an app is in doubt because the process has started.
    #[must_use]
    pub fn in_start_doubt(&self, now: Moment) -> bool {
        let registry = lock(&self.registry);
        registry.apps.values().any(|app| app.configured && app.memory.in_start_doubt(now))
    }

    /// The doubt after the start does not end before [`Assignments::count_start_doubt`]. Called before anything is
    /// claimed.
    pub fn hold_start_doubt(&self) {
        self.context.hold_start_doubt();
    }

    /// The doubt after the start, which was held, ends [`Bounds::start_doubt`] from now.
    pub fn count_start_doubt(&self) {
        self.context.count_start_doubt();
    }

    /// What outlives the process, at `now`, which is not before the last settled request.
    ///
    /// # Errors
    /// A request that may touch any channel of an app is in flight.
    pub fn keep(&self, now: Moment) -> Result<Kept, StillInFlight> {
        let registry = lock(&self.registry);
        if registry.apps.values().any(|app| app.memory.wide_in_flight() > 0) {
            return Err(StillInFlight);
        }
        let configured = registry.apps.iter().filter(|(_, app)| app.configured);
        let apps = configured.map(|(id, app)| KeptApp { id: Arc::clone(id), doubt_left: app.memory.doubt_left(now) });
        let rule = |(settings, memory): &(RuleSettings, Arc<RuleMemory>)| {
            let (app, rule) = settings.name();
            (KeptRule { app, rule, definition: settings.definition }, Arc::clone(memory))
        };
        Ok(Kept { apps: apps.collect(), rules: registry.rules.iter().map(rule).collect() })
    }

    /// The memory that continues that of each of these rules of an earlier process; `None`: no rule of this name means
    /// the same.
    #[must_use]
    pub fn successors(&self, rules: &[KeptRule]) -> Vec<Option<Arc<RuleMemory>>> {
        let registry = lock(&self.registry);
        let successor = |kept| registry.rules.iter().find(|(settings, _)| settings.continues(kept));
        rules.iter().map(|kept| successor(kept).map(|(_, memory)| Arc::clone(memory))).collect()
    }

    /// The channels of an earlier process that had these apps and rules are restored; before anything is claimed. The
    /// doubt after the start is then about those apps alone that have a rule which that process did not have, since it
    /// held no tickets for such a rule. Returns how many apps these are.
    pub fn continue_from(&self, apps: &[KeptApp], rules: &[KeptRule]) -> usize {
        let registry = lock(&self.registry);
        let now = self.context.clock.now();
        let mut new = 0;
        for (id, app) in registry.apps.iter().filter(|(_, app)| app.configured) {
            let memory = &app.memory;
            let kept = apps.iter().find(|kept| kept.id == *id);
            let mut own = registry.rules.iter().filter(|(settings, _)| settings.app == *id);
            match kept {
                Some(_) if own.all(|(settings, _)| rules.iter().any(|rule| settings.continues(rule))) => {
                    memory.end_start_doubt();
                }
                Some(_) | None => new += 1,
            }
            kept.inspect(|kept| memory.continue_doubt(now, kept.doubt_left));
        }
        new
    }

    /// Forgets every channel, but what is in doubt stays so.
    pub fn forget_all(&self) {
        lock(&self.registry).apps.values().for_each(|app| app.memory.forget_all());
    }

    /// Changes how many channels each rule may remember, from the next [`Assignments::configure`] on.
    pub fn set_max_channels(&self, max_channels: usize) {
        self.context.set_max_channels(max_channels);
    }

    /// The present moment, by the clock of all memories.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.context.clock.now()
    }

    /// How long a channel stays in doubt.
    #[must_use]
    pub fn doubt_period(&self) -> Duration {
        self.context.bounds.doubt_period
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
            memory: AppMemory::within(Arc::clone(context)),
            generation: Arc::default(),
            configured: false,
        })
    }

    /// The shared memories of a configuration.
    fn share(
        &mut self,
        Membership { options, settlements, keepers }: &Membership,
        context: &Arc<MemoryContext>,
        apps: &[Arc<str>],
        wanted: &[RuleSettings],
    ) -> Configured {
        // Before the first configuration this process has forwarded nothing.
        let is_fresh = !std::mem::replace(&mut self.configured, true);
        let stores = apps.iter().map(|id| {
            let rules: Vec<_> = wanted.iter().filter(|settings| settings.app == *id).collect();
            let app = match self.shared.get(id) {
                Some(shared) => Arc::clone(shared.app()),
                None => SharedApp::join(options, id, &rules, is_fresh, context, (settlements, keepers)),
            };
            let shared = app.under(&rules);
            self.shared.insert(Arc::clone(id), shared.clone());
            Store::Shared(shared)
        });
        let stores = stores.collect();
        for (_, shared) in self.shared.iter_mut().filter(|(id, _)| !apps.contains(id)) {
            *shared = shared.app().under(&[]);
        }
        Configured { rules: Vec::new(), apps: stores, unknown_apps: Arc::clone(&self.unknown_apps) }
    }

    /// The app's memory as the present configuration has it.
    fn in_process(&mut self, id: &Arc<str>, context: &Arc<MemoryContext>) -> InProcess {
        let rules = self.rules.iter().filter(|(settings, _)| settings.app == *id);
        let rules = rules.map(|(_, memory)| Arc::clone(memory)).collect();
        let RegisteredApp { memory, generation, .. } = self.app(id, context);
        InProcess { memory: Arc::clone(memory), generation: Arc::clone(generation), rules }
    }

    /// Configures exactly these apps. Requests in flight for newly added apps were counted as requests for apps that
    /// are not configured; from now on they count as requests that may touch any channel of these apps. Returns the
    /// added apps.
    fn list(&mut self, apps: &[Arc<str>], context: &Arc<MemoryContext>) -> Vec<Arc<str>> {
        for (id, app) in &mut self.apps {
            app.configured &= apps.contains(id);
        }
        let added: Vec<Arc<str>> =
            apps.iter().filter(|id| !std::mem::replace(&mut self.app(id, context).configured, true)).cloned().collect();
        if self.configured && !added.is_empty() {
            let memories = added.iter().map(|id| Arc::clone(&self.app(id, context).memory)).collect();
            std::mem::take(&mut self.unknown_apps).supersede(memories);
        }
        added
    }

    /// Ends the generations of these apps, because requests in flight hold no tickets in some of their rules. Requests
    /// that have ended leave the app in doubt.
    fn supersede(&mut self, apps: &[Arc<str>], now: Moment) {
        for id in apps {
            let Some(RegisteredApp { memory, generation, .. }) = self.apps.get_mut(id) else { continue };
            std::mem::take(generation).supersede(vec![Arc::clone(memory)]);
            memory.doubt(now);
        }
    }

    /// Drops the apps to which only this registry refers. No new reference can arise meanwhile: that requires the
    /// registry's lock, or an existing reference, which counts. A request in flight holds such a reference: if the app
    /// is configured again meanwhile, its rules are new, and its generation ends then.
    fn drop_unused_apps(&mut self) {
        self.apps.retain(|_, RegisteredApp { memory, generation, configured }| {
            *configured || Arc::strong_count(memory) > 1 || Arc::strong_count(generation) > 1
        });
    }
}
