//! The addresses of upstream's name. With an upstream that closes after every answer (soketi, Reverb:
//! pusher-protocol.md 7) every request needs them, so they are cached for a short time; and one look-up runs at a time,
//! however many requests wait for it.
//!
//! Cached addresses stay in use while the name cannot be looked up (RFC 8767). The system's resolver does not
//! distinguish a name that does not exist from a name server that does not answer, so both are treated in this way.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::resolver::Resolver;
use crate::shutdown::Tasks;

/// How long the result of a look-up is used. Short, because the system's resolver does not return the record's time to
/// live; long enough that a busy worker rarely looks the name up.
const CACHED_FOR: Duration = Duration::from_secs(10);

/// The largest number of addresses of a name that are used. It bounds the attempts for one connection.
const MAX_ADDRESSES: usize = 8;

/// Upstream's addresses.
#[derive(Debug)]
pub(super) enum Addresses {
    /// The URL contains an IP address.
    Literal(SocketAddr),
    /// The URL contains a name.
    Named(Arc<Name>),
}

/// A name and its cached addresses.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    resolver: Resolver,
    /// A lock: held only to copy or replace values.
    cache: Mutex<Cache>,
    /// Has one permit. The system's look-up cannot be cancelled: without the permit, requests that time out would leave
    /// an unbounded number of blocked threads behind.
    look_up: Arc<Semaphore>,
}

/// The cached result of look-ups; empty at first.
#[derive(Debug, Default)]
struct Cache {
    /// In the order of the last successful look-up.
    addresses: Vec<SocketAddr>,
    /// The number of look-ups that have ended, successful or not.
    look_ups: u64,
    /// The addresses are used without another look-up until this moment.
    valid_until: Option<Instant>,
    /// The address of the last opened connection.
    preferred: Option<SocketAddr>,
    /// When a failed look-up was last logged.
    warned: Option<Instant>,
}

/// A step of opening a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectStep {
    /// Connect to this address.
    Connect(SocketAddr),
    /// Look the name up, which may find more addresses.
    LookUp,
}

impl Addresses {
    /// The addresses of `host`, which is a name or an IP address without brackets.
    pub(super) fn new(host: &str, port: u16, resolver: Resolver) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Literal(SocketAddr::new(address, port)),
            Err(_) => {
                let (cache, look_up) = (Mutex::default(), Arc::new(Semaphore::new(1)));
                Self::Named(Arc::new(Name { host: host.to_owned(), port, resolver, cache, look_up }))
            }
        }
    }

    /// The steps that open a connection, in order. The look-up of a name is the first step if the cached addresses have
    /// expired, and the last step otherwise.
    pub(super) fn steps(&self) -> VecDeque<ConnectStep> {
        match self {
            Self::Literal(address) => VecDeque::from([ConnectStep::Connect(*address)]),
            Self::Named(name) => name.cache().steps(),
        }
    }

    /// Looks the name up, unless another look-up has ended since this call. Returns at least one address, in the order
    /// in which to try them.
    ///
    /// # Errors
    /// The look-up failed or found no address.
    pub(super) async fn look_up(&self, tasks: &Tasks) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Literal(address) => Ok(vec![*address]),
            Self::Named(name) => name.look_up_once(tasks).await,
        }
    }

    /// Notes that a connection was opened to `address`: the next connection tries it first.
    pub(super) fn prefer(&self, address: SocketAddr) {
        if let Self::Named(name) = self {
            name.cache().preferred = Some(address);
        }
    }

    /// Expires the addresses, because no connection or no answer came of them: the next connection looks the name up
    /// first, and prefers no address.
    pub(super) fn expire(&self) {
        if let Self::Named(name) = self {
            let mut cache = name.cache();
            cache.valid_until = None;
            cache.preferred = None;
        }
    }

    /// Extends the use of the cached addresses, because the look-up takes too long.
    pub(super) fn extend(&self) {
        if let Self::Named(name) = self
            && name.cache().extend_after_failure()
        {
            tracing::warn!(
                upstream = name.host,
                "the name server does not answer in time; upstream's last addresses stay in use"
            );
        }
    }
}

impl Name {
    async fn look_up_once(self: &Arc<Self>, tasks: &Tasks) -> io::Result<Vec<SocketAddr>> {
        let before = self.cache().look_ups;
        let permit = Arc::clone(&self.look_up).acquire_owned().await.map_err(io::Error::other)?;
        {
            let cache = self.cache();
            if cache.look_ups > before && !cache.addresses.is_empty() {
                return Ok(cache.in_order());
            }
        }
        let name = Arc::clone(self);
        let look_up = tasks.spawn(async move {
            let found = name.look_up().await;
            drop(permit);
            found
        });
        look_up.await.map_err(io::Error::other)?
    }

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let found = self.resolver.look_up(&self.host, self.port).await;
        let found = found.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(interleaved(&addresses)),
        });
        let mut cache = self.cache();
        cache.look_ups += 1;
        match found {
            Ok(addresses) => {
                cache.addresses = addresses;
                cache.extend();
                Ok(cache.in_order())
            }
            Err(error) => {
                let should_warn = !cache.addresses.is_empty() && cache.extend_after_failure();
                drop(cache);
                if should_warn {
                    tracing::warn!(upstream = self.host, %error, "the name of the upstream server cannot be looked up; its last addresses stay in use");
                }
                Err(error)
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock()
    }
}

impl Cache {
    fn steps(&self) -> VecDeque<ConnectStep> {
        let mut steps: VecDeque<_> = self.in_order().into_iter().map(ConnectStep::Connect).collect();
        if self.valid_until.is_some_and(|until| Instant::now() < until) {
            steps.push_back(ConnectStep::LookUp);
        } else {
            steps.push_front(ConnectStep::LookUp);
        }
        steps
    }

    /// The addresses, the preferred one first.
    fn in_order(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        if let Some(index) = addresses.iter().position(|&address| Some(address) == self.preferred) {
            addresses[..=index].rotate_right(1);
        }
        addresses
    }

    /// Uses the addresses for another [`CACHED_FOR`] without a look-up.
    fn extend(&mut self) {
        self.valid_until = Some(Instant::now() + CACHED_FOR);
    }

    /// The same after a failed look-up. Returns whether a warning is due.
    fn extend_after_failure(&mut self) -> bool {
        self.extend();
        let now = Instant::now();
        let is_due = self.warned.is_none_or(|warned| now >= warned + CACHED_FOR);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }
}

/// The first [`MAX_ADDRESSES`] of `addresses`, with IPv6 and IPv4 addresses interleaved, so that a family without a
/// route does not delay the other (RFC 8305 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_family = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv4() == first_family);
    let longest = first.len().max(second.len());
    let interleaved = (0..longest).flat_map(|index| [first.get(index), second.get(index)]).flatten();
    interleaved.take(MAX_ADDRESSES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_interleaved_and_the_number_is_bounded() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
        };
        for (found, used) in [
            ("1.0.0.1", "1.0.0.1"),
            ("::1 ::2 1.0.0.1", "::1 1.0.0.1 ::2"),
            ("1.0.0.1 1.0.0.2 ::1 ::2", "1.0.0.1 ::1 1.0.0.2 ::2"),
            ("::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9 1.0.0.1", "::1 1.0.0.1 ::2 ::3 ::4 ::5 ::6 ::7"),
        ] {
            assert_eq!(interleaved(&parse(found)), parse(used));
        }
    }
}
