//! The servers under measurement: processes of their own, whose CPU time and memory are the kernel's accounting.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{BARE, BOUND, bare};

/// The usher that was built together with this.
const OWN: &str = env!("CARGO_BIN_EXE_usher");

/// A server under measurement; ended when dropped.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    child: Child,
    /// The upstream server, if it is a relay.
    _behind: Option<Box<Self>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Server {
    /// usher with its embedded broker.
    pub(crate) fn usher() -> Self {
        Self::start("usher", usher(OWN), None)
    }

    /// Another usher, by the path of its binary.
    pub(crate) fn usher_at(path: &str) -> Self {
        Self::start(path, usher(path), None)
    }

    /// usher as a relay with another usher as upstream.
    pub(crate) fn relay() -> Self {
        let behind = Self::usher();
        let mut command = usher(OWN);
        command.args(["--upstream", &format!("http://{}", behind.address)]);
        Self::start("usher, relaying", command, Some(Box::new(behind)))
    }

    /// The same bytes to the same sockets by a bare loop: the kernel's cost, which every server has.
    pub(crate) fn bare() -> Self {
        Self::start(BARE, Command::new(std::env::current_exe().unwrap()), None)
    }

    /// Another server, if the variable names its binary.
    pub(crate) fn other(name: &str, variable: &str) -> Option<Self> {
        let Some(binary) = std::env::var_os(variable) else {
            println!("{name}: left out, {variable} names no binary");
            return None;
        };
        let mut command = Command::new(binary);
        for prefix in ["SOCKUDO_DEFAULT_APP", "PUSHER_DEFAULT_APP"] {
            command
                .env(format!("{prefix}_ID"), "1001")
                .env(format!("{prefix}_KEY"), "usher-key")
                .env(format!("{prefix}_SECRET"), "usher-secret");
        }
        command
            .env("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "100000")
            .env("RATE_LIMITER_ENABLED", "false")
            .env("METRICS_ENABLED", "false");
        Some(Self::start(name, command, None))
    }

    /// Sets the port in the way that each of them expects.
    fn start(name: &str, mut command: Command, behind: Option<Box<Self>>) -> Self {
        let port = free_port();
        command.env(bare::PORT, port.to_string()).env("USHER_SERVER__LISTEN", format!("127.0.0.1:{port}"));
        for prefix in ["", "PUSHER_"] {
            command.env(format!("{prefix}PORT"), port.to_string()).env(format!("{prefix}HOST"), "127.0.0.1");
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { name: name.to_owned(), child, address: SocketAddr::from(([127, 0, 0, 1], port)), _behind: behind }
    }

    /// Waits until it accepts connections.
    pub(crate) async fn wait(&self) {
        let until = Instant::now() + BOUND;
        while TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < until, "{} does not listen on {}", self.name, self.address);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// CPU seconds so far: in user space, and in the kernel.
    pub(crate) fn cpu(&self) -> [f64; 2] {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime are fields 14 and 15, in ticks of 1/100 s on every Linux that this runs on.
        [11, 12].map(|field: usize| fields[field].parse::<f64>().unwrap() / 100.0)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    }
}

fn usher(binary: &str) -> Command {
    let mut command = Command::new(binary);
    command.args(["--set", &format!("admin.listen=127.0.0.1:{}", free_port())]);
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
