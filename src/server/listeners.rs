//! The two listening sockets: bound from the configuration, or passed by the service manager.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::{Listening, StartError};
use crate::config::Config;
use crate::service_manager::PassedSockets;

/// Connections that may wait to be accepted: after a network failure all guests reconnect at once, and the system drops
/// connections beyond this. Its own bound (`net.core.somaxconn`) may be lower. A passed socket has the bound of its unit
/// (`Backlog=`).
pub(super) const BACKLOG: u32 = 4096;

/// Where a listener comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Configuration,
    ServiceManager,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configuration => "bound as configured",
            Self::ServiceManager => "passed by the service manager",
        })
    }
}

/// A listening socket.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    origin: Origin,
}

/// Both listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    gateway: Listener,
    admin: Listener,
}

impl Listeners {
    /// Takes the `passed` sockets, and binds what was not passed.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub(super) fn open(config: &Config, passed: PassedSockets) -> Result<Self, StartError> {
        if let Some(process) = passed.meant_for {
            tracing::warn!(
                process,
                "sockets were passed to another process (LISTEN_PID) and are not used: start usher without a program between"
            );
        }
        Ok(Self {
            gateway: Listener::open("server.listen", config.server.listen, passed.gateway)?,
            admin: Listener::open("admin.listen", config.admin.listen, passed.admin)?,
        })
    }

    /// Their addresses.
    pub(super) const fn listening(&self) -> Listening {
        Listening { gateway: self.gateway.address, admin: self.admin.address }
    }

    /// Where they come from: the gateway's and the operator's.
    pub(super) fn origins(&self) -> (impl fmt::Display + use<>, impl fmt::Display + use<>) {
        (self.gateway.origin, self.admin.origin)
    }

    /// The sockets: the gateway's and the operator's.
    pub(super) fn into_sockets(self) -> (TcpListener, TcpListener) {
        (self.gateway.socket, self.admin.socket)
    }
}

impl Listener {
    fn open(
        key: &'static str,
        configured: SocketAddr,
        passed: Option<std::net::TcpListener>,
    ) -> Result<Self, StartError> {
        let opened = match passed {
            Some(passed) => TcpListener::from_std(passed).map(|socket| (socket, Origin::ServiceManager)),
            None => bind(configured).map(|socket| (socket, Origin::Configuration)),
        };
        let opened = opened.and_then(|(socket, origin)| Ok(Self { address: socket.local_addr()?, socket, origin }));
        let listener = opened.map_err(|source| StartError::Bind { key, address: configured, source })?;
        if !is_same(configured, listener.address) {
            tracing::warn!(
                key,
                configured = %configured,
                socket = %listener.address,
                "the passed socket has another address than the configuration and is used: `usher tail`, `doctor` and \
                 `healthcheck` use the configured one; write the same address into both"
            );
        }
        Ok(listener)
    }
}

/// Whether a socket has the `configured` address; port 0 is any port.
fn is_same(configured: SocketAddr, socket: SocketAddr) -> bool {
    configured.ip() == socket.ip() && [0, socket.port()].contains(&configured.port())
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A new usher may bind the address while connections of the old one are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
