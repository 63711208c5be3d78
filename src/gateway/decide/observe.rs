//! Recording decisions for the operator's report. Nothing here changes a decision or waits.

use std::borrow::Cow;

use super::effects::{Effect, STACK_DATA};
use crate::assignment::Digest;
use crate::audience::AppAudience;
use crate::clock::Moment;
use crate::decision::{Action, EventDecision};
use crate::discovery::{Discovery, Sighting};
use crate::gateway::Shared;
use crate::gateway::app_rules::RuleRoute;
use crate::gateway::routing::AppRoute;
use crate::pusher::Trigger;
use crate::report::{HashedChannel, Misplaced, Redundant, RedundantOutcome};
use crate::rules::{Leaf, OnDifference};

/// The memory keeps moments in tenths of a second, rounded down; so a client that joined in the same tenth does not
/// count as late.
const MILLIS_PER_TICK: u64 = 100;

/// Records the decisions on the effects of one trigger.
pub(super) struct Observation<'a, 't> {
    app: &'a AppRoute,
    trigger: &'a Trigger<'t>,
    now: Moment,
    /// The leaves that were worked out last, and of which event for which rule.
    leaves: Option<(usize, *const RuleRoute, Vec<Leaf>)>,
}

impl<'a, 't> Observation<'a, 't> {
    pub(super) const fn new(app: &'a AppRoute, trigger: &'a Trigger<'t>, now: Moment) -> Self {
        Self { app, trigger, now, leaves: None }
    }

    /// Counts a decision on one effect if it is redundant, and what else differs. What is forwarded is noted, so that it
    /// can be told later where another announcement differs.
    #[inline]
    pub(super) fn record(&mut self, effect: &Effect<'_>, decision: EventDecision) {
        let tallied = effect.route.tally.channel(effect.channel);
        match decision.action() {
            Action::Suppressed | Action::SuppressedInFlight => {
                self.redundant(effect, tallied, RedundantOutcome::Suppressed);
            }
            Action::WouldSuppress => {
                self.redundant(effect, tallied, RedundantOutcome::Observed);
                self.forwarded(effect, tallied, decision);
            }
            Action::Forwarded => self.forwarded(effect, tallied, decision),
        }
    }

    fn redundant(&mut self, effect: &Effect<'_>, tallied: HashedChannel<'_>, outcome: RedundantOutcome) {
        let Effect { channel, route, .. } = effect;
        let since = effect.known_since();
        let heard = self.app.audience.as_ref().and_then(|audience: &AppAudience| audience.of(channel));
        let joined = heard.and_then(|heard| heard.last_joined);
        let late_joiner = joined.zip(since).is_some_and(|(joined, since)| tick(joined) > tick(since));
        let difference = effect.difference().filter(|_| notes_differences(route));
        let messages = route.tally.count(Redundant {
            channel: tallied,
            at: self.now,
            outcome,
            audience: heard.map(|heard| heard.subscribers),
            sees_clients: self.app.sees_clients(),
            late_joiner,
            differs: difference.map(|difference| difference.is_some()),
        });
        if outcome == RedundantOutcome::Suppressed {
            route.metrics.saved(messages);
        }
        if let Some(Some(shown)) = difference {
            self.differs(effect, tallied, shown);
        }
    }

    /// Counts an announcement that would be redundant under another setting for late joiners.
    fn renewed(&self, effect: &Effect<'_>, tallied: HashedChannel<'_>) {
        let heard = self.app.audience.as_ref().and_then(|audience| audience.of(effect.channel));
        let audience = heard.map(|heard| heard.subscribers);
        effect.route.tally.renewed(tallied, self.now, audience, self.app.sees_clients());
    }

    /// Counts where an announcement differs from the one that guests show, whose remainder has the digest `shown`.
    #[cold]
    fn differs(&mut self, effect: &Effect<'_>, tallied: HashedChannel<'_>, shown: Digest) {
        let RuleRoute { metrics, tally, .. } = effect.route;
        metrics.differs();
        if tally.follows(tallied, self.now) {
            tally.differed(tallied, shown, self.leaves(effect));
        }
    }

