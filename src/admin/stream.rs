//! `/decisions/stream`: new decisions as server-sent events.
//!
//! A stream reads from the log of decisions at the speed of its client and has no queue: the number of decisions that
//! left the log before a slow client read them is sent instead of them. Events: a decision has an `id`, with which a
//! client resumes (`Last-Event-ID`), and the data of `/decisions`; `hello` contains the number of decisions in the log,
//! `missed` the number of decisions that could not be sent.

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
use super::decisions::DecisionView;
use super::query::Query;
use super::refusal::Refusal;
use crate::decisions::{Filter, News};
use crate::shutdown::Drain;

/// The largest number of streams. It leaves connections for scrapers and health probes.
pub(super) const MAX_STREAMS: usize = 16;

/// The largest number of decisions that are read from the log at once.
const MAX_BATCH: u64 = 256;

/// The pause between two batches, so that a busy gateway does not wake a client for each decision.
const PAUSE: Duration = Duration::from_millis(100);

/// The time without an event after which a comment is sent. It prevents timeouts of proxies, and detects disconnected
/// clients.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends before the lifetime of its connection does (`listener`). Clients reconnect with the last id.
const MAX_LIFETIME: Duration = Duration::from_secs(240);

/// The query of a stream.
#[derive(Debug)]
pub(super) struct StreamQuery {
    app: Option<String>,
    channel_prefix: String,
    /// The number of past decisions to begin with.
    backlog: u64,
    /// The number of the last decision that the client has received.
    after: Option<u64>,
}

impl StreamQuery {
    /// Parses the query and `Last-Event-ID`.
    ///
    /// # Errors
    /// The query has unknown parameters, or a backlog out of bounds.
    pub(super) fn parse(admin: &Admin, query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "channel", "backlog"])?;
        // An id of another process, or an invalid one, is ignored.
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.split_once('-'));
        let after = last
            .filter(|(process, _)| *process == process_id(admin).to_string())
            .and_then(|(_, number)| number.parse::<u64>().ok());
        Ok(Self {
            app: query.get("app").map(Into::into),
            channel_prefix: query.get("channel").unwrap_or_default().into(),
            backlog: query.number("backlog", 0, 0..=MAX_BACKLOG)? as u64,
            after: after.filter(|number| *number < admin.decisions.next()),
        })
    }

    /// The events, until `stop` begins or [`MAX_LIFETIME`] is over. The stream holds `permit` until then.
    pub(super) fn follow(
        self,
        admin: Arc<Admin>,
        permit: OwnedSemaphorePermit,
        stop: Drain,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        let pushed = admin.decisions.next();
        // The log may be shorter than the requested backlog; older decisions do not count as missed.
        let capacity = admin.decisions.capacity() as u64;
        let next = self.after.map_or_else(|| pushed - self.backlog.min(capacity).min(pushed), |number| number + 1);
        let events = DecisionEvents {
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

/// The largest number of past decisions that a stream can begin with.
const MAX_BACKLOG: usize = 1000;

/// What a stream has sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastSent {
    Nothing,
    Hello,
    Decisions,
}

/// The state of a stream.
#[derive(Debug)]
struct DecisionEvents {
    admin: Arc<Admin>,
    query: StreamQuery,
    /// The number of the next decision.
    next: u64,
    last_sent: LastSent,
    ends: Instant,
    stop: Drain,
    _permit: OwnedSemaphorePermit,
}

impl DecisionEvents {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let (stop, ends) = (self.stop.clone(), self.ends);
        tokio::select! {
            biased;
            () = stop.begun() => None,
            () = sleep_until(ends) => None,
            text = self.next_events() => Some(text),
        }
    }

    /// Waits for the next events and formats them.
    async fn next_events(&mut self) -> String {
        if self.last_sent == LastSent::Nothing {
            self.last_sent = LastSent::Hello;
            return format!("retry: 1000\nevent: hello\ndata: {{\"kept\":{}}}\n\n", self.admin.decisions.capacity());
        }
        if self.last_sent == LastSent::Decisions {
            sleep(PAUSE).await;
        }
        let keep_alive_at = Instant::now() + KEEP_ALIVE;
        loop {
            tokio::select! {
                () = self.admin.decisions.pushed(self.next) => {}
                () = sleep_until(keep_alive_at) => return ": nothing new\n\n".to_owned(),
            }
            let filter = Filter { app: self.query.app.as_deref(), channel_prefix: &self.query.channel_prefix };
            let news = self.admin.decisions.since(self.next, MAX_BATCH, filter);
            self.next = news.next;
            let text = self.format(&news);
            if !text.is_empty() {
                self.last_sent = LastSent::Decisions;
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
        let process = process_id(&self.admin);
        for (number, record) in &news.records {
            let json = serde_json::to_string(&DecisionView::new(record, &self.admin.calendar))
                .expect("no value of it refuses to be written");
            // In valid JSON, line breaks occur between tokens only.
            let line = json.replace(['\n', '\r'], " ");
            push(&mut text, format_args!("id: {process}-{number}\ndata: {line}\n\n"));
        }
        text
    }
}

/// Distinguishes the decision numbers of different processes: the start of the process's clock in milliseconds since
/// the Unix epoch.
fn process_id(admin: &Admin) -> u128 {
    admin.calendar.clock().stamp().as_millis()
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}
