//! A backend with one of Pusher's own server libraries, which also lets guests into private rooms.

use serde_json::{Value, json};

use super::actor::{Actor, Refused, node, python};
use super::sign;

/// Which library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// pusher-http-python.
    Python,
    /// pusher-http-node.
    Node,
}

/// A running backend.
#[derive(Debug)]
pub struct Backend {
    actor: Actor,
    /// The port of its auth endpoint.
    auth: u16,
}

impl Backend {
    /// A backend of the tests' app that talks to this port.
    pub fn start(library: Library, port: u16) -> Self {
        let (id, mut command) = match library {
            Library::Python => ("app_id", python("backend.py")),
            Library::Node => ("appId", node("backend.mjs")),
        };
        command.arg(json!({ id: sign::APP, "key": sign::KEY, "secret": sign::SECRET, "port": port }).to_string());
        let actor = Actor::start(command);
        let auth = actor.wait("its auth endpoint", |report| report["auth"].is_u64())["auth"].as_u64().unwrap();
        Self { actor, auth: auth.try_into().unwrap() }
    }

    pub fn auth(&self) -> u16 {
        self.auth
    }

    /// Calls a method of the library and waits for its value.
    #[track_caller]
    pub fn call(&self, method: &str, with: Value) -> Value {
        self.actor.ask(method, with)
    }

    /// The same where the library may raise.
    #[track_caller]
    pub fn try_call(&self, method: &str, with: Value) -> Result<Value, Refused> {
        self.actor.try_ask(method, with)
    }

    /// Both libraries' `trigger`.
    #[track_caller]
    pub fn trigger(&self, channel: &str, event: &str, data: &Value) {
        self.call("trigger", json!([channel, event, data]));
    }
}
