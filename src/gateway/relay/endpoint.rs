//! One end of a relay: a WebSocket connection, what was read of it and not passed on, and what was not written to it.
//!
//! An idle end has no buffer. What is read lies in memory of the function that reads, and goes on from there; only the
//! beginning of a frame whose rest has not come, and what the other end does not take, is kept.

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::mem::{MaybeUninit, take};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::frames::Frames;

/// Time for an end to answer a close.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes that are read at once. What of them is not taken is kept: the allocator reserves more for larger buffers.
const READ: usize = 8 * 1024;

/// A WebSocket connection whose messages are read as frames ([`Frames`]).
#[derive(Debug)]
pub(super) struct Endpoint<S> {
    socket: S,
    /// What usher is on the connection.
    role: Role,
    /// Reads what it sends.
    pub(super) frames: Frames,
    carried: Carried,
    unsent: Vec<u8>,
    /// How much of `unsent` is written.
    written: usize,
    is_flushed: bool,
}

/// What was read of an end and is not passed on yet.
#[derive(Debug, Default)]
pub(super) struct Carried {
    bytes: Vec<u8>,
    /// The next frame has at least so many.
    needed: usize,
}

/// How far what has come is taken.
#[derive(Debug)]
pub(super) struct Progress {
    /// So many bytes are done with.
    pub(super) done: usize,
    /// The rest can be taken once it has at least so many.
    pub(super) needed: usize,
}

/// What an end is sent before its connection ends.
#[derive(Debug)]
pub(super) enum CloseAction {
    Nothing,
    /// A close frame, perhaps without a code.
    Send(Option<CloseFrame>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Endpoint<S> {
    /// `role`: usher's on the connection. Messages that come may have up to `limit` bytes.
    pub(super) const fn new(socket: S, role: Role, limit: usize) -> Self {
        let frames = Frames::new(matches!(role, Role::Server), limit);
        let carried = Carried { bytes: Vec::new(), needed: 0 };
        Self { socket, role, frames, carried, unsent: Vec::new(), written: 0, is_flushed: true }
    }

    /// The same, with what was read before.
    pub(super) fn having_read(mut self, bytes: &[u8]) -> Self {
        self.carried.bytes.extend_from_slice(bytes);
        self
    }

    /// Has `pass` take what has come: what was read before, if that may have a whole frame, otherwise what is read now.
    /// Ready if there may be more.
    ///
    /// # Errors
    /// The connection has ended, or is broken.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        pass: impl FnOnce(&mut Context<'_>, &mut Frames, &mut [u8]) -> Progress,
    ) -> Poll<io::Result<()>> {
        if !self.carried.may_have_a_frame() {
            let mut memory = [const { MaybeUninit::uninit() }; READ];
            let mut memory = ReadBuf::uninit(&mut memory);
            // A few bytes are moved before what follows them; much is kept where it is.
            let carried = self.carried.bytes.len();
            let moved = if carried <= READ / 2 { carried } else { 0 };
            memory.put_slice(&self.carried.bytes[..moved]);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut memory))?;
            let read = memory.filled_mut();
            if read.len() == moved {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if moved == carried && read.len() >= self.carried.needed {
                let Progress { done, needed } = pass(context, &mut self.frames, read);
                self.carried = Carried { bytes: read[done..].to_vec(), needed };
                return Poll::Ready(Ok(()));
            }
            self.carried.bytes.extend_from_slice(&read[moved..]);
            if !self.carried.may_have_a_frame() {
                return Poll::Ready(Ok(()));
            }
        }
        let mut bytes = take(&mut self.carried.bytes);
        let Progress { done, needed } = pass(context, &mut self.frames, &mut bytes);
        // A buffer that has grown is given back.
        self.carried = Carried { bytes: if done == 0 { bytes } else { bytes[done..].to_vec() }, needed };
        Poll::Ready(Ok(()))
    }

    /// Writes `bytes` behind all that was written before. What is not taken at once is kept.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<()> {
        let mut taken = 0;
        if self.unsent.is_empty() && !bytes.is_empty() {
            self.is_flushed = false;
            match Pin::new(&mut self.socket).poll_write(context, bytes) {
                Poll::Ready(count) => taken = nonzero(count?)?,
                Poll::Pending => {}
            }
        }
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Keeps a message to be written behind all that was written before.
    ///
    /// # Errors
    /// Never in practice: a message is formatted into memory.
    pub(super) fn queue(&mut self, message: Message) -> Result<(), Error> {
        let end = self.unsent.len() as u64;
        let mut memory = Cursor::new(take(&mut self.unsent));
        memory.set_position(end);
        // tungstenite masks what it formats for a server.
        let unread = WebSocketConfig::default().read_buffer_size(0);
        let mut socket = WebSocket::from_raw_socket(memory, self.role, Some(unread));
        let formatted = socket.send(message);
        self.unsent = socket.into_inner().into_inner();
        formatted
    }

    /// Ready once all is written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.unsent.len() {
            self.is_flushed = false;
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, &self.unsent[self.written..]))?;
            self.written += nonzero(count)?;
        }
        if self.written > 0 {
            (self.unsent, self.written) = (Vec::new(), 0);
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Reads and discards everything until the end has closed, with or without a close frame.
    pub(super) async fn discard_rest(&mut self) {
        while !self.frames.are_closed() && poll_fn(|context| self.poll_read(context, discard)).await.is_ok() {}
    }

    /// Sends the end its close, if there is one, and waits for its answer; then ends the connection. What the end sends
    /// in the meantime is read, so that the system does not reset the connection before the close arrives.
    pub(super) async fn close(&mut self, action: CloseAction) {
        let closing = async {
            if let CloseAction::Send(frame) = action
                && self.queue(Message::Close(frame)).is_ok()
                && self.flush().await.is_ok()
            {
                if self.frames.are_faulty() {
                    // Its answer could not be distinguished from the rest.
                    self.end().await;
                }
                self.discard_rest().await;
            }
            self.end().await;
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::debug!("a WebSocket connection was not closed in time and is dropped");
        }
    }

    /// Closes the writing side of the connection.
    async fn end(&mut self) {
        if let Err(error) = poll_fn(|context| Pin::new(&mut self.socket).poll_shutdown(context)).await {
            tracing::debug!(%error, "a WebSocket connection was gone before it was ended");
        }
    }
}

impl Carried {
    fn may_have_a_frame(&self) -> bool {
        !self.bytes.is_empty() && self.bytes.len() >= self.needed
    }
}

fn discard(_context: &mut Context<'_>, frames: &mut Frames, bytes: &mut [u8]) -> Progress {
    let left = frames.discard(bytes);
    Progress { done: bytes.len() - left, needed: left + 1 }
}

fn nonzero(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}
