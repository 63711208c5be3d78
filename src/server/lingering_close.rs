//! Lingering close: closing a connection so that its last answer arrives.
//!
//! If bytes are unread when a socket is closed, or come after that, the system resets the connection; a caller that is
//! still sending then sees its write fail instead of the answer. So the sending side is closed first, and what the
//! caller still sends is read and discarded for a while (RFC 9112 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lazy_timer::LazyTimer;

/// The close ends when nothing has come from the caller for this long,
const SILENCE: Duration = Duration::from_secs(5);
/// or after this time at the latest,
const LONGEST: Duration = Duration::from_secs(30);
/// or after this many bytes: a caller that sends more will not read an answer.
const MOST: usize = 64 * 1024 * 1024;
/// Most bytes of one read.
const AT_ONCE: usize = 8 * 1024;

/// The state of a connection's lingering close.
#[derive(Debug, Default)]
pub(super) struct LingeringClose {
    /// Whether the sending side is closed.
    is_half_closed: bool,
    /// Bytes that were discarded.
    dropped: usize,
    longest: LazyTimer,
    silence: LazyTimer,
}

impl LingeringClose {
    /// Continues the close of `stream`. Ready when the caller has closed its side, too, or a bound is reached.
    ///
    /// # Errors
    /// The sending side could not be closed.
    pub(super) fn poll<T>(&mut self, stream: &mut T, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if self.longest.poll(LONGEST, context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !self.is_half_closed {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            self.is_half_closed = true;
        }
        while self.dropped <= MOST {
            let mut discarded = [MaybeUninit::uninit(); AT_ONCE];
            let mut discarded = ReadBuf::uninit(&mut discarded);
            match Pin::new(&mut *stream).poll_read(context, &mut discarded) {
                Poll::Ready(Ok(())) if !discarded.filled().is_empty() => self.dropped += discarded.filled().len(),
                // An error ends the close, too: the answer was written.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.silence.poll(SILENCE, context).map(Ok),
            }
            self.silence.stop();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Closes a connection; returns how long that took.
    async fn close(mut stream: DuplexStream) -> Duration {
        let began = Instant::now();
        let mut lingering_close = LingeringClose::default();
        poll_fn(|context| lingering_close.poll(&mut stream, context)).await.expect("it can be closed");
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_caller_has_sent_all_and_closes() {
        let (stream, mut caller) = duplex(64);
        let sending = async {
            assert_eq!(caller.read(&mut [0]).await.expect("no error"), 0, "the sending side is closed at once");
            caller.write_all(&[0; 10_000]).await.expect("all of it is read");
            sleep(Duration::from_secs(1)).await;
            drop(caller);
        };
        let (took, ()) = tokio::join!(close(stream), sending);
        assert_eq!(took, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_caller_is_silent() {
        let (stream, _caller) = duplex(64);
        assert_eq!(close(stream).await, SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_caller_sends_a_little_for_ever() {
        let (stream, mut caller) = duplex(64);
        let sending = async {
            while caller.write_all(b"x").await.is_ok() {
                sleep(SILENCE / 2).await;
            }
        };
        let (took, ()) = tokio::join!(close(stream), sending);
        assert_eq!(took, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_the_caller_sends_too_much() {
        let (stream, mut caller) = duplex(AT_ONCE);
        let sending = async {
            let mut sent = 0;
            while let Ok(count) = caller.write(&[0; AT_ONCE]).await {
                sent += count;
            }
            sent
        };
        let (took, sent) = tokio::join!(close(stream), sending);
        assert!(took < SILENCE && (MOST..MOST + 3 * AT_ONCE).contains(&sent), "{took:?}, {sent} bytes");
    }
}
