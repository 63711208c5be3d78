//! `usher tail`: follows the triggers of running ushers, one line for each.

mod events;
mod follow;
pub(super) mod line;
mod printer;
pub(super) mod source;
pub(super) mod trigger;
pub(super) mod whole;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use usher::config::Config;

use self::printer::{Printer, Style};
use self::source::Source;
use super::admins::Admins;
use super::block_on;
use super::configuration::Configuration;
use super::terminal::{print_error, stdout_closed, stdout_has_colours};

const EXAMPLES: &str = "\
Examples:
  usher tail --admin http://127.0.0.1:9601 --token-file token
  usher tail --admin http://usher-1:9601 --admin http://usher-2:9601 --channel grand-room- --refused";

/// Which triggers to follow. Without --admin those of the usher of the configuration, with its token. Ends on Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tail {
    #[command(flatten)]
    admins: Admins,
    #[command(flatten)]
    wanted: Wanted,
    /// Begin with this many past triggers of each kind (watched or failed, unmatched, refused) of each usher.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    backlog: u16,
    /// Print whole records.
    #[arg(long)]
    verbose: bool,
    /// Print a line of JSON for each record.
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

/// Which triggers are wanted; all conditions together.
#[derive(Debug, Args)]
struct Wanted {
    /// Triggers with a channel that begins so.
    #[arg(long, value_name = "PREFIX")]
    channel: Option<String>,
    /// Triggers with this event.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Triggers of this app.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Triggers with this decision.
    #[arg(long, value_name = "DECISION", value_parser = ["forwarded", "reduced", "would_suppress", "suppressed", "suppressed_in_flight", "refused", "failed"])]
    decision: Option<String>,
    /// Triggers with this reason, as in the answer's usher-reason.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Triggers that usher refused.
    #[arg(long, conflicts_with = "failed")]
    refused: bool,
    /// Triggers that upstream did not take.
    #[arg(long)]
    failed: bool,
}

impl Tail {
    /// Follows and prints.
    ///
    /// # Errors
    /// If usher cannot be reached at first, or refuses.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { admins, wanted, backlog, verbose, json, configuration } = self;
        let listeners = if admins.are_given() {
            admins.listeners()?
        } else {
            match Config::look_up(&configuration.sources()?) {
                Ok(config) => vec![admins.configured(&config)?],
                Err(problems) => {
                    print_error(format_args!("{problems}"));
                    return Ok(ExitCode::FAILURE);
                }
            }
        };
        let tls = admins.tls()?;
        let sources = listeners.into_iter().map(|listener| Source::new(listener, tls.clone()));
        let sources = sources.collect::<anyhow::Result<Vec<_>>>()?;
        let style = match (json, verbose) {
            (true, _) => Style::Json,
            (false, true) => Style::Whole,
            (false, false) => Style::Line,
        };
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        let printer = Printer::new(style, stdout_has_colours(), &names);
        block_on(async {
            let interrupted = tokio::signal::ctrl_c();
            tokio::select! {
                followed = follow::follow(&sources, &wanted, backlog, printer) => followed?,
                interrupted = interrupted => interrupted.context("Ctrl-C cannot be received")?,
                () = stdout_closed() => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Wanted {
    /// The target of the stream.
    fn target(&self, backlog: u16) -> String {
        let Self { channel, event, app, decision, reason, refused, failed } = self;
        let mut target = format!("/triggers/stream?backlog={backlog}");
        let texts = [("channel", channel), ("event", event), ("app", app), ("decision", decision), ("reason", reason)];
        for (key, value) in texts {
            if let Some(value) = value {
                write!(target, "&{key}={}", Encoded(value)).expect("a string takes any text");
            }
        }
        for (key, is_set) in [("refused", refused), ("failed", failed)] {
            if *is_set {
                write!(target, "&{key}=true").expect("a string takes any text");
            }
        }
        target
    }
}

/// A value of a query.
pub(super) struct Encoded<'a>(pub(super) &'a str);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => f.write_char(char::from(byte)),
            byte => write!(f, "%{byte:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_encoded() {
        let wanted = Wanted {
            channel: Some("a&b=c é".to_owned()),
            event: None,
            app: Some("3".to_owned()),
            decision: None,
            reason: None,
            refused: true,
            failed: false,
        };
        assert_eq!(wanted.target(7), "/triggers/stream?backlog=7&channel=a%26b%3Dc%20%C3%A9&app=3&refused=true");
    }
}
