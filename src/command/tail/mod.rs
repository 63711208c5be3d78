//! `usher tail`: follows the triggers of a running usher, one line for each.

mod events;
mod line;
mod source;
mod trigger;
mod whole;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use http::Uri;
use tokio::time::sleep;
use usher::config::Config;
use usher::tls;

use self::events::Event;
use self::line::Lines;
use self::source::{Refused, Source, Stream};
use self::trigger::Trigger;
use super::block_on;
use super::configuration::Configuration;
use super::credentials::read_secret;
use super::healthcheck::reachable;
use super::terminal::{Printable, print, print_error, stdout_closed, stdout_has_colours};

/// The variable with the token, as in the configuration.
const TOKEN_VARIABLE: &str = "USHER_ADMIN__TOKEN";
/// The pause after the first failure; doubled at each further one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The past triggers of each kind that are asked for when usher may have been restarted: as many as it sends.
const MOST_BACKLOG: u16 = 1000;
/// Most ids of triggers that are remembered to print none twice: those of two batches of the stream.
const MAX_RECENT: usize = 2048;

/// Which triggers to follow. Ends on Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Tail {
    /// usher's admin listener, e.g. http://127.0.0.1:9601; else that of the configuration.
    #[arg(long, value_name = "URL")]
    admin: Option<Uri>,
    /// A file with the admin token; else it is taken from the configuration, or from the variable USHER_ADMIN__TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// More certificate authorities (PEM), for a proxy with TLS before the admin listener.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// Begin with this many past triggers of each kind (watched or failed, unmatched, refused).
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
        let Self { admin, token_file, ca_file, wanted, backlog, verbose, json, configuration } = self;
        let given = token_file.map(|path| {
            read_secret(&path).with_context(|| format!("the admin token cannot be read from {}", path.display()))
        });
        let mut token = given.transpose()?;
        let url = match admin {
            Some(url) => url,
            None => {
                let config = match Config::look_up(&configuration.sources()?) {
                    Ok(config) => config,
                    Err(problems) => {
                        print_error(format_args!("{problems}"));
                        return Ok(ExitCode::FAILURE);
                    }
                };
                let address = reachable(config.admin.listen);
                ensure!(address.port() != 0, "admin.listen has port 0: name the listener with --admin");
                token = token.or_else(|| config.admin.token.map(|token| token.0));
                format!("http://{address}").parse().context("the admin listener's address makes no URL")?
            }
        };
        let token = token.or_else(|| std::env::var(TOKEN_VARIABLE).ok());
        let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let source = Source::new(url, tls::Client::read(ca_file.as_deref())?, token)?;
        let has_colours = stdout_has_colours();
        let style = if json {
            Style::Json
        } else if verbose {
            Style::Whole
        } else {
            Style::Line
        };
        let printer =
            Printer { source: &source, style, has_colours, lines: Lines::new(has_colours), recent: HashSet::new() };
        block_on(async {
            let interrupted = tokio::signal::ctrl_c();
            tokio::select! {
                followed = follow(&source, &wanted, backlog, printer) => followed?,
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
struct Encoded<'a>(&'a str);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => f.write_char(char::from(byte)),
            byte => write!(f, "%{byte:02X}"),
        })
    }
}

