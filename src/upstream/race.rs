//! Attempts to connect that are raced (RFC 8305, "happy eyeballs"): an address that does not answer holds the next one
//! up for a moment, not for its share of the time.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::Failure;
use super::addresses::{Addresses, Step};
use crate::shutdown::Tasks;

/// How long the latest attempt has before the next one begins beside it (RFC 8305 5, "Connection Attempt Delay"). Less
/// if there are so many addresses that the last would have no time.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// What is needed to race.
#[derive(Debug, Clone, Copy)]
pub(super) struct Race<'a> {
    pub(super) addresses: &'a Addresses,
    /// Owner of look-ups, which cannot be cancelled.
    pub(super) tasks: &'a Tasks,
    /// Host and port as configured, for errors.
    pub(super) upstream: &'a str,
    /// The time that whoever calls has.
    pub(super) period: Duration,
}

/// How a step ended.
enum Outcome<T> {
    Tried(SocketAddr, Result<T, Failure>),
    LookedUp(std::io::Result<Vec<SocketAddr>>),
}

impl Race<'_> {
    /// What the first `attempt` that succeeds brings. The next one begins when the latest has failed or takes too long,
    /// and the others are cancelled when one succeeds. Each address is tried once. If those that were remembered lead
    /// nowhere, the name is looked up again.
    ///
    /// # Errors
    /// The failure of the attempt that came farthest, if there is no more address to try. The time is kept by whoever
    /// calls.
    ///
    /// # Cancel safety
    /// Dropping the future cancels all attempts.
    pub(super) async fn run<T, F>(self, attempt: impl Fn(SocketAddr) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let deadline = Instant::now() + self.period;
        let mut steps = self.addresses.steps();
        let (mut tried, mut looking_up) = (Vec::new(), false);
        let mut failed = None;
        let mut under_way = FuturesUnordered::new();
        loop {
            if let Some(step) = steps.pop_front() {
                match step {
                    Step::Try(address) => tried.push(address),
                    Step::LookUp => looking_up = true,
                }
                under_way.push(self.take(step, &attempt));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(steps.len() + 1).unwrap_or(u32::MAX);
            let ended = tokio::select! {
                biased;
                Some(outcome) = under_way.next() => outcome,
                () = sleep(share.min(NEXT_AFTER)), if !steps.is_empty() => {
                    if looking_up {
                        self.addresses.keep();
                        looking_up = false;
                    }
                    continue;
                }
                else => break,
            };
            match ended {
                Outcome::Tried(address, Ok(connected)) => {
                    self.addresses.worked(address);
                    return Ok(connected);
                }
                Outcome::Tried(address, Err(failure)) => {
                    tracing::debug!(upstream = self.upstream, %address, %failure, "an attempt to connect failed");
                    failed = Some(farther(failed, failure));
                }
                Outcome::LookedUp(Ok(addresses)) => {
                    looking_up = false;
                    steps = addresses.into_iter().filter(|address| !tried.contains(address)).map(Step::Try).collect();
                }
                Outcome::LookedUp(Err(source)) => {
                    looking_up = false;
                    failed = Some(farther(failed, Failure::unresolved(self.upstream.to_owned(), source)));
                }
            }
        }
        // Something was tried: the steps are never empty at first.
        let failure = failed.unwrap_or_else(|| self.nowhere());
        // Want of descriptors says nothing of the addresses, and another look-up would need some as well.
        if !matches!(failure, Failure::OutOfDescriptors { .. }) {
            self.addresses.doubt();
        }
        Err(failure)
    }

    async fn take<T, F>(self, step: Step, attempt: &impl Fn(SocketAddr) -> F) -> Outcome<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match step {
            Step::Try(address) => Outcome::Tried(address, attempt(address).await),
            Step::LookUp => Outcome::LookedUp(self.addresses.look_up(self.tasks).await),
        }
    }

    fn nowhere(self) -> Failure {
        Failure::Connect { upstream: self.upstream.to_owned(), source: std::io::ErrorKind::AddrNotAvailable.into() }
    }
}

/// Of two failures the one that came farther, or the later one; but a want of descriptors first, for the other one
/// might have been none without it.
fn farther(before: Option<Failure>, failure: Failure) -> Failure {
    let distance = |failure: &Failure| match failure {
        Failure::Resolve { .. } => 0,
        Failure::Connect { .. } => 1,
        Failure::OutOfDescriptors { .. } => 3,
        _ => 2,
    };
    match before {
        Some(before) if distance(&before) > distance(&failure) => before,
        Some(_) | None => failure,
    }
}
