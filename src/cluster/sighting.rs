//! What a server says of itself, as far as those have to know it who rely on it.

use std::time::Duration;

use tokio::time::Instant;

use super::link::{Failure, Link};
use super::version::field;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// How long an answer takes.
    pub round_trip: Duration,
    /// Whether it is a primary.
    pub is_primary: bool,
    /// The number of replicas that follow it (`connected_slaves`).
    pub replicas: usize,
    /// How many of them have all data and follow.
    pub online: usize,
    /// What it does once its memory is full.
    pub memory: MemoryPolicy,
}

/// What a server does once its memory is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The bound of its memory, in bytes; 0: none.
    pub max_memory: u64,
    /// Its `maxmemory-policy`; empty: it does not tell.
    pub name: String,
}

/// What is wrong with a [`MemoryPolicy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Whether it may act now; else it is not known, or there is no bound.
    pub is_in_force: bool,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub cure: &'static str,
}

impl Sighting {
    /// Asks the server that `link` leads to.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn of(link: &Link) -> Result<Self, Failure> {
        let asked = Instant::now();
        let memory = info(link, "memory").await?;
        let round_trip = asked.elapsed();
        let replication = info(link, "replication").await?;
        let number = |info: &str, name| field(info, name).and_then(|number| number.parse().ok()).unwrap_or_default();
        Ok(Self {
            round_trip,
            is_primary: field(&replication, "role") == Some("master"),
            replicas: usize::try_from(number(&replication, "connected_slaves")).unwrap_or(usize::MAX),
            online: replication
                .lines()
                .filter(|line| line.starts_with("slave") && line.contains("state=online"))
                .count(),
            memory: MemoryPolicy {
                max_memory: number(&memory, "maxmemory"),
                name: field(&memory, "maxmemory_policy").unwrap_or_default().chars().take(40).collect(),
            },
        })
    }
}

impl MemoryPolicy {
    /// What is wrong with it; `None`: the server removes nothing.
    #[must_use]
    pub fn fault(&self) -> Option<PolicyFault> {
        const CURE: &str = "CONFIG SET maxmemory-policy noeviction, and write it into its configuration";
        let Self { max_memory, name } = self;
        let (is_in_force, cause, cure) = match (name.as_str(), max_memory) {
            ("noeviction", _) => return None,
            ("", _) => (
                false,
                "INFO does not tell its maxmemory-policy, so it could not be looked at".to_owned(),
                "see to it that it is noeviction",
            ),
            (_, 0) => (
                false,
                format!("maxmemory-policy is {name}: once maxmemory is set, it would remove what the members know"),
                CURE,
            ),
            (_, _) => (
                true,
                format!(
                    "maxmemory-policy is {name}: a full server removes what the members know, and which members there are"
                ),
                CURE,
            ),
        };
        Some(PolicyFault { is_in_force, cause, cure })
    }
}

/// A section of the server's `INFO`.
async fn info(link: &Link, section: &str) -> Result<String, Failure> {
    let answer = link.ask(redis::cmd("INFO").arg(section)).await?;
    redis::from_redis_value(answer).map_err(|_| Failure::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_removes_keys_is_wrong() {
        let fault = |name: &str, max_memory| MemoryPolicy { max_memory, name: name.to_owned() }.fault();
        assert_eq!([fault("noeviction", 0), fault("noeviction", 1)], [None, None]);
        for (name, max_memory, is_in_force, said) in [
            ("allkeys-lru", 1, true, "a full server removes what the members know"),
            ("volatile-ttl", 0, false, "once maxmemory is set"),
            ("", 1, false, "could not be looked at"),
        ] {
            let fault = fault(name, max_memory).expect("it is wrong");
            assert_eq!(fault.is_in_force, is_in_force, "{fault:?}");
            assert!(fault.cause.contains(said) && fault.cure.contains("noeviction"), "{fault:?}");
        }
    }
}
