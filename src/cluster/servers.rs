//! Which servers the store is on, and what a process is to them.

use std::fmt;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Its name or IP address, without the brackets of IPv6.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// On one server, always the same.
    One(Address),
    /// On the primary that Sentinels name, which a failover changes.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<Address>,
        /// The name under which they watch the primary (`sentinel monitor <name> …`).
        primary: String,
    },
    /// On a Redis Cluster: each app on the node that owns its slot.
    Cluster {
        /// Some of the nodes: any of them knows the others.
        nodes: Vec<Address>,
    },
}

/// As whom a process logs in, and to which database. The password is masked in `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// The ACL user; `None`: the user `default`.
    pub username: Option<String>,
    /// Its password; `None`: it needs none.
    pub password: Option<String>,
    /// The number of the database; in a Redis Cluster only 0 exists.
    pub database: u16,
}

/// What becomes of the announcements of a process that was away from the store for so long that the others may have
/// given it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolated {
    /// They are forwarded: no message is lost, but from then on a handoff could be, if the others do have the store.
    #[default]
    Forward,
    /// Every trigger is refused.
    Refuse,
}

impl Isolated {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Servers {
    /// Whether another server may take the place of the one in use.
    #[must_use]
    pub const fn fail_over(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Sentinel { .. } | Self::Cluster { .. } => true,
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "MASKED"))
            .field("database", &self.database)
            .finish()
    }
}
