//! Where the demo plays: a Pusher server alone, and one behind usher.

use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use http::Uri;
use usher::config::{Config, Sources};
use usher::pusher::App;
use usher::server::{self, Running};

use super::plain::Plain;
use crate::command::credentials::{DEMO_ID, DEMO_KEY, DEMO_SECRET};

/// A Pusher host: where a backend triggers and where guests connect.
#[derive(Debug)]
pub(super) struct House {
    /// For the HTTP API.
    pub(super) api: Uri,
    /// For WebSockets.
    pub(super) sockets: Uri,
}

/// The two houses, and what runs in them.
#[derive(Debug)]
pub(super) struct Stage {
    /// A Pusher server.
    pub(super) without: House,
    /// usher before another one.
    pub(super) with: House,
    alone: Plain,
    behind: Plain,
    usher: Running,
}

impl Stage {
    /// Starts everything, on free ports of this machine.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let app = App::new(DEMO_ID, DEMO_KEY, DEMO_SECRET);
        let (alone, behind) = (Plain::start(&app).await?, Plain::start(&app).await?);
        // usher as it is without any configuration: its demo app, and the rule for announcements.
        let sources = Sources { flags: flags(behind.address()), ..Sources::default() };
        let config = Config::load(&sources).map_err(|problems| anyhow!("the demo's configuration cannot be used: {problems}"))?;
        let usher = server::start(config, sources, None).await.context("usher does not start")?;
        let without = House::at(alone.address(), alone.address())?;
        let with = House::at(usher.listening().gateway, behind.address())?;
        Ok(Self { without, with, alone, behind, usher })
    }

    /// Ends everything.
    pub(super) async fn clear(self) {
        self.usher.drain().await;
        self.alone.end().await;
        self.behind.end().await;
    }
}

impl House {
    fn at(api: SocketAddr, sockets: SocketAddr) -> anyhow::Result<Self> {
        let uri = |scheme: &str, address: SocketAddr| format!("{scheme}://{address}").parse().context("an address makes no URL");
        Ok(Self { api: uri("http", api)?, sockets: uri("ws", sockets)? })
    }
}

fn flags(upstream: SocketAddr) -> Vec<(String, String)> {
    let nowhere = "127.0.0.1:0".to_owned();
    let upstream = format!("http://{upstream}");
    [
        ("server.listen", nowhere.clone()),
        ("admin.listen", nowhere),
        ("upstream.url", upstream),
        ("server.workers", "1".to_owned()),
        ("server.drain_period", "2s".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}
