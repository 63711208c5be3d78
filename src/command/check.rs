//! `usher check`: reports all problems and warnings of a configuration at once, and shows the effective values.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use usher::config::{Config, EffectiveValue, Origin, Problem, Warning};
use usher::server::Capacity;
use usher::state::check_directory;

use super::admins::Admins;
use super::block_on;
use super::configuration::{Configuration, EX_CONFIG};
use super::differences;
use super::terminal::{Printable, print, print_error};

const EXAMPLES: &str = "\
Examples:
  usher check --config usher.toml
  usher check --config usher.toml --show
  usher check --config usher.toml --admin http://127.0.0.1:9601 --token-file token";

/// A configuration, and what to report. Exit code 0 if it can be used, else 78.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Exit with 78 for warnings, too.
    #[arg(long)]
    strict: bool,
    /// Do not open the files of certificates, keys, authorities, secrets and the token: for a machine without them.
    #[arg(long)]
    skip_files: bool,
    /// Show every key with its effective value and where that comes from; secrets are masked.
    #[arg(long)]
    show: bool,
    /// Print one line of JSON: {"ok", "findings": [{"file", "line", "variable", "key", "severity", "code", "message",
    /// "cure"}, …]}; with --show its "values" as well.
    #[arg(long)]
    json: bool,
    /// Ask these ushers, which run with the configuration, what else differed in the announcements that its rules take for
    /// redundant: a warning for whatever did in more than 1 % of them.
    #[command(flatten)]
    admins: Admins,
}

/// What the check found.
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    recommendation: Option<&'static str>,
    /// What the operator promises with `state.path`, if it has an effect.
    promise: Option<&'static str>,
    /// The rules of a file that no test reads an event for.
    untested: Vec<String>,
    values: Vec<EffectiveValue>,
    /// What can be used, in one line; empty if nothing can.
    summary: String,
}

impl Check {
    /// Checks; the exit code says whether the configuration can be used.
    ///
    /// # Errors
    /// If the result cannot be printed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let sources = self.configuration.sources()?;
        let loaded = if self.skip_files { Config::without_files(&sources) } else { Config::load(&sources) };
        let findings = match loaded {
            Ok(config) => {
                let differences = self.differences(&config)?;
                let mut findings = Findings::of(config, !self.skip_files, sources.path().is_some());
                findings.warnings.extend(differences);
                findings
            }
            Err(problems) => Findings {
                problems: problems.into_iter().cloned().collect(),
                warnings: Vec::new(),
                recommendation: None,
                promise: None,
                untested: Vec::new(),
                values: Vec::new(),
                summary: String::new(),
            },
        };
        let is_ok = findings.problems.is_empty() && (findings.warnings.is_empty() || !self.strict);
        if self.json {
            print(findings.json(is_ok, self.show))?;
        } else {
            findings.print(is_ok, self.show)?;
        }
        Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::from(EX_CONFIG) })
    }

    /// What the running ushers say against the rules of `config`.
    fn differences(&self, config: &Config) -> anyhow::Result<Vec<Warning>> {
        let (listeners, tls) = (self.admins.listeners()?, self.admins.tls()?);
        if listeners.is_empty() {
            return Ok(Vec::new());
        }
        block_on(differences::warnings(config, &listeners, &tls))
    }
}

/// The memory of a process is right only as long as nothing else changes what guests see.
const PROMISE: &str = "`state.path` is your promise that nobody else announces for these apps while this process is down: no stand-by (HAProxy: no \
     `backup`), no second usher, and no start without `state.path` in between.";

impl Findings {
    fn of(config: Config, opens_files: bool, has_file: bool) -> Self {
        let problems = config.tests.problems.iter().flatten().cloned().collect();
        let untested = if has_file { config.untested_rules() } else { Vec::new() };
        let untested = untested.into_iter().map(str::to_owned).collect();
        let recommendation = config.recommendation();
        let (apps, rules) = (config.apps.len(), config.rules.len());
        let summary =
            format!("the configuration can be used: {apps} app(s), {rules} rule(s), upstream {}", config.upstream.url);
        // The limits of this machine and user: where usher will run, they may differ.
        let shortage = Capacity::expected(&config).shortage().map(|shortage| Warning {
            origin: Origin::Default,
            key: "limits.max_connections".to_owned(),
            code: "too_few_descriptors",
            message: format!("too few file descriptors for a process started like this one: {}.", shortage.problem()),
            cure: format!("For all of them, {}.", shortage.remedy()),
        });
        let directory = config.state.path.as_ref().filter(|_| !config.upstream.is_local());
        let unusable = directory.filter(|_| opens_files).and_then(|path| unusable_directory(path, &config));
        let promise = directory.map(|_| PROMISE);
        let warnings = config.warnings.into_iter().chain(shortage).chain(unusable).collect();
        Self { problems, warnings, recommendation, promise, untested, values: config.values, summary }
    }

