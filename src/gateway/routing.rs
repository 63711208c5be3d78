//! A snapshot of apps, rules and limits. A request keeps the snapshot that it began with.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::app_rules::{AppRules, RuleRoute};
use super::bypass::{Bypasses, Forwarded};
use super::{Limits, UnknownApps};
use crate::assignment::{Assignments, Generation, RuleMemory, RuleSettings, Store};
use crate::audience::{AppAudience, Audience};
use crate::metrics::{AppMetrics, EventMetrics, Metrics};
use crate::pusher::App;
use crate::rate::{AppLimits, Limiters};
use crate::replay::{Replays, RuleReplays};
use crate::report::{Report, ReportedRule, RuleTally};
use crate::rules::{Contract, ContractEntry, LateJoiners, Mode, RemainderKey, Rule};

/// Apps with their rules, and everything else that a reload may change.
#[derive(Debug)]
pub struct Routing {
    /// Limits on requests.
    pub limits: Limits,
    /// What happens to triggers for apps that are not configured.
    pub unknown_apps: UnknownApps,
    /// The state of all rate limits.
    pub limiters: Arc<Limiters>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The announcements that late subscribers may get.
    pub replays: Arc<Replays>,
    /// Sorted by id.
    by_id: Vec<Arc<AppRoute>>,
    by_key: HashMap<Box<str>, Arc<AppRoute>>,
    /// Counts the triggers that are forwarded for apps that are not configured.
    pub(super) unknown_generation: Arc<Generation>,
}

/// The options of a [`Routing`].
#[derive(Debug)]
pub struct RoutingOptions {
    /// Limits on requests.
    pub limits: Limits,
    /// The state of all rate limits.
    pub limiters: Arc<Limiters>,
    /// What happens to triggers for apps that are not configured.
    pub unknown_apps: UnknownApps,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The announcements that late subscribers may get.
    pub replays: Arc<Replays>,
    /// The bytes of them that are kept at most.
    pub replay_bytes: usize,
}

/// What is recorded of triggers for the operator, beside the metrics. It influences no decision but
/// by what is seen of clients and of their deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Observers<'a> {
    /// Which events belong on which channels.
    pub events: &'a [ContractEntry],
    /// Counts of redundant and misplaced events.
    pub report: &'a Report,
    /// Who is subscribed to a channel.
    pub audience: &'a Audience,
    /// What comes another way than through usher.
    pub bypasses: &'a Bypasses,
}

/// One app, its rules and its memory.
#[derive(Debug)]
pub(super) struct AppRoute {
    pub(super) app: App,
    pub(super) id: Arc<str>,
    /// Where its assignments are held; it numbers the rules as `rules` does.
    pub(super) store: Store,
    pub(super) rules: AppRules,
    /// Its rate limits, if it has any.
    pub(super) rates: Option<AppLimits>,
    pub(super) metrics: AppMetrics,
    pub(super) contract: Contract,
    /// In the order of the contract's events.
    pub(super) events: Vec<EventMetrics>,
    pub(super) audience: Option<AppAudience>,
    /// Of the hashes of what announcements say beside their assignments.
    pub(super) remainder_key: RemainderKey,
}

impl AppRoute {
    /// Whether usher can see the app's clients.
    pub(super) fn sees_clients(&self) -> bool {
        self.audience.as_ref().is_some_and(AppAudience::sees)
    }

    /// A client of usher's own has subscribed to `channel`. Called once upstream has confirmed it, and before the client
    /// knows: what is claimed from now on reaches the client, if it goes on. Where it is handed the last one, it misses
    /// nothing.
    pub(super) fn came(&self, channel: &str) {
        self.tell(channel, |route| route.replays.is_none());
    }

    /// Somebody has subscribed to `channel`, perhaps not through usher: whoever it is may be handed nothing.
    pub(super) fn came_elsewhere(&self, channel: &str) {
        self.tell(channel, |_| true);
    }

    fn tell(&self, channel: &str, misses: impl Fn(&RuleRoute) -> bool) {
        for route in self.rules.watching(channel) {
            if route.rule.spec().late_joiners != LateJoiners::Ignore && misses(route) {
                self.store.joined(route.number, channel);
            }
            route.tally.came(channel);
        }
    }
}

