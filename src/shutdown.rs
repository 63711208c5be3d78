//! Shutdown: the phases of a process's end, and the set of all tasks, which the end waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// A phase in the life of a process, in their order. A phase is never left for an earlier one, and may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// The end is announced: `/readyz` answers 503. Everything is served, and each answer is the last one of its
    /// connection. WebSocket clients are told in turns to reconnect.
    Leaving,
    /// The listeners are closed, and no WebSocket client is admitted. Connections that were accepted before may still
    /// send a request.
    Closed,
    /// Idle connections are closed; what is in flight is finished.
    Draining,
}

impl Phase {
    /// The phases that can be waited for, i.e. all but the first.
    const ENDING: [Self; 3] = [Self::Leaving, Self::Closed, Self::Draining];

    /// The name of the phase, for operators. The last two are one for them.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Closed | Self::Draining => "draining",
        }
    }

    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Serving,
            1 => Self::Leaving,
            2 => Self::Closed,
            _ => Self::Draining,
        }
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPolicy {
    /// How long everything is served after the end is announced.
    pub delay: Duration,
    /// How long the rest may take once the listeners are closed.
    pub period: Duration,
    /// What is known is kept for the next start, so nobody else announces meanwhile, and redundant announcements are
    /// suppressed to the end.
    pub keeps_memory: bool,
}

impl Default for DrainPolicy {
    fn default() -> Self {
        Self { delay: Duration::ZERO, period: Duration::from_secs(4), keeps_memory: false }
    }
}

impl DrainPolicy {
    /// The period over which clients are told to reconnect once the listeners are closed. The rest of the time is for
    /// their closing handshakes.
    fn last_turns(&self) -> Duration {
        self.period / 4
    }
}

/// The phase of a process, and the policy by which it ends. A clone is another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<State>);

#[derive(Debug)]
struct State {
    policy: DrainPolicy,
    /// Read by every request: a token would take a lock for that. Set before tokens are cancelled.
    phase: AtomicU8,
    /// For each of [`Phase::ENDING`].
    reached: [CancellationToken; Phase::ENDING.len()],
}

impl Default for State {
    fn default() -> Self {
        Self { policy: DrainPolicy::default(), phase: AtomicU8::new(Phase::Serving as u8), reached: Default::default() }
    }
}

impl Drain {
    /// A process that serves, and will end by `policy`.
    #[must_use]
    pub fn new(policy: DrainPolicy) -> Self {
        Self(Arc::new(State { policy, ..State::default() }))
    }

    /// Enters `phase`. If it is reached already, nothing changes.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let reached = Phase::ENDING.iter().zip(&self.0.reached);
        reached.filter(|(its, _)| **its <= phase).for_each(|(_, token)| token.cancel());
    }

    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::of(self.0.phase.load(Ordering::Acquire))
    }

    /// Whether `phase` is reached or over.
    #[must_use]
    pub fn has_reached(&self, phase: Phase) -> bool {
        phase <= self.phase()
    }

    /// Waits until `phase` is reached.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn reached(&self, phase: Phase) {
        if let Some(token) = self.token(phase) {
            token.cancelled().await;
        }
    }

    /// A listener for a task that waits for `phase` repeatedly, together with other events.
    #[must_use]
    pub fn listen(&self, phase: Phase) -> DrainListener {
        // A token of its own, so that many waiting tasks do not contend for one lock.
        let token = self.token(phase).map(CancellationToken::child_token).unwrap_or_default();
        DrainListener { drain: self.clone(), phase, cancelled: Box::pin(token.cancelled_owned()), registered: None }
    }

    /// Whether redundant announcements are suppressed. Once the end is announced, traffic may go to another process,
    /// whose announcements are not known here; unless the policy says that there is none.
    #[must_use]
    pub fn suppresses(&self) -> bool {
        self.0.policy.keeps_memory || !self.has_reached(Phase::Leaving)
    }

    /// Waits until no trigger waits for another one's outcome any more: there is nothing to suppress afterwards, or no
    /// time left to wait.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn waits_end(&self) {
        self.reached(if self.0.policy.keeps_memory { Phase::Draining } else { Phase::Leaving }).await;
    }

    /// Waits until clients that connected in the phase `connected` are told to reconnect. Returns the period over which
    /// this is done in turns, so that they do not all reconnect at once. Who came when the end was announced already is
    /// told once the listeners are closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn turns(&self, connected: Phase) -> Duration {
        if connected < Phase::Leaving {
            self.reached(Phase::Leaving).await;
            if self.phase() == Phase::Leaving {
                return self.0.policy.delay;
            }
        }
        self.reached(Phase::Closed).await;
        self.0.policy.last_turns()
    }

    /// `None` for the first phase, which is always reached.
    fn token(&self, phase: Phase) -> Option<&CancellationToken> {
        Phase::ENDING.iter().zip(&self.0.reached).find(|(its, _)| **its == phase).map(|(_, token)| token)
    }
}

