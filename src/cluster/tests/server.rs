//! Real servers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::cluster::{Address, LinkOptions, Login, Servers};
use crate::shutdown::Tasks;

/// A running `redis-server`, ended when it is dropped.
pub(crate) struct Server {
    port: u16,
    process: Child,
    directory: TempDir,
    /// Its further arguments.
    more: Vec<String>,
}

impl Server {
    /// A server without persistence.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        Self::start_in(TempDir::new().expect("a directory"), more)
    }

    /// The same in a directory, in which its files may be.
    pub(crate) fn start_in(directory: TempDir, more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        // Another process may take the port in between: then the server ends, and another port is tried.
        for _ in 0..20 {
            let port = free_port();
            let mut process = spawn(port, &directory, &more);
            if is_ready(port, &mut process) {
                return Self { port, process, directory, more };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("redis-server does not start: is it installed? (tests/run installs it)");
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> Address {
        Address { host: "127.0.0.1".to_owned(), port: self.port }
    }

    pub(crate) fn options(&self) -> LinkOptions {
        LinkOptions {
            servers: Servers::One(self.address()),
            tls: None,
            login: Login::default(),
            key: super::keys().members(),
            timeout: Duration::from_secs(20),
            max_calls: 64,
            max_pause: Duration::from_millis(200),
        }
    }

    /// Kills the server, and starts another one without data on its port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.port, &self.directory, &self.more);
        assert!(is_ready(self.port, &mut self.process), "the port was free a moment ago");
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }

    /// The answer to a command, as it comes.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        command(self.port, words).expect("an answer")
    }

    /// A connection that hears what is published on a channel.
    pub(super) fn subscribe(&self, channel: &[u8]) -> Subscriber {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let channel = String::from_utf8_lossy(channel);
        let request = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut subscriber = Subscriber(stream);
        assert!(subscriber.message().contains("subscribe"));
        subscriber
    }

    /// Whether `INFO replication` says `what`, sooner or later.
    pub(super) fn await_info(&self, what: &str) {
        self.await_answer(&["INFO", "replication"], what);
    }

    /// Whether the answer to a command has `what` in it, sooner or later.
    pub(super) fn await_answer(&self, words: &[&str], what: &str) {
        for _ in 0..2_000 {
            if self.command(words).contains(what) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not say {what} to {words:?}: {}", self.command(words));
    }
}

/// A connection that hears what is published.
pub(super) struct Subscriber(TcpStream);

impl Subscriber {
    /// The next message, as it comes.
    pub(super) fn message(&mut self) -> String {
        let mut answer = vec![0; 4_096];
        let read = self.0.read(&mut answer).expect("a message");
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running `redis-sentinel`, ended when it is dropped.
pub(super) struct Sentinel(Server);

impl Sentinel {
    /// A Sentinel that watches `primary` under the name `main`, takes it for down after 300 ms, and decides alone.
    pub(super) fn start(primary: &Server, more: &str) -> Self {
        for _ in 0..20 {
            let (port, directory) = (free_port(), TempDir::new().expect("a directory"));
            let file = directory.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\n\
                 sentinel failover-timeout main 5000\n{more}\n",
                primary.port
            );
            std::fs::write(&file, text).expect("a file");
            let mut process = Command::new("redis-sentinel")
                .arg(&file)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-sentinel is installed (tests/run installs it)");
            if is_ready(port, &mut process) {
                return Self(Server { port, process, directory, more: Vec::new() });
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("redis-sentinel does not start");
    }

    pub(super) fn address(&self) -> Address {
        self.0.address()
    }

    pub(super) fn await_answer(&self, words: &[&str], what: &str) {
        self.0.await_answer(words, what);
    }
}

/// A server that answers each request as `answers` says, and nothing that it does not name.
pub(super) async fn fake(answers: &'static [(&'static str, &'static str)]) -> Address {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tasks, connections) = (Tasks::default(), Tasks::default());
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut request = String::new();
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    request.push_str(&std::mem::take(&mut line));
                    if let Some((_, answer)) = answers.iter().find(|(name, _)| request.to_uppercase().contains(name)) {
                        request.clear();
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Address { host: "127.0.0.1".to_owned(), port }
}

/// An address that nobody answers at.
pub(crate) fn nobody() -> Address {
    Address { host: "127.0.0.1".to_owned(), port: free_port() }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn spawn(port: u16, directory: &TempDir, more: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--repl-diskless-sync-delay", "0", "--dir"])
        .arg(directory.path())
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (tests/run installs it)")
}

fn is_ready(port: u16, process: &mut Child) -> bool {
    for _ in 0..2_000 {
        if command(port, &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")) {
            return true;
        }
        if process.try_wait().expect("its state").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn command(port: u16, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; 64 * 1024];
    let read = stream.read(&mut answer)?;
    answer.truncate(read);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
