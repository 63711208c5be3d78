//! Who is asked for the addresses of a name.

use std::io;
use std::net::SocketAddr;

/// Where names are looked up.
#[derive(Debug, Clone)]
pub(super) enum Resolver {
    /// As the system is configured: its hosts file, its name servers.
    System,
    /// As a test says.
    #[cfg(test)]
    Script(super::tests::Names),
}

impl Resolver {
    /// The addresses of `host`, in the order in which to try them.
    ///
    /// # Errors
    /// If there are none, or nobody answers.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(test)]
            Self::Script(names) => names.look_up(host, port).await,
        }
    }
}