    fn forwarded(&mut self, effect: &Effect<'_>, tallied: HashedChannel<'_>, decision: EventDecision) {
        let Some(assignment) = effect.assignment() else { return };
        match decision {
            EventDecision::LateJoiner | EventDecision::Refresh => self.renewed(effect, tallied),
            _ if decision.action() == Action::Forwarded => {
                effect.route.tally.news(tallied, self.now, self.app.sees_clients());
            }
            _ => {}
        }
        if !notes_differences(effect.route) {
            return;
        }
        if decision == EventDecision::ChangedElsewhere
            && let Some(shown) = effect.before.as_ref().and_then(|shown| assignment.difference_from(shown))
        {
            effect.route.tally.compared_and_forwarded();
            self.differs(effect, tallied, shown);
        }
        let RuleRoute { tally, .. } = effect.route;
        if let Some(digest) = assignment.digest()
            && tally.follows(tallied, self.now)
        {
            tally.announced(tallied, digest, self.leaves(effect));
        }
    }

    /// The leaves of an announcement's remainder. Those of an event on several channels are worked out once.
    fn leaves(&mut self, effect: &Effect<'_>) -> &[Leaf] {
        let (event, route) = (effect.event, std::ptr::from_ref(effect.route));
        if !matches!(&self.leaves, Some((last, its, _)) if (*last, *its) == (event, route)) {
            let mut buffer = [0; STACK_DATA];
            let data = self.trigger.events[event].data(&mut buffer);
            let leaves = data.map_or_else(Vec::new, |data| effect.route.rule.leaves(&data, &self.app.remainder_key));
            self.leaves = Some((event, route, leaves));
        }
        self.leaves.as_ref().map_or(&[], |(_, _, leaves)| leaves)
    }
}

/// Whether the rule looks at what else differs.
fn notes_differences(route: &RuleRoute) -> bool {
    route.rule.spec().on_difference != OnDifference::Suppress
}

/// Counts the events of `trigger` on channels where the app's contract does not expect them.
pub(super) fn record_misplaced(shared: &Shared, app: &AppRoute, trigger: &Trigger<'_>, now: Moment) {
    for event in &trigger.events {
        for stray in event.channels.iter().filter_map(|channel| app.contract.misplaced(&event.name, channel)) {
            app.events[stray.index].misplaced();
            let misplaced = Misplaced {
                app: app.id.clone(),
                event: stray.event.clone(),
                channel_family: stray.family.clone(),
                expected: stray.expected.clone(),
            };
            shared.report.misplaced(misplaced, now);
        }
    }
}

/// Gives the events of `trigger` to the discovery, as far as it follows their channels.
#[inline]
pub(super) fn discover(shared: &Shared, app: &AppRoute, trigger: &Trigger<'_>, now: Moment) {
    let discovery = shared.report.discovery();
    if discovery.is_on() {
        discover_followed(discovery, app, trigger, now);
    }
}

#[inline(never)]
fn discover_followed(discovery: &Discovery, app: &AppRoute, trigger: &Trigger<'_>, now: Moment) {
    for event in &trigger.events {
        let followed = |(_, channel): &(usize, &Cow<'_, str>)| discovery.follows(&app.id, channel, now);
        let mut channels = event.channels.iter().enumerate().filter(followed).peekable();
        if channels.peek().is_none() {
            continue;
        }
        let mut buffer = [0; STACK_DATA];
        let data = event.data(&mut buffer);
        // Data that is no text is compared as it came.
        let data = data.as_deref().unwrap_or_else(|| event.data_token());
        let sightings = channels.map(|(position, channel)| Sighting {
            app: &app.id,
            event: &event.name,
            channel,
            audience: app.audience.as_ref().and_then(|audience| audience.of(channel)).map(|of| of.subscribers as u64),
            is_call: position == 0,
            at: now,
        });
        discovery.see(data, sightings, now);
    }
}

const fn tick(moment: Moment) -> u64 {
    moment.as_millis() / MILLIS_PER_TICK
}
