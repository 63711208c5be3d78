//! `usher serve`: runs the gateway until a signal ends it.

use std::process::ExitCode;

use anyhow::Context;
use usher::config::{Config, Log, LogFormat};
use usher::log::{self, Logging};
use usher::server::{self, HangUps, Listening};
use usher::service_manager::{PassedSocketError, PassedSockets};

use super::block_on;
use super::configuration::{Configuration, EX_CONFIG};
use super::terminal::{print, print_error};

/// Serves until the drain has ended.
///
/// # Errors
/// If it cannot start.
pub(super) fn run(configuration: Configuration) -> anyhow::Result<ExitCode> {
    // Before there is another thread: it changes the environment. What is wrong with them is reported once there is a log.
    let sockets = PassedSockets::take();
    // Everything that follows may take long: files and name look-ups.
    block_on(serve(configuration, sockets))
}

async fn serve(
    configuration: Configuration,
    sockets: Result<PassedSockets, PassedSocketError>,
) -> anyhow::Result<ExitCode> {
    let hang_ups = HangUps::new().context("signals cannot be received")?;
    let sources = configuration.sources()?;
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(problems) => {
            match problems.log_format() {
                LogFormat::Human => print_error(format_args!("{problems}")),
                LogFormat::Json => {
                    let options = Log { format: LogFormat::Json, level: "error".to_owned() };
                    let _logging = Logging::start(&options)?;
                    log::faults(&problems);
                }
            }
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    let logging = Logging::start(&config.log).context("log.level is no filter; try \"info\" or \"usher=debug\"")?;
    let format = config.log.format;
    let greeting = (format == LogFormat::Human).then(|| Greeting::new(&config));
    let greet = |listening| greeting.into_iter().for_each(|greeting| say(greeting.text(listening)));
    let written = logging.clone();
    let serving =
        async { Ok::<_, anyhow::Error>(server::serve(config, sources, logging, sockets?, hang_ups, greet).await?) };
    match serving.await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if format == LogFormat::Json => {
            log::fatal(&format!("{error:#}"));
            drop(written);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}

/// The text at the start: how to configure clients for this usher.
struct Greeting {
    app_id: String,
    key: String,
    is_tls: bool,
    upstream: String,
    observe: bool,
    /// The rules with their modes.
    rules: Vec<String>,
}

impl Greeting {
    fn new(config: &Config) -> Self {
        let app = config.apps.first();
        let (app_id, key) = app.map_or(("…", "…"), |app| (app.id(), app.key()));
        let upstream =
            if config.upstream.is_local() { "its own broker".to_owned() } else { config.upstream.url.to_string() };
        Self {
            app_id: app_id.to_owned(),
            key: key.to_owned(),
            is_tls: config.server.tls.is_some(),
            upstream,
            observe: config.observe,
            rules: config.described_modes().collect(),
        }
    }

    /// The whole text, without the last line's end.
    fn text(&self, listening: Listening) -> String {
        let Self { app_id, key, is_tls, upstream, observe, rules } = self;
        let (ip, port, admin) = (listening.gateway.ip(), listening.gateway.port(), listening.admin);
        let observing = if *observe { "; it observes: nothing is suppressed" } else { "" };
        let rules = if rules.is_empty() { "none".to_owned() } else { rules.join(", ") };
        let ssl = if *is_tls { "True" } else { "False" };
        format!(
            "usher {version} in front of {upstream}{observing}\n\
             point a backend here, e.g. with pusher-http-python:\n  \
               pusher.Pusher(app_id=\"{app_id}\", key=\"{key}\", secret=\"…\", host=\"{ip}\", port={port}, ssl={ssl})\n\
             and a browser, with pusher-js:\n  \
               new Pusher(\"{key}\", {{ cluster: \"\", wsHost: \"{ip}\", wsPort: {port}, wssPort: {port}, forceTLS: {is_tls}, \
               enabledTransports: [\"ws\"] }})\n\
             rules: {rules}\n\
             what usher decides, on a page: http://{admin}/   metrics: http://{admin}/metrics",
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

/// Prints `text` on a detached thread: a pipe that is not read, or a stopped terminal, must not delay the gateway.
fn say(text: String) {
    let told = std::thread::Builder::new().name("usher-greeting".to_owned()).spawn(move || {
        if let Err(error) = print(text) {
            tracing::debug!(%error, "the greeting was not read");
        }
    });
    if let Err(error) = told {
        tracing::debug!(%error, "there is no thread for the greeting");
    }
}
