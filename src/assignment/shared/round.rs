//! What a request learns from one decision to the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::channel::SharedChannel;
use super::tickets::SharedTickets;
use crate::assignment::snapshot::AppSnapshot;
use crate::assignment::{Before, Renewal, Shown, Uncertainty};
use crate::clock::Moment;
use crate::cluster::{Tenure, Unreadable};

/// What a request carries from one decision to the next: nothing, if its memory is in this process.
#[derive(Debug, Default)]
pub struct Carried(pub(super) Option<Box<Round>>);

/// What a request has learned of the channels that it claims.
#[derive(Debug)]
pub(super) struct Round {
    /// When it first asked the store.
    pub(super) began: Instant,
    /// The channels that it claims.
    pub(super) keys: Arc<[RoundKey]>,
    pub(super) stage: Stage,
    /// How often another request was faster.
    pub(super) conflicts: u32,
    /// Whether it claims all channels of the app instead of single ones: too many are named, or others are always faster,
    /// or one cannot be read.
    pub(super) claims_all: bool,
    /// Tickets of swaps that were not answered.
    pub(super) perhaps_held: Option<SharedTickets>,
    /// The id of its ticket for all channels: the same in each attempt.
    pub(super) wide_id: Option<String>,
}

/// A channel that is claimed for a rule.
#[derive(Debug)]
pub(super) struct RoundKey {
    /// The rule's number.
    pub(super) rule: usize,
    pub(super) channel: String,
    pub(super) key: Vec<u8>,
    pub(super) remember_for: Duration,
    /// In milliseconds; `u64::MAX`: never.
    pub(super) refresh_after: u64,
}

/// How far a request has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing is known yet, or any more.
    Unanswered,
    /// The channels were read.
    Answered(Answered),
    /// The claims are made.
    Held(Held),
}

/// The channels as they were read.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) tenure: Tenure,
    /// The time at the server when they were read.
    pub(super) now: Moment,
    pub(super) snapshot: AppSnapshot,
    /// Whether nobody suppresses.
    pub(super) is_open: bool,
    pub(super) stamp: Vec<u8>,
    /// In the order of the keys.
    pub(super) channels: Vec<Result<SharedChannel, Unreadable>>,
}

/// Claims that were made, and what they were answered.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) tenure: Tenure,
    pub(super) tickets: SharedTickets,
    /// In the order in which they were claimed.
    pub(super) judged: Vec<Judged>,
}

/// The answer to one claim.
#[derive(Debug, Clone)]
pub(super) enum Judged {
    Redundant(Shown),
    Held { before: Before, redundant: bool, shown: Option<Shown>, renewal: Option<Renewal> },
    HeldAll(Uncertainty),
}

impl Round {
    pub(super) fn new(keys: Arc<[RoundKey]>, claims_all: bool) -> Self {
        Self {
            began: Instant::now(),
            keys,
            stage: Stage::Unanswered,
            conflicts: 0,
            claims_all,
            perhaps_held: None,
            wide_id: None,
        }
    }

    /// The index of a channel that a rule claims.
    pub(super) fn index(&self, rule: usize, channel: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.rule == rule && key.channel == channel)
    }

    /// The claims are made.
    pub(super) fn holds(&mut self, held: Held) {
        // An earlier attempt had the same ticket for the whole app.
        if held.tickets.has_wide()
            && let Some(perhaps) = &mut self.perhaps_held
        {
            perhaps.without_wide();
        }
        self.stage = Stage::Held(held);
    }

    /// The tickets of a swap were not answered: it may have been done.
    pub(super) fn may_hold(&mut self, tickets: SharedTickets) {
        match &mut self.perhaps_held {
            Some(held) => held.join(tickets),
            None => self.perhaps_held = Some(tickets),
        }
    }
}
