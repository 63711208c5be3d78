//! Where upstream's name leads. An upstream that closes after every answer (soketi, Reverb: pusher-protocol.md 7) needs its addresses
//! for every request, so they are remembered for a while; and one look-up runs at a time, however many requests wait for it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::shutdown::Tasks;

/// How long an answer of the name server is used. Short, because the system's resolver does not tell how long it holds, and long enough
/// that a busy worker asks rarely.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Upstream's addresses.
#[derive(Debug)]
pub(super) enum Addresses {
    /// Configured as an IP address.
    Literal([SocketAddr; 1]),
    /// Configured as a name.
    Named(Arc<Name>),
}

/// A name to be looked up.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    /// A std mutex: only ever held to copy or replace the value.
    known: Mutex<Option<Known>>,
    /// One permit. The system's look-up cannot be cancelled: without this, requests that give up waiting would pile up blocked threads.
    look_up: Arc<Semaphore>,
}

#[derive(Debug)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    since: Instant,
}

/// Addresses found, in the order in which to try them.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The configured one.
    Literal(&'a [SocketAddr]),
    /// Those of the name.
    Named(Arc<[SocketAddr]>),
}

impl std::ops::Deref for Found<'_> {
    type Target = [SocketAddr];

    fn deref(&self) -> &[SocketAddr] {
        match self {
            Self::Literal(addresses) => addresses,
            Self::Named(addresses) => addresses,
        }
    }
}

impl Addresses {
    /// Those of `host`, a name or an IP address without brackets.
    pub(super) fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Literal([SocketAddr::new(address, port)]),
            Err(_) => Self::Named(Arc::new(Name { host: host.to_owned(), port, known: Mutex::new(None), look_up: Arc::new(Semaphore::new(1)) })),
        }
    }

    /// The addresses, at least one.
    ///
    /// # Errors
    /// If the look-up fails or finds none.
    pub(super) async fn find(&self, tasks: &Tasks) -> io::Result<Found<'_>> {
        match self {
            Self::Literal(address) => Ok(Found::Literal(address)),
            Self::Named(name) => name.find(tasks).await.map(Found::Named),
        }
    }

    /// None of the addresses led anywhere: the next one to ask looks the name up again.
    pub(super) fn forget(&self) {
        match self {
            Self::Literal(_) => {}
            Self::Named(name) => name.remember(None),
        }
    }
}

impl Name {
    async fn find(self: &Arc<Self>, tasks: &Tasks) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(addresses) = self.known() {
            return Ok(addresses);
        }
        let permit = Arc::clone(&self.look_up).acquire_owned().await.map_err(io::Error::other)?;
        if let Some(addresses) = self.known() {
            return Ok(addresses);
        }
        let name = Arc::clone(self);
        let look_up = tasks.spawn(async move {
            let found = name.look_up().await;
            drop(permit);
            found
        });
        look_up.await.map_err(io::Error::other)?
    }

    async fn look_up(&self) -> io::Result<Arc<[SocketAddr]>> {
        let addresses: Arc<[SocketAddr]> = tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        self.remember(Some(Known { addresses: Arc::clone(&addresses), since: Instant::now() }));
        Ok(addresses)
    }

    fn known(&self) -> Option<Arc<[SocketAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|known| known.since.elapsed() < REMEMBERED_FOR).map(|known| Arc::clone(&known.addresses))
    }

    fn remember(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}
