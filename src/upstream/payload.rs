//! Bodies on their way up and down.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;

/// A request body whose length is known before it is sent, so that it goes out with `Content-Length`, never chunked.
#[derive(Debug)]
pub enum Payload {
    /// Collected.
    Whole(Bytes),
    /// Streamed from the caller, who declared its length; made by [`Payload::stream`].
    Stream(Declared),
}

/// A streamed body whose sender declared its length. Only [`Payload::stream`] makes one, so a chunked body cannot be passed on.
#[derive(Debug)]
pub struct Declared {
    body: Incoming,
    length: u64,
}

/// Upstream's answer body. When it ends, its connection goes back to the pool; dropped before, the connection is closed.
/// It ends with an error if it was cut short of its `Content-Length` or last chunk.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    /// Present until the body has ended.
    lease: Option<Lease>,
}

impl Payload {
    /// Streams `body` on.
    ///
    /// # Errors
    /// Gives `body` back if its sender did not declare its length (a chunked request): collect it and send it [`Payload::Whole`].
    pub fn stream(body: Incoming) -> Result<Self, Incoming> {
        match body.size_hint().exact() {
            Some(length) => Ok(Self::Stream(Declared { body, length })),
            None => Err(body),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stream(declared) => declared.length,
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(declared) => Pin::new(&mut declared.body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(declared) => declared.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(declared) => declared.body.size_hint(),
        }
    }
}

impl Answer {
    /// An answer's body, which is read from the connection of `lease`. One without contents gives the connection back at once.
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        let mut answer = Self { body, lease: Some(lease) };
        answer.end_if_complete();
        answer
    }

    /// Gives the connection back as soon as the last byte is out. Who reads a body by its length never asks for the frame after the last.
    fn end_if_complete(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(_)) => self.end_if_complete(),
            Some(Err(_)) => self.lease = None,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
