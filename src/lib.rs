//! usher: a Pusher-compatible realtime gateway that announces an assignment only when it changes.

pub mod clock;
pub mod pusher;
pub mod rules;
pub mod assignment;
pub mod upstream;
pub mod gateway;
pub mod decisions;
pub mod admin;
pub mod metrics;
pub mod config;
pub mod shutdown;
pub mod tls;
pub mod server;
