//! One connection to upstream that carries one exchange after the other.

use std::io;
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::answer::{Collected, MAX_BODY, Start, TOO_LARGE};
use super::chunks::Chunks;
use super::stream::Stream;
use crate::upstream::framing::{Framing, Problem};
use crate::upstream::pool::Kept;

/// Room for what is read at once.
const READ: usize = 4 * 1024;

/// A connection that is open. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct TriggerConnection {
    stream: Stream,
    opened: Instant,
}

/// Why an exchange came to no end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was dead before the first byte of the request was written.
    Unsent(io::Error),
    /// It ended or broke after that.
    Lost(io::Error),
    /// What came cannot be passed on.
    Faulty(Problem),
}

impl From<Problem> for Broken {
    fn from(problem: Problem) -> Self {
        Self::Faulty(problem)
    }
}

impl TriggerConnection {
    /// On a connection that was opened just now.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, opened: Instant::now() }
    }

    /// Sends a whole request and collects the answer; says whether the connection can be used again. Once the answer's
    /// head is complete, `answer.status` is set.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no more use.
    pub(crate) async fn exchange(&mut self, request: &[u8], answer: &mut Collected) -> Result<bool, Broken> {
        self.send(request).await?;
        let start = loop {
            if let Some(start) = answer.start()? {
                break start;
            }
            self.receive(answer).await?;
        };
        self.collect(start, answer).await?;
        Ok(start.keeps && answer.is_alone())
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Broken> {
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.write(&request[sent..]).await {
                Ok(0) => return Err(Broken::Lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => sent += written,
                Err(error) if sent == 0 && self.stream.fails_cleanly() => return Err(Broken::Unsent(error)),
                Err(error) => return Err(Broken::Lost(error)),
            }
        }
        self.stream.flush().await.map_err(Broken::Lost)
    }

    /// Collects the body behind `start`.
    async fn collect(&mut self, start: Start, answer: &mut Collected) -> Result<(), Broken> {
        match start.framing {
            Framing::Length(length) if length > MAX_BODY as u64 => return Err(TOO_LARGE.into()),
            Framing::Length(length) => {
                let mut left = length - answer.take(length)?;
                while left > 0 {
                    self.receive(answer).await?;
                    left -= answer.take(left)?;
                }
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                while !chunks.read(answer)? {
                    self.receive(answer).await?;
                }
            }
            Framing::Close => loop {
                answer.take(u64::MAX)?;
                if self.read(answer).await? == 0 {
                    break;
                }
            },
        }
        Ok(())
    }

    /// Receives more of an answer that is not complete.
    async fn receive(&mut self, answer: &mut Collected) -> Result<(), Broken> {
        match self.read(answer).await? {
            0 => Err(Broken::Lost(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    async fn read(&mut self, answer: &mut Collected) -> Result<usize, Broken> {
        let inbox = answer.inbox(READ);
        self.stream.read_buf(inbox).await.map_err(Broken::Lost)
    }
}

impl Kept for TriggerConnection {
    fn opened(&self) -> Instant {
        self.opened
    }

    /// Asks the runtime, which knows from the system whether anything came; there is no system call where nothing did.
    fn is_at_rest(&mut self) -> bool {
        let mut probe = [0];
        let read = pin!(unconstrained(self.stream.read(&mut probe)));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn begin(&mut self) -> bool {
        self.stream.is_silent()
    }
}
