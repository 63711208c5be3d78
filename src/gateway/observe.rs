//! What is noted of a decided trigger for the operator's report. Nothing here decides anything, and nothing here waits.

use super::Shared;
use super::routing::{AppRoute, WatchedRule};
use crate::audience::AppAudience;
use crate::clock::Moment;
use crate::metrics::EventDecision;
use crate::pusher::Trigger;
use crate::report::{Fate, Misplaced, Redundant};

/// The memory keeps a moment to a tenth of a second, rounded down; so who joined in the same tenth is not taken for
/// late.
const MILLIS_PER_TICK: u64 = 100;

/// Counts a decision about one event on one channel, if it found it redundant. `since`: when the channel became known
/// to show just this.
pub(super) fn decided(
    app: &AppRoute,
    watched: &WatchedRule,
    channel: &str,
    decision: EventDecision,
    since: Option<Moment>,
    now: Moment,
) {
    let fate = match decision {
        EventDecision::Suppressed | EventDecision::Coalesced => Fate::Suppressed,
        EventDecision::ShadowSuppressed => Fate::Observed,
        EventDecision::ForwardedFirst
        | EventDecision::ForwardedChange
        | EventDecision::ForwardedUncertain
        | EventDecision::ForwardedUnreadable
        | EventDecision::ForwardedExempt
        | EventDecision::ForwardedRelease
        | EventDecision::ForwardedInexact
        | EventDecision::ForwardedNoRule => return,
    };
    let heard = app.audience.as_ref().and_then(|audience: &AppAudience| audience.of(channel));
    let joined = heard.and_then(|heard| heard.last_joined);
    let late_joiner = joined.zip(since).is_some_and(|(joined, since)| tick(joined) > tick(since));
    let messages = watched.tally.count(Redundant {
        channel,
        at: now,
        fate,
        audience: heard.map(|heard| heard.subscribers),
        late_joiner,
    });
    if fate == Fate::Suppressed {
        watched.metrics.saved(messages);
    }
}

/// Counts the events of `trigger` that are on channels where the app's contract does not expect them.
pub(super) fn strays(shared: &Shared, app: &AppRoute, trigger: &Trigger<'_>, now: Moment) {
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
