//! `/decisions/stream`: decisions as they are made, as server-sent events.
//!
//! Every stream reads from the log at the pace of its reader, so none has a queue of its own: what has left the log
//! before a slow reader came for it is told to him as a number. Events: a decision has an `id`, by which a reader goes
//! on where he was (`Last-Event-ID`), and the data of `/decisions`; `hello` says how many decisions are kept, `missed`
//! how many could not be shown.

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
use super::decisions::Shown;
use super::query::Query;
use super::refusal::Refusal;
use crate::decisions::{Filter, News};
use crate::shutdown::Drain;

/// Streams at once; so many readers leave places for those who scrape and probe.
pub(super) const MAX_STREAMS: usize = 16;

/// Decisions looked at for one telling.
const MOST_AT_ONCE: u64 = 256;

/// Between two tellings, so that a busy gateway does not wake a reader for each decision.
const PAUSE: Duration = Duration::from_millis(100);

/// After so much silence a comment is sent, which keeps proxies from giving the connection up and finds a reader who is
/// gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends by itself before its connection is ended (`listener`); readers come back with the last id.
const MAX_LIFETIME: Duration = Duration::from_secs(240);

/// What is to be followed.
#[derive(Debug)]
pub(super) struct Asked {
    app: Option<String>,
    channel_prefix: String,
    /// How many of the last decisions to begin with.
    backlog: u64,
    /// Where the reader was, by the number of the decision.
    after: Option<u64>,
}

impl Asked {
    /// Reads the query and where the reader was.
    ///
    /// # Errors
    /// The query has parameters that a stream does not take, or a backlog out of bounds.
    pub(super) fn parse(admin: &Admin, query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "channel", "backlog"])?;
        // An id of another process, or none of ours, is as good as none.
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

    /// The events, until `stop` begins or the stream has lasted long enough. `place` is held until then.
    pub(super) fn follow(
        self,
        admin: Arc<Admin>,
        place: OwnedSemaphorePermit,
        stop: Drain,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        let pushed = admin.decisions.next();
        // The beginning of the backlog may have left the log already; nobody has missed that.
        let kept = admin.decisions.capacity() as u64;
        let next = self.after.map_or_else(|| pushed - self.backlog.min(kept).min(pushed), |number| number + 1);
        let feed = Feed {
            admin,
            asked: self,
            next,
            told: Told::Nothing,
            ends: Instant::now() + MAX_LIFETIME,
            stop,
            _place: place,
        };
        stream::unfold(feed, |mut feed| async move {
            let text = feed.next().await?;
            Some((Ok(Frame::data(Bytes::from(text))), feed))
        })
    }
}

/// Most decisions that a stream may begin with.
const MAX_BACKLOG: usize = 1000;

/// What a stream has told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Hello,
    Decisions,
}

/// One stream.
#[derive(Debug)]
struct Feed {
    admin: Arc<Admin>,
    asked: Asked,
    /// The number of the decision to be told next.
    next: u64,
    told: Told,
    ends: Instant,
    stop: Drain,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let (stop, ends) = (self.stop.clone(), self.ends);
        tokio::select! {
            biased;
            () = stop.begun() => None,
            () = sleep_until(ends) => None,
            text = self.news() => Some(text),
        }
    }

    /// What there is to tell, once there is something.
    async fn news(&mut self) -> String {
        if self.told == Told::Nothing {
            self.told = Told::Hello;
            return format!("retry: 1000\nevent: hello\ndata: {{\"kept\":{}}}\n\n", self.admin.decisions.capacity());
        }
        if self.told == Told::Decisions {
            sleep(PAUSE).await;
        }
        let silent_until = Instant::now() + KEEP_ALIVE;
        loop {
            tokio::select! {
                () = self.admin.decisions.pushed(self.next) => {}
                () = sleep_until(silent_until) => return ": nothing new\n\n".to_owned(),
            }
            let filter = Filter { app: self.asked.app.as_deref(), channel_prefix: &self.asked.channel_prefix };
            let news = self.admin.decisions.since(self.next, MOST_AT_ONCE, filter);
            self.next = news.next;
            let text = self.tell(&news);
            if !text.is_empty() {
                self.told = Told::Decisions;
                return text;
            }
            sleep(PAUSE).await;
        }
    }

    /// Writes `news`.
    fn tell(&self, news: &News) -> String {
        let mut text = String::new();
        if news.missed > 0 {
            push(&mut text, format_args!("event: missed\ndata: {{\"missed\":{}}}\n\n", news.missed));
        }
        let process = process_id(&self.admin);
        for (number, record) in &news.records {
            let shown = serde_json::to_string(&Shown::new(record, &self.admin.calendar))
                .expect("no value of it refuses to be written");
            // Within a line of JSON such characters stand between tokens only.
            let line = shown.replace(['\n', '\r'], " ");
            push(&mut text, format_args!("id: {process}-{number}\ndata: {line}\n\n"));
        }
        text
    }
}

/// Tells the numbers of one process from those of another: when its clock began, in milliseconds since the Unix epoch
/// as it was told then.
fn process_id(admin: &Admin) -> u128 {
    admin.calendar.clock().stamp().as_millis()
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}
