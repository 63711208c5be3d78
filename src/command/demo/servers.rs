//! The servers of the demo: a Pusher server alone, and usher with its embedded broker.

use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use http::Uri;
use usher::config::{Config, Sources};
use usher::pusher::App;
use usher::server::{self, Running};
use usher::service_manager::PassedSockets;

use super::standalone::StandaloneBroker;
use crate::command::credentials::{DEMO_ID, DEMO_KEY, DEMO_SECRET};

/// The URLs of a Pusher host.
#[derive(Debug)]
pub(super) struct PusherHost {
    /// For the HTTP API.
    pub(super) api: Uri,
    /// For WebSockets.
    pub(super) sockets: Uri,
}

/// The two hosts and their servers.
#[derive(Debug)]
pub(super) struct Servers {
    /// A Pusher server.
    pub(super) without: PusherHost,
    /// usher, with a broker of the same kind.
    pub(super) with: PusherHost,
    standalone: StandaloneBroker,
    usher: Running,
}

impl Servers {
    /// Starts everything, on free ports of this machine.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let app = App::new(DEMO_ID, DEMO_KEY, DEMO_SECRET);
        let standalone = StandaloneBroker::start(&app).await?;
        // The configuration without a file: the demo app, the embedded broker, and the rule for announcements.
        let sources = Sources { flags: flags(), ..Sources::default() };
        let config = Config::load(&sources)
            .map_err(|problems| anyhow!("the demo's configuration cannot be used: {problems}"))?;
        let usher = server::start(config, sources, None, PassedSockets::default()).context("usher does not start")?;
        let (without, with) = (PusherHost::at(standalone.address())?, PusherHost::at(usher.listening().gateway)?);
        Ok(Self { without, with, standalone, usher })
    }

    /// Ends everything.
    pub(super) async fn stop(self) {
        self.usher.drain().await;
        self.standalone.stop().await;
    }
}

impl PusherHost {
    fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let uri = |scheme: &str| format!("{scheme}://{address}").parse().context("an address makes no URL");
        Ok(Self { api: uri("http")?, sockets: uri("ws")? })
    }
}

fn flags() -> Vec<(String, String)> {
    [
        ("server.listen", "127.0.0.1:0"),
        ("admin.listen", "127.0.0.1:0"),
        ("server.workers", "1"),
        ("server.drain_period", "2s"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}
