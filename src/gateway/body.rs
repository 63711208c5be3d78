//! Receiving bodies whole, within a size and a time.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Limits, Refusal};

/// Receives a request's body whole.
///
/// # Errors
/// Too large, too slow, or broken off.
pub(super) async fn receive(body: Incoming, limits: &Limits) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match timeout(limits.body_timeout, collect(body, limits.max_body)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Overflow::TooLarge)) => Err(Refusal::BodyTooLarge { limit: limits.max_body }),
        Ok(Err(Overflow::Broken(error))) => Err(Refusal::BodyBroken(error)),
        Err(_elapsed) => Err(Refusal::BodyTimeout { limit: limits.body_timeout }),
    }
}

/// Why a body was not collected.
#[derive(Debug)]
pub(super) enum Overflow {
    /// It has more bytes than the limit.
    TooLarge,
    /// It broke off, or its framing was wrong.
    Broken(hyper::Error),
}

/// Collects a body of at most `limit` bytes. A body of one frame, the usual case, is not copied. Trailers are dropped.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Overflow>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Overflow::Broken)?.into_data() else { continue };
        received += data.len();
        if received > limit {
            return Err(Overflow::TooLarge);
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
