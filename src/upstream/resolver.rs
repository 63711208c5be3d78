//! Looks the addresses of a name up.

use std::io;
use std::net::SocketAddr;

/// A source of addresses.
#[derive(Debug, Clone)]
pub(super) enum Resolver {
    /// The system's resolver: its hosts file and its name servers.
    System,
    /// The script of a test.
    #[cfg(test)]
    Script(super::tests::Names),
}

impl Resolver {
    /// The addresses of `host`, in the order in which to try them.
    ///
    /// # Errors
    /// The name has no address, or no name server answers.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(test)]
            Self::Script(names) => names.look_up(host, port).await,
        }
    }
}
