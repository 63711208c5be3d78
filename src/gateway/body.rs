//! Receiving whole bodies, within a size and a time.

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
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Refusal::BodyTooLarge { limit: limits.max_body }),
        Ok(Err(error)) => Err(Refusal::BodyBroken(error)),
        Err(_elapsed) => Err(Refusal::BodyTimeout { limit: limits.body_timeout }),
    }
}

/// Collects a body of at most `limit` bytes; `None`: it has more. A body of one frame, the usual case, is not copied.
/// Trailers are dropped.
///
/// # Errors
/// The body broke off, or its framing was wrong.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Option<Bytes>, hyper::Error>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        received += data.len();
        if received > limit {
            return Ok(None);
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
    Ok(Some(if rest.is_empty() { first } else { rest.freeze() }))
}
