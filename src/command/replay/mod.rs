//! `usher replay`: the decisions of other rules on recorded triggers.

mod comparison;
mod recorded;
mod table;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use usher::clock::Moment;
use usher::config::{Config, Sources};
use usher::recording::UnixTime;
use usher::simulation::{Micros, Request, Settled, Setup, Simulation, Upstream};

use self::comparison::Comparison;
use self::recorded::{Reader, Recorded};
use self::table::Report;
use super::configuration::{Configuration, EX_CONFIG};
use super::explain::outcome;
use super::terminal::{print, print_error};

const EXAMPLES: &str = "\
Examples:
  usher replay day.jsonl --config new.toml
  usher replay day.jsonl --config new.toml --against old.toml --list
  usher replay day.jsonl --config new.toml --enforce --json

The memory is empty at the beginning. A trigger that was dropped when it was recorded, and is sent by the new rules, is taken
to be accepted at once. Rate limits do not apply. Nothing is sent anywhere.";

/// A recording (usher record), and the configuration whose rules decide. Exit code 0 if it was read, 78 if a
/// configuration cannot be used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// The recording: JSON lines (- for standard input).
    #[arg(value_name = "FILE")]
    recording: PathBuf,
    /// Compare with the rules of this configuration; otherwise with what was decided when it was recorded.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Decide as if rules that observe enforced.
    #[arg(long)]
    enforce: bool,
    /// List all triggers whose decision is another one, not the first ten.
    #[arg(long)]
    list: bool,
    /// Print one line of JSON (docs/testing-rules.md has its form).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

/// The simulations of one recording.
struct Run {
    new: Simulation,
    /// That of `--against`.
    old: Option<Simulation>,
    comparison: Comparison,
    report: Report,
    /// The time of the first trigger.
    began: Option<UnixTime>,
}

impl Replay {
    /// Replays and prints.
    ///
    /// # Errors
    /// The recording cannot be read.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let sources = self.configuration.sources()?;
        let against = self.against.as_ref().map(|file| Sources {
            file: Some(file.clone()),
            environment: sources.environment.clone(),
            flags: Vec::new(),
        });
        let Some(new) = load(&sources) else { return Ok(ExitCode::from(EX_CONFIG)) };
        let old = match against.map(|against| load(&against)) {
            Some(None) => return Ok(ExitCode::from(EX_CONFIG)),
            Some(Some(old)) => Some(old),
            None => None,
        };
        let setup = |config: &Config| {
            let setup: Setup = config.simulated();
            if self.enforce { setup.enforcing() } else { setup }
        };
        let most = if self.list { usize::MAX } else { 10 };
        let simulation = |config: &Config| Simulation::new(setup(config), Moment::default());
        let mut run = Run {
            new: simulation(&new),
            old: old.as_ref().map(simulation),
            comparison: Comparison::new(old.is_some(), most),
            report: Report::default(),
            began: None,
        };
        let horizon = new.upstream.timeout + new.limits.max_wait;
        run.all(&self.recording, horizon)?;
        let Run { new, comparison, mut report, .. } = run;
        report.rules = new.rules();
        let against = self.against.as_ref().map(|path| path.display().to_string());
        if self.json {
            print(table::json(&report, &comparison, against.as_deref()))?;
        } else {
            print(table::text(&report, &comparison, against.as_deref()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The configuration of `sources`; `None`: it cannot be used, which is said.
fn load(sources: &Sources) -> Option<Config> {
    Config::without_files(sources).inspect_err(|problems| print_error(format_args!("{problems}"))).ok()
}

impl Run {
    /// Replays the recording at `path`. `horizon`: how long a trigger takes at most.
    fn all(&mut self, path: &Path, horizon: Duration) -> anyhow::Result<()> {
        let input: Box<dyn io::Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).with_context(|| format!("{} cannot be read", path.display()))?)
        };
        let mut reader = Reader::new(BufReader::with_capacity(1 << 20, input), horizon);
        let name = path.display().to_string();
        while let Some(recorded) = reader.next().with_context(|| name.clone())? {
            self.one(recorded);
        }
        self.report.lost = reader.lost();
        self.report.is_redacted = reader.is_redacted();
        self.new.finish();
        self.old.iter_mut().for_each(Simulation::finish);
        self.compare();
        Ok(())
    }

    fn one(&mut self, recorded: Recorded) {
        let began = *self.began.get_or_insert(recorded.received);
        let since = |time: UnixTime| Micros(time.0.saturating_sub(began.0));
        let settled = recorded.settled.map(|settled| Settled::At(since(settled)));
        let upstream =
            Upstream { outcome: outcome(recorded.outcome), settled: settled.unwrap_or(Settled::After(Duration::ZERO)) };
        let request =
            Request { app: &recorded.app, path: &recorded.path, body: recorded.body.as_bytes(), head: recorded.head };
        let at = since(recorded.received);
        let number = self.new.arrive(at, &request, upstream);
        if let Some(old) = &mut self.old {
            old.arrive(at, &request, upstream);
        }
        self.report.arrived(recorded.received);
        self.comparison.arrived(number, recorded);
        self.compare();
    }

    /// Takes the verdicts that were made.
    fn compare(&mut self) {
        for verdict in self.new.take_verdicts() {
            self.report.count(&verdict);
            self.comparison.new_verdict(&verdict);
        }
        for verdict in self.old.iter_mut().flat_map(Simulation::take_verdicts) {
            self.comparison.old_verdict(&verdict);
        }
    }
}
