//! A real `redis-server`, and ushers that share it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Setup, eventually};

/// A server without persistence. Killed when dropped.
#[derive(Debug)]
pub struct Store {
    port: u16,
    process: Child,
}

impl Store {
    /// Starts one, and waits until it answers.
    pub fn start() -> Self {
        // Another process may take the port in between: then the server ends, and another port is tried.
        eventually("redis-server starts", || {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let process = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--dir", "/tmp"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("redis-server: {error}; `tests/run` installs it"));
            let mut store = Self { port, process };
            store.answers().then_some(store)
        })
    }

    /// Halts it (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name} failed");
    }

    /// The section `[cluster]` for a node, and more keys.
    pub fn share(&self, setup: &mut Setup, node: &str, more: &str) {
        (setup.timeout, setup.doubt_period) = ("2s", "3s");
        setup.upstream = setup.upstream.replace("connect_timeout = \"10s\"", "connect_timeout = \"1s\"");
        setup.more += &format!("[cluster]\nredis_url = \"redis://127.0.0.1:{}\"\nnode = {node:?}\n{more}\n", self.port);
    }

    fn answers(&mut self) -> bool {
        eventually("redis-server answers or ends", || {
            if call(self.port, &["PING"]).is_ok_and(|answer| answer.starts_with("+PONG")) {
                return Some(true);
            }
            self.process.try_wait().unwrap().map(|_ended| false)
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

fn call(port: u16, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 4_096];
    let read = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}
