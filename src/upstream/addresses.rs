//! Where upstream's name leads. An upstream that closes after every answer (soketi, Reverb: pusher-protocol.md 7) needs
//! its addresses for every request, so they are remembered for a while; and one look-up runs at a time, however many
//! requests wait for it.
//!
//! Addresses that were found stay in use while the name cannot be looked up (RFC 8767). The system's resolver does not
//! tell a name that is gone from a name server that is, so that both count as such.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::resolver::Resolver;
use crate::shutdown::Tasks;

/// How long an answer of the name server is used. Short, because the system's resolver does not tell how long it holds,
/// and long enough that a busy worker asks rarely.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Most addresses of a name that are used: it bounds the attempts for one connection.
const MAX_ADDRESSES: usize = 8;

/// Upstream's addresses.
#[derive(Debug)]
pub(super) enum Addresses {
    /// Configured as an IP address.
    Literal(SocketAddr),
    /// Configured as a name.
    Named(Arc<Name>),
}

/// A name to be looked up.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    resolver: Resolver,
    /// A std mutex: only ever held to copy or replace values.
    known: Mutex<Known>,
    /// One permit. The system's look-up cannot be cancelled: without this, requests that give up waiting would pile up
    /// blocked threads.
    look_up: Arc<Semaphore>,
}

/// What is known of a name; at first nothing.
#[derive(Debug, Default)]
struct Known {
    /// In the order of the last look-up that found any.
    addresses: Vec<SocketAddr>,
    /// How many look-ups have ended, whatever they found.
    look_ups: u64,
    /// Until when the addresses are used without another look-up.
    until: Option<Instant>,
    /// The address that the last connection was opened to.
    worked: Option<SocketAddr>,
    /// When a look-up that brought nothing was last told of.
    warned: Option<Instant>,
}

/// A part of opening a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Trying to connect to this address.
    Try(SocketAddr),
    /// Looking the name up, which may find more addresses.
    LookUp,
}

impl Addresses {
    /// Those of `host`, a name or an IP address without brackets.
    pub(super) fn new(host: &str, port: u16, resolver: Resolver) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Literal(SocketAddr::new(address, port)),
            Err(_) => {
                let (known, look_up) = (Mutex::default(), Arc::new(Semaphore::new(1)));
                Self::Named(Arc::new(Name { host: host.to_owned(), port, resolver, known, look_up }))
            }
        }
    }

    /// How to open a connection: the steps in their order. A name is looked up first if what is known of it is too old,
    /// and else last.
    pub(super) fn steps(&self) -> VecDeque<Step> {
        match self {
            Self::Literal(address) => VecDeque::from([Step::Try(*address)]),
            Self::Named(name) => name.known().steps(),
        }
    }

    /// Looks the name up, unless that was done since this was asked for. At least one address, in the order in which to
    /// try them.
    ///
    /// # Errors
    /// If the look-up fails or finds none.
    pub(super) async fn look_up(&self, tasks: &Tasks) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Literal(address) => Ok(vec![*address]),
            Self::Named(name) => name.look_up_once(tasks).await,
        }
    }

    /// A connection was opened to `address`: the next one begins with it.
    pub(super) fn worked(&self, address: SocketAddr) {
        if let Self::Named(name) = self {
            name.known().worked = Some(address);
        }
    }

    /// The addresses led nowhere: the next one to ask looks the name up first, and prefers none.
    pub(super) fn doubt(&self) {
        if let Self::Named(name) = self {
            let mut known = name.known();
            known.until = None;
            known.worked = None;
        }
    }

    /// The look-up takes too long: the addresses that are known stay in use without it.
    pub(super) fn keep(&self) {
        if let Self::Named(name) = self
            && name.known().keep_unconfirmed()
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
        let before = self.known().look_ups;
        let permit = Arc::clone(&self.look_up).acquire_owned().await.map_err(io::Error::other)?;
        {
            let known = self.known();
            if known.look_ups > before && !known.addresses.is_empty() {
                return Ok(known.in_order());
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
            false => Ok(alternating(&addresses)),
        });
        let mut known = self.known();
        known.look_ups += 1;
        match found {
            Ok(addresses) => {
                known.addresses = addresses;
                known.keep();
                Ok(known.in_order())
            }
            Err(error) => {
                let is_news = !known.addresses.is_empty() && known.keep_unconfirmed();
                drop(known);
                if is_news {
                    tracing::warn!(upstream = self.host, %error, "the name of the upstream server cannot be looked up; its last addresses stay in use");
                }
                Err(error)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn steps(&self) -> VecDeque<Step> {
        let mut steps: VecDeque<_> = self.in_order().into_iter().map(Step::Try).collect();
        if self.until.is_some_and(|until| Instant::now() < until) {
            steps.push_back(Step::LookUp);
        } else {
            steps.push_front(Step::LookUp);
        }
        steps
    }

    /// The address that worked last comes first.
    fn in_order(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        if let Some(place) = addresses.iter().position(|&address| Some(address) == self.worked) {
            addresses[..=place].rotate_right(1);
        }
        addresses
    }

    /// Uses the addresses without a look-up for a while.
    fn keep(&mut self) {
        self.until = Some(Instant::now() + REMEMBERED_FOR);
    }

    /// The same after a look-up that brought nothing. Says whether it is time to warn of that.
    fn keep_unconfirmed(&mut self) -> bool {
        self.keep();
        let now = Instant::now();
        let is_due = self.warned.is_none_or(|warned| now >= warned + REMEMBERED_FOR);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }
}

/// The first [`MAX_ADDRESSES`] of `addresses`, those of IPv6 and IPv4 by turns, so that one family without a route does
/// not hold up the other (RFC 8305 4).
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_family = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv4() == first_family);
    let longest = first.len().max(second.len());
    let by_turns = (0..longest).flat_map(|index| [first.get(index), second.get(index)]).flatten();
    by_turns.take(MAX_ADDRESSES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_number_is_bounded() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
        };
        for (found, used) in [
            ("1.0.0.1", "1.0.0.1"),
            ("::1 ::2 1.0.0.1", "::1 1.0.0.1 ::2"),
            ("1.0.0.1 1.0.0.2 ::1 ::2", "1.0.0.1 ::1 1.0.0.2 ::2"),
            ("::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9 1.0.0.1", "::1 1.0.0.1 ::2 ::3 ::4 ::5 ::6 ::7"),
        ] {
            assert_eq!(alternating(&parse(found)), parse(used));
        }
    }
}
