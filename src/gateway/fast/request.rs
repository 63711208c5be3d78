//! A request of one connection, and what came of judging it.

use std::sync::Arc;

use tokio::time::Instant;

use super::respond::Next;
use super::shape::Known;
use crate::gateway::decide::Awaited;
use crate::gateway::plan::{Multiplicity, Tickets};
use crate::gateway::routing::{AppRoute, Routing};
use crate::gateway::trigger::{Disposition, Reading, WaitState};
use crate::gateway::{InFlightPermit, Shared};

/// What is kept of a buffer between two requests.
const USUAL: usize = 16 * 1024;

/// A request with all the room that it is received, judged and answered in. One connection uses it for one request
/// after the other.
#[derive(Debug)]
pub(super) struct Request {
    /// What has come of it, and perhaps of the ones behind it.
    pub(super) received: Vec<u8>,
    pub(super) known: Known,
    /// As it goes upstream, if it does.
    pub(super) outgoing: Vec<u8>,
    /// The answer, if there is one.
    pub(super) reply: Vec<u8>,
    /// Once it is judged.
    pub(super) outcome: Option<ParseOutcome>,
    /// When it was judged, or when the connection began.
    pub(super) decided: Instant,
}

/// What came of looking at what was received.
#[derive(Debug)]
pub(super) enum ParseOutcome {
    /// It is of another shape.
    Other,
    /// Its head is not all there.
    Unfinished,
    /// It is a trigger of so many bytes, and they are not all there.
    Partly(usize),
    /// It is a trigger, which was judged.
    Decided(NextStep),
    /// usher itself has failed.
    Failed,
}

/// What is to be done with a trigger.
#[derive(Debug)]
pub(super) enum NextStep {
    /// Nothing more. It has so many bytes, and its answer.
    Answered(usize, Next),
    /// Nothing more either: it is authentic, and redundant.
    Suppressed(usize, Next),
    /// It goes upstream.
    Forward(Forward),
    /// It has to wait.
    Wait(Box<Waiting>),
}

impl From<NextStep> for ParseOutcome {
    fn from(step: NextStep) -> Self {
        Self::Decided(step)
    }
}

/// A trigger that goes upstream, and what it owes.
#[derive(Debug)]
pub(super) struct Forward {
    /// Bytes of the request.
    pub(super) length: usize,
    pub(super) app: Arc<AppRoute>,
    pub(super) tickets: Tickets,
    pub(super) parts: Multiplicity,
    pub(super) disposition: Disposition,
    pub(super) permit: InFlightPermit<Arc<Shared>>,
}

/// An authentic trigger that waits to be judged again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) authentic: Authentic,
    pub(super) wait_state: WaitState,
    pub(super) awaited: Awaited,
}

/// An authentic trigger, whose bytes stand in its request.
#[derive(Debug)]
pub(super) struct Authentic {
    /// The routing under which it was seen.
    pub(super) routing: Arc<Routing>,
    pub(super) app: Arc<AppRoute>,
    pub(super) reading: Reading,
    pub(super) permit: InFlightPermit<Arc<Shared>>,
}

impl Request {
    /// Nothing has come on the connection yet.
    pub(super) fn new() -> Self {
        Self {
            received: Vec::new(),
            known: Known::default(),
            outgoing: Vec::new(),
            reply: Vec::new(),
            outcome: None,
            decided: Instant::now(),
        }
    }

    /// Makes the room ready for the request behind that of `length` bytes. What an uncommonly large one took is given
    /// back.
    pub(super) fn tidy(&mut self, length: usize) {
        // Nobody but a client that does not wait for answers has sent more.
        self.received.drain(..length);
        for buffer in [&mut self.received, &mut self.outgoing] {
            if buffer.capacity() > USUAL {
                buffer.shrink_to(USUAL);
            }
        }
        self.outgoing.clear();
        self.reply.clear();
        self.reply.shrink_to(USUAL);
    }
}