/// Waits for a phase in one task. The task is registered once, however often it polls.
#[derive(Debug)]
pub struct DrainListener {
    drain: Drain,
    phase: Phase,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The waker that is registered.
    registered: Option<Waker>,
}

impl DrainListener {
    /// Ready once the phase is reached.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.drain.has_reached(self.phase) {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(context.waker().clone());
        self.cancelled.as_mut().poll(context)
    }
}

/// The set of all tasks of usher. A clone is another handle to the same set.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `task` on the current runtime. [`Tasks::finish`] waits for it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(task)
    }

    /// Runs `work` on a thread where it may block. [`Tasks::finish`] waits for it.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(work)
    }

    /// How many tasks are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.len()
    }

    /// Waits for the tasks to end, for at most `period`. Returns how many are still running.
    pub async fn finish(&self, period: Duration) -> usize {
        self.0.close();
        let _elapsed = tokio::time::timeout(period, self.0.wait()).await;
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn phases_come_in_order_and_are_never_left_for_an_earlier_one() {
        let drain = Drain::default();
        let mut waiting: Vec<_> =
            Phase::ENDING.iter().map(|phase| (*phase, Box::pin(drain.reached(*phase)), drain.listen(*phase))).collect();
        for phase in [Phase::Serving, Phase::Leaving, Phase::Serving, Phase::Draining, Phase::Closed] {
            drain.enter(phase);
            for (awaited, reached, listener) in &mut waiting {
                let is_reached = drain.has_reached(*awaited);
                assert_eq!(listener.poll(&mut Context::from_waker(Waker::noop())).is_ready(), is_reached);
                if !is_reached {
                    assert_eq!(reached.as_mut().now_or_never(), None, "{awaited:?} in {phase:?}");
                }
            }
        }
        assert_eq!(drain.phase(), Phase::Draining);
        for phase in [Phase::Serving, Phase::Leaving, Phase::Closed, Phase::Draining] {
            drain.reached(phase).await;
        }
    }

    #[tokio::test]
    async fn nothing_is_suppressed_from_the_announcement_on_unless_the_memory_is_kept() {
        for keeps_memory in [false, true] {
            let drain = Drain::new(DrainPolicy { keeps_memory, ..DrainPolicy::default() });
            let mut waits_end = pin!(drain.waits_end());
            assert!(drain.suppresses() && waits_end.as_mut().now_or_never().is_none());
            drain.enter(Phase::Leaving);
            assert_eq!((drain.suppresses(), waits_end.as_mut().now_or_never().is_none()), (keeps_memory, keeps_memory));
            drain.enter(Phase::Draining);
            drain.waits_end().await;
            assert_eq!(drain.suppresses(), keeps_memory);
        }
    }

    #[tokio::test]
    async fn clients_are_told_within_the_delay_and_those_who_come_back_at_its_end() {
        let [delay, period] = [5, 8].map(Duration::from_secs);
        let drain = Drain::new(DrainPolicy { delay, period, keeps_memory: false });
        assert_eq!(drain.turns(Phase::Serving).now_or_never(), None);
        drain.enter(Phase::Leaving);
        assert_eq!(drain.turns(Phase::Serving).await, delay);
        assert_eq!(drain.turns(Phase::Leaving).now_or_never(), None);
        drain.enter(Phase::Closed);
        for connected in [Phase::Serving, Phase::Leaving, Phase::Closed] {
            assert_eq!(drain.turns(connected).await, period / 4);
        }
    }
}
