//! usher: a Pusher-compatible realtime gateway that announces an assignment only when it changes.

pub mod admin;
pub mod assignment;
pub mod clock;
pub mod config;
pub mod decisions;
pub mod gateway;
pub mod metrics;
pub mod pusher;
pub mod rules;
pub mod server;
pub mod shutdown;
pub mod tls;
pub mod upstream;
