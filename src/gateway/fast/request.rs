//! A request of one connection, and its outcome.

use std::net::IpAddr;

use tokio::time::Instant;

use super::responder::AfterReply;
use super::shape::{self, HeadCache};
use crate::gateway::in_flight::InFlightPermit;
use crate::gateway::pipeline::NextStep;
use crate::gateway::record::{Arrival, RequestLine, Tag};
use crate::gateway::{Refusal, Shared};

/// The capacity in bytes that a buffer keeps between two requests.
const KEPT_CAPACITY: usize = 16 * 1024;

/// A request with all buffers that it needs. One connection uses it for one request after the other.
#[derive(Debug)]
pub(super) struct Request {
    /// The address at the other end of the connection.
    pub(super) ip: IpAddr,
    /// Once it is known to be a trigger.
    pub(super) arrival: Option<Arrival>,
    /// The bytes received of it, and perhaps of the requests behind it.
    pub(super) received: Vec<u8>,
    pub(super) head_cache: HeadCache,
    /// Bytes of the request, once all of it has come.
    pub(super) length: usize,
    /// The bytes of the request to upstream, if there is one.
    pub(super) outgoing: Vec<u8>,
    /// The answer, if there is one.
    pub(super) reply: Vec<u8>,
    /// Set once it is decided.
    pub(super) outcome: Option<ParseOutcome>,
    /// When it was decided, or when the connection began.
    pub(super) decided: Instant,
}

/// The result of parsing what was received, and of deciding on it.
#[derive(Debug)]
pub(super) enum ParseOutcome {
    /// It is of another shape.
    OtherShape,
    /// Its head has not come whole.
    PartialHead,
    /// It is a GET request, and written to be sent; without a body, it may be sent again.
    Get { permit: InFlightPermit, is_repeatable: bool },
    /// It is a trigger of this many bytes, and they have not all come.
    PartialBody(usize),
    /// It is a trigger that is not authentic, or that came when too many requests were in flight. Its answer is
    /// written.
    Refused(AfterReply),
    /// It is an authentic trigger, and this is left to do for it.
    Decided(NextStep<AfterReply>),
    /// usher itself has failed.
    Failed,
}

impl Request {
    /// An empty request, for a new connection.
    pub(super) fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            arrival: None,
            received: Vec::new(),
            head_cache: HeadCache::default(),
            length: 0,
            outgoing: Vec::new(),
            reply: Vec::new(),
            outcome: None,
            decided: Instant::now(),
        }
    }

    /// Records that a trigger was refused before it was decided, or failed at `now`. Returns the tag of the answer.
    pub(super) fn refused(&self, shared: &Shared, now: Instant, refusal: &Refusal) -> Tag {
        let arrival =
            self.arrival.unwrap_or_else(|| Arrival::new(shared, shared.clock.timestamp(now), self.ip.to_canonical()));
        let (app, path) = shape::names(&self.received, &self.head_cache).unwrap_or_default();
        let line = RequestLine { method: shape::METHOD, path, size: self.received.len() };
        arrival.refused(shared, app, line, refusal)
    }

    /// Clears the buffers for the next request. Memory that an unusually large request took is freed.
    pub(super) fn make_ready(&mut self) {
        // Only a client that does not wait for answers has sent more.
        self.received.drain(..self.length);
        for buffer in [&mut self.received, &mut self.outgoing] {
            if buffer.capacity() > KEPT_CAPACITY {
                buffer.shrink_to(KEPT_CAPACITY);
            }
        }
        self.arrival = None;
        self.outgoing.clear();
        self.reply.clear();
        self.reply.shrink_to(KEPT_CAPACITY);
    }
}
