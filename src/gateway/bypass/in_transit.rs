//! What a trigger that goes on says on the channels of rules that look for announcements beside usher: expected in
//! deliveries from before it is sent until some time after it is settled.

use std::sync::Arc;

use super::forwarded::{Forwarded, Said};
use crate::assignment::Outcome;
use crate::clock::{Clock, Moment};

/// What one trigger says, until it is settled. Dropped unsettled, it may be applied.
#[must_use = "settle it: what the trigger says is expected from then on for the doubt period"]
#[derive(Debug, Default)]
pub(in crate::gateway) struct InTransit(Option<Box<Sent>>);

#[derive(Debug)]
struct Sent {
    clock: Clock,
    said: Vec<(Arc<Forwarded>, u64)>,
    may_be_applied: bool,
}

impl InTransit {
    /// It goes on with this on `channel`; on any channel, if that is empty.
    pub(super) fn add(&mut self, clock: Clock, forwarded: &Arc<Forwarded>, channel: &str, said: Said<'_>) {
        let key = forwarded.key(channel, said);
        forwarded.send(key);
        let sent = self.0.get_or_insert_with(|| Box::new(Sent { clock, said: Vec::new(), may_be_applied: true }));
        sent.said.push((Arc::clone(forwarded), key));
    }

    /// Whether nothing of the trigger is looked for.
    pub(in crate::gateway) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The trigger is settled.
    pub(in crate::gateway) fn settle(mut self, outcome: Outcome) {
        if let Some(sent) = &mut self.0 {
            sent.may_be_applied = outcome != Outcome::Refused;
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let now: Moment = self.clock.now();
        for (forwarded, key) in &self.said {
            forwarded.settle(*key, self.may_be_applied, now);
        }
    }
}
