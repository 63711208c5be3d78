//! Races attempts to connect to several addresses (RFC 8305, "happy eyeballs"): an address that does not answer delays
//! the next attempt by a fraction of a second.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::Failure;
use super::addresses::{Addresses, ConnectStep};
use crate::shutdown::Tasks;

/// The delay between the beginnings of two attempts (RFC 8305 5, "Connection Attempt Delay"). Shorter if the last of
/// many addresses would otherwise have no time.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The parameters of a race.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectRace<'a> {
    pub(super) addresses: &'a Addresses,
    /// The owner of look-ups, which cannot be cancelled.
    pub(super) tasks: &'a Tasks,
    /// Host and port as configured, for errors.
    pub(super) upstream: &'a str,
    /// The time limit, which the caller enforces.
    pub(super) period: Duration,
}

/// The result of a step.
enum StepResult<T> {
    Connected(SocketAddr, Result<T, Failure>),
    LookedUp(std::io::Result<Vec<SocketAddr>>),
}

impl ConnectRace<'_> {
    /// Returns the result of the first successful `attempt`. The next attempt begins when the latest one has failed or
    /// has lasted for [`ATTEMPT_DELAY`]; the first success cancels the others. Each address is tried once. If no cached
    /// address can be reached, the name is looked up again.
    ///
    /// # Errors
    /// The failure of the most advanced attempt, after all addresses were tried. The caller enforces the time limit.
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
        let mut running = FuturesUnordered::new();
        loop {
            if let Some(step) = steps.pop_front() {
                match step {
                    ConnectStep::Connect(address) => tried.push(address),
                    ConnectStep::LookUp => looking_up = true,
                }
                running.push(self.run_step(step, &attempt));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(steps.len() + 1).unwrap_or(u32::MAX);
            let ended = tokio::select! {
                biased;
                Some(outcome) = running.next() => outcome,
                () = sleep(share.min(ATTEMPT_DELAY)), if !steps.is_empty() => {
                    if looking_up {
                        self.addresses.extend();
                        looking_up = false;
                    }
                    continue;
                }
                else => break,
            };
            match ended {
                StepResult::Connected(address, Ok(connected)) => {
                    self.addresses.prefer(address);
                    return Ok(connected);
                }
                StepResult::Connected(address, Err(failure)) => {
                    tracing::debug!(upstream = self.upstream, %address, %failure, "an attempt to connect failed");
                    failed = Some(more_advanced(failed, failure));
                }
                StepResult::LookedUp(Ok(addresses)) => {
                    looking_up = false;
                    steps = addresses
                        .into_iter()
                        .filter(|address| !tried.contains(address))
                        .map(ConnectStep::Connect)
                        .collect();
                }
                StepResult::LookedUp(Err(source)) => {
                    looking_up = false;
                    failed = Some(more_advanced(failed, Failure::unresolved(self.upstream.to_owned(), source)));
                }
            }
        }
        // There is always a failure: the list of steps is never empty at first.
        let failure = failed.unwrap_or_else(|| self.no_address());
        // A lack of descriptors does not show that the addresses are wrong, and another look-up would need one, too.
        if !matches!(failure, Failure::OutOfDescriptors { .. }) {
            self.addresses.expire();
        }
        Err(failure)
    }

    async fn run_step<T, F>(self, step: ConnectStep, attempt: &impl Fn(SocketAddr) -> F) -> StepResult<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match step {
            ConnectStep::Connect(address) => StepResult::Connected(address, attempt(address).await),
            ConnectStep::LookUp => StepResult::LookedUp(self.addresses.look_up(self.tasks).await),
        }
    }

    fn no_address(self) -> Failure {
        Failure::Connect { upstream: self.upstream.to_owned(), source: std::io::ErrorKind::AddrNotAvailable.into() }
    }
}

/// The more advanced of two failures, or the later one if both are equally advanced. A lack of descriptors has
/// priority: it may be the cause of the other failure.
fn more_advanced(before: Option<Failure>, failure: Failure) -> Failure {
    let progress = |failure: &Failure| match failure {
        Failure::Resolve { .. } => 0,
        Failure::Connect { .. } => 1,
        Failure::OutOfDescriptors { .. } => 3,
        _ => 2,
    };
    match before {
        Some(before) if progress(&before) > progress(&failure) => before,
        Some(_) | None => failure,
    }
}
