//! Bodies on their way up and down.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A request body whose length is known before it is sent, so that it goes out with `Content-Length`, never chunked.
#[derive(Debug)]
pub enum Payload {
    /// Collected.
    Whole(Bytes),
    /// Streamed from the caller, who declared its length.
    Stream(hyper::body::Incoming),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        todo!()
    }

    fn size_hint(&self) -> SizeHint {
        todo!()
    }
}

/// Upstream's answer body. When it ends, its connection goes back to the pool; dropped before, the connection is closed.
#[derive(Debug)]
pub struct Answer {}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        todo!()
    }
}
