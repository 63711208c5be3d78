//! `usher suggest`: proposes rules by what running ushers discovered, or by a recording.

mod proposed;
mod recorded;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;
use usher::discovery::FamilyReport;
use usher::tls;

use self::proposed::Proposed;
use super::admins::{Admins, Listener};
use super::block_on;
use super::terminal::{print, print_error};

/// How long an usher may take to answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  usher suggest --admin http://127.0.0.1:9601 --token-file token > proposed.toml
  usher suggest --recording day.jsonl
  usher suggest --recording day.jsonl --json";

/// Prints [[rules]] in observe mode, each key with its reason, and [[tests]] with made-up values. Families of events whose
/// data differs nearly always (messages) are listed with the reason why there is no rule for them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Suggest {
    #[command(flatten)]
    admins: Admins,
    /// A recording (`usher record`) instead of running ushers.
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    recording: Option<PathBuf>,
    /// The events of this app alone.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Print JSON: {"families": [{"app", "event", "channel", "where", "count", …, "judgement", "rule", "tests"}, …]}.
    #[arg(long)]
    json: bool,
}

/// What is known of the events.
#[derive(Debug, Default)]
struct Evidence {
    families: Vec<FamilyReport>,
    /// What has to be known of it, in sentences.
    notes: Vec<String>,
}

/// The part of `GET /discovery` (docs/endpoints.md) that is read.
#[derive(Deserialize)]
struct Listing {
    discover: bool,
    families: Vec<FamilyReport>,
}

impl Suggest {
    /// Proposes.
    ///
    /// # Errors
    /// The ushers or the recording cannot be read, or the result cannot be printed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut evidence = match &self.recording {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
                recorded::read(BufReader::new(file)).with_context(|| format!("{} cannot be read", path.display()))?
            }
            None => {
                let (listeners, tls) = (self.admins.listeners()?, self.admins.tls()?);
                ensure!(
                    !listeners.is_empty(),
                    "name a running usher with --admin http://127.0.0.1:9601, or a recording with --recording FILE"
                );
                block_on(discovered(&listeners, &tls))?
            }
        };
        evidence.families.retain(|family| self.app.as_ref().is_none_or(|app| *app == family.app));
        let proposed = Proposed::of(evidence.families);
        if self.json {
            print(proposed.json(&evidence.notes))?;
        } else {
            evidence.notes.iter().for_each(|note| print_error(format_args!("{note}")));
            proposed.lines().into_iter().try_for_each(print)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the ushers discovered. Of a family that several have, the report with the most comparisons counts.
async fn discovered(listeners: &[Listener], tls: &tls::Client) -> anyhow::Result<Evidence> {
    let mut evidence = Evidence::default();
    let mut families: BTreeMap<_, FamilyReport> = BTreeMap::new();
    for listener in listeners {
        let listing: Listing = listener.document("/discovery?limit=10000", tls, TIME_LIMIT).await?;
        if !listing.discover {
            evidence.notes.push(format!("note: {} does not look (report.discover = false)", listener.name));
        }
        for family in listing.families {
            let key = (family.app.clone(), family.event.clone(), family.channel.clone(), family.kinds.clone());
            let known = families.entry(key).or_default();
            if family.compared >= known.compared {
                *known = family;
            }
        }
    }
    evidence.families = families.into_values().collect();
    Ok(evidence)
}
