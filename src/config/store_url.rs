//! `cluster.redis_url`: one server, Sentinels, or Redis Cluster.

use serde_json::Value;

use super::effective::Shown;
use crate::cluster::{Address, Servers};

/// Redis' port (`port` in redis.conf).
const SERVER_PORT: u16 = 6379;
/// Sentinel's port (`port` in sentinel.conf).
const SENTINEL_PORT: u16 = 26_379;
/// The most hosts that an address names.
const MAX_HOSTS: usize = 32;

/// How it is written, for messages.
const FORMS: &str = "Write \"redis://host:6379\" (with TLS rediss://), \"redis+sentinel://host1:26379,host2:26379/<name of the primary>\" (with TLS \
                     rediss+sentinel://), or several nodes of a Redis Cluster, \"redis://host1:6379,host2:6379\".";

/// Where the store is, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreUrl {
    pub(super) servers: Servers,
    pub(super) is_tls: bool,
    pub(super) database: u16,
    text: String,
}

impl StoreUrl {
    /// Reads an address. The messages do not repeat the text, which may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |reason: &str| format!("{reason} {FORMS}");
        let Some((scheme, rest)) = text.split_once("://") else { return Err(refuse("The address has no scheme.")) };
        let (is_tls, is_sentinel) = match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => (false, false),
            "rediss" | "valkeys" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(refuse("This scheme is none of Redis.")),
        };
        if rest.contains('@') {
            return Err("The address has credentials in it, where logs and process lists could show them. Set `cluster.username`, and USHER_CLUSTER__PASSWORD or \
                        `cluster.password_file`."
                .to_owned());
        }
        if rest.contains(['?', '#']) {
            return Err(refuse("The address has a query (?…) or a fragment (#…), of which nothing is known."));
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if is_sentinel { SENTINEL_PORT } else { SERVER_PORT };
        let mut hosts = hosts
            .split(',')
            .map(|host| address(host.trim(), port).map_err(|reason| refuse(&reason)))
            .collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > MAX_HOSTS {
            return Err(format!(
                "The address names more than {MAX_HOSTS} hosts. A few are enough: they know the others."
            ));
        }
        let (servers, path) = if is_sentinel {
            let (primary, path) = path.split_once('/').unwrap_or((path, ""));
            if primary.is_empty() || primary.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(refuse("The name is missing under which the Sentinels watch the primary."));
            }
            (Servers::Sentinel { sentinels: hosts, primary: primary.to_owned() }, path)
        } else if hosts.len() == 1 {
            (Servers::One(hosts.swap_remove(0)), path)
        } else {
            (Servers::Cluster { nodes: hosts }, path)
        };
        let database = database(path.trim_end_matches('/')).ok_or_else(|| {
            refuse("What stands behind the hosts must be the number of a database, e.g. /0, or nothing.")
        })?;
        if database != 0 && matches!(servers, Servers::Cluster { .. }) {
            return Err(format!(
                "Several hosts are a Redis Cluster, which has the database 0 alone. Leave out /{database}, or name one host."
            ));
        }
        Ok(Self { servers, is_tls, database, text: text.to_owned() })
    }
}

fn database(text: &str) -> Option<u16> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

/// A host with its port, or the scheme's.
fn address(text: &str, default_port: u16) -> Result<Address, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("The address of a host begins with a bracket and ends with none.")?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let is_ipv6 = text.starts_with('[');
    let fits = if is_ipv6 {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if !fits {
        return Err("A host is missing, or is neither a name nor an IP address (IPv6 stands in brackets).".to_owned());
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("A port must be a number from 1 to 65535.")?,
        None => return Err("Behind the bracket of an IPv6 address only a port may stand.".to_owned()),
    };
    Ok(Address { host: host.to_owned(), port })
}

impl Shown for StoreUrl {
    fn shown(&self) -> Value {
        self.text.as_str().into()
    }
}
