#![doc = include_str!("../ARCHITECTURE.md")]

pub mod clock;
pub mod descriptors;
pub mod shutdown;

pub mod assignment;
pub mod pusher;
pub mod rate;
pub mod rules;

pub mod audience;
pub mod broker;
pub mod gateway;
pub mod upstream;

pub mod admin;
pub mod decisions;
pub mod metrics;
pub mod report;

pub mod config;
pub mod log;
pub mod server;
pub mod tls;
