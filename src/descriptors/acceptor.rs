//! Accepting connections, with what follows when it fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::Exhausted;

/// The pause after the first failure, doubled up to [`LONGEST_PAUSE`]: usually descriptors are used up, and an
/// immediate retry would fail again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How often failures to accept are logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts the connections of a listener. Failures are logged at a bounded rate and followed by a pause.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// The listener's name in the log.
    name: &'static str,
    pause: Duration,
    logged: Option<Instant>,
    /// Failures since the last log line.
    failures: u64,
}

impl Acceptor {
    /// An acceptor for `listener`. `name`: the configuration's key.
    #[must_use]
    pub const fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, name, pause: SHORTEST_PAUSE, logged: None, failures: 0 }
    }

    /// The next connection.
    ///
    /// # Cancel safety
    /// Dropping the future loses no accepted connection.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.pause = SHORTEST_PAUSE;
                    return accepted;
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Logs that a connection could not be accepted, and pauses.
    pub async fn failed(&mut self, error: &io::Error) {
        self.log(error);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Counts and logs a failure. Returns whether it was logged.
    fn log(&mut self, error: &io::Error) -> bool {
        self.failures += 1;
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return false;
        }
        self.logged = Some(now);
        let failures = std::mem::take(&mut self.failures);
        let listener = self.name;
        match Exhausted::of(error) {
            Some(exhausted) => {
                tracing::warn!(listener, %error, failures, "connections wait to be accepted: {exhausted}")
            }
            None => tracing::warn!(listener, %error, failures, "a connection could not be accepted"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use tokio::time::advance;

    use super::*;

    async fn acceptor() -> Acceptor {
        Acceptor::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), "server.listen")
    }

    #[tokio::test(start_paused = true)]
    async fn failures_to_accept_are_logged_at_a_bounded_rate() {
        let mut acceptor = acceptor().await;
        let error = io::Error::from(Errno::MFILE);
        assert!(acceptor.log(&error));
        assert!(!acceptor.log(&error) && !acceptor.log(&error));
        advance(LOG_INTERVAL - Duration::from_millis(1)).await;
        assert!(!acceptor.log(&error));
        assert_eq!(acceptor.failures, 3);
        advance(Duration::from_millis(1)).await;
        assert!(acceptor.log(&error));
        assert_eq!(acceptor.failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_until_a_connection_is_accepted() {
        let mut acceptor = acceptor().await;
        let error = io::Error::from(Errno::MFILE);
        for millis in [10, 20, 40, 80, 100, 100] {
            let before = Instant::now();
            acceptor.failed(&error).await;
            assert_eq!(before.elapsed(), Duration::from_millis(millis));
        }
        let _client = TcpStream::connect(acceptor.listener.local_addr().unwrap()).await.unwrap();
        let _accepted = acceptor.accept().await;
        assert_eq!(acceptor.pause, SHORTEST_PAUSE);
    }
}
