//! Opens a WebSocket to a Pusher-compatible host: name, TCP, TLS and upgrade within one deadline, with all limits set.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use usher::tls::{self, cause};
use usher::upstream::{ServerAddress, ServerAddressError};

use crate::command::party::{Party, Role};
use crate::command::terminal::Printable;

/// The largest message that is accepted, in bytes: far above what any server sends (pusher-protocol.md 1.4).
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
const BUFFER: usize = 16 * 1024;
/// The longest time to find out whether a port speaks TLS.
const HINT_TIMEOUT: Duration = Duration::from_secs(5);

/// The address of a WebSocket server, for any number of connections.
#[derive(Debug, Clone)]
pub(in crate::command) struct Address {
    /// With path and query: `ws://127.0.0.1:6001/app/KEY?protocol=7…` (pusher-protocol.md 4.1).
    uri: Uri,
    server: ServerAddress,
    tls: Option<Arc<ClientConfig>>,
    client: tls::Client,
    party: Party,
}

/// An open connection, over TCP or TLS.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A byte stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send> Stream for T {}

impl Address {
    /// The address of the app with `key` on the host at `url` (ws, wss, http or https; a path goes before `/app/…`).
    ///
    /// # Errors
    /// If that makes no address.
    pub(in crate::command) fn new(role: Role, url: &Uri, key: &str, tls: &tls::Client) -> anyhow::Result<Self> {
        let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'));
        ensure!(is_key && !key.is_empty(), "{key:?} is no app key");
        let authority =
            url.authority().with_context(|| format!("{url} names no host: write it like ws://127.0.0.1:6001"))?;
        ensure!(url.query().is_none(), "{url} has a query: write scheme, host and port, e.g. ws://127.0.0.1:6001");
        let server = match ServerAddress::of(url) {
            Ok(server) => server,
            Err(ServerAddressError::NoHost) => bail!("{url} names no host: write it like ws://127.0.0.1:6001"),
            Err(ServerAddressError::UnknownScheme) => bail!("the scheme of {url} is neither ws nor wss"),
        };
        let (client, party) = (tls.clone(), Party::new(role, server.clone()));
        let (scheme, tls) = if server.is_tls { ("wss", Some(tls.config())) } else { ("ws", None) };
        let path = url.path().trim_end_matches('/');
        let target =
            format!("{path}/app/{key}?protocol=7&client=usher&version={}&flash=false", env!("CARGO_PKG_VERSION"));
        let uri = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(target).build();
        Ok(Self { uri: uri.with_context(|| format!("{url} makes no address"))?, server, tls, client, party })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If there is none within `period`.
    pub(super) async fn open(&self, period: Duration) -> anyhow::Result<Socket> {
        let opened = timeout(period, self.connect()).await;
        opened.with_context(|| format!("no connection to {} within {period:?}", self.party))?
    }

    /// What to do if TLS answers on the port of a plain address, as the end of a message.
    async fn hint(&self) -> String {
        self.party.tls_hint(HINT_TIMEOUT).await.map(|hint| format!("; {hint}")).unwrap_or_default()
    }

    async fn connect(&self) -> anyhow::Result<Socket> {
        let tcp = TcpStream::connect((self.server.host.as_str(), self.server.port)).await;
        let tcp = tcp
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| anyhow::anyhow!("cannot connect to {}: {error}", self.party))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name =
                    ServerName::try_from(self.server.host.clone()).context("no certificate can be for this host")?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
                Box::new(stream.map_err(|error| {
                    let advice = self.party.tls_advice(&error, &self.client);
                    anyhow::anyhow!("cannot agree on TLS with {}: {}; {advice}", self.party, cause(&error))
                })?)
            }
        };
        let request = self.uri.clone().into_client_request().context("the address makes no request")?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
            Ok((socket, _answer)) => Ok(socket),
            Err(Error::Http(answer)) => {
                let body = answer
                    .body()
                    .as_deref()
                    .map(|body| String::from_utf8_lossy(body).trim().to_owned())
                    .unwrap_or_default();
                let hint = if answer.status() == 400 { self.hint().await } else { String::new() };
                bail!("{} opens no WebSocket: it answered {} {}{hint}", self.party, answer.status(), Printable(&body))
            }
            Err(error) => bail!("{} opens no WebSocket: {error}{}", self.party, self.hint().await),
        }
    }
}

/// Whether an error of a socket means that the other side has disconnected.
pub(super) fn is_disconnect(error: &Error) -> bool {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => true,
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_protocol_is_put_behind_that_of_the_host() {
        let uri = |url: &str| {
            Address::new(Role::Url, &url.parse().unwrap(), "k", &tls::Client::default())
                .map(|address| (address.uri.to_string(), address.party.to_string()))
        };
        let query = format!("protocol=7&client=usher&version={}&flash=false", env!("CARGO_PKG_VERSION"));
        for (url, expected, authority) in [
            ("ws://127.0.0.1:6001", "ws://127.0.0.1:6001/app/k", "127.0.0.1:6001"),
            ("http://h/", "ws://h/app/k", "h:80"),
            ("wss://ws-eu.pusher.com", "wss://ws-eu.pusher.com/app/k", "ws-eu.pusher.com:443"),
            ("wss://h:1/prefix/", "wss://h:1/prefix/app/k", "h:1"),
        ] {
            assert_eq!(uri(url).unwrap(), (format!("{expected}?{query}"), format!("the server {authority}")));
        }
        for wrong in ["ftp://h", "/path", "ws://h?x=1"] {
            assert!(uri(wrong).is_err(), "{wrong}");
        }
        assert!(Address::new(Role::Url, &"ws://h".parse().unwrap(), "k/../x", &tls::Client::default()).is_err());
    }
}
