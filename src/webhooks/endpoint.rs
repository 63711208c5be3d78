//! Sends the events of one webhook: batch by batch, so that they come in their order. A batch that is not taken is sent
//! again, after growing pauses, and given up in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::outbox::{Next, Outbox};
use super::receiver::cause;
use super::{EventKind, EventKinds, Options, Receiver, Target};
use crate::broker::Occurrence;
use crate::clock::{Clock, Moment};
use crate::metrics::{WebhookMetrics, WebhookOutcome, WebhookResult};
use crate::pusher::{App, WebhookSignature};
use crate::upstream::{Answer, Failure};

/// The pause before a batch is sent again the first time; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long a batch is sent again. Pusher does it for 5 minutes, and libraries refuse a webhook that is older (the
/// Python library, `pusher-protocol.md` 5.2), so the last attempt comes a little earlier.
const RETRY_PERIOD: Duration = Duration::from_secs(290);
/// An answer is read up to this many bytes, so that its connection can be used again; a longer one closes it.
const MAX_ANSWER: usize = 64 * 1024;
/// The shortest time between two log lines about events that were lost.
const LOST_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One webhook.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: Uri,
    receiver: Receiver,
    /// With the keys that sign. A reload replaces it.
    app: ArcSwap<App>,
    /// A lock: held to put an event in or to take a batch out, never across an await.
    outbox: Mutex<Outbox>,
    /// The sender has to look at the outbox.
    changed: Notify,
    /// What waits is sent once, and that is the end.
    closing: CancellationToken,
    timeout: Duration,
    clock: Clock,
    metrics: WebhookMetrics,
    lost: LostEvents,
    /// The number of events that were given up at the end.
    ended: AtomicUsize,
}

/// Events that found no space, for the log.
#[derive(Debug, Default)]
struct LostEvents {
    /// Those that no log line has told of.
    count: AtomicU64,
    /// When the last log line was written, in milliseconds of the clock; 0: never.
    logged: AtomicU64,
}

/// Why a receiver has not taken a webhook.
#[derive(Debug)]
enum NotTaken {
    Status(StatusCode),
    Failed(Failure),
    /// The answer was not complete in time.
    Late,
}

impl Endpoint {
    /// The webhook `target` of `app`. [`Endpoint::run`] sends its events.
    pub(super) fn new(
        app: &App,
        target: &Target,
        receiver: Receiver,
        options: &Options,
        clock: Clock,
        metrics: WebhookMetrics,
    ) -> Self {
        Self {
            url: target.url.clone(),
            receiver,
            app: ArcSwap::from_pointee(app.clone()),
            outbox: Mutex::new(Outbox::new(target.events, options.queue)),
            changed: Notify::new(),
            closing: CancellationToken::new(),
            timeout: options.timeout,
            clock,
            metrics,
            lost: LostEvents::default(),
            ended: AtomicUsize::new(0),
        }
    }

    /// Where its events are sent.
    pub(super) const fn url(&self) -> &Uri {
        &self.url
    }

    /// Signs with the keys of `app` and wants these kinds of events from now on.
    pub(super) fn reconfigure(&self, app: &App, events: EventKinds) {
        self.app.store(Arc::new(app.clone()));
        self.outbox.lock().set_wanted(events);
    }

