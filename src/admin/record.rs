//! `/record`: triggers as JSON lines, in the form of [`crate::recording`], as they are settled.
//!
//! A client that reads too slowly loses triggers and is told how many. While nothing comes, a line that says that none
//! are lost shows that the stream lives.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use crate::clock::Clock;
use crate::recording::{
    Batch, Entry, Header, Item, RecordedTrigger, Recorder, Redactor, SettledTrigger, UnixTime, body_text,
};
use crate::shutdown::{Drain, Phase};

/// The pause between two batches, so that a busy gateway does not wake a client for each trigger.
const PAUSE: Duration = Duration::from_millis(50);

/// The time without a trigger after which a line is sent all the same.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The time in which a client reads something, or is taken to be gone.
const STALLED: Duration = Duration::from_secs(60);

/// Whether an answer is under way that lasts as long as its client reads it, longer than a connection may otherwise.
#[derive(Debug, Default)]
pub(super) struct LongAnswer(Mutex<Option<Instant>>);

impl LongAnswer {
    /// Whether its client has read something lately.
    pub(super) fn is_read(&self) -> bool {
        self.0.lock().is_some_and(|last| last.elapsed() < STALLED)
    }

    fn progress(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    fn end(&self) {
        *self.0.lock() = None;
    }
}

/// The query of a recording.
#[derive(Debug)]
pub(super) struct RecordQuery {
    redact: bool,
}

/// A recording.
struct Recording {
    admin: Arc<Admin>,
    recorder: Recorder,
    redactor: Option<Redactor>,
    /// An instant and what the system's clock showed then: a recording has one time, whatever becomes of that clock.
    began: (Instant, Duration),
    /// Until it is sent.
    header: Option<Header>,
    is_pausing: bool,
    answer: Arc<LongAnswer>,
    stop: Drain,
}

impl RecordQuery {
    /// Parses the query.
    ///
    /// # Errors
    /// The query has unknown parameters, or invalid values.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["redact"])?;
        Ok(Self { redact: query.flag("redact")?.unwrap_or_default() })
    }

    /// The lines, until `stop` begins or recording is switched off.
    ///
    /// # Errors
    /// Recording is off, or as many as may be record.
    pub(super) fn follow(
        self,
        admin: Arc<Admin>,
        answer: Arc<LongAnswer>,
        stop: Drain,
    ) -> Result<impl Stream<Item = Result<Frame<Bytes>, Infallible>>, Refusal> {
        if !admin.access.load().recording {
            return Err(Refusal::RecordingOff);
        }
        let recorder = admin.recorders.begin().ok_or(Refusal::TooManyRecorders)?;
        let rules = admin.mode_switch.rules();
        let rules = rules.into_iter().map(|rule| (Box::from(&*rule.app), rule.definition));
        let redactor = self.redact.then(|| Redactor::new(rules));
        tracing::info!(redacted = self.redact, "a recording of triggers begins (GET /record)");
        let recording = Recording {
            admin,
            recorder,
            redactor,
            began: (Instant::now(), Clock::unix_now_exact()),
            header: Some(Header::new(self.redact)),
            is_pausing: false,
            answer,
            stop,
        };
        Ok(stream::unfold(recording, |mut recording| async move {
            let lines = recording.next().await?;
            Some((Ok(Frame::data(Bytes::from(lines))), recording))
        }))
    }
}

impl Recording {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        self.answer.progress();
        if let Some(header) = self.header.take() {
            let header = serde_json::to_string(&header).expect("no value of it refuses to be written");
            return Some(header + "\n");
        }
        let stop = self.stop.clone();
        let batch = tokio::select! {
            biased;
            () = stop.reached(Phase::Draining) => return None,
            batch = Self::batch(&mut self.recorder, self.is_pausing) => batch,
            () = sleep(KEEP_ALIVE) => Batch::default(),
        };
        if !self.admin.access.load().recording {
            return None;
        }
        self.is_pausing = !batch.more;
        Some(self.lines(&batch))
    }

    async fn batch(recorder: &mut Recorder, is_pausing: bool) -> Batch {
        if is_pausing {
            sleep(PAUSE).await;
        }
        recorder.next().await
    }

    fn lines(&self, batch: &Batch) -> String {
        let mut lines = String::new();
        for item in &batch.items {
            match item {
                Item::Trigger(trigger) => self.line(trigger, &mut lines),
                Item::Lost(count) => push(&Entry::Lost(*count), &mut lines),
            }
        }
        if batch.items.is_empty() {
            push(&Entry::Lost(0), &mut lines);
        }
        lines
    }

    fn line(&self, trigger: &SettledTrigger, lines: &mut String) {
        let SettledTrigger { request, end } = trigger;
        let recorded = RecordedTrigger {
            id: request.id.as_str().into(),
            received: self.unix_time(request.received),
            settled: end.settled.map(|settled| self.unix_time(settled)),
            app: (&*request.app).into(),
            path: (&*request.path).into(),
            body: body_text(&request.body),
            head: request.head,
            outcome: end.outcome,
            decision: end.decision.into(),
            reason: end.reason.into(),
        };
        let recorded = match &self.redactor {
            Some(redactor) => redactor.redact(&recorded),
            None => recorded,
        };
        push(&Entry::Trigger(recorded), lines);
    }

    fn unix_time(&self, instant: Instant) -> UnixTime {
        let (began, began_at) = self.began;
        let time = match instant.checked_duration_since(began) {
            Some(later) => began_at + later,
            None => began_at.saturating_sub(began - instant),
        };
        UnixTime(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.answer.end();
        tracing::info!("a recording of triggers has ended");
    }
}

fn push(entry: &Entry<'_>, lines: &mut String) {
    use std::fmt::Write as _;
    writeln!(lines, "{entry}").expect("a string takes any text");
}
