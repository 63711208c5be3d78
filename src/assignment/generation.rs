//! The requests in flight that were decided before the rules changed.
//!
//! A request holds tickets in the memories of the rules under which it was decided. A rule that is added or changed
//! while the request is in flight begins with a memory in which the request holds no ticket. From then on the request
//! counts as one that may touch any channel of the app, until it is settled.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::sync::atomic::{AtomicUsize, Ordering};
use super::{AppMemory, Outcome, WideReservation};

/// The forwarded requests that were decided under one version of the rules, of one app or of all apps that are not
/// configured.
#[derive(Debug, Default)]
pub struct Generation {
    /// Twice the number of requests in flight, and [`SUPERSEDED`]. One atomic word, so that each request either was
    /// counted when the generation ended, or sees that it has ended.
    state: AtomicUsize,
    /// The memories that its requests may touch without a ticket in them; set before it is superseded.
    successors: OnceLock<Vec<Arc<AppMemory>>>,
}

/// The value of one request in [`Generation::state`].
const REQUEST: usize = 2;
/// The bit that is set once other rules are in force.
const SUPERSEDED: usize = 1;

impl Generation {
    /// Counts a request that was decided under these rules and is about to be sent. If other rules are in force by now,
    /// the request may touch any channel of their apps.
    pub fn begin(self: &Arc<Self>) -> GenerationTicket {
        // Acquire: a thread that sees SUPERSEDED also sees the successors.
        let before = self.state.fetch_add(REQUEST, Ordering::Acquire);
        if before & SUPERSEDED == 0 {
            return GenerationTicket { held: Held::Counted(Arc::clone(self)), outcome: Outcome::Ambiguous };
        }
        let successors = self.successors.get().into_iter().flatten();
        GenerationTicket {
            held: Held::Wide(successors.map(AppMemory::claim_all).collect()),
            outcome: Outcome::Ambiguous,
        }
    }

    /// Ends the generation: every request of it that is in flight, or is begun later, may touch any channel of
    /// `successors` until it is settled. Called once, before the rules of the successors are in force.
    pub(super) fn supersede(&self, successors: Vec<Arc<AppMemory>>) {
        let successors = self.successors.get_or_init(|| successors);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // Counted before the flag is set, so that no request ends in a successor before it was counted there.
            let requests = state / REQUEST;
            successors.iter().for_each(|memory| memory.count_wide(requests));
            match self.state.compare_exchange_weak(state, state | SUPERSEDED, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => {
                    successors.iter().for_each(|memory| memory.discount_wide(requests));
                    state = present;
                }
            }
        }
    }

    fn end(&self, outcome: Outcome) {
        // AcqRel: a thread that sees SUPERSEDED also sees the successors, and that they have counted this request.
        if self.state.fetch_sub(REQUEST, Ordering::AcqRel) & SUPERSEDED != 0 {
            self.successors.get().into_iter().flatten().for_each(|memory| memory.end_wide(outcome));
        }
    }
}

/// The obligation to report the outcome of a request that was decided under one version of the rules. If it is dropped
/// unsettled, the outcome is ambiguous.
#[must_use = "settle it: dropped, its outcome is ambiguous"]
#[derive(Debug)]
pub struct GenerationTicket {
    held: Held,
    /// Ambiguous until it is settled.
    outcome: Outcome,
}

#[derive(Debug)]
enum Held {
    Counted(Arc<Generation>),
    Wide(SmallVec<[WideReservation; 1]>),
}

impl GenerationTicket {
    /// Reports the outcome.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for GenerationTicket {
    fn drop(&mut self) {
        match &mut self.held {
            Held::Counted(generation) => generation.end(self.outcome),
            Held::Wide(reservations) => reservations.drain(..).for_each(|reservation| reservation.settle(self.outcome)),
        }
    }
}
