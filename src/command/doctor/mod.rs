//! `usher doctor`: checks the environment of usher, and prints for each check the finding and advice, problems first.
//!
//! `upstream` checks the server behind usher, `local` this machine: listeners, certificate, known problems of clients.
//! `store` checks the store that several ushers share. `running` compares the configuration with that of the process that
//! runs. With `--admin`, `ushers` checks ushers that run instead, and `comparison` says what differs between them. The
//! checks change nothing and publish nothing.

mod comparison;
mod finding;
mod local;
mod running;
mod store;
mod upstream;
mod ushers;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use usher::config::{self, Config};

use self::finding::{Finding, Severity};
use super::admins::Admins;
use super::block_on;
use super::configuration::Configuration;
use super::terminal::print;

const EXAMPLES: &str = "\
Examples:
  usher doctor --config usher.toml
  usher doctor --admin http://usher-1:9601 --admin http://usher-2:9601 --token-file token";

/// A configuration, or with --admin the ushers that run; and how to tell what is found. Exit code 1 if anything is a
/// problem, else 0.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    #[command(flatten)]
    admins: Admins,
    #[command(flatten)]
    configuration: Configuration,
    /// How long each check may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = config::duration)]
    timeout: Duration,
    /// Print one line of JSON: {"ok": …, "findings": [{"check", "about", "verdict", "found", "advice"}, …]}.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Runs the checks and prints the findings.
    ///
    /// # Errors
    /// If the findings cannot be printed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = if self.admins.are_given() { self.of_running()? } else { self.of_configuration()? };
        // What does not work comes first: that is what to do first.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let ok = findings.iter().all(|finding| finding.severity != Severity::Problem);
        if self.json {
            print(json!({ "ok": ok, "findings": findings.iter().map(Finding::json).collect::<Vec<_>>() }))?;
        } else {
            findings.iter().try_for_each(print)?;
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The findings about the ushers that run.
    fn of_running(&self) -> anyhow::Result<Vec<Finding>> {
        ensure!(
            !self.configuration.is_given(),
            "--admin checks ushers that run, and a configuration is checked without it: run doctor once for each"
        );
        let (listeners, tls) = (self.admins.listeners()?, self.admins.tls()?);
        block_on(async { Ok(ushers::examine(&listeners, &tls, self.timeout).await) })
    }

    /// The findings about the configuration and this machine.
    fn of_configuration(&self) -> anyhow::Result<Vec<Finding>> {
        ensure!(!self.admins.have_credentials(), "--token-file and --ca-file belong to --admin");
        match Config::load(&self.configuration.sources()?) {
            Ok(config) => examine(&config, self.timeout),
            Err(problems) => {
                let problem = |problem: &config::Problem| {
                    Finding::problem("configuration", &problem.key, problem.to_string(), "mend it, and look again")
                };
                Ok(problems.iter().map(problem).collect())
            }
        }
    }
}

/// What to do about a warning of the configuration.
fn advice(warning: &config::Warning) -> String {
    if warning.cure.is_empty() { "config/usher.toml describes the key".to_owned() } else { warning.cure.clone() }
}

/// All findings. The checks run concurrently, each for `time_limit` at most.
fn examine(config: &Config, time_limit: Duration) -> anyhow::Result<Vec<Finding>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime could be made")?;
    let (upstream, store, listeners, running) = runtime.block_on(async {
        tokio::join!(
            upstream::examine(config, time_limit),
            store::examine(config, time_limit),
            local::listeners(config, time_limit),
            running::difference(config, time_limit)
        )
    });
    // The look-up of a name cannot be cancelled, so the runtime does not wait for it.
    runtime.shutdown_background();
    // That the own certificate has expired is a problem of its own below.
    let warnings = config
        .warnings
        .iter()
        .filter(|warning| !(warning.code == "certificate_expired" && warning.key == "server.tls.certificate"))
        .map(|warning| Finding::warning("configuration", &warning.key, warning.message.clone(), advice(warning)));
    let findings = warnings
        .chain(upstream)
        .chain(store)
        .chain(listeners)
        .chain(running)
        .chain(local::certificate(config))
        .chain([local::descriptors(config), local::exposure(config), local::clients(config)])
        .collect();
    Ok(findings)
}
