//! An answer that is passed on while it is received.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{AnswerHead, Collected};
use super::chunks::ChunkParser;
use super::connection::{ConnectionError, WireConnection, more};
use crate::clock::DeadlineTimer;
use crate::upstream::Failure;
use crate::upstream::framing::Framing;
use crate::upstream::pool::Pool;

/// The body of an answer whose head was received. At its end the connection returns to its pool; dropped before, the
/// connection is closed.
#[derive(Debug)]
#[must_use = "dropped, the connection is closed"]
pub struct StreamedBody {
    /// `None`: the body is complete.
    connection: Option<WireConnection>,
    pool: Arc<Pool<WireConnection>>,
    head: AnswerHead,
    left: Left,
}

/// What is still to be received.
#[derive(Debug)]
enum Left {
    Length(u64),
    Chunks(ChunkParser),
    UntilClose,
}

impl StreamedBody {
    /// The body behind `head`, on `connection`.
    pub(super) fn new(connection: WireConnection, pool: &Arc<Pool<WireConnection>>, head: AnswerHead) -> Self {
        let left = match head.framing {
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(ChunkParser::streamed()),
            Framing::Close => Left::UntilClose,
        };
        Self { connection: Some(connection), pool: Arc::clone(pool), head, left }
    }

    /// Whether its length is not known before its end.
    #[must_use]
    pub const fn is_open_ended(&self) -> bool {
        !matches!(self.head.framing, Framing::Length(_))
    }

    /// The framing that the answer's head declares.
    #[must_use]
    pub(crate) const fn declared(&self) -> Framing {
        self.head.declared
    }

    /// Whether all of the body was received.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.connection.is_none()
    }

    /// Receives more of a body that is not complete, and replaces `answer.body` with it: at least one byte, or the body
    /// is complete. Something has to come within `period` from `now`. `alarm` is the timer.
    ///
    /// # Errors
    /// The body has no end: the caller cannot be told but by closing its connection.
    pub async fn next(
        &mut self,
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        now: Instant,
        period: Duration,
    ) -> Result<(), Failure> {
        answer.body.clear();
        while let Some(connection) = &mut self.connection
            && answer.body.is_empty()
        {
            let received = alarm.timeout_at(now + period, connection.read_long(answer)).await;
            let taken = match (received.unwrap_or(Err(ConnectionError::TimedOut)), &self.left) {
                (Ok(0), Left::UntilClose) => {
                    self.connection = None;
                    Ok(())
                }
                (Ok(read), _) => more(read).and_then(|()| self.take(answer)),
                (Err(error), _) => Err(error),
            };
            taken.map_err(|error| error.after_head(answer.status, period))?;
        }
        Ok(())
    }

    /// Replaces `answer.body` with the next bytes of the body, which were received already: perhaps none.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub(super) fn take(&mut self, answer: &mut Collected) -> Result<(), ConnectionError> {
        answer.body.clear();
        let is_complete = match &mut self.left {
            Left::Length(left) => {
                *left -= answer.take_all(*left);
                *left == 0
            }
            Left::Chunks(chunks) => chunks.read(answer)?,
            Left::UntilClose => {
                answer.take_all(u64::MAX);
                false
            }
        };
        if is_complete
            && let Some(connection) = self.connection.take()
            && self.head.keep_alive
            && !answer.has_surplus()
        {
            self.pool.put(connection, Instant::now());
        }
        Ok(())
    }
}
