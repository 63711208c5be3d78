//! `usher explain`: what the rules make of a trigger, and why.

mod known;
mod payload;
mod shown;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use http::StatusCode;
use usher::clock::Moment;
use usher::config::Config;
use usher::simulation::{Micros, Simulation, Upstream};
use usher::triggers::TriggerId;

pub(super) use self::payload::outcome;
use self::payload::{Earlier, Payload, PayloadFlags};
use super::admins::{Admins, Listener};
use super::block_on;
use super::configuration::{Configuration, EX_CONFIG};
use super::http_client::HttpClient;
use super::tail::whole::whole;
use super::terminal::{print, print_error, stdout_has_colours};

/// How long an admin listener may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The present moment of the simulation: later than anything that is remembered may have begun.
const PRESENT: Duration = Duration::from_hours(24 * 400);

const EXAMPLES: &str = "\
Examples:
  usher explain body.json --config usher.toml
  usher explain --event staff-assigned --channel h-room-12-chat --data '{\"staff_id\":7}' --config usher.toml
  usher explain body.json --config usher.toml --after yesterday.jsonl
  usher explain body.json --config usher.toml --admin http://127.0.0.1:9601
  usher explain 5f3a9c01-42 --admin http://127.0.0.1:9601

Nothing is sent anywhere but to --admin, and the files of certificates and secrets are not opened.";

/// A trigger: a file, standard input, or flags; or the id of one that a running usher has recorded. Exit code 0 if it is
/// explained, 78 if the configuration cannot be used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// A file with the body of a trigger or batch, as a backend sends it (- for standard input); or the id of a trigger,
    /// with --admin.
    #[arg(value_name = "FILE|ID", conflicts_with_all = ["event", "channel", "data", "socket_id"])]
    input: Option<String>,
    #[command(flatten)]
    payload: PayloadFlags,
    /// Earlier triggers, one a line: bodies, or a recording. Bodies come a second apart, and are accepted.
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    after: Option<PathBuf>,
    /// Print one line of JSON: {"trigger": as GET /triggers/<id>, "pointers", "sent", "body", "memory"}; for an id, the
    /// record as the usher sends it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admins: Admins,
    #[command(flatten)]
    configuration: Configuration,
}

/// What was known before the trigger came.
#[derive(Debug, Clone, Copy)]
enum Memory {
    Empty,
    /// After so many earlier triggers.
    Triggers(usize),
    /// Of a running usher: so many entries of the trigger's channels.
    Running(usize),
}

impl Explain {
    /// Explains and prints.
    ///
    /// # Errors
    /// The trigger or what came before cannot be read, or a running usher does not say what is asked.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(id) = self.input.as_deref().filter(|input| is_id(input)) {
            self.record(id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let config = match Config::without_files(&self.configuration.sources()?) {
            Ok(config) => config,
            Err(problems) => {
                print_error(format_args!("{problems}"));
                return Ok(ExitCode::from(EX_CONFIG));
            }
        };
        let payload = Payload::read(self.input.as_deref(), &self.payload, &config)?;
        let mut simulation = Simulation::new(config.simulated().with_records(), Moment::default().after(PRESENT));
        let memory = self.remember(&mut simulation, &payload)?;
        let at = simulation.now().after(Duration::from_secs(1));
        let number = simulation.arrive(at, &payload.request(), Upstream::default());
        simulation.finish();
        let verdict = simulation.take_verdicts().find(|verdict| verdict.number == number);
        let verdict = verdict.context("the trigger was not answered")?;
        let explained = shown::Explained::of(&verdict, &simulation, &payload, &config.rules, memory)?;
        if self.json {
            print(explained.json()?)?
        } else {
            print(explained.text())?
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Puts what was known before into the memory.
    fn remember(&self, simulation: &mut Simulation, payload: &Payload) -> anyhow::Result<Memory> {
        if let Some(listener) = self.listener()? {
            let client = self.client(&listener)?;
            return Ok(Memory::Running(block_on(known::take(&client, simulation, payload))?));
        }
        let Some(file) = &self.after else { return Ok(Memory::Empty) };
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let earlier = Earlier::read(&text, &payload.app).with_context(|| file.display().to_string())?;
        let began = Micros::from(simulation.now());
        for Earlier { payload, after, upstream } in &earlier {
            simulation.arrive(began.after(*after), &payload.request(), *upstream);
        }
        // What is in flight at the end of a recording is settled.
        simulation.finish();
        simulation.take_verdicts().for_each(drop);
        Ok(Memory::Triggers(earlier.len()))
    }

    /// Prints the record of a trigger.
    fn record(&self, id: &str) -> anyhow::Result<()> {
        let Some(listener) = self.listener()? else {
            bail!("{id} is the id of a trigger: name the usher that has its record with --admin");
        };
        let client = self.client(&listener)?;
        let answer = block_on(async { client.get(&format!("/triggers/{id}")).await })?;
        ensure!(
            answer.status() != StatusCode::NOT_FOUND,
            "{} has no record of {id}: it is of another process, or newer records have replaced it (admin.triggers)",
            listener.url
        );
        let text = known::body(&answer)?;
        if self.json {
            print(text.trim_end())?;
        } else {
            let trigger = serde_json::from_str(text).context("the answer is no record of a trigger")?;
            print(whole(&trigger, stdout_has_colours()))?;
        }
        Ok(())
    }

    /// The running usher that is asked, if one is.
    fn listener(&self) -> anyhow::Result<Option<Listener>> {
        let mut listeners = self.admins.listeners()?;
        ensure!(listeners.len() <= 1, "--admin is given several times: one memory can be asked");
        Ok(listeners.pop())
    }

    fn client(&self, listener: &Listener) -> anyhow::Result<HttpClient> {
        listener.client(self.admins.tls()?, TIMEOUT)
    }
}

/// Whether the argument is the id of a trigger, and not the name of a file.
fn is_id(input: &str) -> bool {
    input.parse::<TriggerId>().is_ok() && !std::path::Path::new(input).exists()
}
