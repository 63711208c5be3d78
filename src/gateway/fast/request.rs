//! A request of one connection, and what came of judging it.

use std::sync::Arc;

use tokio::time::Instant;

use super::respond::Next;
use super::shape::Known;
use crate::gateway::decide::Awaited;
use crate::gateway::plan::{Parts, Tickets};
use crate::gateway::routing::{AppRoute, Routing};
use crate::gateway::trigger::{Patient, Reading, Told};
use crate::gateway::{Shared, Slot};

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
    pub(super) verdict: Option<Verdict>,
    /// When it was judged, or when the connection began.
    pub(super) judged: Instant,
}

/// What came of looking at what was received.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is of another shape.
    Other,
    /// Its head is not all there.
    Unfinished,
    /// It is a trigger of so many bytes, and they are not all there.
    Partly(usize),
    /// It is a trigger, which was judged.
    Ruled(Ruling),
    /// usher itself has failed.
    Failed,
}

/// What is to be done with a trigger.
#[derive(Debug)]
pub(super) enum Ruling {
    /// Nothing more. It has so many bytes, and its answer.
    Answered(usize, Next),
    /// Nothing more either: it is authentic, and redundant.
    Suppressed(usize, Next),
    /// It goes upstream.
    Forward(Forward),
    /// It has to wait.
    Wait(Box<Waiting>),
}

impl From<Ruling> for Verdict {
    fn from(ruling: Ruling) -> Self {
        Self::Ruled(ruling)
    }
}

/// A trigger that goes upstream, and what it owes.
#[derive(Debug)]
pub(super) struct Forward {
    /// Bytes of the request.
    pub(super) length: usize,
    pub(super) app: Arc<AppRoute>,
    pub(super) tickets: Tickets,
    pub(super) parts: Parts,
    pub(super) told: Told,
    pub(super) slot: Slot<Arc<Shared>>,
}

/// An authentic trigger that waits to be judged again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) authentic: Authentic,
    pub(super) patient: Patient,
    pub(super) awaited: Awaited,
}

/// An authentic trigger, whose bytes stand in its request.
#[derive(Debug)]
pub(super) struct Authentic {
    /// The routing under which it was seen.
    pub(super) routing: Arc<Routing>,
    pub(super) app: Arc<AppRoute>,
    pub(super) reading: Reading,
    pub(super) slot: Slot<Arc<Shared>>,
}

impl Request {
    /// Nothing has come on the connection yet.
    pub(super) fn new() -> Self {
        Self {
            received: Vec::new(),
            known: Known::default(),
            outgoing: Vec::new(),
            reply: Vec::new(),
            verdict: None,
            judged: Instant::now(),
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
