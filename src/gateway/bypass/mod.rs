//! Announcements that came another way: a rule with `detect_bypass` looks for its event in relayed deliveries. What usher
//! did not forward puts its channel in doubt, and is counted and reported: somebody announces beside usher. A delivery never
//! does more than that.

mod forwarded;
mod frame;
mod freshness;
mod in_transit;
mod judged;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::forwarded::{Expectation, Said};
use self::frame::{Delivery, Name};
use self::judged::Judged;
use super::Shared;
use super::app_rules::RuleRoute;
use super::routing::AppRoute;
use crate::assignment::{Assignment, Assignments};
use crate::clock::{Clock, Moment};
use crate::rules::EventMeaning;

pub(super) use forwarded::Forwarded;
pub(super) use freshness::Freshness;
pub(super) use in_transit::InTransit;

/// What was forwarded under other rules is settled, and delivered, within this many doubt periods: that long a rule that
/// looks from now on judges nothing.
const PERIODS_BEFORE_JUDGING: u32 = 2;

/// The most deliveries that are looked up at a shared memory at once. Others are not looked up.
const MAX_ASKED: usize = 64;

/// The apps whose deliveries may be watched. Kept across reloads.
#[derive(Debug, Default)]
pub struct Bypasses {
    /// A lock: held while the configuration changes, and while a client connects.
    apps: Mutex<Apps>,
}

#[derive(Debug, Default)]
struct Apps {
    by_id: HashMap<Arc<str>, Arc<Deliveries>>,
    /// Whether there was a configuration before: usher has forwarded nothing before the first one.
    configured: bool,
}

/// The relayed deliveries of one app. Open connections keep it across reloads.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// Whether any rule looks for announcements beside usher.
    is_watched: AtomicBool,
    watched: ArcSwapOption<Watched>,
    judged: Judged,
    /// Those that are looked up at a shared memory.
    asked: Arc<Semaphore>,
}

/// What to look for.
#[derive(Debug)]
struct Watched {
    app: Arc<AppRoute>,
    doubt_period: Duration,
    /// The events of those of the app's rules that look.
    names: Vec<Name>,
}

/// What a delivery says under one rule.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    route: &'a RuleRoute,
    channel: &'a str,
    said: Said<'a>,
}

/// What an event that goes on says on one channel, for one rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) route: &'a RuleRoute,
    /// Empty: any channel.
    pub(super) channel: &'a str,
    /// `None`: it has none that can be read.
    pub(super) assignment: Option<&'a Assignment>,
    pub(super) is_release: bool,
    /// What the channel was known to show before.
    pub(super) before: Option<&'a Assignment>,
}

impl Bypasses {
    /// The table of a rule of an app that looks for announcements beside usher: the one that it has, if its definition is
    /// unchanged.
    pub(super) fn table(
        &self,
        app: &str,
        rule: &str,
        definition: &[u8; 32],
        assignments: &Assignments,
    ) -> Arc<Forwarded> {
        let apps = self.apps.lock();
        let watched = apps.by_id.get(app).and_then(|deliveries| deliveries.watched.load_full());
        let mut routes = watched.iter().flat_map(|watched| watched.app.rules.iter());
        let kept = routes.find(|route| *route.name == *rule && route.definition == *definition);
        kept.and_then(|route| route.forwarded.clone()).unwrap_or_else(|| {
            let doubt_period = assignments.doubt_period();
            let before_judging = if apps.configured { doubt_period * PERIODS_BEFORE_JUDGING } else { doubt_period };
            // What the process before this one has forwarded is delivered by the end of the doubt after the start.
            let start = assignments.end_of_start_doubt().filter(|_| !apps.configured);
            Arc::new(Forwarded::new(doubt_period, start.unwrap_or_else(|| assignments.now().after(before_judging))))
        })
    }

    /// Watches these apps as their rules say, and no others.
    pub(super) fn configure(&self, routes: &[Arc<AppRoute>], doubt_period: Duration) {
        let mut apps = self.apps.lock();
        apps.configured = true;
        apps.by_id.retain(|id, deliveries| {
            let is_configured = routes.iter().any(|route| route.id == *id);
            if !is_configured {
                deliveries.watch(None);
            }
            // A connection may be open when the app is configured again.
            is_configured || Arc::strong_count(deliveries) > 1
        });
        for route in routes {
            let deliveries = apps.by_id.entry(Arc::clone(&route.id)).or_default();
            deliveries.watch(Watched::of(route, doubt_period).map(Arc::new));
        }
    }

    /// The deliveries of an app; `None`: it is not configured.
    pub(super) fn deliveries(&self, app: &str) -> Option<Arc<Deliveries>> {
        self.apps.lock().by_id.get(app).map(Arc::clone)
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            is_watched: AtomicBool::new(false),
            watched: ArcSwapOption::empty(),
            judged: Judged::default(),
            asked: Arc::new(Semaphore::new(MAX_ASKED)),
        }
    }
}

