//! A backend with one of Pusher's own server libraries, which also authorizes guests for private rooms.

use serde_json::{Value, json};

use super::actor::{Actor, Refused, node, python};
use super::sign;

/// The key of encrypted channels in the format of both libraries: "the key that usher has no use of" in base64.
const MASTER_KEY: &str = "dGhlIGtleSB0aGF0IHVzaGVyIGhhcyBubyB1c2Ugb2Y=";

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
        let (id, master_key, mut command) = match library {
            Library::Python => ("app_id", "encryption_master_key_base64", python("backend.py")),
            Library::Node => ("appId", "encryptionMasterKeyBase64", node("backend.mjs")),
        };
        let settings =
            json!({ id: sign::APP, "key": sign::KEY, "secret": sign::SECRET, "port": port, master_key: MASTER_KEY });
        command.arg(settings.to_string());
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

    /// The same if the library may raise an exception.
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
