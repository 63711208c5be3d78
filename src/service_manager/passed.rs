//! Sockets that the service manager opened and passes (sd_listen_fds(3)), told apart by their names.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The number of the first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST_DESCRIPTOR: usize = 3;

/// `FileDescriptorName=` of the socket that serves in the place of `server.listen`.
const GATEWAY: &str = "gateway";

/// `FileDescriptorName=` of the socket that serves in the place of `admin.listen`.
const ADMIN: &str = "admin";

/// The listening sockets that were passed.
#[derive(Debug, Default)]
pub struct PassedSockets {
    /// In the place of `server.listen`.
    pub gateway: Option<TcpListener>,
    /// In the place of `admin.listen`.
    pub admin: Option<TcpListener>,
    /// The process that sockets were passed to, if it is another one (`LISTEN_PID`): none is used then.
    pub meant_for: Option<String>,
}

/// Why the sockets that were passed cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassedSocketError {
    /// The number of sockets is not readable.
    #[error(
        "LISTEN_FDS={0:?} is not the number of passed sockets; let the service manager set it, or start usher without it"
    )]
    Count(String),
    /// Sockets without names.
    #[error(
        "{sockets} sockets were passed with {names} names (LISTEN_FDNAMES), and usher tells them apart by their names; \
         set FileDescriptorName=gateway or FileDescriptorName=admin in each .socket unit (systemd-socket-activate: \
         --fdname=gateway:admin)"
    )]
    Names {
        /// How many sockets.
        sockets: usize,
        /// How many names.
        names: usize,
    },
    /// Another name.
    #[error(
        "the passed socket {name:?} (descriptor {descriptor}) is none that usher knows; set FileDescriptorName=gateway \
         or FileDescriptorName=admin in its .socket unit"
    )]
    Unknown {
        /// The socket's name.
        name: String,
        /// The number of its descriptor.
        descriptor: usize,
    },
    /// Several sockets of one name.
    #[error(
        "several sockets named {name:?} were passed, and usher listens on one; leave one ListenStream= in the .socket \
         unit (\"[::]:PORT\" takes IPv4 as well)"
    )]
    Several {
        /// Their name.
        name: &'static str,
    },
    /// Not a TCP socket that listens.
    #[error(
        "the passed socket {name:?} is no TCP socket that listens: {cause}; use ListenStream=ADDRESS:PORT and Accept=no \
         in its .socket unit"
    )]
    Unusable {
        /// The socket's name.
        name: &'static str,
        /// What it is instead, or the system's error.
        cause: String,
    },
}

impl PassedSockets {
    /// Takes the sockets that were passed to this process. They are closed in programs that this process executes, and
    /// `LISTEN_FDS` and `LISTEN_PID` are removed from the environment: call this before there is a second thread.
    ///
    /// # Errors
    /// A socket has no name or an unknown one, two have the same, or one is no TCP socket that listens.
    pub fn take() -> Result<Self, PassedSocketError> {
        let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let plan = Plan::read(
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
        )?;
        let mut passed = ListenFd::from_env();
        let mut taken = Self { meant_for: plan.meant_for, ..Self::default() };
        if let Some(index) = plan.gateway {
            taken.gateway = Some(listener(&mut passed, GATEWAY, index)?);
        }
        if let Some(index) = plan.admin {
            taken.admin = Some(listener(&mut passed, ADMIN, index)?);
        }
        Ok(taken)
    }
}

/// Takes the socket with this `index` and checks that it listens.
fn listener(passed: &mut ListenFd, name: &'static str, index: usize) -> Result<TcpListener, PassedSocketError> {
    let unusable = |cause: String| PassedSocketError::Unusable { name, cause };
    let taken = passed.take_tcp_listener(index).map_err(|error| unusable(error.to_string()))?;
    let listener = taken.ok_or_else(|| unusable("it was not passed".to_owned()))?;
    let listens = SockRef::from(&listener).is_listener().map_err(|error| unusable(error.to_string()))?;
    if !listens {
        return Err(unusable("it does not accept connections".to_owned()));
    }
    // tokio never blocks on a socket.
    listener.set_nonblocking(true).map_err(|error| unusable(error.to_string()))?;
    Ok(listener)
}

