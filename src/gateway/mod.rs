//! The way through. (Stub: being built.)

use std::time::Duration;

/// Limits on everything from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head in bytes (431 beyond).
    pub max_head: usize,
    /// Most header lines (431 beyond).
    pub max_headers: usize,
    /// Longest request target in bytes (414 beyond).
    pub max_target: usize,
    /// Largest request body in bytes (413 beyond).
    pub max_body: usize,
    /// To receive a head.
    pub head_timeout: Duration,
    /// To receive a body.
    pub body_timeout: Duration,
    /// Between two requests of a kept connection.
    pub idle_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Requests in flight at once (503 beyond).
    pub max_requests: usize,
    /// How long a duplicate waits for the announcement in flight before it is forwarded itself.
    pub max_wait: Duration,
}

/// What becomes of a trigger for an app that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownApps {
    /// 404 with a clear text.
    #[default]
    Reject,
    /// Forwarded untouched; upstream knows its apps.
    Forward,
}
