//! One connection to the server, which is made again whenever it ends.
//!
//! Every call ends: with an answer, with its connection, or after its period. One that was not answered in time may
//! still be done; its connection is closed, so that no answer comes to another call. A call that finds no connection
//! fails at once, so that no caller waits for a server that is away.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::problem::is_not_permitted;
use super::route::Route;
use super::slot::slot;
use super::trouble::Trouble;
use super::{Address, Login, Problem, Servers, Tokens, Version};
use crate::shutdown::Tasks;
use crate::tls;

/// How a connection is made and used.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Where the store is.
    pub servers: Servers,
    /// TLS to the servers; `None`: there is none.
    pub tls: Option<tls::Client>,
    /// As whom it logs in.
    pub login: Login,
    /// Any key of the app, e.g. [`AppKeys::members`](super::AppKeys::members): in a Redis Cluster the link leads to the
    /// owner of its slot, so that each app needs a link of its own there.
    pub key: Vec<u8>,
    /// The time within which a connection is made, and within which a call is answered.
    pub timeout: Duration,
    /// The largest number of calls that wait for their answers.
    pub max_calls: usize,
    /// The longest pause between two attempts; the shortest is a sixteenth of it.
    pub max_pause: Duration,
}

impl LinkOptions {
    /// What opens the connections.
    pub(super) fn dialer(&self) -> Dialer {
        let Self { tls, login, timeout, max_calls, .. } = self;
        Dialer { tls: tls.clone(), login: login.clone(), period: *timeout, max_calls: *max_calls }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent.
    #[error("there is no connection to the server")]
    NotConnected,
    /// Nothing was sent.
    #[error("too many calls wait for their answers")]
    TooManyCalls,
    /// It may have been done.
    #[error("the server has not answered within {0:?}")]
    TimedOut(Duration),
    /// The server answers an error (then nothing was done), or the connection has ended (then it may have been).
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// It has been done, or not.
    #[error("the answer is not one of the scripts'")]
    Malformed,
    /// It has been done, or not.
    #[error("the answer is to another request")]
    OtherRequest,
}

impl Failure {
    /// Whether the server does not know the script (any more).
    #[must_use]
    pub fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("NOSCRIPT"))
    }
}

/// A connection to the server.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
    connection: watch::Receiver<Option<Connection>>,
}

#[derive(Debug)]
struct Shared {
    options: LinkOptions,
    /// One for each call that may wait for its answer.
    calls: Semaphore,
    trouble: Trouble,
}

/// One connection. What closes it is its own, so that no call closes the connection that follows.
#[derive(Debug, Clone)]
struct Connection {
    requests: MultiplexedConnection,
    server: Address,
    version: Version,
    close: CancellationToken,
}

impl Link {
    /// A link, with a task that keeps it up until the link and all its clones are dropped.
    #[must_use]
    pub fn new(options: LinkOptions, tasks: &Tasks) -> Self {
        let (publish, connection) = watch::channel(None);
        let calls = Semaphore::new(options.max_calls);
        let dialer = options.dialer();
        let route = Route::new(dialer, options.servers.clone(), slot(&options.key));
        let shared = Arc::new(Shared { options, calls, trouble: Trouble::none() });
        let keeper = Keeper { shared: Arc::clone(&shared), route, publish, tokens: Tokens::default() };
        tasks.spawn(async move {
            tokio::select! {
                // Nobody can ask any more.
                () = keeper.publish.closed() => {}
                () = keeper.run() => {}
            }
        });
        Self { shared, connection }
    }

