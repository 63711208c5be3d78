//! The body of a request, on its way to the server.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A request body whose length is known before it is sent, so that it goes out with `Content-Length`, never chunked.
#[derive(Debug)]
pub enum Payload {
    /// The complete body, in memory.
    Whole(Bytes),
    /// A body that is streamed from the caller, with a declared length; made by [`Payload::stream`].
    Stream(Declared),
}

/// A streamed body whose sender declared its length. Only [`Payload::stream`] makes one, so that no chunked body is
/// forwarded as a stream.
#[derive(Debug)]
pub struct Declared {
    body: Incoming,
    length: u64,
}

impl Payload {
    /// A payload that streams `body`.
    ///
    /// # Errors
    /// Returns `body` if its sender did not declare its length (a chunked request). The body has to be collected then
    /// and sent as [`Payload::Whole`].
    pub fn stream(body: Incoming) -> Result<Self, Incoming> {
        match body.size_hint().exact() {
            Some(length) => Ok(Self::Stream(Declared { body, length })),
            None => Err(body),
        }
    }

    /// The length in bytes.
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
