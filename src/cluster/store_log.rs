//! Tells in the log which servers hold the shared memory, each once until it is another one than before.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::link::Link;
use super::servers::Address;
use super::sighting::{MemoryPolicy, Sighting};
use super::version::Version;

/// The pause after a look that was not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// The most servers of which it is remembered what was told.
const MAX_TOLD: usize = 64;

/// What was told of the servers. Clones share it: several apps may be on one server.
#[derive(Debug, Clone, Default)]
pub struct StoreLog {
    told: Arc<Mutex<Vec<Told>>>,
}

/// What is told of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    server: Address,
    version: Version,
    memory: MemoryPolicy,
    /// How many replicas have all data and follow.
    online: usize,
}

impl StoreLog {
    /// Looks at each server that `link` is connected to, for as long as it is polled. `replicas`: `cluster.replicas`.
    pub(super) async fn keep(&self, link: &Link, replicas: u32) {
        while link.connected().await {
            let Some((server, version)) = link.server() else { continue };
            match Sighting::of(link).await {
                // The connection may be another one by now.
                Ok(_) if link.server().is_none_or(|(present, _)| present != server) => continue,
                Ok(Sighting { memory, online, .. }) => self.tell(Told { server, version, memory, online }, replicas),
                Err(failure) => {
                    tracing::debug!(%server, %failure, "the shared store has not said what it is");
                    sleep(PAUSE).await;
                    continue;
                }
            }
            link.disconnected().await;
        }
    }

    fn tell(&self, told: Told, replicas: u32) {
        if !self.is_news(&told) {
            return;
        }
        let Told { server, version, memory, online } = told;
        let maxmemory_policy = memory.name.as_str();
        tracing::info!(
            %server,
            %version,
            maxmemory_policy,
            replicas = online,
            expected_replicas = replicas,
            "the shared memory is at this server"
        );
        if let Some(fault) = memory.fault() {
            let (cause, cure) = (fault.cause, fault.cure);
            tracing::warn!(
                %server,
                maxmemory_policy,
                maxmemory = memory.max_memory,
                "the server of the shared memory may forget it: {cause}; {cure}"
            );
        }
    }

    /// Whether this was not told of the server last; notes that it is told now.
    fn is_news(&self, told: &Told) -> bool {
        let mut known = self.told.lock();
        if known.contains(told) {
            return false;
        }
        known.retain(|known| known.server != told.server);
        if known.len() == MAX_TOLD {
            known.remove(0);
        }
        known.push(told.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_once_until_it_says_something_else() {
        let (log, told) = (StoreLog::default(), |port: u16, online| Told {
            server: Address { host: "redis".to_owned(), port },
            version: Version { product: "Redis", number: "7.0.15".to_owned() },
            memory: MemoryPolicy { max_memory: 0, name: "noeviction".to_owned() },
            online,
        });
        let others = log.clone();
        assert!(log.is_news(&told(1, 0)) && !others.is_news(&told(1, 0)), "another app is there, too");
        assert!(log.is_news(&told(2, 0)), "another server");
        assert!(log.is_news(&told(1, 1)) && !log.is_news(&told(1, 1)) && log.is_news(&told(1, 0)));
        for port in 100..400 {
            assert!(log.is_news(&told(port, 0)));
        }
        assert_eq!(log.told.lock().len(), MAX_TOLD);
    }
}
