//! What a request waits for between two decisions.

use std::sync::Arc;
use std::time::Duration;

use super::channel::{Present, SharedChannel, snapshot};
use super::claims::gives_up;
use super::round::{Answered, Carried, Held, Judged, Round, RoundKey, Stage};
use super::tickets::{PAUSE, SharedTickets};
use super::{Shared, SharedApp};
use crate::assignment::Outcome;
use crate::cluster::{Failure, Read, Swap, Swapped, Tenure, Unusable};

/// A question to the store.
#[must_use = "without its answer the request cannot be decided"]
#[derive(Debug)]
pub struct Ask {
    app: Arc<SharedApp>,
    round: Box<Round>,
    request: Request,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// What this process may do is about to change.
    Standing,
    /// The channels are read.
    Read(Tenure),
    /// The claims are made.
    Swap { tenure: Tenure, swap: Swap, tickets: SharedTickets, judged: Vec<Judged> },
}

/// The longest wait for another standing before a request looks again.
const LOOK: Duration = Duration::from_secs(1);

impl Ask {
    pub(super) fn new(shared: &Shared, round: Box<Round>, request: Request) -> Self {
        Self { app: Arc::clone(&shared.app), round, request }
    }

    /// Returns what the request has learned, with which it is decided again.
    ///
    /// # Cancel safety
    /// Dropped on the way, what may be held is given back: nothing of the request was sent.
    pub async fn answered(self) -> Carried {
        let Self { app, mut round, request } = self;
        match request {
            Request::Standing => app.store.member().changed(LOOK).await,
            Request::Read(tenure) => read(&app, &mut round, tenure).await,
            Request::Swap { tenure, swap, tickets, judged } => {
                let held = Held { tenure, tickets, judged };
                make(&app, &mut round, swap, held).await;
            }
        }
        Carried(Some(round))
    }
}

async fn read(app: &Arc<SharedApp>, round: &mut Round, tenure: Tenure) {
    app.settling.done(round.keys.iter().map(|key| key.key.as_slice())).await;
    let channels: Vec<_> = round.keys.iter().map(|key| (key.key.clone(), key.remember_for)).collect();
    match app.store.read(&tenure, &channels).await {
        Ok(read) => round.stage = Stage::Answered(answered(app, round, tenure, &read)),
        Err(Unusable::Membership | Unusable::Newer) => {}
        Err(Unusable::Failure(failure)) => unanswered(app, &failure).await,
    }
}

/// Makes the claims. `held`: what is held once they are made.
async fn make(app: &Arc<SharedApp>, round: &mut Round, swap: Swap, held: Held) {
    match app.store.swap(&held.tenure, swap).await {
        Ok(Swapped::Done) => round.holds(held),
        Ok(Swapped::Conflict) => {
            held.tickets.forget();
            round.conflicts += 1;
            round.claims_all |= gives_up(round.conflicts);
        }
        Err(Unusable::Newer) => {
            held.tickets.forget();
            round.claims_all = true;
        }
        Err(Unusable::Membership) => held.tickets.forget(),
        Err(Unusable::Failure(failure)) => {
            round.may_hold(held.tickets);
            unanswered(app, &failure).await;
        }
    }
}

/// The store has not answered. Returns when it may be asked again.
async fn unanswered(app: &SharedApp, failure: &Failure) {
    tracing::debug!(%failure, "the shared store has not answered");
    app.store.member().changed(PAUSE).await;
}

fn answered(app: &SharedApp, round: &Round, tenure: Tenure, read: &Read) -> Answered {
    let doubt_period = app.context.bounds.doubt_period;
    let present = Present::of(read, doubt_period);
    let now = present.now;
    let decode = |(key, bytes): (&RoundKey, &Vec<u8>)| {
        let mut channel = SharedChannel::decode(bytes, present)?;
        // Tickets of its own that were not answered: nothing of them was sent.
        for ticket in round.perhaps_held.iter().flat_map(SharedTickets::channels) {
            if ticket.key == key.key && channel.holds(ticket.id) {
                channel.settle(ticket.id, Outcome::Refused, now, doubt_period);
            }
        }
        Ok(channel)
    };
    Answered {
        tenure,
        now,
        snapshot: snapshot(read),
        is_open: read.open.is_some(),
        stamp: read.stamp.clone(),
        channels: round.keys.iter().zip(&read.channels).map(decode).collect(),
    }
}
