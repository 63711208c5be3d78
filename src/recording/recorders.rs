//! Hands settled triggers to those who record them, within bounds: of a reader that is too slow, or of more triggers
//! than fit, the number of those that are lost is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{HeadForm, RecordedOutcome};

/// Recordings that are made at once.
const MAX_RECORDERS: usize = 2;
/// Triggers that are recorded in a second at most; the others are lost.
const MAX_RATE: u64 = 5_000;
/// Bytes of triggers that are in flight and are to be recorded.
const MAX_IN_FLIGHT: usize = 16 * 1024 * 1024;
/// Bytes of triggers that wait for one reader.
const MAX_QUEUE: usize = 16 * 1024 * 1024;
/// Bytes of triggers that a reader takes at once.
const MAX_BATCH: usize = 256 * 1024;
/// What a trigger takes beside its body, its path and its app's id, in bytes.
const OVERHEAD: usize = 320;

/// Those who record. While nobody does, a trigger costs one relaxed load.
#[derive(Debug)]
pub struct Recorders {
    /// How many record.
    active: AtomicUsize,
    /// Bytes of triggers in flight that are to be recorded.
    in_flight: AtomicUsize,
    /// The second of the last trigger since `began`, and how many were recorded in it: 32 bits each.
    rate: AtomicU64,
    began: Instant,
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// What waits for one reader.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the reader.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Bytes of the triggers.
    bytes: usize,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Item {
    /// A trigger.
    Trigger(Arc<SettledTrigger>),
    /// So many triggers are lost here.
    Lost(u64),
}

/// What is recorded of a trigger when it is decided. Dropped before it is settled, e.g. by a panic, it counts as lost.
#[derive(Debug)]
pub struct Capture {
    recorders: Arc<Recorders>,
    request: Option<CapturedRequest>,
}

/// The request of a trigger that is recorded.
#[derive(Debug)]
pub struct CapturedRequest {
    /// The id of its record.
    pub id: String,
    /// When it was received.
    pub received: Instant,
    /// The app's id.
    pub app: Arc<str>,
    /// The path, without the query.
    pub path: Box<str>,
    /// The body as received.
    pub body: Box<[u8]>,
    /// What of the head matters for its reading.
    pub head: Option<HeadForm>,
}

/// What became of a trigger that is recorded.
#[derive(Debug, Clone, Copy)]
pub struct CapturedEnd {
    /// When it was settled; `None`: it was not sent.
    pub settled: Option<Instant>,
    /// What became of it at upstream.
    pub outcome: RecordedOutcome,
    /// What usher did with it, in one word.
    pub decision: &'static str,
    /// The code of the reason.
    pub reason: &'static str,
}

/// A trigger that is recorded.
#[derive(Debug)]
pub struct SettledTrigger {
    /// Its request.
    pub request: CapturedRequest,
    /// What became of it.
    pub end: CapturedEnd,
}

/// One who records.
#[derive(Debug)]
pub struct Recorder {
    recorders: Arc<Recorders>,
    queue: Arc<Queue>,
}

/// What a reader takes at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which the triggers were settled; empty: there are none yet.
    pub items: Vec<Item>,
    /// Whether more of them wait.
    pub more: bool,
}

impl Default for Recorders {
    fn default() -> Self {
        Self {
            active: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            rate: AtomicU64::new(0),
            began: Instant::now(),
            queues: Mutex::new(Vec::new()),
        }
    }
}

impl Recorders {
    /// Whether anyone records.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Begins a recording; `None`: as many as may be are made already.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Recorder> {
        let mut queues = self.queues.lock();
        if queues.len() >= MAX_RECORDERS {
            return None;
        }
        let queue = Arc::new(Queue::default());
        queues.push(Arc::clone(&queue));
        self.active.store(queues.len(), Ordering::Relaxed);
        Some(Recorder { recorders: Arc::clone(self), queue })
    }

    /// Keeps a request of `bytes` bytes, which `request` makes, until it is settled. `None`: it is lost, since others
    /// take what may be kept.
    #[cold]
    #[inline(never)]
    pub fn capture(
        self: &Arc<Self>,
        bytes: usize,
        received: Instant,
        request: impl FnOnce() -> CapturedRequest,
    ) -> Option<Box<Capture>> {
        if !self.admits(received) {
            self.lose();
            return None;
        }
        let fits = |kept: usize| kept.checked_add(bytes + OVERHEAD).filter(|kept| *kept <= MAX_IN_FLIGHT);
        if self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            self.lose();
            return None;
        }
        let request = request();
        // It is given back as it was taken, whatever the request's parts are.
        debug_assert_eq!(request.size(), bytes + OVERHEAD);
        Some(Box::new(Capture { recorders: Arc::clone(self), request: Some(request) }))
    }

    /// Whether fewer than [`MAX_RATE`] triggers were recorded in this second.
    fn admits(&self, received: Instant) -> bool {
        const LOW: u64 = 0xffff_ffff;
        let second = received.saturating_duration_since(self.began).as_secs() & LOW;
        let counted = |packed: u64| {
            let (last, count) = (packed >> 32, packed & LOW);
            if last < second { Some(second << 32 | 1) } else { (count < MAX_RATE).then_some(packed + 1) }
        };
        self.rate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok()
    }

    fn lose(&self) {
        self.queues.lock().iter().for_each(|queue| queue.push(None));
    }

    fn push(&self, trigger: SettledTrigger) {
        let trigger = Arc::new(trigger);
        self.queues.lock().iter().for_each(|queue| queue.push(Some(&trigger)));
    }
}

