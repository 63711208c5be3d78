//! What is decided on one event on one channel, and why: the values that metrics, records and answers share.

use std::fmt;

use serde::Deserialize;

/// What happens to an event on one channel: the `decision` label of `usher_triggers_total`. In the order in which they
/// explain what happens to the whole trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is sent to upstream.
    Forwarded,
    /// It is forwarded because its rule only observes; otherwise it would be dropped.
    WouldSuppress,
    /// It is dropped after it waited for an equal announcement in flight, which was accepted.
    SuppressedInFlight,
    /// It is dropped.
    Suppressed,
}

impl Action {
    /// The value in metrics, records and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Suppressed => "suppressed",
            Self::SuppressedInFlight => "suppressed_in_flight",
            Self::WouldSuppress => "would_suppress",
        }
    }
}

/// Declares the decisions, each with its action, the code of its reason, and a sentence.
macro_rules! event_decisions {
    ($( $(#[$meta:meta])* $variant:ident => $action:ident, $reason:literal, $sentence:literal; )+) => {
        /// A decision on one event on one channel, with its one reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[cfg_attr(test, derive(serde::Serialize))]
        pub enum EventDecision { $( $(#[$meta])* $variant, )+ }

        impl EventDecision {
            /// Every decision, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// What happens to the event.
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $( Self::$variant => Action::$action, )+ }
            }

            /// The code of the reason: stable, in metrics, records, logs and the `usher-reason` header.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $( Self::$variant => $reason, )+ }
            }

            /// The reason as a sentence without a full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $( Self::$variant => $sentence, )+ }
            }
        }
    };
}

event_decisions! {
    /// Nothing was known of the channel.
    NothingKnown => Forwarded, "nothing_known", "nothing was known of this channel";
    /// Another assignment was known.
    Changed => Forwarded, "changed", "the channel was known to show another assignment";
    /// The same assignment was known, and something else differs.
    ChangedElsewhere => Forwarded, "changed_elsewhere",
        "the channel is known to show this assignment, but something else in its data differs (on_difference = \"forward\")";
    /// The same assignment was known or in flight, and somebody has subscribed since.
    LateJoiner => Forwarded, "late_joiner",
        "the channel shows this assignment, but a client has subscribed since it was last announced, or may have (late_joiners)";
    /// The same assignment was known or in flight, and its announcement left out a client that this one reaches.
    LeftOut => Forwarded, "left_out",
        "the channel shows this assignment, but its announcement left out a client that this one reaches (socket_id)";
    /// The same assignment was known, and its announcement is old.
    Refresh => Forwarded, "refresh",
        "the channel is known to show this assignment, but it was last announced longer ago than refresh_after";
    /// A different announcement was in flight on the channel.
    OtherInFlight => Forwarded, "other_in_flight", "another announcement was in flight on this channel";
    /// The channel was in doubt.
    InDoubt => Forwarded, "in_doubt",
        "the outcome of an earlier trigger on this channel is in doubt: upstream may still apply it (assignments.doubt_period)";
    /// A request that may touch any channel was in flight.
    AppInFlight => Forwarded, "app_in_flight", "a request that may touch any channel of the app was in flight";
    /// The whole app was in doubt.
    AppInDoubt => Forwarded, "app_in_doubt",
        "the whole app is in doubt: a request that may touch any of its channels may still be applied, or the rules have changed (assignments.doubt_period)";
    /// The process started a moment ago.
    JustStarted => Forwarded, "just_started",
        "usher has just started: what was sent before may still be applied (assignments.start_doubt)";
    /// No answer of upstream says that a trigger was accepted.
    NoSuccessFormat => Forwarded, "no_success_format",
        "upstream's answers to triggers are no JSON objects, so none says that an announcement was accepted";
    /// An event of the same batch leaves the channel unknown.
    AfterOtherEvent => Forwarded, "after_other_event", "an earlier event of the same batch leaves this channel unknown";
    /// The memory is full.
    MemoryFull => Forwarded, "memory_full", "the memory of assignments is full (assignments.max_channels)";
    /// A process that shares the memory may forward without claims.
    ClusterOpen => Forwarded, "cluster_open",
        "another usher of the cluster is missing, decides by other rules or may not be known, so it may forward without the shared memory (GET /cluster)";
    /// The shared memory is out of reach.
    ClusterUnreached => Forwarded, "cluster_unreached", "this usher does not reach the shared memory (cluster.redis_url)";
    /// The shared memory was out of reach for so long that the others may have given this process up.
    ClusterIsolated => Forwarded, "cluster_isolated",
        "this usher has not reached the shared memory for so long that the others may have given it up (cluster.isolated)";
    /// `data` is no string that decodes.
    DataNotText => Forwarded, "data_not_text", "its data is no string that can be decoded";
    /// `data` cannot be read exactly.
    DataInexact => Forwarded, "data_inexact", "its data is no JSON that all readers read in the same way";
    /// Readers may disagree on `where`.
    WhereUnclear => Forwarded, "where_unclear", "readers may disagree whether its data has the value that `where` asks for";
    /// No identity pointer has a value.
    NoIdentity => Forwarded, "no_identity", "none of the rule's identity pointers has a value in its data";
    /// The identity cannot be compared.
    IdentityUnusable => Forwarded, "identity_unusable",
        "the value of its identity is neither a number nor a string of at most 1 KiB";
    /// A value of the context cannot be compared.
    ContextUnusable => Forwarded, "context_unusable",
        "a value of its context is an array, an object, or longer than 1 KiB";
    /// It is not known which connection does not receive it.
    ExcludesSocket => Forwarded, "excludes_socket",
        "its socket_id is not that of a client as servers write it, so it is not known whom it reaches";
    /// Upstream may take it for a repetition.
    IdempotencyKey => Forwarded, "idempotency_key", "it has an idempotency key: upstream may take it for a repetition";
    /// The caller asks for attributes of the channels.
    AsksInfo => Forwarded, "asks_info", "its trigger asks for info, which only upstream can answer";
    /// usher drains.
    Draining => Forwarded, "draining", "usher is shutting down and suppresses nothing";
    /// It waited as long as it may.
    WaitOver => Forwarded, "wait_over",
        "an equal announcement was in flight for longer than a trigger waits (limits.max_wait)";
    /// It may not wait.
    CannotWait => Forwarded, "cannot_wait",
        "an equal announcement was in flight, and a trigger that announces on several channels does not wait for one of them";
    /// Too many wait.
    TooManyWaiting => Forwarded, "too_many_waiting",
        "an equal announcement was in flight, and as many triggers wait already as may";
    /// Another rule forwards the event.
    OtherRule => Forwarded, "other_rule", "it is redundant for this rule, but another rule forwards the event";
    /// It ends the assignment.
    Released => Forwarded, "released", "the event ends the assignment (released_by)";
    /// The request cannot be read exactly.
    Inexact => Forwarded, "inexact", "the request cannot be read exactly, so it is forwarded whole and what it may touch is unknown";
    /// No rule watches it.
    NoRule => Forwarded, "no_rule", "no rule watches this event on this channel";
    /// The app is not configured.
    UnknownApp => Forwarded, "unknown_app", "the app is not configured (server.unknown_apps = \"forward\")";
    /// The channel shows this assignment.
    SameAssignment => Suppressed, "same_assignment", "the channel is known to show this assignment";
    /// The event before it in the batch is the same.
    RepeatedInBatch => Suppressed, "repeated_in_batch", "it repeats the announcement before it in the same batch";
    /// An equal announcement was accepted while it waited.
    SameInFlight => SuppressedInFlight, "same_in_flight", "an equal announcement was in flight and was accepted";
    /// The channel shows this assignment, and the rule observes.
    WouldSameAssignment => WouldSuppress, "same_assignment",
        "the channel is known to show this assignment; forwarded because the rule only observes";
    /// An equal announcement is in flight, and the rule observes.
    WouldSameInFlight => WouldSuppress, "same_in_flight",
        "an equal announcement was in flight; forwarded because the rule only observes";
    /// The event before it in the batch is the same, and the rule observes.
    WouldRepeatedInBatch => WouldSuppress, "repeated_in_batch",
        "it repeats the announcement before it in the same batch; forwarded because the rule only observes";
}

impl fmt::Display for EventDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_decision_is_found_by_its_number_and_by_its_action_and_reason() {
        let mut pairs = HashSet::new();
        for (number, decision) in EventDecision::ALL.iter().enumerate() {
            assert_eq!(*decision as usize, number);
            assert!(pairs.insert((decision.action(), decision.reason())), "{decision:?}");
            assert!(!decision.sentence().ends_with('.'), "{decision:?}");
            let is_code = |code: &str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(is_code(decision.reason()) && is_code(decision.action().label()), "{decision:?}");
        }
    }
}
