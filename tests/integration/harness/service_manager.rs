//! A service manager of the tests' own: it holds listening sockets and passes them to the processes that it starts, one
//! after the other, as systemd does (sd_listen_fds(3)).

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

use super::Usher;

/// `Backlog=` of deploy/systemd/usher.socket.
const BACKLOG: i32 = 4096;

/// Both sockets, open for as long as this lives.
#[derive(Debug)]
pub struct ServiceManager {
    gateway: TcpListener,
    admin: TcpListener,
}

impl ServiceManager {
    /// Listens on free ports of this machine.
    pub fn new() -> Self {
        Self { gateway: listen(), admin: listen() }
    }

    pub fn gateway(&self) -> SocketAddr {
        self.gateway.local_addr().unwrap()
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.local_addr().unwrap()
    }

    /// Starts usher on both sockets, and waits until it serves.
    pub fn start(&self, toml: &str) -> Usher {
        Usher::start_by(self.command(&[]), toml)
    }

    /// The program with both sockets, and these variables.
    pub fn command(&self, variables: &[(&str, &str)]) -> Command {
        let sockets = [self.gateway.try_clone().unwrap(), self.admin.try_clone().unwrap()];
        let mut command = passing(sockets.map(OwnedFd::from).into(), "gateway:admin", "$$");
        command.envs(variables.iter().copied());
        command
    }
}

/// A socket that listens on a free port of this machine.
pub fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(BACKLOG).unwrap();
    socket.into()
}

/// usher's program, which gets `sockets` (one or two) as its descriptors from 3 on, called `names`, for `process`: `$$`
/// is the program itself. A shell moves them there from standard input and output.
pub fn passing(sockets: Vec<OwnedFd>, names: &str, process: &str) -> Command {
    let count = sockets.len();
    let script = format!(
        "exec 3<&0 4<&1 </dev/null >/dev/null\n\
         export LISTEN_FDS={count} LISTEN_FDNAMES={names} LISTEN_PID={process}\n\
         exec \"$0\" \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_usher")]).env_clear();
    let mut sockets = sockets.into_iter();
    command.stdin(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command
}