    /// Sends a command and returns its answer.
    ///
    /// # Errors
    /// There is none.
    ///
    /// # Cancel safety
    /// Dropped, the command may be done all the same.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let Ok(_permit) = self.shared.calls.try_acquire() else { return Err(Failure::TooManyCalls) };
        let connection = self.connection.borrow().clone();
        let Some(mut connection) = connection else { return Err(Failure::NotConnected) };
        let period = self.shared.options.timeout;
        match timeout(period, connection.requests.send_packed_command(command)).await {
            Ok(Ok(Value::ServerError(error))) => Err(self.refused(command, &connection, error.into())),
            Ok(Ok(answer)) => {
                self.shared.trouble.answered(command);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.refused(command, &connection, error)),
            Err(_elapsed) => {
                connection.close.cancel();
                Err(Failure::TimedOut(period))
            }
        }
    }

    /// The server answers an error. Where another one may have taken its place, that one is looked for.
    fn refused(&self, command: &Cmd, connection: &Connection, error: RedisError) -> Failure {
        match error.code() {
            _ if is_not_permitted(&error) => self.shared.trouble.not_permitted(command, &connection.server, &error),
            // The user has been changed.
            Some("NOAUTH") => connection.close.cancel(),
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" | "MASTERDOWN")
                if self.shared.options.servers.fail_over() =>
            {
                connection.close.cancel();
            }
            Some(_) | None => {}
        }
        Failure::Redis(error)
    }

    /// Why there is no connection, or why it is of no use; `None`: nothing is known to be wrong.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.shared.trouble.problem()
    }

    /// Returns once there is a connection, or a problem, whichever comes first.
    ///
    /// # Errors
    /// The problem.
    pub async fn tried(&self) -> Result<(), Problem> {
        tokio::select! {
            _ = self.connected() => Ok(()),
            problem = self.shared.trouble.appears() => Err(problem),
        }
    }

    /// The server that it is connected to, and its version.
    #[must_use]
    pub fn server(&self) -> Option<(Address, Version)> {
        self.connection.borrow().as_ref().map(|connection| (connection.server.clone(), connection.version.clone()))
    }

    /// The time within which a call is answered.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.shared.options.timeout
    }

    /// Closes the present connection; another one is made.
    pub fn close(&self) {
        if let Some(connection) = &*self.connection.borrow() {
            connection.close.cancel();
        }
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Returns once there is a connection, or with `false` if none will come.
    pub async fn connected(&self) -> bool {
        self.connection.clone().wait_for(Option::is_some).await.is_ok()
    }

    /// Returns once there is no connection.
    pub async fn disconnected(&self) {
        // An error means that none will come.
        let (Ok(_) | Err(_)) = self.connection.clone().wait_for(Option::is_none).await;
    }
}

/// Makes the connections.
struct Keeper {
    shared: Arc<Shared>,
    route: Route,
    publish: watch::Sender<Option<Connection>>,
    tokens: Tokens,
}

impl Keeper {
    /// Keeps a connection up.
    async fn run(&self) {
        let max_pause = self.shared.options.max_pause;
        let shortest = max_pause / 16;
        let mut pause = shortest;
        loop {
            match self.route.connect().await {
                Ok((opened, _)) if opened.has_ended() => {}
                Ok((opened, version)) => {
                    let (began, close) = (Instant::now(), CancellationToken::new());
                    let (requests, server) = (opened.requests, opened.server);
                    self.shared.trouble.connected();
                    tracing::debug!(%server, %version, "connected to the shared store");
                    let connection = Connection { requests, server, version, close: close.clone() };
                    self.publish.send_replace(Some(connection));
                    tokio::select! {
                        () = opened.driver => {}
                        () = close.cancelled() => {}
                    }
                    self.publish.send_replace(None);
                    if began.elapsed() > max_pause {
                        pause = shortest;
                    }
                }
                Err(problem) => self.shared.trouble.unconnected(problem),
            }
            sleep(self.jittered(pause)).await;
            pause = (pause * 2).min(max_pause);
        }
    }

    /// Half of `pause` to all of it, so that processes that lost the server together do not come back together.
    fn jittered(&self, pause: Duration) -> Duration {
        let share = u32::try_from(self.tokens.number() % 1_024).unwrap_or_default();
        pause / 2 + pause / 2 * share / 1_024
    }
}
