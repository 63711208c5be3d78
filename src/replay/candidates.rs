//! The events of one request that is in flight, which late subscribers may get once it is accepted.

use std::sync::Arc;

use super::{Announcement, RuleReplays};
use crate::assignment::Outcome;

/// The events of a request that goes on. Settled before the request's tickets: then what the memory knows is held, and
/// whoever waits for a ticket finds it. Dropped unsettled, their outcome is ambiguous.
#[must_use = "settle them: dropped, their outcome is ambiguous"]
#[derive(Debug, Default)]
pub struct Candidates(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    rule: Arc<RuleReplays>,
    /// `None`: the request may have been an event on any channel.
    sent: Option<(Box<str>, u64)>,
}

impl Candidates {
    /// Notes an event on `channel`.
    pub fn send(&mut self, rule: &Arc<RuleReplays>, channel: &str, announcement: &Announcement<'_>) {
        let sequence = rule.send(channel, announcement);
        self.push(rule, Some((channel.into(), sequence)));
    }

    /// Notes an event on `channel` that cannot be read.
    pub fn send_unread(&mut self, rule: &Arc<RuleReplays>, channel: &str) {
        let sequence = rule.send_unread(channel);
        self.push(rule, Some((channel.into(), sequence)));
    }

    /// Notes a request that may be an event on any channel.
    pub fn send_any(&mut self, rule: &Arc<RuleReplays>) {
        self.push(rule, None);
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports the outcome of the request.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_all(outcome);
    }

    fn push(&mut self, rule: &Arc<RuleReplays>, sent: Option<(Box<str>, u64)>) {
        self.0.push(Candidate { rule: Arc::clone(rule), sent });
    }

    fn settle_all(&mut self, outcome: Outcome) {
        for Candidate { rule, sent } in std::mem::take(&mut self.0) {
            match sent {
                Some((channel, sequence)) => rule.settle(&channel, sequence, outcome),
                None => rule.settle_any(outcome),
            }
        }
    }
}

impl Drop for Candidates {
    fn drop(&mut self) {
        self.settle_all(Outcome::Ambiguous);
    }
}
