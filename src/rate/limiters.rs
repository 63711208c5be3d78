//! All limits of a configuration.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::limit::{Limit, Permit};
use super::limited::Limited;
use super::pace::Pace;
use super::table::Fingerprint;
use super::waiters::{WaitGuard, Waiters};
use super::{Rate, Rates};
use crate::clock::Clock;
use crate::metrics::{Metrics, RateScope};

/// The limits and the states of their keys.
#[derive(Debug)]
pub struct Limiters {
    rates: Rates,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Keyed at random, since keys come from outside: a client that could choose their hashes could make other clients
    /// share its limit.
    keys: RandomState,
    app: Option<Arc<Limit>>,
    channel: Option<Arc<Limit>>,
    connections: Option<Arc<Limit>>,
    messages: Option<Arc<Limit>>,
    waiters: Waiters,
}

/// The scope with the longest wait of a trigger, and that wait.
type Longest = (RateScope, Duration);

/// The rate limits of one app.
#[derive(Debug)]
pub struct AppLimits {
    limiters: Arc<Limiters>,
    id: Box<str>,
}

impl Limiters {
    /// Limits without keys.
    #[must_use]
    pub fn new(rates: &Rates, clock: Clock, metrics: &Arc<Metrics>) -> Arc<Self> {
        let limit =
            |rate: Option<Rate>, max_wait| rate.map(|rate| Arc::new(Limit::new(rate, max_wait, rates.max_keys, clock)));
        Arc::new(Self {
            clock,
            metrics: Arc::clone(metrics),
            keys: RandomState::new(),
            app: limit(rates.app_triggers, rates.max_wait),
            channel: limit(rates.channel_triggers, rates.max_wait),
            connections: limit(rates.peer_connections, Duration::ZERO),
            messages: limit(rates.peer_messages, Duration::ZERO),
            waiters: Waiters::default(),
            rates: rates.clone(),
        })
    }

    /// The limits for a new configuration: the same ones if `rates` is unchanged, otherwise new ones.
    #[must_use]
    pub fn rebuilt_for(self: &Arc<Self>, rates: &Rates) -> Arc<Self> {
        if self.rates == *rates { Arc::clone(self) } else { Self::new(rates, self.clock, &self.metrics) }
    }

    /// The rate limits of the app with this id; `None`: not limited.
    #[must_use]
    pub fn app(self: &Arc<Self>, id: &str) -> Option<AppLimits> {
        let any = self.app.is_some() || self.channel.is_some();
        any.then(|| AppLimits { limiters: Arc::clone(self), id: id.into() })
    }

    /// Whether any limit depends on a client's address.
    #[must_use]
    pub const fn limits_peers(&self) -> bool {
        self.connections.is_some() || self.messages.is_some()
    }

    /// Whether a client at this address may connect now.
    #[must_use]
    pub fn admits(&self, ip: IpAddr) -> bool {
        let admitted = self.connections.as_ref().is_none_or(|limit| limit.acquire_now(self.peer(ip)).is_ok());
        if !admitted {
            self.metrics.rate_limited(RateScope::PeerConnections);
        }
        admitted
    }

    /// The pace of a connected client at this address; `None`: not limited.
    #[must_use]
    pub fn pace(&self, ip: IpAddr) -> Option<Pace> {
        self.messages.as_ref().map(|limit| Pace::new(Arc::clone(limit), self.peer(ip), Arc::clone(&self.metrics)))
    }

    /// Forgets the keys whose burst is full again. Called periodically.
    pub fn sweep(&self) {
        let limits = [
            (RateScope::App, &self.app),
            (RateScope::Channel, &self.channel),
            (RateScope::PeerConnections, &self.connections),
            (RateScope::PeerMessages, &self.messages),
        ];
        for (scope, limit) in limits {
            if let Some(limit) = limit {
                self.metrics.rate_forgotten(scope, limit.sweep());
            }
        }
    }

    /// The key of a peer: an IPv4 address, or the first 64 bits of an IPv6 address, since one subscriber line usually
    /// has all addresses with this prefix.
    fn peer(&self, ip: IpAddr) -> Fingerprint {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.fingerprint(ip),
            IpAddr::V6(ip) => self.fingerprint(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        }
    }

    fn fingerprint(&self, key: impl Hash) -> Fingerprint {
        Fingerprint(self.keys.hash_one(key))
    }

    /// The largest number of keys that any limit remembers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        [&self.app, &self.channel, &self.connections, &self.messages]
            .into_iter()
            .flatten()
            .map(|limit| limit.len())
            .max()
            .unwrap_or_default()
    }
}

impl AppLimits {
    /// Acquires a permit of the app and one of each of `channels`, and adds them to `permits`. Returns the longest wait
    /// and its scope.
    ///
    /// # Errors
    /// The first limit without a permit in time; `permits` holds those acquired before.
    pub(super) fn acquire<'a>(
        &self,
        channels: impl Iterator<Item = &'a str>,
        permits: &mut Vec<Permit>,
    ) -> Result<Longest, (RateScope, Limited)> {
        let limiters = &*self.limiters;
        let mut longest = (RateScope::App, Duration::ZERO);
        let mut add = |scope, permit: Permit| {
            if permit.wait > longest.1 {
                longest = (scope, permit.wait);
            }
            permits.push(permit);
        };
        if let Some(limit) = &limiters.channel {
            let per_second = limit.rate.per_second.get();
            for channel in channels {
                let permit = limit.acquire(limiters.fingerprint((&self.id, channel)));
                add(
                    RateScope::Channel,
                    permit.map_err(|retry_after| (RateScope::Channel, Limited::Channel { per_second, retry_after }))?,
                );
            }
        }
        if let Some(limit) = &limiters.app {
            let per_second = limit.rate.per_second.get();
            let permit = limit.acquire(limiters.fingerprint(&self.id));
            add(
                RateScope::App,
                permit.map_err(|retry_after| (RateScope::App, Limited::App { per_second, retry_after }))?,
            );
        }
        Ok(longest)
    }

    /// Counts a trigger as waiting because of `scope`; `None`: too many wait.
    pub(super) fn wait(&self, scope: RateScope) -> Option<WaitGuard> {
        let limiters = &*self.limiters;
        let waiting = limiters.waiters.enter(limiters.rates.max_waiters, || limiters.metrics.rate_waiting())?;
        limiters.metrics.rate_delayed(scope);
        Some(waiting)
    }

    pub(super) fn count_refused(&self, scope: RateScope) {
        self.limiters.metrics.rate_limited(scope);
    }
}
