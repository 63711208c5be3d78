//! `usher test`: runs the tests of the rules.

mod junit;
mod outcome;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use usher::config::{Config, Problem, read_tests};
use usher::simulation::{Setup, TestCase, run};

use self::outcome::Outcome;
use super::configuration::{Configuration, EX_CONFIG};
use super::terminal::{Printable, print, print_error, stdout_has_colours};

const EXAMPLES: &str = "\
Examples:
  usher test --config config/hotel.toml
  usher test --config usher.toml tests/*.toml --junit report.xml
  usher test --config usher.toml --only handoff

A test is a [[tests]] table with [[tests.steps]]; docs/testing-rules.md has all keys. Rules that observe are tested as if they
enforced. Nothing is sent anywhere, and the files of certificates and secrets are not opened.";

/// The tests in the configuration, and those in files of their own. Exit code 0 if all pass, 1 if one fails, 78 if the
/// configuration or a test cannot be used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// Files with [[tests]] alone, beside those of the configuration.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write a report in JUnit's XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    configuration: Configuration,
}

impl Test {
    /// Runs them and prints what came of each.
    ///
    /// # Errors
    /// If a report cannot be written.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some((setup, mut cases)) = self.read()? else { return Ok(ExitCode::from(EX_CONFIG)) };
        if let Some(only) = &self.only {
            cases.retain(|case| case.name.contains(only));
        }
        if cases.is_empty() {
            print_error(format_args!(
                "usher: there is no test: write [[tests]] into the configuration, or name a file (docs/testing-rules.md)"
            ));
            return Ok(ExitCode::from(EX_CONFIG));
        }
        let has_colours = stdout_has_colours();
        let mut outcomes = Vec::new();
        for case in &cases {
            let outcome = Outcome::of(&run(&setup, case), &setup.rules)?;
            print(outcome.text(has_colours))?;
            outcomes.push(outcome);
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).count();
        let steps: usize = cases.iter().map(|case| case.steps.len()).sum();
        print(format_args!(
            "{} test(s), {} passed, {failed} failed; {steps} steps",
            cases.len(),
            cases.len() - failed
        ))?;
        if let Some(path) = &self.junit {
            let report = junit::report(&outcomes);
            std::fs::write(path, report)
                .with_context(|| format!("the report cannot be written to {}", path.display()))?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The rules and the tests; `None`: something is wrong with them, and is said.
    fn read(&self) -> anyhow::Result<Option<(Setup, Vec<TestCase>)>> {
        let config = match Config::without_files(&self.configuration.sources()?) {
            Ok(config) => config,
            Err(problems) => {
                say(problems.iter());
                return Ok(None);
            }
        };
        let ids: Vec<String> = config.apps.iter().map(|app| app.id().to_owned()).collect();
        let mut is_usable = config.tests.problems.as_ref().inspect(|problems| say(problems.iter())).is_none();
        let mut cases = config.tests.cases.clone();
        for file in &self.files {
            match read_tests(file, &ids) {
                Ok(more) => cases.extend(more),
                Err(problems) => {
                    say(problems.iter());
                    is_usable = false;
                }
            }
        }
        Ok(is_usable.then(|| (config.simulated(), cases)))
    }
}

/// Says what is wrong with a file.
fn say<'p>(problems: impl Iterator<Item = &'p Problem>) {
    problems.for_each(|problem| print_error(format_args!("{problem}")));
}

/// A text of a test, for a terminal.
fn shown(text: &str) -> String {
    Printable(text).to_string()
}
