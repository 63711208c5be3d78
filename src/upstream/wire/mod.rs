//! Triggers on the wire: one goes out in one write, and its answer is collected whole. No general client stands in
//! between, so what was sent is known to the byte, and an exchange costs little more than its five system calls
//! (docs/performance.md).

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod answer;
mod chunks;
mod connection;
mod stream;

use std::time::Duration;

use tokio::time::Instant;

use super::dial::Dialer;
use super::pool::Pool;
use super::{Failure, PoolStats};
use crate::clock::Alarm;

pub use answer::Collected;
pub(super) use connection::{Broken, TriggerConnection};
pub(super) use stream::{Stream, Unasked};

/// Why an answer was not collected whole.
#[derive(Debug)]
pub enum Interrupted {
    /// There is none.
    NoAnswer(Failure),
    /// It began with this status and broke off, or has more bytes than an answer may have.
    Cut {
        /// Of the answer that began.
        status: u16,
    },
    /// It began with this status and was not complete in time.
    Late {
        /// Of the answer that began.
        status: u16,
    },
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::NoAnswer(failure)
    }
}

/// One worker's lines to the upstream server.
#[derive(Debug)]
pub(super) struct TriggerClient {
    pool: Pool<TriggerConnection>,
}

impl TriggerClient {
    /// No line is open yet.
    pub(super) const fn new(pool: Pool<TriggerConnection>) -> Self {
        Self { pool }
    }

    /// Sends `request`, which is whole, and collects the answer. A kept line that turns out dead before the first byte
    /// was written is no failure: the request goes over a fresh one then. `alarm` is whoever calls's, to be used again.
    ///
    /// # Errors
    /// [`Interrupted`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropped, the line is closed; whether upstream got the request is then unknown.
    pub(super) async fn exchange(
        &self,
        dialer: &Dialer,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut Alarm,
        (now, period): (Instant, Duration),
    ) -> Result<(), Interrupted> {
        if let Some(kept) = self.pool.take(now) {
            match self.converse(dialer, kept, request, answer, alarm, (now, period)).await {
                Err(Unanswered::Unsent(error)) => {
                    tracing::debug!(%error, "a kept line was dead; the trigger goes over a fresh one")
                }
                Err(Unanswered::Interrupted(interrupted)) => return Err(interrupted),
                Ok(()) => return Ok(()),
            }
        }
        // Boxed: rare and large.
        let fresh = Box::pin(dialer.open()).await?;
        self.pool.count_opened();
        let sent = self
            .converse(dialer, TriggerConnection::new(fresh), request, answer, alarm, (Instant::now(), period))
            .await;
        sent.map_err(|unanswered| {
            dialer.doubt();
            match unanswered {
                Unanswered::Unsent(error) => Failure::unsent(dialer.authority().to_owned(), error.into()).into(),
                Unanswered::Interrupted(interrupted) => interrupted,
            }
        })
    }

    /// What the pool holds and has done.
    pub(super) fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// Closes the lines that cannot be used again.
    pub(super) fn sweep(&self) {
        self.pool.sweep();
    }

    /// Closes the idle lines and keeps none from now on.
    pub(super) fn retire(&self) {
        self.pool.retire();
    }

    async fn converse(
        &self,
        dialer: &Dialer,
        mut line: TriggerConnection,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut Alarm,
        (now, period): (Instant, Duration),
    ) -> Result<(), Unanswered> {
        answer.clear();
        let done = alarm.bound(now + period, line.exchange(request, answer)).await;
        let upstream = || dialer.authority().to_owned();
        let interrupted = match (done, answer.status) {
            (Some(Ok(keeps)), _) => {
                if keeps {
                    self.pool.put(line);
                }
                return Ok(());
            }
            (Some(Err(Broken::Unsent(error))), _) => return Err(Unanswered::Unsent(error)),
            (Some(Err(Broken::Lost(source))), 0) => Failure::lost(upstream(), source.into()).into(),
            (Some(Err(Broken::Faulty(problem))), 0) => problem.failure(upstream()).into(),
            (Some(Err(Broken::Lost(_) | Broken::Faulty(_))), status) => Interrupted::Cut { status },
            (None, 0) => Failure::AnswerTimeout { upstream: upstream(), period }.into(),
            (None, status) => Interrupted::Late { status },
        };
        Err(Unanswered::Interrupted(interrupted))
    }
}

/// Why one line brought no answer.
enum Unanswered {
    /// It was dead before the first byte.
    Unsent(std::io::Error),
    Interrupted(Interrupted),
}
