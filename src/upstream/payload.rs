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

/// A streamed body whose sender declared its length. Only [`Payload::stream`] makes one, so a chunked body cannot be
/// passed on.
#[derive(Debug)]
pub struct Declared {
    body: Incoming,
    length: u64,
}

/// Upstream's answer body. Read from a connection, it gives that back to the pool when it ends; dropped before, the
/// connection is closed. It ends with an error if it was cut short of its `Content-Length` or last chunk.
#[derive(Debug)]
pub struct Answer(Source);

#[derive(Debug)]
enum Source {
    /// Made in this process; `None` once it was read.
    Whole(Option<Bytes>),
    /// Read from a connection.
    Connection {
        body: Incoming,
        /// Present until the body has ended.
        lease: Option<Lease>,
    },
}

impl Payload {
    /// Streams `body` on.
    ///
    /// # Errors
    /// Gives `body` back if its sender did not declare its length (a chunked request): collect it and send it
    /// [`Payload::Whole`].
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
    /// An answer's body, which is read from the connection of `lease`. One without contents gives the connection back
    /// at once.
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        let mut source = Source::Connection { body, lease: Some(lease) };
        source.end_if_complete();
        Self(source)
    }

    /// An answer's body that is there as a whole.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

impl Source {
    /// Gives the connection back as soon as the last byte is out. Who reads a body by its length never asks for the
    /// frame after the last.
    fn end_if_complete(&mut self) {
        match self {
            Self::Connection { body, lease } if body.is_end_stream() => end(lease),
            Self::Connection { .. } | Self::Whole(_) => {}
        }
    }
}

fn end(lease: &mut Option<Lease>) {
    if let Some(lease) = lease.take() {
        lease.release();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.0 {
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Connection { body, lease } => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                match &frame {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => *lease = None,
                    None => end(lease),
                }
                frame
            }
        };
        self.0.end_if_complete();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Connection { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Connection { body, .. } => body.size_hint(),
        }
    }
}
