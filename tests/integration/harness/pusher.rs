//! Pusher servers that share no code with usher, as its upstream.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::actor::{Actor, node};
use super::{eventually, sign};

/// A running server. Ended when dropped.
#[derive(Debug)]
pub struct Pusher {
    server: Server,
    port: u16,
}

#[derive(Debug)]
enum Server {
    /// tests/clients/node/server.mjs.
    Small(Actor),
    /// A production server.
    Grown(Child),
}

impl Pusher {
    /// The tests' own small one on Node's ws.
    pub fn small() -> Self {
        Self::small_with(&json!({ "appId": sign::APP, "key": sign::KEY, "secret": sign::SECRET }))
    }

    /// The same as a server that sends every frame back.
    pub fn echo() -> Self {
        Self::small_with(&json!({ "echo": true, "key": sign::KEY }))
    }

    fn small_with(settings: &Value) -> Self {
        let mut command = node("server.mjs");
        command.arg(settings.to_string());
        let actor = Actor::start(command);
        let port = actor.wait("its port", |report| report["listening"].is_u64())["listening"].as_u64().unwrap();
        Self { server: Server::Small(actor), port: port.try_into().unwrap() }
    }

    /// A program whose port `configure` sets.
    pub fn grown(program: &str, configure: impl FnOnce(&mut Command, &str)) -> Self {
        // The port may be taken in between, but these programs cannot choose one themselves.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        configure(&mut command, &port.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server =
            Self { server: Server::Grown(child.unwrap_or_else(|error| panic!("{program}: {error}"))), port };
        eventually("the server listens", || {
            if let Server::Grown(child) = &mut server.server {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{program} ended at once: {ended:?}");
            }
            TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()
        });
        server
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The state and the commands of the small server.
    pub fn actor(&self) -> &Actor {
        let Server::Small(actor) = &self.server else { panic!("only the tests' own server reports") };
        actor
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        if let Server::Grown(child) = &mut self.server {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