impl Watched {
    /// What an app's rules look for; `None`: nothing.
    fn of(app: &Arc<AppRoute>, doubt_period: Duration) -> Option<Self> {
        let looking = app.rules.iter().filter(|route| route.forwarded.is_some());
        let events: HashSet<&str> = looking.flat_map(|route| route.rule.spec().events()).collect();
        let names: Vec<Name> = events.into_iter().map(Name::new).collect();
        (!names.is_empty()).then(|| Self { app: Arc::clone(app), doubt_period, names })
    }
}

impl Deliveries {
    /// Whether any rule looks for announcements beside usher.
    pub(super) fn are_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Upstream has sent `text` to a client, who does not have it yet. `freshness`: that of the connection; `waited`:
    /// whether it was read as soon as it came.
    pub(super) fn see(&self, shared: &Arc<Shared>, text: &str, freshness: &mut Freshness, waited: bool) {
        let watched = self.watched.load();
        let Some(watched) = &*watched else { return };
        let now = shared.clock.now();
        let is_fresh = freshness.read(waited, now, watched.doubt_period);
        let is_named = watched.names.iter().any(|name| name.may_be_in(text));
        // The same text goes to all subscribers of a channel: it is judged once in a while.
        if is_fresh && is_named && self.judged.is_new(text, now) {
            self.judge(shared, watched, text, now);
        }
    }

    #[cold]
    fn judge(&self, shared: &Arc<Shared>, watched: &Watched, text: &str, now: Moment) {
        let Some(delivery) = Delivery::read(text) else { return };
        let data = delivery.data();
        let concerned = watched.app.rules.concerned(&delivery.event, std::iter::once(&*delivery.channel));
        for route in concerned.filter(|route| route.forwarded.is_some() && route.rule.watches(&delivery.channel)) {
            let meaning = route.rule.read(&delivery.event, data.as_deref(), &watched.app.remainder_key);
            let said = match &meaning {
                EventMeaning::Unrelated | EventMeaning::Filtered(_) => continue,
                EventMeaning::Announcement(assignment) => Said::Assigned(assignment),
                EventMeaning::Unreadable(_) => Said::Anything,
                EventMeaning::Release => Said::Released,
            };
            self.judge_one(shared, &watched.app, Found { route, channel: &delivery.channel, said }, now);
        }
    }

    fn judge_one(&self, shared: &Arc<Shared>, app: &Arc<AppRoute>, found: Found<'_>, now: Moment) {
        let Found { route, channel, said } = found;
        let Some(forwarded) = &route.forwarded else { return };
        let expectation = forwarded.expects(channel, said, now);
        if expectation == Expectation::Forwarded || app.store.explains(route.number, channel, said.assignment(), now) {
            return;
        }
        if app.store.doubt(route.number, channel) {
            if forwarded.find(forwarded.key(channel, said), now) {
                report(shared, app, route, channel, now);
            }
            return;
        }
        self.ask(shared, app, found);
    }

    /// Asks a shared memory, in the background, whether another member has forwarded it.
    fn ask(&self, shared: &Arc<Shared>, app: &Arc<AppRoute>, Found { route, channel, said }: Found<'_>) {
        let Ok(permit) = Arc::clone(&self.asked).try_acquire_owned() else {
            return tracing::debug!("too many deliveries are looked up at the shared memory: one is not");
        };
        let shared = Arc::clone(shared);
        let (app, number, channel) = (Arc::clone(app), route.number, channel.to_owned());
        let (assignment, is_release) = (said.assignment().cloned(), said == Said::Released);
        let tasks = shared.tasks.clone();
        let _detached = tasks.spawn(async move {
            let _permit = permit;
            match app.store.doubt_beside(number, &channel, assignment.as_ref()).await {
                Ok(true) => {
                    let (now, said) = (shared.clock.now(), Said::of(assignment.as_ref(), is_release));
                    if let Some(route) = app.rules.get(number)
                        && let Some(forwarded) = &route.forwarded
                        && forwarded.find(forwarded.key(&channel, said), now)
                    {
                        report(&shared, &app, route, &channel, now);
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "a delivery was not looked up at the shared memory"),
            }
        });
    }

    fn watch(&self, watched: Option<Arc<Watched>>) {
        let is_watched = watched.is_some();
        self.watched.store(watched);
        self.is_watched.store(is_watched, Ordering::Relaxed);
    }
}

/// What goes on of a trigger.
pub(super) fn in_transit<'a>(clock: Clock, now: Moment, effects: impl Iterator<Item = Sent<'a>>) -> InTransit {
    let mut in_transit = InTransit::default();
    for Sent { route, channel, assignment, is_release, before } in effects {
        let Some(forwarded) = &route.forwarded else { continue };
        in_transit.add(clock, forwarded, channel, Said::of(assignment, is_release));
        if let Some(before) = before.filter(|before| Some(*before) != assignment) {
            forwarded.supersede(channel, before, now);
        }
    }
    in_transit
}

/// Somebody announces beside usher.
fn report(shared: &Shared, app: &AppRoute, route: &RuleRoute, channel: &str, now: Moment) {
    route.metrics.bypassed();
    route.tally.bypassed(channel, now);
    shared.trigger_log.bypassed(&app.id, &route.name, channel);
}
