//! `usher subscribe`: subscribes to channels as a browser does, and prints the events.

mod line;
mod retry;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;
use serde_json::json;
use tokio::time::sleep;
use usher::config;
use usher::pusher::App;
use usher::tls;

use self::line::EventLine;
use self::retry::Retry;
use super::block_on;
use super::credentials::{Credentials, DEMO_ID};
use super::listener::{Address, Connection, ConnectionEvent, Effect, Event, Subscriptions};
use super::party::Role;
use super::terminal::{Printable, print, print_error};

const EXAMPLES: &str = "\
Examples:
  usher subscribe grand-room-101-chat
  usher subscribe --url ws://127.0.0.1:6001 grand-room-101-chat --event staff-assigned --count 1 --timeout 10s";

/// What to listen to. Ends on Ctrl-C, after --count events or --timeout; exit code 0 unless fewer events came than
/// --count wanted, or the server refused a channel.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Subscribe {
    /// usher, or any Pusher-compatible host: ws://host:port or wss://host.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:6001")]
    url: Uri,
    #[command(flatten)]
    credentials: Credentials,
    /// The channels. Those that begin with private- or presence- need the app's secret.
    #[arg(value_name = "CHANNEL", required = true)]
    channels: Vec<String>,
    /// Print only events of this name; may be repeated.
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// End after this many events (those of the protocol itself do not count, unless --event names them).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time.
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    timeout: Option<Duration>,
    /// Print a line of JSON for each event, those of the protocol itself as well.
    #[arg(long)]
    json: bool,
    /// Who to be on presence channels.
    #[arg(long, value_name = "ID", default_value = "usher-cli")]
    user_id: String,
    /// More certificate authorities (PEM), beside the built-in web roots.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Prints events, and counts them.
#[derive(Debug)]
struct Printer<'a> {
    options: &'a Subscribe,
    printed: u64,
}

impl Subscribe {
    /// Listens and prints.
    ///
    /// # Errors
    /// If the first connection fails, or the server refuses for good.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let address =
            Address::new(Role::Url, &self.url, &self.credentials.key, &tls::Client::read(self.ca_file.as_deref())?)?;
        let app = self.credentials.secret()?.map(|secret| App::new(DEMO_ID, &self.credentials.key, &secret));
        let mut channels: Vec<String> = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            if !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        let subscriptions = Subscriptions { channels, app, member: json!({ "user_id": self.user_id }).to_string() };
        if let Some(channel) = subscriptions.first_unsigned() {
            self.credentials.needed_secret(&format!("the channel {channel}"))?;
        }
        block_on(self.until_done(&address, &subscriptions))
    }

    async fn until_done(&self, address: &Address, subscriptions: &Subscriptions) -> anyhow::Result<ExitCode> {
        let mut printer = Printer { options: self, printed: 0 };
        let interrupted = tokio::signal::ctrl_c();
        let time = async {
            match self.timeout {
                Some(period) => sleep(period).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            listened = listen(address, subscriptions, &mut printer) => {
                listened?;
                return Ok(ExitCode::SUCCESS);
            }
            interrupted = interrupted => interrupted.context("Ctrl-C cannot be received")?,
            () = time => {}
        }
        match self.count {
            Some(count) if self.timeout.is_some() && printer.printed < count => {
                bail!("only {} of {count} events came", printer.printed)
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Listens, over one connection after the other, until enough events are printed.
async fn listen(address: &Address, subscriptions: &Subscriptions, printer: &mut Printer<'_>) -> anyhow::Result<()> {
    let mut retry = Retry::default();
    // A failure of the first connection is an error, perhaps of the address; a later one may be a restart of the
    // server.
    let mut opened = Connection::open(address, subscriptions).await.map(Some)?;
    loop {
        let (code, reason) = match opened.take() {
            None => (None, "no connection yet".to_owned()),
            Some(mut connection) => loop {
                match connection.next().await {
                    ConnectionEvent::Effects(effects) => {
                        if printer.take(effects, &mut retry)? {
                            connection.close().await;
                            return Ok(());
                        }
                    }
                    ConnectionEvent::Ended(end) => break (end.code, end.reason),
                }
            },
        };
        let retry::RetryDecision::After(pause) = retry.after(code) else { bail!("{reason}") };
        print_error(format_args!("{reason}; connecting again in {} s", pause.as_secs()));
        sleep(pause).await;
        opened = match Connection::open(address, subscriptions).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                print_error(format_args!("{error:#}"));
                None
            }
        };
    }
}

impl Printer<'_> {
    /// Prints events. Returns whether enough are printed.
    fn take(&mut self, effects: Vec<Effect>, retry: &mut Retry) -> anyhow::Result<bool> {
        let is_refused = effects.iter().any(|effect| matches!(effect, Effect::Refused(_)));
        for effect in effects {
            match effect {
                Effect::Established(event) => {
                    retry.reset();
                    self.notice(&event)?;
                }
                Effect::Ready => self.print_status(format_args!("listening; Ctrl-C ends")),
                Effect::Notice(event) => self.notice(&event)?,
                Effect::Event(event) if self.is_selected(&event) => self.event(&event)?,
                Effect::Event(_) | Effect::Send(_) => {}
                Effect::Refused(message) => bail!("{}", Printable(&message)),
            }
            // The event of a refusal may be one of those that are counted; a refusal ends with 1 all the same.
            if !is_refused && self.options.count.is_some_and(|count| self.printed >= count) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Prints an event of the protocol itself: to standard error, or with `--json` among the events.
    fn notice(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.options.event.contains(&event.name) {
            return self.event(event);
        }
        if self.options.json {
            if self.options.event.is_empty() {
                print(EventLine::now(event).json()?)?;
            }
        } else {
            self.print_status(format_args!("{}", EventLine::now(event)));
        }
        Ok(())
    }

    fn is_selected(&self, event: &Event) -> bool {
        self.options.event.is_empty() || self.options.event.contains(&event.name)
    }

    fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        let line = EventLine::now(event);
        if self.options.json {
            print(line.json()?)?
        } else {
            print(&line)?
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints a status to standard error; with `--json` nothing, since the events contain it.
    fn print_status(&self, what: std::fmt::Arguments<'_>) {
        if !self.options.json {
            print_error(format_args!("{what}"));
        }
    }
}
