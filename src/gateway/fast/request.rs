//! A request of one connection, and what came of judging it.

use tokio::time::Instant;

use super::responder::AfterReply;
use super::shape::HeadCache;
use crate::gateway::pipeline::NextStep;

/// What is kept of a buffer between two requests.
const KEPT_CAPACITY: usize = 16 * 1024;

/// A request with all the room that it is received, judged and answered in. One connection uses it for one request
/// after the other.
#[derive(Debug)]
pub(super) struct Request {
    /// What has come of it, and perhaps of the ones behind it.
    pub(super) received: Vec<u8>,
    pub(super) head_cache: HeadCache,
    /// Bytes of the request, once all of it has come.
    pub(super) length: usize,
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
    OtherShape,
    /// Its head has not come whole.
    PartialHead,
    /// It is a trigger of this many bytes, and they have not all come.
    PartialBody(usize),
    /// It is a trigger that is not authentic, or came when too many requests were in flight. It has its answer.
    Refused(AfterReply),
    /// It is an authentic trigger, and decided.
    Decided(NextStep<AfterReply>),
    /// usher itself has failed.
    Failed,
}

impl Request {
    /// Nothing has come on the connection yet.
    pub(super) fn new() -> Self {
        Self {
            received: Vec::new(),
            head_cache: HeadCache::default(),
            length: 0,
            outgoing: Vec::new(),
            reply: Vec::new(),
            outcome: None,
            decided: Instant::now(),
        }
    }

    /// Makes the room ready for the next request. What an uncommonly large one took is given back.
    pub(super) fn make_ready(&mut self) {
        // Nobody but a client that does not wait for answers has sent more.
        self.received.drain(..self.length);
        for buffer in [&mut self.received, &mut self.outgoing] {
            if buffer.capacity() > KEPT_CAPACITY {
                buffer.shrink_to(KEPT_CAPACITY);
            }
        }
        self.outgoing.clear();
        self.reply.clear();
        self.reply.shrink_to(KEPT_CAPACITY);
    }
}