impl AppRoute {
    /// The rules that hand something to late subscribers of `channel`.
    pub(super) fn replaying<'a>(
        &'a self,
        channel: &'a str,
    ) -> impl Iterator<Item = (&'a RuleRoute, &'a Arc<RuleReplays>)> {
        self.rules.watching(channel).filter_map(|route| Some((route, route.replays.as_ref()?)))
    }

    /// Whether any rule hands something to late subscribers.
    pub(super) fn replays(&self) -> bool {
        self.rules.iter().any(|route| route.replays.is_some())
    }
}

impl Routing {
    /// Builds the snapshot. Rules whose definition is unchanged keep their memory; rules that are off are left out.
    #[must_use]
    pub fn new(
        apps: &[App],
        rules: &[Rule],
        options: RoutingOptions,
        assignments: &Assignments,
        metrics: &Metrics,
        observers: Observers<'_>,
    ) -> Self {
        let RoutingOptions { limits, limiters, unknown_apps, trusted_proxies, replays, replay_bytes } = options;
        let pairs: Vec<(&App, &Rule)> = apps
            .iter()
            .flat_map(|app| rules.iter().filter(|rule| is_for(rule, app)).map(move |rule| (app, rule)))
            .collect();
        let wanted: Vec<RuleSettings> = pairs
            .iter()
            .map(|(app, rule)| RuleSettings {
                app: app.id().into(),
                rule: rule.spec().name.as_str().into(),
                definition: *rule.fingerprint().as_bytes(),
                remember_for: rule.spec().remember_for,
                refresh_after: rule.spec().refresh_after,
            })
            .collect();
        let ids: Vec<Arc<str>> = apps.iter().map(|app| app.id().into()).collect();
        let configured = assignments.configure(&ids, &wanted);
        let contracts: Vec<Contract> = apps.iter().map(|app| Contract::new(observers.events, app.id())).collect();
        let tallies = tallies(observers.report, apps, &contracts, &pairs, &wanted);
        let mut rule_replays = rule_replays(&replays, replay_bytes, &pairs, apps, &configured.apps).into_iter();
        let mut routes: Vec<Arc<AppRoute>> = apps
            .iter()
            .zip(contracts)
            .zip(ids.into_iter().zip(configured.apps))
            .map(|((app, contract), (id, store))| {
                let app_rules =
                    pairs.iter().zip(&wanted).zip(&tallies).filter(|((pair, _), _)| pair.0.id() == app.id());
                Arc::new(AppRoute {
                    app: app.clone(),
                    id,
                    store,
                    rules: AppRules::new(
                        app_rules
                            .enumerate()
                            .map(|(number, ((pair, settings), tally))| RuleRoute {
                                rule: pair.1.clone(),
                                name: Arc::clone(&settings.rule),
                                number,
                                metrics: metrics.rule(app.id(), &settings.rule),
                                tally: Arc::clone(tally),
                                definition: settings.definition,
                                forwarded: forwarded(settings, pair.1, assignments, observers.bypasses),
                                replays: rule_replays.next().flatten(),
                            })
                            .collect(),
                    ),
                    rates: limiters.app(app.id()),
                    metrics: metrics.app(app.id()),
                    events: contract.events().map(|event| metrics.event(app.id(), event)).collect(),
                    contract,
                    remainder_key: remainder_key(app),
                    audience: observers.audience.app(app.id()),
                })
            })
            .collect();
        routes.sort_by(|one, other| one.id.cmp(&other.id));
        observers.bypasses.configure(&routes, assignments.doubt_period());
        Self {
            limits,
            unknown_apps,
            limiters,
            trusted_proxies,
            replays,
            by_key: routes.iter().flat_map(by_keys).collect(),
            by_id: routes,
            unknown_generation: configured.unknown_apps,
        }
    }

    /// The app with exactly this id.
    pub(super) fn app(&self, id: &str) -> Option<&Arc<AppRoute>> {
        // Every trigger needs this. For few apps a binary search is faster than a hash.
        let index = self.by_id.binary_search_by(|app| (*app.id).cmp(id)).ok()?;
        self.by_id.get(index)
    }

