//! Real `redis-server` processes: a primary, and a replica if wanted.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::address::own_address;
use super::{Setup, eventually};

/// The file in which a server saves its data.
const FILE: &str = "dump.rdb";

/// How long a server takes to answer.
pub fn answers_after(server: SocketAddr) -> io::Result<Duration> {
    let asked = Instant::now();
    call(server, &["PING"])?;
    Ok(asked.elapsed())
}

/// A server on an address of its own, which another process takes over when it is started again: no server of another
/// test can come to a port that is free meanwhile. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl Redis {
    /// Starts one without data, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        // A server that is bound to all addresses may have the port: then this one ends, and another address is tried.
        eventually("redis-server starts", || {
            let directory = tempfile::tempdir().unwrap();
            let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
            let mut server = Self { address, process: spawn(address, &directory, arguments), directory };
            server.answers().then_some(server)
        })
    }

    /// The section `[cluster]` for a node, and more keys.
    pub fn share(&self, setup: &mut Setup, node: &str, more: &str) {
        (setup.timeout, setup.doubt_period) = ("2s", "3s");
        setup.upstream = setup.upstream.replace("connect_timeout = \"10s\"", "connect_timeout = \"1s\"");
        setup.more += &format!("[cluster]\nredis_url = \"redis://{}\"\nnode = {node:?}\n{more}\n", self.address());
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn kill(&mut self) {
        let _gone = self.process.kill();
        self.process.wait().unwrap();
    }

    /// Starts another one in its place, with the data that was saved last or without.
    pub fn start_again(&mut self, has_data: bool) {
        if !has_data {
            let _none = fs::remove_file(self.directory.path().join(FILE));
        }
        eventually("redis-server starts again", || {
            self.process = spawn(self.address, &self.directory, &[]);
            self.answers().then_some(())
        });
    }

    /// Halts it, or lets it go on.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(name).arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success(), "kill {name} failed");
    }

    /// The answer to a command, as it comes. A server that changes its role closes connections: it is asked again.
    pub fn command(&self, words: &[&str]) -> String {
        eventually("Redis answers a command", || call(self.address(), words).ok())
    }

    /// The same without waiting for the answer.
    pub fn begin(&self, words: &[&str]) {
        send(self.address(), words).unwrap();
    }

    /// Makes it a replica, and waits until it has the primary's data.
    pub fn follow(&self, primary: SocketAddr) {
        self.command(&["REPLICAOF", &primary.ip().to_string(), &primary.port().to_string()]);
        eventually("the replica follows", || {
            self.command(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
    }

    /// Whether it answers, as soon as it does.
    fn answers(&mut self) -> bool {
        eventually("redis-server answers or ends", || {
            if call(self.address(), &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG")) {
                return Some(true);
            }
            self.process.try_wait().unwrap().map(|_ended| false)
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

fn spawn(address: SocketAddr, directory: &TempDir, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--replica-announce-ip", &address.ip().to_string(), "--protected-mode", "no"])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--repl-diskless-sync-delay", "0", "--enable-debug-command", "local", "--dbfilename", FILE, "--dir"])
        .arg(directory.path())
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; `tests/run` installs it"))
}

fn send(server: SocketAddr, words: &[&str]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

pub fn call(server: SocketAddr, words: &[&str]) -> io::Result<String> {
    let mut stream = send(server, words)?;
    let mut answer = vec![0; 64 * 1024];
    let read = stream.read(&mut answer)?;
    answer.truncate(read);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
