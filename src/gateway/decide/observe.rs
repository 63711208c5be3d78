//! Recording decisions for the operator's report. Nothing here changes a decision or waits.

use super::effects::Effect;
use crate::audience::AppAudience;
use crate::clock::Moment;
use crate::decision::{Action, EventDecision};
use crate::gateway::Shared;
use crate::gateway::routing::AppRoute;
use crate::pusher::Trigger;
use crate::report::{Misplaced, Redundant, RedundantOutcome};

/// The memory keeps moments in tenths of a second, rounded down; so a client that joined in the same tenth does not
/// count as late.
const MILLIS_PER_TICK: u64 = 100;

/// Counts a decision on one effect, if it is redundant.
pub(super) fn record_decision(app: &AppRoute, effect: &Effect<'_>, decision: EventDecision, now: Moment) {
    let outcome = match decision.action() {
        Action::Suppressed | Action::SuppressedInFlight => RedundantOutcome::Suppressed,
        Action::WouldSuppress => RedundantOutcome::Observed,
        Action::Forwarded => return,
    };
    let Effect { channel, route, .. } = effect;
    let since = effect.known_since();
    let heard = app.audience.as_ref().and_then(|audience: &AppAudience| audience.of(channel));
    let joined = heard.and_then(|heard| heard.last_joined);
    let late_joiner = joined.zip(since).is_some_and(|(joined, since)| tick(joined) > tick(since));
    let messages = route.tally.count(Redundant {
        channel,
        at: now,
        outcome,
        audience: heard.map(|heard| heard.subscribers),
        late_joiner,
    });
    if outcome == RedundantOutcome::Suppressed {
        route.metrics.saved(messages);
    }
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

const fn tick(moment: Moment) -> u64 {
    moment.as_millis() / MILLIS_PER_TICK
}
