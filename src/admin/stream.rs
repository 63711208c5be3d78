//! `/triggers/stream`: new triggers as server-sent events.
//!
//! A stream reads from the records at the speed of its client and has no queue: the number of records that were removed
//! before a slow client read them is sent instead of them. Events: a trigger has an `id`, with which a client resumes
//! (`Last-Event-ID`), and the data of `/triggers`; `hello`, which has an `id` as well, contains the bytes that are kept of each kind of records,
//! `missed` the number of triggers that could not be sent.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::trigger_view::TriggerView;
use super::triggers::{FILTERS, filter};
use crate::shutdown::{Drain, Phase};
use crate::triggers::{Cursor, Filter, News};

/// The largest number of streams. It leaves connections for scrapers and health probes.
pub(super) const MAX_STREAMS: usize = 16;

/// The largest number of records that are read from each ring at once.
const MAX_BATCH: u64 = 256;

/// The pause between two batches, so that a busy gateway does not wake a client for each trigger.
const PAUSE: Duration = Duration::from_millis(100);

/// The time without an event after which a comment is sent. It prevents timeouts of proxies, and detects disconnected
/// clients.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends before the lifetime of its connection does (`listener`). Clients reconnect with the last id.
const MAX_LIFETIME: Duration = Duration::from_secs(240);

/// The query of a stream.
#[derive(Debug)]
pub(super) struct StreamQuery {
    filter: Filter,
    /// The number of past triggers of each kind to begin with.
    backlog: u64,
    /// Where the client has read up to.
    after: Option<Cursor>,
}

impl StreamQuery {
    /// Parses the query and `Last-Event-ID`.
    ///
    /// # Errors
    /// The query has unknown parameters, or invalid values.
    pub(super) fn parse(admin: &Admin, query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let known: Vec<&str> = FILTERS.into_iter().chain(["backlog"]).collect();
        let query = Query::parse(query, &known)?;
        // An id of another process, or an invalid one, is ignored.
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        Ok(Self {
            filter: filter(&query)?,
            backlog: query.number("backlog", 0, 0..=MAX_BACKLOG)? as u64,
            after: last.and_then(|id| read_cursor(admin, id)),
        })
    }

    /// The events, until `stop` begins or [`MAX_LIFETIME`] is over. The stream holds `permit` until then.
    pub(super) fn follow(
        self,
        admin: Arc<Admin>,
        permit: OwnedSemaphorePermit,
        stop: Drain,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        let next = self.after.unwrap_or_else(|| admin.triggers.cursor_before(self.backlog));
        let events = TriggerEvents {
            admin,
            query: self,
            next,
            last_sent: LastSent::Nothing,
            ends: Instant::now() + MAX_LIFETIME,
            stop,
            _permit: permit,
        };
        stream::unfold(events, |mut events| async move {
            let text = events.next().await?;
            Some((Ok(Frame::data(Bytes::from(text))), events))
        })
    }
}

/// The largest number of past triggers of each kind that a stream can begin with.
const MAX_BACKLOG: usize = 1000;

/// What a stream has sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastSent {
    Nothing,
    Hello,
    Triggers,
}

/// The state of a stream.
#[derive(Debug)]
struct TriggerEvents {
    admin: Arc<Admin>,
    query: StreamQuery,
    next: Cursor,
    last_sent: LastSent,
    ends: Instant,
    stop: Drain,
    _permit: OwnedSemaphorePermit,
}

impl TriggerEvents {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let (stop, ends) = (self.stop.clone(), self.ends);
        tokio::select! {
            biased;
            () = stop.reached(Phase::Draining) => None,
            () = sleep_until(ends) => None,
            text = self.next_events() => Some(text),
        }
    }

    /// Waits for the next events and formats them.
    async fn next_events(&mut self) -> String {
        if self.last_sent == LastSent::Nothing {
            self.last_sent = LastSent::Hello;
            // With an id, so that a client that has seen no trigger yet resumes here as well.
            let (id, kept) = (write_cursor(&self.admin, self.next), self.admin.triggers.capacity());
            return format!("retry: 1000\nevent: hello\nid: {id}\ndata: {{\"kept\":{kept}}}\n\n");
        }
        if self.last_sent == LastSent::Triggers {
            sleep(PAUSE).await;
        }
        let keep_alive_at = Instant::now() + KEEP_ALIVE;
        loop {
            tokio::select! {
                () = self.admin.triggers.pushed(self.next) => {}
                () = sleep_until(keep_alive_at) => return ": nothing new\n\n".to_owned(),
            }
            let news = self.admin.triggers.since(self.next, MAX_BATCH);
            self.next = news.next;
            let text = self.format(&news);
            if !text.is_empty() {
                self.last_sent = LastSent::Triggers;
                return text;
            }
            sleep(PAUSE).await;
        }
    }

    /// Formats `news` as events.
    fn format(&self, news: &News) -> String {
        let mut text = String::new();
        if news.missed > 0 {
            push(&mut text, format_args!("event: missed\ndata: {{\"missed\":{}}}\n\n", news.missed));
        }
        let wanted = news.records.iter().filter_map(|encoded| encoded.record());
        let wanted: Vec<_> = wanted.filter(|record| self.query.filter.admits(record)).collect();
        for (index, record) in wanted.iter().enumerate() {
            let json = serde_json::to_string(&TriggerView::new(&self.admin, record))
                .expect("no value of it refuses to be written");
            // In valid JSON, line breaks occur between tokens only.
            let line = json.replace(['\n', '\r'], " ");
            // A client that has received the last one of a batch has received all of it.
            if index + 1 == wanted.len() {
                push(&mut text, format_args!("id: {}\n", write_cursor(&self.admin, news.next)));
            }
            push(&mut text, format_args!("data: {line}\n\n"));
        }
        text
    }
}

/// The id of an event: the process, and the number of the next record of each kind.
fn write_cursor(admin: &Admin, cursor: Cursor) -> String {
    let [first, second, third] = cursor.numbers();
    format!("{}.{first}.{second}.{third}", process_id(admin))
}

/// Reads the id of an event of this process.
fn read_cursor(admin: &Admin, id: &str) -> Option<Cursor> {
    let mut parts = id.split('.');
    parts.next().filter(|process| *process == process_id(admin).to_string())?;
    let mut number = || parts.next()?.parse::<u64>().ok();
    let numbers = [number()?, number()?, number()?];
    // A number that is still to come is not this process's.
    let is_past = numbers.iter().zip(admin.triggers.cursor().numbers()).all(|(number, next)| *number <= next);
    is_past.then(|| Cursor::from_numbers(numbers))
}

/// Distinguishes the numbers of different processes: the start of the process's clock in milliseconds since the Unix
/// epoch.
fn process_id(admin: &Admin) -> u128 {
    admin.calendar.clock().stamp().as_millis()
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}
