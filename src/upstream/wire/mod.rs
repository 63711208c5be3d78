//! The client for triggers on the fast path: it sends a request with one write and collects the complete answer. There
//! is no general HTTP client in between: the bytes sent are known exactly, and an exchange costs little more than its
//! five system calls (docs/performance.md).

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod answer;
mod chunks;
mod connection;

use tokio::time::Instant;

use super::dial::Dialer;
use super::pool::Pool;
use super::{Failure, TimeLimit};
use crate::clock::DeadlineTimer;

pub use answer::Collected;
use connection::{ConnectionError, TriggerConnection};

/// One worker's connections for triggers.
#[derive(Debug)]
pub(super) struct TriggerClient {
    pool: Pool<TriggerConnection>,
}

impl TriggerClient {
    /// A client without open connections.
    pub(super) const fn new(pool: Pool<TriggerConnection>) -> Self {
        Self { pool }
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
        let mut retries = 0;
        if let Some(reused) = self.pool.take(limit.start) {
            match self.exchange_on(reused, request, answer, alarm, limit).await {
                Ok(end) => return Ok(end),
                Err(ConnectionError::Unsent(error)) => {
                    tracing::debug!(%error, "an idle connection was closed; the trigger is sent on a new one");
                    retries = 1;
                }
                Err(error) => return Err(error.into_failure(answer.status, dialer.authority(), limit)),
            }
        }
        // Boxed: rare and large.
        let stream = Box::pin(dialer.connect()).await?;
        let limit = TimeLimit::from(Instant::now(), limit.period);
        let done = self.exchange_on(TriggerConnection::new(stream), request, answer, alarm, limit).await;
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

    async fn exchange_on(
        &self,
        mut connection: TriggerConnection,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        limit: TimeLimit,
    ) -> Result<Instant, ConnectionError> {
        answer.clear();
        let done = alarm.timeout_at(limit.deadline, connection.exchange(request, answer)).await;
        let can_be_reused = done.unwrap_or(Err(ConnectionError::TimedOut))?;
        let end = Instant::now();
        if can_be_reused {
            self.pool.put(connection, end);
        }
        Ok(end)
    }
}
