//! Single requests beside the measurement, one after the other on one blocking connection: making channels known,
//! asking the stub for its count.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::answer::Answer;
use crate::stub;

/// For one answer.
const BOUND: Duration = Duration::from_secs(10);

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A blocking connection.
pub(crate) struct Errand {
    stream: Box<dyn Stream>,
    inbox: Vec<u8>,
}

impl Errand {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let tcp =
            TcpStream::connect_timeout(&address, BOUND).with_context(|| format!("nobody listens on {address}"))?;
        tcp.set_read_timeout(Some(BOUND))?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), server_name(address.ip()))?, tcp))
            }
        };
        Ok(Self { stream, inbox: Vec::new() })
    }

    /// The body of the answer, which has to be 200.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<String> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut chunk = [0; 4096];
        loop {
            if let Some(answer) = Answer::read(&self.inbox)? {
                let bytes: Vec<u8> = self.inbox.drain(..answer.length).collect();
                let text = String::from_utf8_lossy(&bytes);
                ensure!(answer.status == 200, "answered: {text}");
                return Ok(text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned());
            }
            match self.stream.read(&mut chunk)? {
                0 => bail!("the connection was closed before the answer"),
                count => self.inbox.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// How many requests the stub has seen.
    pub(crate) fn count(&mut self) -> Result<u64> {
        self.number(stub::COUNT)
    }

    /// How many bytes of frames the stub has received on the WebSocket connections of a lane.
    pub(crate) fn received(&mut self, lane: usize) -> Result<u64> {
        self.number(&format!("{}{lane}", stub::RECEIVED))
    }

    fn number(&mut self, path: &str) -> Result<u64> {
        let number = self.ask(format!("GET {path} HTTP/1.1\r\nHost: stub\r\n\r\n").as_bytes())?;
        number.parse().context("the stub's count is no number")
    }
}

/// The name of an address in certificates.
pub(crate) fn server_name(ip: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(ip.into())
}
