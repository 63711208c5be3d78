//! What keeps a process from the store, with what to do about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use redis::RedisError;

use super::servers::Address;
use super::version::Version;
use crate::tls::cause;

/// Why there is no connection to the store, or why it is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No connection.
    Unreachable {
        /// The server.
        server: Address,
        /// Why.
        cause: String,
    },
    /// No answer.
    TimedOut {
        /// The server.
        server: Address,
        /// The period.
        period: Duration,
    },
    /// No connection with TLS.
    Tls {
        /// The server.
        server: Address,
        /// Why.
        cause: String,
    },
    /// It asks for a password.
    LoginNeeded {
        /// The server.
        server: Address,
    },
    /// It does not take the login.
    LoginRefused {
        /// The server.
        server: Address,
        /// What it says.
        answer: String,
    },
    /// The user may not do what is needed.
    NotPermitted {
        /// The server.
        server: Address,
        /// The command, in upper case.
        command: String,
        /// What it says.
        answer: String,
    },
    /// Its scripts would not be refused on a replica.
    TooOld {
        /// The server.
        server: Address,
        /// Its version.
        found: Version,
    },
    /// There is no such database.
    Database {
        /// The server.
        server: Address,
        /// The number.
        database: u16,
        /// What it says.
        answer: String,
    },
    /// It is another kind of server than the address says.
    Mode {
        /// The server.
        server: Address,
        /// What it is (`redis_mode`).
        found: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// A Sentinel does not know the primary.
    UnknownPrimary {
        /// The Sentinel.
        sentinel: Address,
        /// The name.
        primary: String,
    },
    /// A failover is not over.
    NoPrimary {
        /// The server.
        server: Address,
    },
    /// Nobody has the slot.
    NoOwner {
        /// The node that was asked.
        server: Address,
        /// The slot.
        slot: u16,
    },
    /// Anything else.
    Answer {
        /// The server.
        server: Address,
        /// The command, in upper case.
        command: String,
        /// What it says.
        answer: String,
    },
}

impl Problem {
    /// What is wrong.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Unreachable { server, cause } => format!("{server} cannot be reached: {cause}"),
            Self::TimedOut { server, period } => {
                format!("{server} does not answer within {period:?} (`cluster.timeout`)")
            }
            Self::Tls { server, cause } => format!("TLS with {server} fails: {cause}"),
            Self::LoginNeeded { server } => format!("{server} asks for a password"),
            Self::LoginRefused { server, answer } => format!("{server} refuses the login: {answer}"),
            Self::NotPermitted { server, command, answer } => format!("{server} does not permit {command}: {answer}"),
            Self::TooOld { server, found } => {
                format!("{server} is {found}, which is too old: its replicas would not refuse the scripts")
            }
            Self::Database { server, database, answer } => {
                format!("{server} does not have database {database}: {answer}")
            }
            Self::Mode { server, found, expected } => format!("{server} is {found}, not {expected}"),
            Self::UnknownPrimary { sentinel, primary } => {
                format!("the Sentinel {sentinel} watches no primary called \"{primary}\"")
            }
            Self::NoPrimary { server } => format!("{server} is named as primary and is none"),
            Self::NoOwner { server, slot } => {
                format!("no node of the Redis Cluster has slot {slot}, as {server} sees it")
            }
            Self::Answer { server, command, answer } => format!("{server} answers {command} with {answer}"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check that it runs, and that `cluster.redis_url` names it (with TLS as rediss://)"
            }
            Self::TimedOut { .. } => {
                "it or the network is slow or halted, or it speaks TLS and `cluster.redis_url` (rediss://) does not, or the other way round"
            }
            Self::Tls { .. } => {
                "`cluster.ca_file` has to have the authority of its certificate, which has to be for this host, and the port has to be the one for TLS"
            }
            Self::LoginNeeded { .. } => {
                "set USHER_CLUSTER__PASSWORD or `cluster.password_file`, and `cluster.username` for an ACL user"
            }
            Self::LoginRefused { .. } => "check `cluster.username` and the password, and the user in the server's ACL",
            Self::NotPermitted { .. } => "give the user the rights that docs/cluster.md lists (ACL SETUSER)",
            Self::TooOld { .. } => "Redis 7.0 or Valkey 7.2 is needed",
            Self::Database { .. } => "name another one behind the host in `cluster.redis_url`, or none",
            Self::Mode { found, .. } => match found.as_str() {
                "cluster" => {
                    "write several of its nodes in `cluster.redis_url`, separated by commas (the same name twice if all have one)"
                }
                "sentinel" => "write redis+sentinel://<Sentinels>/<name of the primary> in `cluster.redis_url`",
                _ => "write it alone in `cluster.redis_url`",
            },
            Self::UnknownPrimary { .. } => {
                "mend the name at the end of `cluster.redis_url` (SENTINEL MASTERS lists them)"
            }
            Self::NoPrimary { .. } => "a failover may be under way: look again in a moment",
            Self::NoOwner { .. } => "assign all slots (CLUSTER ADDSLOTSRANGE), or wait for the failover",
            Self::Answer { .. } => "check that `cluster.redis_url` names a server for this",
        }
    }

    /// Whether it stays until somebody changes something; else it may end by itself.
    #[must_use]
    pub const fn stays(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NoPrimary { .. } | Self::NoOwner { .. } => false,
            Self::Tls { .. }
            | Self::LoginNeeded { .. }
            | Self::LoginRefused { .. }
            | Self::NotPermitted { .. }
            | Self::TooOld { .. }
            | Self::Database { .. }
            | Self::Mode { .. }
            | Self::UnknownPrimary { .. }
            | Self::Answer { .. } => true,
        }
    }

    /// The connection to `server` failed.
    pub(super) fn unreachable(server: &Address, error: &(dyn Error + 'static)) -> Self {
        Self::Unreachable { server: server.clone(), cause: cause(error) }
    }

    /// `server` has not done `command`.
    pub(super) fn answered(server: &Address, command: &str, error: &RedisError) -> Self {
        let server = server.clone();
        if error.is_io_error() {
            return Self::Unreachable { server, cause: "it closes the connection".to_owned() };
        }
        if error.kind() == redis::ErrorKind::Parse {
            let answer = "what is not Redis' protocol".to_owned();
            return Self::Answer { server, command: command.to_owned(), answer };
        }
        let answer = answer(error);
        match error.code() {
            _ if is_not_permitted(error) => Self::NotPermitted { server, command: command.to_owned(), answer },
            Some("NOAUTH") => Self::LoginNeeded { server },
            Some("LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN") => Self::Unreachable { server, cause: answer },
            _ => Self::Answer { server, command: command.to_owned(), answer },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause(), self.cure())
    }
}

impl Error for Problem {}

/// Whether the user lacks a right. Within a script that is an error without a code of its own: the second text is that of
/// Redis 7.0, the first one that of later servers.
pub(super) fn is_not_permitted(error: &RedisError) -> bool {
    let texts = ["ACL failure in script", "The user executing the script can't"];
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| texts.iter().any(|text| detail.contains(text)))
}

/// What the server says, cut to a readable length and without control characters.
pub(super) fn answer(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
