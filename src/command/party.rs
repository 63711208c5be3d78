//! The other side of a command's connections: what it is called in messages, why there is no answer, in plain words,
//! and what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use usher::tls::{self, cause};
use usher::upstream::{Failure, ServerAddress};

/// Which server a command asks. The messages name it, and the option or key that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The server behind usher, of the configuration.
    Upstream,
    /// The operator's listener of a running usher.
    Admin,
    /// The server that `--url` names.
    Url,
}

/// A server with its address.
#[derive(Debug, Clone)]
pub(super) struct Party {
    role: Role,
    server: ServerAddress,
}

impl Party {
    pub(super) const fn new(role: Role, server: ServerAddress) -> Self {
        Self { role, server }
    }

    /// The option or key with its address.
    const fn address_key(&self) -> &'static str {
        match self.role {
            Role::Upstream => "[upstream]",
            Role::Admin => "admin.listen",
            Role::Url => "--url",
        }
    }

    /// The option or key with the authorities that are trusted for it.
    const fn authorities_key(&self) -> &'static str {
        match self.role {
            Role::Upstream => "upstream.ca_file",
            Role::Admin | Role::Url => "--ca-file",
        }
    }

    /// What to do if no connection can be opened.
    fn connect_advice(&self) -> String {
        match self.role {
            Role::Admin => "check that usher runs, and that admin.listen is the address that it runs with".to_owned(),
            Role::Upstream | Role::Url => {
                format!(
                    "check that it runs, that {} names its port, and that no firewall stands between",
                    self.address_key()
                )
            }
        }
    }

    /// Why there is no answer, and what to do: one line.
    pub(super) fn explain(&self, failure: &Failure, tls: &tls::Client) -> String {
        match failure {
            Failure::Resolve { source, .. } => format!(
                "the name of {self} cannot be looked up: {source}; check its spelling in {}, and the name server",
                self.address_key()
            ),
            Failure::OutOfDescriptors { exhausted, .. } => {
                format!("there is no file descriptor left for a connection to {self}: {exhausted}")
            }
            Failure::Connect { source, .. } => format!("cannot connect to {self}: {source}; {}", self.connect_advice()),
            Failure::ConnectTimeout { period, .. } => {
                format!("{self} accepted no connection within {period:?}; {}", self.connect_advice())
            }
            Failure::Tls { source, .. } => {
                format!("cannot agree on TLS with {self}: {}; {}", cause(source), self.tls_advice(source, tls))
            }
            Failure::ClientCertificate { .. } => {
                format!(
                    "{self} asks for a TLS client certificate that it accepts; {}",
                    self.client_certificate_advice()
                )
            }
            Failure::ClosedUnsent { .. } | Failure::ConnectionLost { .. } => {
                format!("{self} closed the connection before it answered")
            }
            Failure::AnswerTimeout { period, .. } => format!("{self} did not answer within {period:?}"),
            Failure::AnswerCut { .. } => format!("{self} closed the connection before its answer was complete"),
            Failure::AnswerTooSlow { period, .. } => format!("{self} did not complete its answer within {period:?}"),
            Failure::MalformedAnswer { .. } => format!("{self} sent an answer that is not valid HTTP"),
            Failure::UnacceptableAnswer { problem, .. } => {
                format!("{self} sent an answer that cannot be used: {problem}")
            }
            Failure::CallerBody { source } => format!("the request broke off: {source}"),
        }
    }

    fn client_certificate_advice(&self) -> &'static str {
        match self.role {
            Role::Upstream => "set upstream.certificate and upstream.key to one (with its key) from who runs it",
            Role::Admin | Role::Url => "this command shows none: ask usher, which does (upstream.certificate)",
        }
    }

    /// What to do about a failed handshake.
    pub(super) fn tls_advice(&self, error: &io::Error, tls: &tls::Client) -> String {
        if tls.is_refused(error) {
            return format!("it asks for a client certificate that it accepts: {}", self.client_certificate_advice());
        }
        let key = self.authorities_key();
        match rustls_error(error) {
            Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "the server's certificate has to be renewed; if it is new, this machine's clock is wrong".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "the certificate is not valid yet: check this machine's clock".to_owned()
                }
                // A bad signature is that of an issuer with the same name and another key.
                // So is a certificate that is its own issuer: `Other`.
                CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
                    match tls.ca_file() {
                        None => format!(
                            "the certificate is of an authority that is not trusted: name the file of that authority, or of the server's own certificate, in \
                         {key}; or have the server send its whole chain"
                        ),
                        Some(file) => format!(
                            "neither the certificate nor its issuer is in {} ({key}): put in what `openssl s_client -showcerts -connect {}:{} </dev/null` prints",
                            file.display(),
                            self.server.host,
                            self.server.port
                        ),
                    }
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                    "the certificate is for another name: write that name in {}, or have the host among the certificate's subjectAltName (`openssl req \
                     -x509 … -addext subjectAltName=DNS:host`)",
                    self.address_key()
                ),
                _ => format!(
                    "the certificate cannot be used: give the server a valid one, or name its authority in {key}"
                ),
            },
            Some(rustls::Error::InvalidMessage(_)) => format!("try {}: this port speaks no TLS", self.other_scheme()),
            _ => "check that this port speaks TLS 1.2 or 1.3".to_owned(),
        }
    }

    /// What to do if TLS answers on the port of a plain address; `None` if it does not, or the address has TLS.
    pub(super) async fn tls_hint(&self, time_limit: Duration) -> Option<String> {
        if self.server.is_tls || !speaks_tls(&self.server, time_limit).await {
            return None;
        }
        Some(match self.role {
            Role::Admin => format!(
                "{self} speaks TLS, and usher's admin listener does not: another program listens there; check admin.listen"
            ),
            Role::Upstream | Role::Url => format!("this port speaks TLS: try {}", self.other_scheme()),
        })
    }

    /// The address with TLS instead of without, or the reverse, as it is written.
    fn other_scheme(&self) -> String {
        let ServerAddress { host, port, is_tls } = &self.server;
        let (http, websocket) = if *is_tls { ("http", "ws") } else { ("https", "wss") };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{http}://{host}:{port} ({websocket}:// for WebSockets)")
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.role {
            Role::Upstream => "the upstream server",
            Role::Admin => "usher's admin listener at",
            Role::Url => "the server",
        };
        write!(f, "{name} {}:{}", self.server.host, self.server.port)
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Whether the server answers a TLS handshake with TLS, whatever its certificate.
async fn speaks_tls(server: &ServerAddress, time_limit: Duration) -> bool {
    let Ok(name) = ServerName::try_from(server.host.clone()) else { return false };
    let handshake = async {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        TlsConnector::from(tls::Client::default().config()).connect(name, tcp).await
    };
    match timeout(time_limit, handshake).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => rustls_error(&error).is_some_and(|error| !matches!(error, rustls::Error::InvalidMessage(_))),
        Err(_elapsed) => false,
    }
}
