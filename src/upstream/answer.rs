//! The body of an answer, on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;

/// The body of upstream's answer. A body that is read from a connection returns the connection to the pool at its end;
/// dropped before its end, it closes the connection. A body that ends before its `Content-Length` or its last chunk
/// ends with an error.
#[derive(Debug)]
pub struct Answer(Source);

#[derive(Debug)]
enum Source {
    /// Made in this process; `None` after it was read.
    Whole(Option<Bytes>),
    /// Read from a connection.
    Connection {
        body: Incoming,
        /// Present until the end of the body.
        lease: Option<Lease>,
    },
}

impl Answer {
    /// A body that is read from the connection of `lease`. An empty body returns the connection immediately.
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        let mut source = Source::Connection { body, lease: Some(lease) };
        source.release_if_complete();
        Self(source)
    }

    /// A body that is complete in memory.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

impl Source {
    /// Returns the connection after the last byte: a reader that counts the body's length does not poll for the end.
    fn release_if_complete(&mut self) {
        match self {
            Self::Connection { body, lease } if body.is_end_stream() => release(lease),
            Self::Connection { .. } | Self::Whole(_) => {}
        }
    }
}

fn release(lease: &mut Option<Lease>) {
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
                    None => release(lease),
                }
                frame
            }
        };
        self.0.release_if_complete();
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
