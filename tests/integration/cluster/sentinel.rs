//! Three real Sentinels, which watch a primary and its replica.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::redis::call;

/// The name of the primary.
pub const NAME: &str = "memory";

const COUNT: usize = 3;

/// The Sentinels. Killed when dropped.
#[derive(Debug)]
pub struct Sentinels {
    ports: Vec<u16>,
    processes: Vec<Child>,
    _directory: TempDir,
}

impl Sentinels {
    /// Starts them, and waits until each knows the others and the replica.
    pub fn start(primary: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut sentinels = Self { ports: Vec::new(), processes: Vec::new(), _directory: directory };
        for number in 0..COUNT {
            let config = sentinels._directory.path().join(format!("{number}.conf"));
            let (port, process) = eventually("a Sentinel starts", || start(&config, primary));
            sentinels.processes.push(process);
            sentinels.ports.push(port);
        }
        eventually("the Sentinels know each other and the replica", || {
            sentinels.ports.iter().all(|port| knows_all(*port)).then_some(())
        });
        sentinels
    }

    /// The address of the store for usher.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// The primary, once all of them name the same.
    pub fn primary(&self) -> Option<SocketAddr> {
        let mut named = self.ports.iter().map(|port| {
            let answer =
                call(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])
                    .ok()?;
            let lines: Vec<&str> = answer.split("\r\n").collect();
            Some(SocketAddr::new(lines.get(2)?.parse().ok()?, lines.get(4)?.parse().ok()?))
        });
        let first = named.next()??;
        named.all(|other| other == Some(first)).then_some(first)
    }

    /// Waits until all of them name another primary than this one.
    pub fn await_other(&self, primary: SocketAddr) {
        let promoted = || self.primary().filter(|named| *named != primary);
        eventually("the Sentinels promote the replica", || promoted().map(|_other| ()));
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _gone = process.kill();
            let _status = process.wait();
        }
    }
}

/// Starts one, and waits until it answers. `None`: another process took the port in between, so it has ended.
fn start(config: &Path, primary: SocketAddr) -> Option<(u16, Child)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} {} {} 2\nsentinel down-after-milliseconds {NAME} 400\n\
         sentinel failover-timeout {NAME} 1500\n",
        primary.ip(),
        primary.port()
    );
    std::fs::write(config, text).unwrap();
    let process = Command::new("redis-sentinel").arg(config).stdout(Stdio::null()).spawn();
    let mut process = process.unwrap_or_else(|error| panic!("redis-sentinel: {error}"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("a Sentinel answers or ends", || match process.try_wait().unwrap() {
        Some(_ended) => Some(false),
        None => call(address, &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG")).then_some(true),
    })
    .then_some((port, process))
}

fn knows_all(port: u16) -> bool {
    let Ok(answer) = call(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &["SENTINEL", "MASTER", NAME]) else {
        return false;
    };
    let lines: Vec<&str> = answer.split("\r\n").collect();
    let value = |key: &str| {
        let at = lines.iter().position(|line| *line == key)?;
        lines.get(at + 2)?.parse::<usize>().ok()
    };
    value("num-other-sentinels") == Some(COUNT - 1) && value("num-slaves") == Some(1)
}