/// Follows the stream, over one connection after the other. Returns only if usher refuses.
async fn follow(source: &Source, wanted: &Wanted, backlog: u16, mut printer: Printer<'_>) -> anyhow::Result<()> {
    let mut last: Option<String> = None;
    let mut failures = 0;
    // A failure of the first connection is an error, perhaps of the address; a later one may be a restart of usher.
    let mut opened = match source.open(&wanted.target(backlog), None).await {
        Ok(stream) => stream,
        Err(Refused::ForGood(error) | Refused::ForNow(error)) => return Err(error),
    };
    loop {
        let ended = printer.print_all(&mut opened, &mut last).await?;
        if let Some(error) = ended {
            print_error(format_args!("{}; connecting again", Printable(&format!("{error:#}"))));
        }
        sleep(SHORTEST_PAUSE).await;
        // With an id of this process usher goes on there; after a restart it sends what came since.
        let again = wanted.target(if last.is_some() { MOST_BACKLOG } else { 0 });
        opened = loop {
            match source.open(&again, last.as_deref()).await {
                Ok(stream) => break stream,
                Err(Refused::ForGood(error)) => return Err(error),
                Err(Refused::ForNow(error)) => {
                    let pause = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
                    failures += 1;
                    print_error(format_args!("{error:#}; trying again in {pause:?}"));
                    sleep(pause).await;
                }
            }
        };
        if std::mem::take(&mut failures) > 0 {
            print_error(format_args!("connected again"));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Line,
    Whole,
    Json,
}

/// Prints events.
#[derive(Debug)]
struct Printer<'a> {
    source: &'a Source,
    style: Style,
    has_colours: bool,
    lines: Lines,
    /// The ids of triggers that were printed since the last event with an id: if the connection breaks there, they come
    /// again.
    recent: HashSet<String>,
}

impl Printer<'_> {
    /// Prints the events of a stream until it ends. Returns how it broke, if it did. `last`: the id of the last event.
    ///
    /// # Errors
    /// Standard output cannot be written.
    async fn print_all(
        &mut self,
        stream: &mut Stream,
        last: &mut Option<String>,
    ) -> anyhow::Result<Option<anyhow::Error>> {
        loop {
            match stream.next().await {
                Ok(Some(events)) => {
                    for event in events {
                        self.print(&event).await?;
                        if event.id.is_some() {
                            // That of `hello` is where the stream begins: what was printed behind it comes again.
                            if event.name.is_empty() {
                                self.recent.clear();
                            }
                            *last = event.id;
                        }
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }

    async fn print(&mut self, event: &Event) -> anyhow::Result<()> {
        match event.name.as_str() {
            "hello" => {
                let kept =
                    serde_json::from_str(&event.data).ok().and_then(|data: serde_json::Value| data["kept"].as_u64());
                if kept == Some(0) {
                    print_error(format_args!(
                        "usher keeps no records of triggers (admin.triggers_bytes = \"0\"): nothing will come"
                    ));
                }
                Ok(())
            }
            "missed" if self.style == Style::Json => Ok(print(json_line(&event.data))?),
            "missed" => {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
                let missed = data["missed"].as_u64().unwrap_or_default();
                print_error(format_args!(
                    "missed: {missed} triggers, whose records were removed before they could be sent"
                ));
                Ok(())
            }
            "" => self.trigger(&event.data).await,
            _ => Ok(()),
        }
    }

    async fn trigger(&mut self, data: &str) -> anyhow::Result<()> {
        let trigger: Trigger = match serde_json::from_str(data) {
            Ok(trigger) => trigger,
            Err(error) => {
                print_error(format_args!("a record cannot be read: {}", Printable(&error.to_string())));
                return Ok(());
            }
        };
        if self.recent.len() >= MAX_RECENT {
            self.recent.clear();
        }
        if !self.recent.insert(trigger.id.clone()) {
            return Ok(());
        }
        match self.style {
            Style::Json => print(json_line(data))?,
            Style::Line => print(self.lines.line(&trigger))?,
            Style::Whole => {
                let trigger = self.detailed(trigger).await;
                print(whole::whole(&trigger, self.has_colours))?;
            }
        }
        Ok(())
    }

    /// The record with the rules that do not match, if no rule matches: the stream leaves them out.
    async fn detailed(&self, trigger: Trigger) -> Trigger {
        let is_id = trigger.id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if !trigger.rules.is_empty() || trigger.events.is_empty() || !is_id {
            return trigger;
        }
        let document = self.source.document(&format!("/triggers/{}", trigger.id)).await;
        document.and_then(|document| serde_json::from_slice(&document).ok()).unwrap_or(trigger)
    }
}

/// JSON without characters that control a terminal. JSON has them in strings alone, where an escape means the same.
fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        if Printable::is_plain(character) {
            line.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}").expect("a string takes any text");
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_without_control_characters() {
        let json = "{\"a\":\"\u{9b}31m\u{202e}\u{7f}é👋\"}";
        let line = json_line(json);
        assert_eq!(line, "{\"a\":\"\\u009b31m\\u202e\\u007fé👋\"}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            serde_json::from_str::<serde_json::Value>(json).unwrap()
        );
    }

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