    /// Every app, in the order of their ids.
    pub(super) fn apps(&self) -> impl Iterator<Item = &Arc<AppRoute>> {
        self.by_id.iter()
    }

    /// Whether `text` is the secret of any app. It hashes for each of them: not for every request.
    pub(super) fn is_secret(&self, text: &str) -> bool {
        self.by_id.iter().any(|app| app.app.pairs().any(|pair| pair.secret().is(text)))
    }

    /// The app that has exactly this key.
    pub(super) fn app_with_key(&self, key: &str) -> Option<&Arc<AppRoute>> {
        self.by_key.get(key)
    }
}

/// What was forwarded under a rule, if that looks for announcements beside usher.
fn forwarded(
    settings: &RuleSettings,
    rule: &Rule,
    assignments: &Assignments,
    bypasses: &Bypasses,
) -> Option<Arc<Forwarded>> {
    let RuleSettings { app, rule: name, definition, .. } = settings;
    rule.spec().detect_bypass.then(|| bypasses.table(app, name, definition, assignments))
}

/// The key comes from the first pair's secret, so that all processes that share the app have the same.
fn remainder_key(app: &App) -> RemainderKey {
    RemainderKey::new(app.first().secret().derived("usher: what else an announcement says"))
}

/// The app by each of its keys.
fn by_keys(route: &Arc<AppRoute>) -> impl Iterator<Item = (Box<str>, Arc<AppRoute>)> {
    route.app.pairs().map(|pair| (pair.key().into(), Arc::clone(route)))
}

fn is_for(rule: &Rule, app: &App) -> bool {
    rule.spec().mode != Mode::Off && rule.is_for(app.id())
}

/// What late subscribers get, for each rule of each app in the order of `apps` and, within one, of `pairs`. A rule that
/// only observes hands nothing out, and neither does one whose memory is shared.
fn rule_replays(
    replays: &Arc<Replays>,
    max_bytes: usize,
    pairs: &[(&App, &Rule)],
    apps: &[App],
    stores: &[Store],
) -> Vec<Option<Arc<RuleReplays>>> {
    let memories: Vec<Option<&Arc<RuleMemory>>> = apps
        .iter()
        .zip(stores)
        .flat_map(|(app, store)| {
            let rules = pairs.iter().filter(|(its, _)| its.id() == app.id()).enumerate();
            rules.map(|(number, (_, rule))| store.rule_memory(number).filter(|_| hands_out(rule)))
        })
        .collect();
    let present: Vec<_> = memories.iter().copied().flatten().collect();
    let mut configured = replays.configure(&present, max_bytes).into_iter();
    memories.iter().map(|memory| memory.and_then(|_| configured.next())).collect()
}

fn hands_out(rule: &Rule) -> bool {
    rule.spec().mode == Mode::Enforce && rule.spec().late_joiners == LateJoiners::Replay
}

/// The tally of each rule of each app, in the order of `pairs`.
fn tallies(
    report: &Report,
    apps: &[App],
    contracts: &[Contract],
    pairs: &[(&App, &Rule)],
    settings: &[RuleSettings],
) -> Vec<Arc<RuleTally>> {
    let reported = |((_, rule), settings): (&(&App, &Rule), &RuleSettings)| ReportedRule {
        app: Arc::clone(&settings.app),
        rule: Arc::clone(&settings.rule),
        mode: rule.spec().mode.label(),
        on_difference: rule.spec().on_difference,
        late_joiners: rule.spec().late_joiners,
        definition: settings.definition,
    };
    let reported: Vec<ReportedRule> = pairs.iter().zip(settings).map(reported).collect();
    let of = |app: &str| apps.iter().zip(contracts).find(|(it, _)| it.id() == app).map(|(_, contract)| contract);
    report.configure(&reported, |misplaced| {
        of(&misplaced.app)
            .is_some_and(|contract| contract.expects(&misplaced.event, &misplaced.channel_family, &misplaced.expected))
    })
}
