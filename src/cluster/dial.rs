//! Opens a connection to one server: TCP, TLS, login, and a look at what it is.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::problem::{Problem, answer};
use super::servers::{Address, Login};
use super::version::{Version, field};
use crate::tls;

/// What moves the bytes of a connection; it ends with the connection.
pub(super) type Driver = Fuse<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The bytes of a connection.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// Opens connections.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) tls: Option<tls::Client>,
    pub(super) login: Login,
    /// The time within which a connection is made, from the look-up of its name to the last answer.
    pub(super) period: Duration,
    /// The largest number of calls that wait for their answers.
    pub(super) max_calls: usize,
}

/// The kind of a server (`redis_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
}

/// A connection, and the server that it leads to.
pub(super) struct Opened {
    pub(super) server: Address,
    pub(super) requests: MultiplexedConnection,
    pub(super) driver: Driver,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
        }
    }

    const fn described(self) -> &'static str {
        match self {
            Self::Standalone => "a server by itself",
            Self::Cluster => "a node of a Redis Cluster",
        }
    }
}

impl Dialer {
    /// Opens a connection to a server of this kind, and logs in.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) async fn greet(&self, server: &Address, mode: Mode) -> Result<(Opened, Version), Problem> {
        self.within(server, async {
            let mut opened = self.open(server).await?;
            if self.login.password.is_some() {
                opened.log_in(&self.login).await?;
            }
            let info = opened.info("server").await?;
            let version = Version::read(&info).ok_or_else(|| Problem::Answer {
                server: server.clone(),
                command: "INFO server".to_owned(),
                answer: "no version in it".to_owned(),
            })?;
            // The version first: what is older may not know what else is asked.
            if !version.suffices() {
                return Err(Problem::TooOld { server: server.clone(), found: version });
            }
            if let Some(found) = field(&info, "redis_mode").filter(|found| *found != mode.name()) {
                let found = found.chars().take(40).collect();
                return Err(Problem::Mode { server: server.clone(), found, expected: mode.described() });
            }
            let database = self.login.database;
            if database != 0 {
                opened.ask(redis::cmd("SELECT").arg(database)).await.map_err(|error| Problem::Database {
                    server: server.clone(),
                    database,
                    answer: answer(&error),
                })?;
            }
            Ok((opened, version))
        })
        .await
    }

    /// Asks a Sentinel. It is given the login only if it asks for one: Sentinels often have no users of their own.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn ask_sentinel(&self, sentinel: &Address, command: &Cmd) -> Result<Value, Problem> {
        self.within(sentinel, async {
            let mut opened = self.open(sentinel).await?;
            let answer = match opened.ask(command).await {
                Err(error) if error.code() == Some("NOAUTH") && self.login.password.is_some() => {
                    opened.log_in(&self.login).await?;
                    opened.ask(command).await
                }
                answer => answer,
            };
            answer.map_err(|error| Problem::answered(sentinel, "SENTINEL", &error))
        })
        .await
    }

    /// Ends what takes longer than it may.
    pub(super) async fn within<T>(
        &self,
        server: &Address,
        step: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let late = |_| Problem::TimedOut { server: server.clone(), period: self.period };
        timeout(self.period, step).await.map_err(late)?
    }

    /// Opens a connection that hears what is published on `channel`, and logs in.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) async fn subscribe(&self, server: &Address, channel: &[u8]) -> Result<PubSub, Problem> {
        self.within(server, async {
            let stream = self.stream(server).await?;
            let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
            if let Some(password) = &self.login.password {
                login = login.set_password(password);
                if let Some(username) = &self.login.username {
                    login = login.set_username(username);
                }
            }
            let failed = |error: RedisError| Problem::answered(server, "SUBSCRIBE", &error);
            let mut subscription = PubSub::new(&login, stream).await.map_err(failed)?;
            subscription.subscribe(channel).await.map_err(failed)?;
            Ok(subscription)
        })
        .await
    }

    async fn open(&self, server: &Address) -> Result<Opened, Problem> {
        let stream = self.stream(server).await?;
        self.speak(server, stream).await
    }

    async fn stream(&self, server: &Address) -> Result<Box<dyn Bytes>, Problem> {
        let connected = TcpStream::connect((server.host.as_str(), server.port)).await;
        let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = connected.map_err(|error| Problem::unreachable(server, &error))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(server.host.clone()).map_err(|_invalid| Problem::Tls {
            server: server.clone(),
            cause: "no certificate can be for this host".to_owned(),
        })?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await;
        let stream = stream.map_err(|error| Problem::Tls { server: server.clone(), cause: tls::cause(&error) })?;
        Ok(Box::new(stream))
    }

    async fn speak(&self, server: &Address, stream: Box<dyn Bytes>) -> Result<Opened, Problem> {
        let config = AsyncConnectionConfig::new()
            // Calls have a period of their own, after which the connection is closed.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(self.max_calls);
        // The login is sent as a command, so that its answer is seen. An unnamed library needs no right to give a name.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&silent, stream, config).await;
        let (requests, driver) = made.map_err(|error| Problem::unreachable(server, &error))?;
        let driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(driver);
        Ok(Opened { server: server.clone(), requests, driver: driver.fuse() })
    }
}

impl Opened {
    /// Sends a command and returns its answer. Whoever calls it bounds the time.
    ///
    /// # Errors
    /// The server answers one, or the connection has ended.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = self.requests.send_packed_command(command);
        let mut answer = std::pin::pin!(answer);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The last bytes may have held the answer.
            () = &mut self.driver => answer.await,
        };
        answer?.extract_error()
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.driver.is_terminated()
    }

    /// A section of `INFO`.
    pub(super) async fn info(&mut self, section: &str) -> Result<String, Problem> {
        let answer = self.ask(redis::cmd("INFO").arg(section)).await;
        let answer = answer.and_then(|value| redis::from_redis_value::<String>(value).map_err(RedisError::from));
        answer.map_err(|error| Problem::answered(&self.server, "INFO", &error))
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Problem> {
        let mut command = redis::cmd("AUTH");
        command.arg(&login.username).arg(&login.password);
        match self.ask(&command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match Problem::answered(&self.server, "AUTH", &error) {
                Problem::Answer { server, answer, .. } => Problem::LoginRefused { server, answer },
                other => other,
            }),
        }
    }
}
