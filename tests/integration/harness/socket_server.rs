//! The WebSocket side of a fake Pusher server: it sends what a script says and returns what it receives.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

use super::{BOUND, Monitor};

/// The socket id of every connection.
pub const SOCKET_ID: &str = "1234.1234";

/// A server that runs one script for each connection, in order. Further connections are refused.
#[derive(Debug)]
pub struct FakeSocketServer {
    address: SocketAddr,
    ended: Arc<Monitor<usize>>,
}

/// A connection from the server's side.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocket<TcpStream>,
    /// Path and query of the upgrade.
    pub target: String,
}

/// A script for a connection.
pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

impl FakeSocketServer {
    pub fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(Monitor::default());
        let seen = Arc::clone(&ended);
        thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(BOUND)).unwrap();
                let mut peer = Peer::accept(stream);
                script(&mut peer);
                seen.change(|ended| *ended += 1);
            }
        });
        Self { address, ended }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Fails unless this many scripts ran to their end without a panic.
    #[track_caller]
    pub fn assert_played(&self, scripts: usize) {
        let played = self.ended.wait(|ended| (*ended == scripts).then_some(()));
        assert!(played.is_some(), "{} of {scripts} scripts were played to their end", self.ended.lock());
    }
}

impl Peer {
    #[expect(clippy::result_large_err, reason = "the library's own type of callback")]
    fn accept(stream: TcpStream) -> Self {
        let mut target = String::new();
        let note = |request: &Request, response: Response| {
            request.uri().to_string().clone_into(&mut target);
            Ok(response)
        };
        let socket = accept_hdr(stream, note).unwrap();
        Self { socket, target }
    }

    pub fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// Greets as Pusher does.
    pub fn establish(&mut self) {
        let data = json!({ "socket_id": SOCKET_ID, "activity_timeout": 120 }).to_string();
        self.send(&json!({ "event": "pusher:connection_established", "data": data }));
    }

    /// The next text frame.
    pub fn receive(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Receives a subscription and confirms it; returns its data.
    pub fn confirm(&mut self) -> Value {
        let frame = self.receive();
        assert_eq!(frame["event"], "pusher:subscribe", "{frame}");
        self.send(&json!({ "event": "pusher_internal:subscription_succeeded", "channel": frame["data"]["channel"], "data": "{}" }));
        frame["data"].clone()
    }

    /// An event whose data is text.
    pub fn event(&mut self, name: &str, channel: &str, data: &str) {
        self.send(&json!({ "event": name, "channel": channel, "data": data }));
    }

    /// Closes with `code` and waits until the other side has closed.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.to_owned().into() })).unwrap();
        while self.socket.read().is_ok() {}
    }

    /// Waits for the other side's close and returns its code.
    pub fn wait_close(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
