//! Opens connections to upstream: name look-up, TCP, TLS, and HTTP/1.1 that can be upgraded to WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::addresses::Addresses;
use super::connect_race::ConnectRace;
use super::pool::Connection;
use super::resolver::Resolver;
use super::stream::Stream;
use super::transport::Transport;
use super::{Failure, MAX_ANSWER_HEAD, MAX_HEADERS, Options, ServerAddress};
use crate::shutdown::Tasks;
use crate::tls::{self, TlsError};

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    /// Host and port as configured, without the scheme's default port; for errors and for `Host`.
    authority: String,
    /// The authority as the value of `Host`.
    host: HeaderValue,
    addresses: Addresses,
    tls: Option<Tls>,
    timeout: Duration,
    http: Builder,
    tasks: Tasks,
}

struct Tls {
    client: tls::Client,
    /// The name that the server's certificate must have.
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer for the server of `url`, whose name `resolver` looks up. Timeouts and TLS come from `options`.
    ///
    /// # Errors
    /// If the URL names no server.
    pub(super) fn new(url: &Uri, options: &Options, resolver: Resolver, tasks: Tasks) -> Result<Self, TlsError> {
        let wrong = |problem| TlsError::Url { url: url.to_string(), problem };
        let server = ServerAddress::of(url).map_err(|error| wrong(error.to_string()))?;
        let tls = if server.is_tls {
            let name = ServerName::try_from(server.host.clone())
                .map_err(|_invalid| wrong("no certificate can be for this host".into()))?;
            Some(Tls { client: options.tls.clone(), name })
        } else {
            None
        };
        let authority = server.authority();
        let host = HeaderValue::from_str(&authority)
            .map_err(|_invalid| wrong("its host cannot be sent in a header".into()))?;
        let mut http = Builder::new();
        http.preserve_header_case(true)
            .title_case_headers(false)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_ANSWER_HEAD)
            .max_buf_size(MAX_ANSWER_HEAD);
        let addresses = Addresses::new(&server.host, server.port, resolver);
        Ok(Self { authority, host, addresses, tls, timeout: options.connect_timeout, http, tasks })
    }

    /// Host and port as configured, without the scheme's default port.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The value of `Host`.
    pub(super) const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Opens a connection for hyper.
    ///
    /// # Errors
    /// A [`Failure`] after which nothing was sent.
    pub(super) async fn connect_http(&self) -> Result<Connection, Failure> {
        self.with_timeout(async { self.http_handshake(self.race().await?).await }).await
    }

    /// Opens a connection and sends nothing on it.
    ///
    /// # Errors
    /// As for [`Dialer::connect_http`].
    pub(super) async fn connect(&self) -> Result<Stream, Failure> {
        self.with_timeout(self.race()).await
    }

    /// Notes that a connection was opened and had no answer: before the next connection upstream's name is looked up
    /// again, and no address is preferred.
    pub(super) fn expire_addresses(&self) {
        self.addresses.expire();
    }

    async fn with_timeout<T>(&self, opening: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match timeout(self.timeout, opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => {
                self.addresses.expire();
                Err(Failure::ConnectTimeout { upstream: self.authority.clone(), period: self.timeout })
            }
        }
    }

    async fn race(&self) -> Result<Stream, Failure> {
        let race = ConnectRace {
            addresses: &self.addresses,
            tasks: &self.tasks,
            upstream: &self.authority,
            period: self.timeout,
        };
        race.run(|address| self.attempt(address)).await
    }

    /// Opens TCP and TLS to one address.
    async fn attempt(&self, address: SocketAddr) -> Result<Stream, Failure> {
        let connected = TcpStream::connect(address).await;
        // Heads and bodies are written in one piece: Nagle's algorithm would only delay them.
        let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let tcp = connected.map_err(|source| Failure::unconnected(self.authority.clone(), source))?;
        match &self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some(Tls { client, name }) => {
                let stream = TlsConnector::from(client.config()).connect(name.clone(), tcp).await;
                Ok(Stream::Tls(Box::new(
                    stream.map_err(|source| Failure::handshake(self.authority.clone(), client, source))?,
                )))
            }
        }
    }

    async fn http_handshake(&self, stream: Stream) -> Result<Connection, Failure> {
        let (transport, phase) = Transport::new(stream);
        let shaken = self.http.handshake(TokioIo::new(transport)).await;
        let (sender, connection) = shaken.map_err(|source| Failure::unsent(self.authority.clone(), source.into()))?;
        let upstream: Arc<str> = Arc::from(self.authority.as_str());
        let driver = self.tasks.spawn(async move {
            // The error of a request goes to the sender of the request; this is the error of an idle connection.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(upstream = &*upstream, %error, "an idle connection ended");
            }
        });
        Ok(Connection::new(sender, phase, driver))
    }
}
