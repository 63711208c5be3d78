//! The typed configuration. (Stub: the room is being built.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::pusher::App;
use crate::rules::Rule;
use crate::{assignment, gateway, tls, upstream};

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[upstream]`.
    pub upstream: upstream::Options,
    /// `[limits]`.
    pub limits: gateway::Limits,
    /// `[assignments]`.
    pub assignments: assignment::Bounds,
    /// `[log]`.
    pub log: Log,
    /// `[[apps]]`.
    pub apps: Vec<App>,
    /// `[[rules]]`.
    pub rules: Vec<Rule>,
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// What becomes of triggers for unknown apps.
    pub unknown_apps: gateway::UnknownApps,
    /// How long draining may take.
    pub drain_period: Duration,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<tls::Files>,
}

/// The operator's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token: needed where `listen` is not loopback, and for calls that change something.
    pub token: Option<Token>,
    /// How many decisions are kept.
    pub decisions: usize,
}

/// The admin token; masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MASKED")
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A level or a `tracing` filter, e.g. `info` or `usher=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the configuration comes from; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `None`: defaults alone.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: Vec<(String, String)>,
    /// Flags, as dotted keys and values, e.g. (`upstream.url`, `http://127.0.0.1:6002`).
    pub flags: Vec<(String, String)>,
}
