//! usher is a gateway for the Pusher protocol that drops announcements which change nothing. Its modules, in reading
//! order; below the map is ARCHITECTURE.md.
//!
//! | module | what it is for |
//! |---|---|
//! | [`pusher`] | the protocol: apps, signatures, channels, triggers; no I/O, no clock |
//! | [`rules`] | what is compared: from an event and a channel to an assignment |
//! | [`assignment`] | the memory: what each channel is known to show, and what is in flight or in doubt there |
//! | [`cluster`] | the store that several processes share: scripts, records and the connection |
//! | [`state`] | the directory where the memory outlives a clean stop |
//! | [`gateway`] | a request's way: receive, verify, decide, forward, settle, answer; WebSocket relay; everything else |
//! | [`upstream`] | connections to the server behind usher, or to the embedded broker |
//! | [`rate`] | rate limits by app, channel and client address |
//! | [`broker`] | the embedded Pusher server for one machine |
//! | [`webhooks`] | what happens on the broker's channels, told to the apps' backends by HTTP |
//! | [`audience`] | who is subscribed to a channel, for the report |
//! | [`replay`] | what a client is handed that subscribes late: the last announcement of its channel |
//! | [`decision`] | what is decided on an event, and the codes of the reasons |
//! | [`triggers`] | the records of the last triggers |
//! | [`recording`] | the form of recorded triggers, as JSON lines |
//! | [`simulation`] | decisions on triggers of the past, or made up, with scripted outcomes and a virtual time; tests of rules |
//! | [`discovery`] | what comes, before there is a rule for it, and which rules that suggests |
//! | [`report`] | what dropping saves, and which events are misplaced |
//! | [`metrics`] | every series in one struct |
//! | [`admin`] | the operator's listener and its page |
//! | [`config`] | configuration from defaults, file, environment and flags |
//! | [`server`] | listeners, worker threads, signals, reload, drain: puts all others together |
//! | [`tls`] | certificates on both sides |
//! | [`log`] | log lines that delay no request |
//! | [`clock`] | moments, the time of day, timers |
//! | [`descriptors`] | file descriptors: the limit, and how many connections fit |
//! | [`service_manager`] | sockets that the service manager passes, and notifications to it |
//! | [`shutdown`] | the phases of a process's end, and the owner of all tasks |
//!
//! The commands of the binary are in `src/command`.
#![doc = include_str!("../ARCHITECTURE.md")]

pub mod clock;
pub mod descriptors;
pub mod service_manager;
pub mod shutdown;

pub mod assignment;
pub mod cluster;
pub mod pusher;
pub mod rate;
pub mod rules;
pub mod state;

pub mod audience;
pub mod broker;
pub mod gateway;
pub mod replay;
pub mod upstream;
pub mod webhooks;

pub mod admin;
pub mod decision;
pub mod discovery;
pub mod metrics;
pub mod recording;
pub mod report;
pub mod triggers;

pub mod config;
pub mod log;
pub mod server;
pub mod simulation;
pub mod tls;
