//! Follows the streams of all ushers at once, each over one connection after the other.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::Wanted;
use super::events::Event;
use super::printer::{Printer, Style};
use super::source::{Refused, Source, Stream};
use super::trigger::Trigger;
use crate::command::terminal::{Printable, StdoutError};

/// The pause after the first failure; doubled at each further one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The past triggers of each kind that are asked for when usher may have been restarted: as many as it sends.
const MOST_BACKLOG: u16 = 1000;
/// Most ids of triggers that are remembered to print none twice: those of two batches of the stream.
const MAX_RECENT: usize = 2048;

/// Follows all of them and prints what comes in the order in which it comes.
///
/// # Errors
/// An usher refuses for good at first; the only one does so later; none can be reached at first; standard output cannot
/// be written.
pub(super) async fn follow(sources: &[Source], wanted: &Wanted, backlog: u16, printer: Printer) -> anyhow::Result<()> {
    let all = All { printer: RefCell::new(printer), count: sources.len(), unreached: Cell::new(0) };
    let followers = sources.iter().map(|source| {
        let recent = HashSet::new();
        Follower { source, wanted, backlog, all: &all, was_open: false, is_away: false, recent, last: None }.follow()
    });
    try_join_all(followers).await.map(drop)
}

/// What the followers share.
#[derive(Debug)]
struct All {
    printer: RefCell<Printer>,
    /// How many ushers are followed.
    count: usize,
    /// How many could not be reached at the first attempt.
    unreached: Cell<usize>,
}

/// Follows one usher.
#[derive(Debug)]
struct Follower<'a> {
    source: &'a Source,
    wanted: &'a Wanted,
    /// How many past triggers of each kind the next connection begins with.
    backlog: u16,
    all: &'a All,
    /// Whether there was a stream.
    was_open: bool,
    /// Whether it was said that there is none.
    is_away: bool,
    /// The ids of triggers that were printed since the last event with an id: if the connection breaks there, they come
    /// again.
    recent: HashSet<String>,
    /// The id of the last event.
    last: Option<String>,
}

impl Follower<'_> {
    /// Never returns without an error.
    async fn follow(mut self) -> anyhow::Result<()> {
        loop {
            let mut stream = self.open().await?;
            if let Some(error) = self.print_all(&mut stream).await? {
                self.is_away = true;
                self.say(format_args!("{}; connecting again", Printable(&format!("{error:#}"))));
            }
            // With an id of this process usher goes on there; after a restart it sends what came since.
            self.backlog = if self.last.is_some() { MOST_BACKLOG } else { 0 };
            sleep(SHORTEST_PAUSE).await;
        }
    }

    /// Opens a stream, at as many attempts as it takes.
    async fn open(&mut self) -> anyhow::Result<Stream> {
        let target = self.wanted.target(self.backlog);
        let mut failures = 0;
        loop {
            let error = match self.source.open(&target, self.last.as_deref()).await {
                Ok(stream) => {
                    if std::mem::take(&mut self.is_away) {
                        self.say(format_args!("{}", if self.was_open { "connected again" } else { "connected" }));
                    }
                    self.was_open = true;
                    return Ok(stream);
                }
                Err(refused) => self.bearable(refused, failures == 0)?,
            };
            let pause = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
            failures += 1;
            self.is_away = true;
            self.say(format_args!("{error:#}; trying again in {pause:?}"));
            sleep(pause).await;
        }
    }

    /// Why there is no stream yet, if another attempt makes sense.
    ///
    /// # Errors
    /// It does not. The first attempt may fail because of a mistake in the command, so usher's refusal ends it, and so
    /// does the last usher that cannot be reached. A later failure may be a restart; a refusal then ends the command if
    /// there is no other usher to follow.
    fn bearable(&self, refused: Refused, is_first: bool) -> anyhow::Result<anyhow::Error> {
        let All { count, unreached, .. } = self.all;
        let is_beginning = is_first && !self.was_open;
        match refused {
            Refused::ForGood(error) if is_beginning || *count == 1 => Err(error),
            Refused::ForNow(error) if is_beginning => {
                unreached.set(unreached.get() + 1);
                if unreached.get() == *count { Err(error) } else { Ok(error) }
            }
            Refused::ForGood(error) | Refused::ForNow(error) => Ok(error),
        }
    }

    /// Prints the events of a stream until it ends. Returns how it broke, if it did.
    ///
    /// # Errors
    /// Standard output cannot be written.
    async fn print_all(&mut self, stream: &mut Stream) -> anyhow::Result<Option<anyhow::Error>> {
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
                            self.last = event.id;
                        }
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
        }
    }

    async fn print(&mut self, event: &Event) -> Result<(), StdoutError> {
        match event.name.as_str() {
            "hello" => {
                let kept =
                    serde_json::from_str(&event.data).ok().and_then(|data: serde_json::Value| data["kept"].as_u64());
                if kept == Some(0) {
                    self.say(format_args!(
                        "usher keeps no records of triggers (admin.triggers_bytes = \"0B\"): nothing will come"
                    ));
                }
                Ok(())
            }
            "missed" if self.style() == Style::Json => self.all.printer.borrow().json(&self.source.name, &event.data),
            "missed" => {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
                let missed = data["missed"].as_u64().unwrap_or_default();
                self.say(format_args!(
                    "missed: {missed} triggers, whose records were removed before they could be sent"
                ));
                Ok(())
            }
            "" => self.trigger(&event.data).await,
            _ => Ok(()),
        }
    }

    async fn trigger(&mut self, data: &str) -> Result<(), StdoutError> {
        let mut trigger: Trigger = match serde_json::from_str(data) {
            Ok(trigger) => trigger,
            Err(error) => {
                self.say(format_args!("a record cannot be read: {}", Printable(&error.to_string())));
                return Ok(());
            }
        };
        if self.recent.len() >= MAX_RECENT {
            self.recent.clear();
        }
        if !self.recent.insert(trigger.id.clone()) {
            return Ok(());
        }
        if self.style() == Style::Whole {
            trigger = self.detailed(trigger).await;
        }
        self.all.printer.borrow_mut().record(&self.source.name, data, &trigger)
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

    fn style(&self) -> Style {
        self.all.printer.borrow().style
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        self.all.printer.borrow().say(&self.source.name, what);
    }
}