impl CapturedRequest {
    /// What [`Recorders::capture`] is told of its size.
    #[must_use]
    pub const fn bytes(app: &str, path: &str, body: &[u8]) -> usize {
        app.len() + path.len() + body.len()
    }

    fn size(&self) -> usize {
        Self::bytes(&self.app, &self.path, &self.body) + OVERHEAD
    }
}

impl Capture {
    /// The trigger is settled, or dropped, or refused.
    pub fn settle(mut self, end: CapturedEnd) {
        if let Some(request) = self.release() {
            self.recorders.push(SettledTrigger { request, end });
        }
    }

    fn release(&mut self) -> Option<CapturedRequest> {
        let request = self.request.take()?;
        self.recorders.in_flight.fetch_sub(request.size(), Ordering::Relaxed);
        Some(request)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.release().is_some() {
            self.recorders.lose();
        }
    }
}

impl Queue {
    /// Appends a trigger. One that does not fit, or `None`, is lost.
    fn push(&self, trigger: Option<&Arc<SettledTrigger>>) {
        let mut waiting = self.waiting.lock();
        match trigger.filter(|trigger| waiting.bytes + trigger.request.size() <= MAX_QUEUE) {
            Some(trigger) => {
                waiting.bytes += trigger.request.size();
                waiting.items.push_back(Item::Trigger(Arc::clone(trigger)));
            }
            // There are no more of them than of triggers, and one.
            None => match waiting.items.back_mut() {
                Some(Item::Lost(count)) => *count += 1,
                _ => waiting.items.push_back(Item::Lost(1)),
            },
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Batch {
        let mut waiting = self.waiting.lock();
        let mut batch = Batch::default();
        let mut bytes = 0;
        while bytes < MAX_BATCH
            && let Some(item) = waiting.items.pop_front()
        {
            if let Item::Trigger(trigger) = &item {
                bytes += trigger.request.size();
            }
            batch.items.push(item);
        }
        waiting.bytes -= bytes;
        batch.more = !waiting.items.is_empty();
        batch
    }
}

impl Recorder {
    /// The next triggers, once there are some.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Batch {
        loop {
            let batch = self.queue.take();
            if !batch.items.is_empty() {
                return batch;
            }
            // A push since the look has left a permit.
            self.queue.filled.notified().await;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut queues = self.recorders.queues.lock();
        queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.recorders.active.store(queues.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const END: CapturedEnd = CapturedEnd {
        settled: None,
        outcome: RecordedOutcome::Suppressed,
        decision: "suppressed",
        reason: "same_assignment",
    };

    fn capture(recorders: &Arc<Recorders>, body: &[u8]) -> Option<Box<Capture>> {
        let received = Instant::now();
        recorders.capture(CapturedRequest::bytes("1", "/", body), received, || CapturedRequest {
            id: "a-1".to_owned(),
            received,
            app: "1".into(),
            path: "/".into(),
            body: body.into(),
            head: None,
        })
    }

    fn record(recorders: &Arc<Recorders>, body: &[u8]) {
        if let Some(capture) = capture(recorders, body) {
            capture.settle(END);
        }
    }

    /// The lengths of the bodies, and the number of lost triggers below zero, of all that waits.
    fn next(recorder: &mut Recorder) -> Vec<i64> {
        let mut all = Vec::new();
        while let Some(batch) = recorder.next().now_or_never() {
            all.extend(batch.items.iter().map(|item| match item {
                Item::Trigger(trigger) => i64::try_from(trigger.request.body.len()).unwrap(),
                Item::Lost(count) => -i64::try_from(*count).unwrap(),
            }));
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn each_recorder_gets_what_is_settled_while_it_records() {
        let recorders = Arc::new(Recorders::default());
        assert!(!recorders.is_active());
        let mut first = recorders.begin().unwrap();
        record(&recorders, b"a");
        let mut second = recorders.begin().unwrap();
        assert!(recorders.is_active() && recorders.begin().is_none(), "two at most");
        record(&recorders, b"bc");
        assert_eq!((next(&mut first), next(&mut second)), (vec![1, 2], vec![2]));
        drop((first, second));
        assert!(!recorders.is_active() && recorders.begin().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_told_what_it_lost_and_where() {
        let recorders = Arc::new(Recorders::default());
        let mut recorder = recorders.begin().unwrap();
        let body = vec![0; MAX_QUEUE / 4];
        (0..5).for_each(|_| record(&recorders, &body));
        record(&recorders, b"a");
        record(&recorders, &body);
        let length = i64::try_from(body.len()).unwrap();
        assert_eq!(next(&mut recorder), [length, length, length, -2, 1, -1], "a fourth does not fit with its overhead");
        record(&recorders, b"a");
        assert_eq!(next(&mut recorder), [1]);
        assert_eq!(recorder.queue.waiting.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_is_bounded_and_what_is_dropped_is_lost() {
        let recorders = Arc::new(Recorders::default());
        let mut recorder = recorders.begin().unwrap();
        let held = capture(&recorders, &vec![0; MAX_IN_FLIGHT - 1000]).unwrap();
        assert!(capture(&recorders, &[0; 1000]).is_none());
        drop(held);
        assert_eq!(next(&mut recorder), [-2]);
        assert_eq!(recorders.in_flight.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_bounded() {
        let recorders = Arc::new(Recorders::default());
        let mut recorder = recorders.begin().unwrap();
        (0..MAX_RATE + 3).for_each(|_| record(&recorders, b"a"));
        let taken = next(&mut recorder);
        assert_eq!((taken.len() as u64, taken.last()), (MAX_RATE + 1, Some(&-3)));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        record(&recorders, b"a");
        assert_eq!(next(&mut recorder), [1]);
    }
}
