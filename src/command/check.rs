//! `usher check`: reports all problems of a configuration at once.

use std::process::ExitCode;

use usher::config::Config;
use usher::server::Capacity;

use super::configuration::{Configuration, EX_CONFIG};
use super::terminal::{print, print_error};

/// Checks; the exit code says whether the configuration can be used.
///
/// # Errors
/// If the result cannot be printed.
pub(super) fn run(configuration: Configuration) -> anyhow::Result<ExitCode> {
    match Config::load(&configuration.sources()?) {
        Ok(config) => {
            for warning in &config.warnings {
                print(format_args!("warning: {warning}"))?;
            }
            // The limits of this machine and user: where usher will run, they may differ.
            if let Some(shortage) = Capacity::expected(&config).shortage() {
                print(format_args!("warning: for a process started like this one: {shortage}"))?;
            }
            if let Some(recommendation) = config.recommendation() {
                print(format_args!("recommended: {recommendation}"))?;
            }
            let (apps, rules) = (config.apps.len(), config.rules.len());
            print(format_args!(
                "the configuration can be used: {apps} app(s), {rules} rule(s), upstream {}",
                config.upstream.url
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            print_error(format_args!("{problems}"));
            Ok(ExitCode::from(EX_CONFIG))
        }
    }
}
