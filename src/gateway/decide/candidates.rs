//! What of a trigger late subscribers may get once it is accepted.

use super::DecisionInProgress;
use super::effects::{Deliveries, STACK_DATA};
use crate::gateway::routing::AppRoute;
use crate::replay::{Announcement, Candidates};

impl DecisionInProgress<'_, '_> {
    /// Notes the events that go on, for the rules that hand them to late subscribers.
    #[inline]
    pub(super) fn candidates(&self, deliveries: &Deliveries) -> Candidates {
        if self.effects.iter().any(|effect| effect.route.replays.is_some()) {
            self.noted_candidates(deliveries)
        } else {
            Candidates::default()
        }
    }

    #[inline(never)]
    fn noted_candidates(&self, deliveries: &Deliveries) -> Candidates {
        let mut candidates = Candidates::default();
        for effect in &self.effects {
            let Some(replays) = &effect.route.replays else { continue };
            if deliveries.is_dropped(effect.event, effect.position) {
                continue;
            }
            let event = &self.trigger.events[effect.event];
            let mut buffer = [0; STACK_DATA];
            let data = event.data(&mut buffer);
            let announcement = Announcement {
                event: &event.name,
                token: event.data_token(),
                data: data.as_deref(),
                assignment: effect.assignment(),
                left_out: effect.announced().and_then(|announced| announced.left_out),
            };
            candidates.send(replays, effect.channel, &announcement);
        }
        candidates
    }
}

/// Notes a trigger that cannot be read exactly, on the `listed` channels or on any.
pub(super) fn unread(app: &AppRoute, listed: Option<&[String]>) -> Candidates {
    let mut candidates = Candidates::default();
    match listed {
        None => {
            app.rules.iter().filter_map(|route| route.replays.as_ref()).for_each(|rule| candidates.send_any(rule));
        }
        Some(channels) => {
            for channel in channels {
                app.replaying(channel).for_each(|(_, rule)| candidates.send_unread(rule, channel));
            }
        }
    }
    candidates
}
