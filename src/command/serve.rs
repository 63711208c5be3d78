//! `usher serve`: the gateway, until a signal ends it.

use std::process::ExitCode;

use anyhow::Context;
use usher::config::{Config, LogFormat};
use usher::log::Logging;
use usher::server;

use super::block_on;
use super::configuration::{Configuration, EX_CONFIG};
use super::terminal::{print, say_error};

/// Serves to the end of the drain.
///
/// # Errors
/// If it cannot start.
pub(super) fn run(configuration: Configuration) -> anyhow::Result<ExitCode> {
    let sources = configuration.sources()?;
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(problems) => {
            say_error(format_args!("{problems}"));
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    let logging = Logging::start(&config.log).context("log.level is no filter; try \"info\" or \"usher=debug\"")?;
    if config.log.format == LogFormat::Human {
        greet(&config)?;
    }
    block_on(async { Ok(server::serve(config, sources, logging).await?) })?;
    Ok(ExitCode::SUCCESS)
}

/// Tells a person how to point a client here.
fn greet(config: &Config) -> anyhow::Result<()> {
    let app = config.apps.first();
    let (id, key) = app.map_or(("…", "…"), |app| (app.id(), app.key()));
    let listen = config.server.listen;
    let ssl = if config.server.tls.is_some() { "True" } else { "False" };
    let upstream = if config.upstream.is_local() { "its own broker".to_owned() } else { config.upstream.url.to_string() };
    print(format_args!("usher {} in front of {upstream}", env!("CARGO_PKG_VERSION")))?;
    print("point a backend here, e.g. with pusher-http-python:")?;
    let (ip, port) = (listen.ip(), listen.port());
    print(format_args!("  pusher.Pusher(app_id=\"{id}\", key=\"{key}\", secret=\"…\", host=\"{ip}\", port={port}, ssl={ssl})"))?;
    print("and a browser, with pusher-js:")?;
    let tls = config.server.tls.is_some();
    print(format_args!(
        "  new Pusher(\"{key}\", {{ cluster: \"\", wsHost: \"{ip}\", wsPort: {port}, wssPort: {port}, forceTLS: {tls}, enabledTransports: [\"ws\"] }})"
    ))?;
    print(format_args!("what usher decides, on a page: http://{}/   metrics: http://{}/metrics", config.admin.listen, config.admin.listen))?;
    Ok(())
}