    /// Prints problems to standard error, everything else to standard output.
    fn print(&self, is_ok: bool, show: bool) -> anyhow::Result<()> {
        if show {
            self.values.iter().try_for_each(|value| print(shown(value)))?;
        }
        for (index, problem) in self.problems.iter().enumerate() {
            print_error(format_args!("{}{problem}", if index == 0 { "" } else { "\n" }));
        }
        for warning in &self.warnings {
            let place = match &warning.origin {
                Origin::Default => String::new(),
                origin => format!(" ({origin})"),
            };
            print(format_args!("warning: {warning}{place}"))?;
        }
        if let Some(recommendation) = self.recommendation {
            print(format_args!("recommended: {recommendation}"))?;
        }
        if let Some(promise) = self.promise {
            print(format_args!("note: {promise}"))?;
        }
        if let Some(note) = self.untested() {
            print(format_args!("note: {}", Printable(&note)))?;
        }
        if !is_ok && self.problems.is_empty() {
            print_error(format_args!("--strict: {} warning(s), see above", self.warnings.len()));
        } else if is_ok {
            print(&self.summary)?;
        }
        Ok(())
    }

    /// The note about rules without a test.
    fn untested(&self) -> Option<String> {
        (!self.untested.is_empty()).then(|| {
            format!(
                "no test reads an event for: {}. `[[tests]]` say what a rule shall drop, and `usher test` runs them (docs/testing-rules.md).",
                self.untested.join(", ")
            )
        })
    }

    fn json(&self, is_ok: bool, show: bool) -> Value {
        let problems = self.problems.iter().map(|problem| {
            let cure = problem.suggestion.as_ref().map(|suggestion| format!("Did you mean `{suggestion}`?"));
            finding(&problem.origin, &problem.key, "fault", problem.code, &problem.message, cure)
        });
        let warnings = self.warnings.iter().map(|Warning { origin, key, code, message, cure }| {
            finding(origin, key, "warning", code, message, Some(cure.clone()).filter(|cure| !cure.is_empty()))
        });
        let recommendation = self.recommendation.iter().map(|recommendation| {
            finding(&Origin::Default, "rules", "advice", "every_rule_enforces", recommendation, None)
        });
        let promise = self
            .promise
            .iter()
            .map(|promise| finding(&Origin::Default, "state.path", "advice", "state_path_promise", promise, None));
        let untested = self.untested();
        let untested =
            untested.iter().map(|note| finding(&Origin::Default, "tests", "advice", "rule_without_test", note, None));
        let findings: Vec<Value> =
            problems.chain(warnings).chain(recommendation).chain(promise).chain(untested).collect();
        let mut report = json!({ "ok": is_ok, "findings": findings });
        if show {
            report["values"] = self.values.iter().map(EffectiveValue::json).collect();
        }
        report
    }
}

/// Warns of a state directory that this user cannot use.
fn unusable_directory(path: &Path, config: &Config) -> Option<Warning> {
    let error = check_directory(path).err()?;
    let origin = config.values.iter().find(|value| value.key == "state.path").map(|value| value.origin.clone());
    Some(Warning {
        origin: origin.unwrap_or(Origin::Default),
        key: "state.path".to_owned(),
        code: "state_directory",
        message: format!(
            "`state.path`: {} cannot be used by this user: {error}. The memory is not kept, and every start begins in doubt.",
            path.display()
        ),
        cure: "Make the directory, writable for the user that usher runs as; systemd does with StateDirectory=."
            .to_owned(),
    })
}

fn finding(origin: &Origin, key: &str, severity: &str, code: &str, message: &str, cure: Option<String>) -> Value {
    json!({
        "file": origin.file().map(|file| file.display().to_string()),
        "line": origin.line(),
        "variable": origin.variable(),
        "key": if key.is_empty() { None } else { Some(key) },
        "severity": severity,
        "code": code,
        "message": message,
        "cure": cure,
    })
}

/// A value as in the file, with where it comes from.
fn shown(value: &EffectiveValue) -> String {
    let text = format!("{} = {}", value.key, value.value);
    format!("{:<60}  # {}", Printable(&text).to_string(), Printable(&value.source()))
}