    /// Whether `kind` is wanted.
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        self.outbox.lock().wants(kind)
    }

    /// Notes what has happened.
    pub(super) fn note(&self, occurrence: &Occurrence<'_>) {
        if self.with_outbox(|outbox| outbox.note(occurrence, self.clock.now())) {
            self.changed.notify_one();
        }
    }

    /// Sends what waits once, and ends.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Gives up what is left. Returns how many events this and earlier calls have given up.
    pub(super) fn end(&self) -> usize {
        let left = self.with_outbox(Outbox::end);
        let ended = self.ended.fetch_add(left, Ordering::Relaxed) + left;
        self.metrics.events(WebhookOutcome::Ended, left as u64);
        if left > 0 {
            tracing::warn!(
                app = self.app.load().id(),
                url = self.receiver.shown(),
                left,
                "events of a webhook were not delivered before the end"
            );
        }
        ended
    }

    /// Sends batches until the webhook is closed and nothing waits.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.send_batches() => {}
            () = self.receiver.run() => {}
        }
        self.end();
    }

    async fn send_batches(&self) {
        while let Some(batch) = self.next_batch().await {
            let events = batch.len();
            let delivered = self.deliver(&body(&batch)).await;
            if !delivered && self.closing.is_cancelled() {
                return;
            }
            self.with_outbox(Outbox::sent);
            self.metrics
                .events(if delivered { WebhookOutcome::Delivered } else { WebhookOutcome::GivenUp }, events as u64);
            self.log_lost();
        }
    }

    /// Waits for the next batch; `None`: the webhook is closed, and nothing is left.
    async fn next_batch(&self) -> Option<Vec<Box<str>>> {
        loop {
            let is_last = self.closing.is_cancelled();
            let due = match self.with_outbox(|outbox| outbox.next(self.clock.now(), is_last)) {
                Next::Batch(batch) => return Some(batch),
                Next::WaitUntil(_) if is_last => return None,
                Next::WaitUntil(due) => due,
            };
            let until_due = async {
                match due {
                    Some(due) => sleep(due.since(self.clock.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => {}
                () = self.changed.notified() => {}
                () = until_due => {}
            }
        }
    }

    /// Sends a body until it is taken. Returns whether it was.
    async fn deliver(&self, body: &Bytes) -> bool {
        let (began, mut pause, mut attempts) = (Instant::now(), FIRST_PAUSE, 0_u32);
        loop {
            // The last one, if the webhook is closed by now.
            let is_closing = self.closing.is_cancelled();
            attempts += 1;
            let not_taken = match self.attempt(body).await {
                Ok(()) => {
                    if attempts > 1 {
                        tracing::info!(
                            app = self.app.load().id(),
                            url = self.receiver.shown(),
                            attempts,
                            "a webhook was taken"
                        );
                    }
                    return true;
                }
                Err(not_taken) => not_taken,
            };
            let is_over = is_closing || began.elapsed() + pause > RETRY_PERIOD;
            self.log(&not_taken, attempts, is_over);
            if is_over {
                return false;
            }
            self.log_lost();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing.cancelled() => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn attempt(&self, body: &Bytes) -> Result<(), NotTaken> {
        let request = self.receiver.send(self.headers(body), body.clone(), self.timeout);
        let exchange = async {
            let answer = request.await.map_err(NotTaken::Failed)?;
            let status = answer.status();
            read(answer.into_body()).await;
            if status.is_success() { Ok(()) } else { Err(NotTaken::Status(status)) }
        };
        let result = timeout(self.timeout, exchange).await.unwrap_or(Err(NotTaken::Late));
        self.metrics.request(match &result {
            Ok(()) => WebhookResult::Taken,
            Err(NotTaken::Status(_)) => WebhookResult::Refused,
            Err(NotTaken::Failed(_) | NotTaken::Late) => WebhookResult::Failed,
        });
        result
    }

    /// The headers of a webhook (`pusher-protocol.md` 5.2). The Node.js library wants exactly this `Content-Type`.
    fn headers(&self, body: &[u8]) -> HeaderMap {
        let app = self.app.load();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION"))));
        let signature = WebhookSignature::of(app.first(), body).text();
        for (name, value) in [("x-pusher-key", app.key()), ("x-pusher-signature", &signature)] {
            headers.insert(name, HeaderValue::from_str(value).expect("keys and digits are visible ASCII characters"));
        }
        headers
    }

    fn log(&self, not_taken: &NotTaken, attempts: u32, is_over: bool) {
        let (cause, status, error) = match not_taken {
            NotTaken::Status(status) => ("status", Some(status.as_u16()), None),
            NotTaken::Failed(failure) => (cause(failure), None, std::error::Error::source(failure)),
            NotTaken::Late => ("timeout", None, None),
        };
        let (app, url) = (self.app.load(), self.receiver.shown());
        let error = error.map(tracing::field::display);
        if is_over {
            tracing::warn!(app = app.id(), url, attempts, cause, status, error, "a webhook was given up");
        } else if attempts == 1 {
            tracing::warn!(app = app.id(), url, cause, status, error, "a webhook was not taken, and is sent again");
        } else {
            tracing::debug!(app = app.id(), url, attempts, cause, status, error, "a webhook was not taken again");
        }
    }

    /// Logs how many events found no space, at most once in [`LOST_LOG_INTERVAL`].
    fn log_lost(&self) {
        let now = self.clock.now();
        let logged = Moment::from_millis(self.lost.logged.load(Ordering::Relaxed));
        let is_early = logged > Moment::default() && now.since(logged) < LOST_LOG_INTERVAL;
        if is_early || self.lost.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.lost.logged.store(now.as_millis(), Ordering::Relaxed);
        let (app, url) = (self.app.load(), self.receiver.shown());
        let lost = self.lost.count.swap(0, Ordering::Relaxed);
        tracing::warn!(app = app.id(), url, lost, "events of a webhook were lost: too many wait (webhooks.queue)");
    }

    /// Changes the outbox, and counts what waits in it and what is lost.
    fn with_outbox<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let before = outbox.len();
        let result = change(&mut outbox);
        self.metrics.waiting(before, outbox.len());
        let lost = outbox.take_lost();
        if lost > 0 {
            self.metrics.events(WebhookOutcome::QueueFull, lost);
            self.lost.count.fetch_add(lost, Ordering::Relaxed);
        }
        result
    }
}

/// The body of a webhook that is made now (`pusher-protocol.md` 5.2).
fn body(events: &[Box<str>]) -> Bytes {
    format!(r#"{{"time_ms":{},"events":[{}]}}"#, Clock::unix_now_exact().as_millis(), events.join(",")).into()
}

/// Reads an answer to its end; nothing in it is of interest.
async fn read(answer: Answer) {
    if let Err(error) = Limited::new(answer, MAX_ANSWER).collect().await {
        tracing::debug!(error, "the answer to a webhook was not read whole");
    }
}
