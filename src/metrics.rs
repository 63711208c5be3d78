//! Every series in one struct. Labels come from the configuration or from enums, never from a request.

/// How an event on one channel was decided: the `decision` label of `usher_triggers_total`, and the verdict of the decision log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Forwarded: nothing was known of the channel.
    ForwardedFirst,
    /// Forwarded: another assignment was known.
    ForwardedChange,
    /// Forwarded: the channel was in flight or in doubt.
    ForwardedUncertain,
    /// Forwarded: the rule's event, but its assignment could not be read exactly.
    ForwardedUnreadable,
    /// Forwarded: redundant or not, such a request is never dropped (`socket_id`, `info`, draining).
    ForwardedExempt,
    /// Forwarded: it ends the assignment.
    ForwardedRelease,
    /// Forwarded: the request could not be read exactly, so what it may touch was forgotten.
    ForwardedInexact,
    /// Forwarded: no rule watches it.
    ForwardedNoRule,
    /// Dropped: the channel is known to show just this.
    Suppressed,
    /// Dropped after waiting for an equal announcement in flight, which was accepted.
    Coalesced,
    /// Forwarded because the rule only observes; it would have been dropped.
    ShadowSuppressed,
}

/// Counters of one rule of one app.
#[derive(Debug, Clone)]
pub struct RuleMetrics {}

impl RuleMetrics {
    /// Counts one event on one channel.
    pub fn count(&self, decision: Decision) {
        let _ = decision;
    }
}
