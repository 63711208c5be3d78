//! Finds the server that has an app's data now: always the same, the primary that Sentinels name, or the owner of the
//! app's slot in a Redis Cluster. Asked anew for each connection, so that a failover is followed.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::Value;

use super::dial::{Dialer, Mode, Opened};
use super::problem::Problem;
use super::servers::{Address, Servers};
use super::version::{Version, field};

/// The way to the server.
#[derive(Debug)]
pub(super) struct Route {
    dialer: Dialer,
    servers: Servers,
    /// The slot of the app's keys.
    slot: u16,
    /// Which of several servers answered last: it is asked first.
    first: AtomicUsize,
}

impl Route {
    pub(super) const fn new(dialer: Dialer, servers: Servers, slot: u16) -> Self {
        Self { dialer, servers, slot, first: AtomicUsize::new(0) }
    }

    /// A connection to the server that has the data.
    ///
    /// # Errors
    /// There is none. Of several causes, one that stays.
    pub(super) async fn connect(&self) -> Result<(Opened, Version), Problem> {
        let all = match &self.servers {
            Servers::One(server) => return self.dialer.greet(server, Mode::Standalone).await,
            Servers::Sentinel { sentinels, .. } => sentinels,
            Servers::Cluster { nodes } => nodes,
        };
        let first = self.first.load(Ordering::Relaxed);
        let mut worst: Option<Problem> = None;
        for index in (0..all.len()).map(|offset| (first + offset) % all.len()) {
            let attempt = match &self.servers {
                Servers::Sentinel { primary, .. } => self.by_sentinel(&all[index], primary).await,
                Servers::One(_) | Servers::Cluster { .. } => self.by_node(&all[index]).await,
            };
            match attempt {
                Ok(found) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(problem) if worst.as_ref().is_some_and(Problem::stays) && !problem.stays() => {}
                Err(problem) => worst = Some(problem),
            }
        }
        Err(worst.unwrap_or_else(|| Problem::Unreachable {
            server: Address { host: String::new(), port: 0 },
            cause: "no server is named".to_owned(),
        }))
    }

    /// A connection to the primary that this Sentinel names.
    async fn by_sentinel(&self, sentinel: &Address, primary: &str) -> Result<(Opened, Version), Problem> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        let server = match self.dialer.ask_sentinel(sentinel, &command).await? {
            Value::Nil => {
                return Err(Problem::UnknownPrimary { sentinel: sentinel.clone(), primary: primary.to_owned() });
            }
            Value::Array(parts) => named(&parts, sentinel).ok_or_else(|| malformed(sentinel, "SENTINEL"))?,
            _ => return Err(malformed(sentinel, "SENTINEL")),
        };
        let (mut opened, version) = self.dialer.greet(&server, Mode::Standalone).await?;
        // A Sentinel may name the former primary until the failover is over (Redis' guidelines for Sentinel clients).
        let info = self.dialer.within(&server, opened.info("replication")).await?;
        if field(&info, "role") == Some("master") { Ok((opened, version)) } else { Err(Problem::NoPrimary { server }) }
    }

    /// A connection to the owner of the slot, as this node sees it.
    async fn by_node(&self, node: &Address) -> Result<(Opened, Version), Problem> {
        let (mut opened, version) = self.dialer.greet(node, Mode::Cluster).await?;
        let slots = self.dialer.within(node, async {
            let answer = opened.ask(redis::cmd("CLUSTER").arg("SLOTS")).await;
            answer.map_err(|error| Problem::answered(node, "CLUSTER SLOTS", &error))
        });
        let Value::Array(ranges) = slots.await? else { return Err(malformed(node, "CLUSTER SLOTS")) };
        let owner = ranges.iter().find_map(|range| owner(range, self.slot));
        let owner = owner.ok_or_else(|| Problem::NoOwner { server: node.clone(), slot: self.slot })?;
        let owner = named(owner, node).ok_or_else(|| malformed(node, "CLUSTER SLOTS"))?;
        if owner == *node { Ok((opened, version)) } else { self.dialer.greet(&owner, Mode::Cluster).await }
    }
}

/// The primary of a range of slots with `slot` in it: `[first, last, [host, port, id, …], replicas…]`.
fn owner(range: &Value, slot: u16) -> Option<&[Value]> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else { return None };
    (*first..=*last).contains(&i64::from(slot)).then_some(primary)
}

/// The server that an answer of `source` names by host and port. Without a host it is the host of `source` (CLUSTER
/// SLOTS: a null, or what an unconfigured node says of itself).
fn named(parts: &[Value], source: &Address) -> Option<Address> {
    let (host, port) = (parts.first()?, parts.get(1)?);
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host.as_str(),
        Value::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { source.host.as_str() } else { host };
    let port = match port {
        Value::Int(port) => u16::try_from(*port).ok()?,
        Value::BulkString(port) => std::str::from_utf8(port).ok()?.parse().ok()?,
        _ => return None,
    };
    Some(Address { host: host.to_owned(), port })
}

fn malformed(server: &Address, command: &str) -> Problem {
    Problem::Answer { server: server.clone(), command: command.to_owned(), answer: "nothing that it should".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn server(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn a_server_is_named_by_host_and_port() {
        let source = server("seed", 7000);
        for (parts, named_server) in [
            (vec![text("10.0.0.1"), text("6379")], Some(server("10.0.0.1", 6379))),
            (vec![text("::1"), Value::Int(6380), text("an id")], Some(server("::1", 6380))),
            (vec![Value::SimpleString("a.example".into()), Value::Int(1)], Some(server("a.example", 1))),
            // What does not say its host is where the answer comes from.
            (vec![Value::Nil, Value::Int(6379)], Some(server("seed", 6379))),
            (vec![text(""), Value::Int(6379)], Some(server("seed", 6379))),
            (vec![text("?"), Value::Int(6379)], Some(server("seed", 6379))),
            (vec![text("a"), Value::Int(65_536)], None),
            (vec![text("a"), Value::Int(-1)], None),
            (vec![text("a"), text("port")], None),
            (vec![text("a"), Value::Nil], None),
            (vec![Value::Int(1), Value::Int(1)], None),
            (vec![Value::BulkString(vec![0xff]), Value::Int(1)], None),
            (vec![text("a")], None),
            (Vec::new(), None),
        ] {
            assert_eq!(named(&parts, &source), named_server, "{parts:?}");
        }
    }

    #[test]
    fn the_owner_of_a_slot_is_the_first_of_its_range() {
        let node = |host: &str| Value::Array(vec![text(host), Value::Int(6379), text("id")]);
        let range = |parts: Vec<Value>| Value::Array(parts);
        let good = range(vec![Value::Int(10), Value::Int(20), node("a"), node("replica")]);
        for (slot, is_there) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(owner(&good, slot).is_some(), is_there, "{slot}");
        }
        let found = owner(&good, 15).and_then(|primary| named(primary, &server("seed", 1)));
        assert_eq!(found, Some(server("a", 6379)));
        for bad in [
            Value::Nil,
            range(Vec::new()),
            range(vec![Value::Int(0), Value::Int(16_383)]),
            range(vec![text("0"), Value::Int(16_383), node("a")]),
            range(vec![Value::Int(0), Value::Int(16_383), text("a")]),
        ] {
            assert_eq!(owner(&bad, 15), None, "{bad:?}");
        }
    }
}
