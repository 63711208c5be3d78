//! The client of the fast path: it sends a request with one write, and collects the complete answer to a trigger, or the
//! head of another answer, whose body is passed on while it is received. There is no general HTTP client in between: the
//! bytes sent are known exactly, and an exchange costs little more than its five system calls (docs/performance.md).

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod answer;
mod chunks;
mod connection;
mod streamed;

use std::sync::Arc;

use tokio::time::Instant;

use super::dial::Dialer;
use super::pool::Pool;
use super::{Failure, TimeLimit};
use crate::clock::DeadlineTimer;

use answer::AnswerHead;
pub use answer::Collected;
use connection::{ConnectionError, Extent, WireConnection};
pub use streamed::StreamedBody;

/// One worker's connections for the fast path.
#[derive(Debug)]
pub(super) struct WireClient {
    /// In an `Arc`: an answer that is passed on has a reference to it, to return its connection.
    pool: Arc<Pool<WireConnection>>,
}

impl WireClient {
    /// A client without open connections.
    pub(super) fn new(pool: Pool<WireConnection>) -> Self {
        Self { pool: Arc::new(pool) }
    }

    /// Sends the complete `request` and collects the answer. If an idle connection turns out to be closed before the
    /// first byte is written, the request is sent on a new one, with a new limit of the same period. `alarm` is the
    /// timer; it can be reused after the call.
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. Whether upstream received the request is then unknown.
    pub(super) async fn exchange(
        &self,
        dialer: &Dialer,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        limit: TimeLimit,
    ) -> Result<Instant, Failure> {
        let request = Outgoing { bytes: request, extent: Extent::Whole, is_repeatable: false };
        let (connection, head) = self.send(dialer, request, answer, alarm, limit).await?;
        let end = Instant::now();
        if head.keep_alive && !answer.has_surplus() {
            self.pool.put(connection, end);
        }
        Ok(end)
    }

    /// The same for a GET request, up to the head of the answer, and what has come of the body with it. A request without
    /// a body (`is_repeatable`) is also sent on a new connection if an idle one is lost before an answer.
    ///
    /// # Errors
    /// [`Failure`]: there is no complete head, or what has come with it is malformed.
    pub(super) async fn open(
        &self,
        dialer: &Dialer,
        (request, is_repeatable): (&[u8], bool),
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        limit: TimeLimit,
    ) -> Result<StreamedBody, Failure> {
        let request = Outgoing { bytes: request, extent: Extent::Head, is_repeatable };
        let (connection, head) = self.send(dialer, request, answer, alarm, limit).await?;
        let mut body = StreamedBody::new(connection, &self.pool, head);
        match body.take(answer) {
            Ok(()) => Ok(body),
            Err(error) => Err(error.into_failure(answer.status, dialer.authority(), limit)),
        }
    }

    async fn send(
        &self,
        dialer: &Dialer,
        request: Outgoing<'_>,
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        limit: TimeLimit,
    ) -> Result<(WireConnection, AnswerHead), Failure> {
        let (mut retries, mut repeated) = (0, None);
        if let Some(reused) = self.pool.take(limit.start) {
            match exchange_on(reused, request, answer, alarm, limit).await {
                Ok(answered) => return Ok(answered),
                Err(ConnectionError::Unsent(error)) => {
                    tracing::debug!(%error, "an idle connection was closed; the request is sent on a new one");
                    retries = 1;
                }
                Err(ConnectionError::Lost(error)) if request.is_repeatable && answer.status == 0 => {
                    tracing::debug!(%error, "a reused connection was closed; the request, which may be repeated, is sent on a new one");
                    repeated = Some(limit);
                }
                Err(error) => return Err(error.into_failure(answer.status, dialer.authority(), limit)),
            }
        }
        // Boxed: rare and large.
        let stream = Box::pin(dialer.connect()).await?;
        let limit = repeated.unwrap_or_else(|| TimeLimit::from(Instant::now(), limit.period));
        let done = exchange_on(WireConnection::new(stream), request, answer, alarm, limit).await;
        answer.retries = retries;
        done.map_err(|error| {
            dialer.expire_addresses();
            error.into_failure(answer.status, dialer.authority(), limit)
        })
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.pool.idle_count()
    }

    /// Closes the connections that cannot be reused.
    pub(super) fn sweep(&self) {
        self.pool.sweep();
    }

    /// Closes the idle connections and keeps none from now on.
    pub(super) fn retire(&self) {
        self.pool.retire();
    }
}

/// A request that is complete.
#[derive(Debug, Clone, Copy)]
struct Outgoing<'r> {
    bytes: &'r [u8],
    /// How much of the answer is received.
    extent: Extent,
    /// Whether it may be sent again after its connection was lost at an unknown point (RFC 9110 9.2.2).
    is_repeatable: bool,
}

async fn exchange_on(
    mut connection: WireConnection,
    request: Outgoing<'_>,
    answer: &mut Collected,
    alarm: &mut DeadlineTimer,
    limit: TimeLimit,
) -> Result<(WireConnection, AnswerHead), ConnectionError> {
    answer.clear();
    let done = alarm.timeout_at(limit.deadline, connection.exchange(request.bytes, answer, request.extent)).await;
    let head = done.unwrap_or(Err(ConnectionError::TimedOut))?;
    Ok((connection, head))
}
