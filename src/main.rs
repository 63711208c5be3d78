//! The `usher` command: arguments in, exit code out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use usher::config::{Config, LogFormat, Sources};
use usher::log::Logging;
use usher::server;

/// The exit code of a configuration that cannot be used (`EX_CONFIG` of sysexits).
const EX_CONFIG: u8 = 78;

/// A Pusher-compatible realtime gateway that announces an assignment only when it changes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (also without any command).
    Serve(Options),
    /// Check the configuration, say everything that is wrong with it, and exit with 78 if anything is.
    Check(Options),
}

/// Where the configuration comes from. Flags win over USHER_… variables, these over the file, the file over defaults.
#[derive(Debug, Args)]
struct Options {
    /// The configuration file (TOML), else that of USHER_CONFIG; config/usher.toml documents every key.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve, e.g. 0.0.0.0:6001.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The Pusher-compatible server behind usher, e.g. http://127.0.0.1:6002.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Pusher's own cluster behind usher, e.g. eu.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    cluster: Option<String>,
    /// Any other key, e.g. --set upstream.timeout=2s. Secrets are not taken from flags.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Options {
    fn sources(self) -> anyhow::Result<Sources> {
        let mut flags = Vec::new();
        let named = [("server.listen", self.listen), ("upstream.url", self.upstream), ("upstream.cluster", self.cluster)];
        flags.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        for pair in &self.set {
            let (key, value) = pair.split_once('=').with_context(|| format!("--set takes KEY=VALUE, not {pair:?}"))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Sources { file: self.config, environment: environment.collect(), flags })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Check(options)) => options.sources().and_then(|sources| check(&sources)),
        Some(Command::Serve(options)) => options.sources().and_then(serve),
        None => arguments.serve.sources().and_then(serve),
    };
    outcome.unwrap_or_else(|error| {
        say_error(format_args!("usher: {error:#}"));
        ExitCode::FAILURE
    })
}

fn check(sources: &Sources) -> anyhow::Result<ExitCode> {
    match Config::load(sources) {
        Ok(config) => {
            let mut out = std::io::stdout().lock();
            for warning in &config.warnings {
                writeln!(out, "warning: {warning}")?;
            }
            writeln!(
                out,
                "the configuration can be used: {} app(s), {} rule(s), upstream {}",
                config.apps.len(),
                config.rules.len(),
                config.upstream.url
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            say_error(format_args!("{problems}"));
            Ok(ExitCode::from(EX_CONFIG))
        }
    }
}

fn serve(sources: Sources) -> anyhow::Result<ExitCode> {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime could be made")?;
    runtime.block_on(server::serve(config, sources, logging))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells a person how to point a client here.
fn greet(config: &Config) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let app = config.apps.first();
    let (id, key) = app.map_or(("1001", "usher-key"), |app| (app.id(), app.key()));
    let listen = config.server.listen;
    writeln!(out, "usher {} in front of {}", env!("CARGO_PKG_VERSION"), config.upstream.url)?;
    writeln!(out, "point a backend here, e.g. with pusher-http-python:")?;
    writeln!(
        out,
        "  pusher.Pusher(app_id=\"{id}\", key=\"{key}\", secret=\"…\", host=\"{}\", port={}, ssl={})",
        listen.ip(),
        listen.port(),
        if config.server.tls.is_some() { "True" } else { "False" }
    )?;
    writeln!(out, "what usher decides: http://{}/decisions   metrics: http://{}/metrics", config.admin.listen, config.admin.listen)?;
    Ok(())
}

#[expect(clippy::let_underscore_must_use, reason = "when standard error is gone there is nobody left to tell")]
fn say_error(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}