/// Which of the passed sockets is which, counted from 0.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    gateway: Option<usize>,
    admin: Option<usize>,
    meant_for: Option<String>,
}

impl Plan {
    /// From the values of `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`.
    fn read(count: Option<&str>, process: Option<&str>, names: Option<&str>) -> Result<Self, PassedSocketError> {
        let Some(count) = count.filter(|count| !count.is_empty()) else { return Ok(Self::default()) };
        let sockets: usize = count.parse().map_err(|_| PassedSocketError::Count(count.to_owned()))?;
        let own = std::process::id().to_string();
        if let Some(other) = process.filter(|process| !process.is_empty() && *process != own) {
            return Ok(Self { meant_for: Some(other.to_owned()), ..Self::default() });
        }
        let names: Vec<&str> =
            names.filter(|names| !names.is_empty()).map_or_else(Vec::new, |names| names.split(':').collect());
        if names.len() != sockets {
            return Err(PassedSocketError::Names { sockets, names: names.len() });
        }
        let mut plan = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let (slot, name) = match name {
                GATEWAY => (&mut plan.gateway, GATEWAY),
                ADMIN => (&mut plan.admin, ADMIN),
                other => {
                    let (name, descriptor) = (other.to_owned(), FIRST_DESCRIPTOR + index);
                    return Err(PassedSocketError::Unknown { name, descriptor });
                }
            };
            if slot.replace(index).is_some() {
                return Err(PassedSocketError::Several { name });
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: &str, names: &str) -> Result<Plan, PassedSocketError> {
        Plan::read(Some(count), Some(&std::process::id().to_string()), Some(names))
    }

    #[test]
    fn names_say_which_socket_is_which() {
        let plan = |gateway, admin| Ok(Plan { gateway, admin, meant_for: None });
        assert_eq!(read("2", "gateway:admin"), plan(Some(0), Some(1)));
        assert_eq!(read("2", "admin:gateway"), plan(Some(1), Some(0)));
        assert_eq!(read("1", "admin"), plan(None, Some(0)));
        assert_eq!(read("0", ""), plan(None, None));
        assert_eq!(Plan::read(None, None, Some("gateway")), plan(None, None));
        assert_eq!(Plan::read(Some(""), Some(""), None), plan(None, None));
        assert_eq!(Plan::read(Some("1"), None, Some("gateway")), plan(Some(0), None), "nobody is named");
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        let other = Plan { meant_for: Some("1".to_owned()), ..Plan::default() };
        assert_eq!(Plan::read(Some("1"), Some("1"), Some("gateway")), Ok(other));
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let message = |count: &str, names: &str| read(count, names).unwrap_err().to_string();
        assert!(message("many", "gateway").starts_with("LISTEN_FDS=\"many\" is not the number"));
        assert!(message("-1", "gateway").starts_with("LISTEN_FDS=\"-1\" is not the number"));
        for (count, names) in [("1", ""), ("2", "gateway"), ("1", "gateway:admin"), ("18446744073709551615", "gateway")]
        {
            let refused = read(count, names);
            assert!(matches!(refused, Err(PassedSocketError::Names { .. })), "{count} {names}: {refused:?}");
        }
        assert!(message("2", "gateway").contains("FileDescriptorName=gateway"));
        let unknown = PassedSocketError::Unknown { name: "usher.socket".to_owned(), descriptor: 4 };
        assert_eq!(read("2", "gateway:usher.socket"), Err(unknown));
        assert_eq!(read("2", "gateway:gateway"), Err(PassedSocketError::Several { name: GATEWAY }));
        assert_eq!(read("3", "gateway:admin:admin"), Err(PassedSocketError::Several { name: ADMIN }));
    }
}
