//! The memory across restarts: takes over that of the process before at the start, and writes it at the end of a drain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::assignment::Assignments;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::shutdown::{Drain, Phase, Tasks};
use crate::state::{Found, Keeper, Opened, Reading, Restored, Unused};

/// How often another attempt is made to get the directory's lock, or to remove what is left in it.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// What the start finds of the process before.
#[derive(Debug)]
pub(super) struct Inheritance {
    /// `None`: nothing outlives this process.
    keeper: Option<Arc<Keeper>>,
    found: Result<Found, NothingFound>,
    /// The clock of this process: it continues that of the memory found.
    pub(super) clock: Clock,
}

/// Why there is no memory to take over.
#[derive(Debug, thiserror::Error)]
enum NothingFound {
    #[error("no memory outlives a process (state.path is not set)")]
    NoDirectory,
    #[error("the embedded broker begins anew with its process")]
    Local,
    #[error("the memory is shared with other processes, and outlives this one at their store (cluster.redis_url)")]
    Shared,
    #[error(transparent)]
    Unused(#[from] Unused),
    #[error("the state file could not be read to its end: {0}")]
    Unread(io::Error),
}

/// What became of it.
#[derive(Debug, Clone)]
pub(super) struct Succession {
    /// The same in one sentence.
    pub(super) sentence: Arc<str>,
    /// Writes the memory at the end.
    pub(super) keeper: Option<Arc<Keeper>>,
}

impl Inheritance {
    /// Opens the state directory and takes what is in it. The caller has everything that may keep usher from starting
    /// behind it: what is taken cannot be taken again.
    pub(super) fn take(config: &Config) -> Self {
        let nothing = |why| Self { keeper: None, found: Err(why), clock: Clock::start() };
        if config.upstream.is_local() {
            return nothing(NothingFound::Local);
        }
        if config.cluster.is_some() {
            return nothing(NothingFound::Shared);
        }
        let Some(path) = &config.state.path else { return nothing(NothingFound::NoDirectory) };
        let now = Reading::now();
        let Opened { keeper, found, error } =
            Keeper::open(path, config.state.max_age, &config.upstream.url.to_string(), &now);
        if let Some(error) = error {
            tracing::error!(%error, path = %path.display(), "the state directory is not as it has to be; usher tries again");
        }
        let clock = match (&found, &now) {
            (Ok(found), Ok(now)) => Clock::resume(found.moment(now)),
            (Ok(_) | Err(_), _) => Clock::start(),
        };
        Self { keeper: keeper.map(Arc::new), found: found.map_err(NothingFound::Unused), clock }
    }

    /// Puts what was found into the configured memories, before anything is claimed, and logs what became of it.
    pub(super) fn settle(self, config: &Config, assignments: &Assignments, metrics: &Metrics) -> Succession {
        let Self { keeper, found, clock: _ } = self;
        if keeper.as_ref().is_some_and(|keeper| keeper.waits()) {
            assignments.hold_start_doubt();
            metrics.set_state_lock_held(true);
        }
        let began = Instant::now();
        let restored = found.and_then(|found| {
            let age = found.age();
            found.restore(assignments).map(|restored| (restored, age)).map_err(NothingFound::Unread)
        });
        let sentence = match restored {
            Ok((restored, age)) => {
                metrics.restored(restored.channels, began.elapsed());
                log_restored(&restored, age, began.elapsed());
                described(&restored)
            }
            Err(why) => {
                log_nothing(&why, config.assignments.start_doubt);
                why.to_string()
            }
        };
        Succession { sentence: sentence.into(), keeper }
    }
}

impl Succession {
    /// Gets the lock of the directory once it is free, and removes what is left in it, in a task that ends with the
    /// drain. The doubt after the start counts from when this process has the lock.
    pub(super) fn tend(&self, assignments: &Arc<Assignments>, metrics: &Arc<Metrics>, tasks: &Tasks, drain: Drain) {
        let Some(keeper) = self.keeper.clone() else { return };
        let (assignments, metrics, blocking) = (Arc::clone(assignments), Arc::clone(metrics), tasks.clone());
        let tending = async move {
            let mut every = tokio::time::interval(RETRY_INTERVAL);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_told = false;
            loop {
                tokio::select! {
                    () = drain.reached(Phase::Draining) => return,
                    _ = every.tick() => {}
                }
                let trying = Arc::clone(&keeper);
                let Ok(tended) = blocking.spawn_blocking(move || trying.tend()).await else { return };
                if tended.locked {
                    assignments.count_start_doubt();
                    metrics.set_state_lock_held(false);
                    tracing::info!(
                        "the state directory is free: the doubt after the start ends assignments.start_doubt from now"
                    );
                }
                if let Some(error) = tended.error.filter(|_| !is_told) {
                    is_told = true;
                    tracing::error!(%error, "the state directory is not as it has to be; usher tries again and again");
                }
                if tended.done {
                    return;
                }
            }
        };
        let _detached = tasks.spawn(tending);
    }

    /// Writes the memory. `settled`: every worker has ended, and the operator changes nothing more.
    pub(super) async fn write(&self, assignments: &Arc<Assignments>, clock: Clock, settled: bool) {
        let Some(keeper) = self.keeper.clone() else { return };
        if !settled {
            return tracing::error!("the memory is not written: a request of the operator is not answered yet");
        }
        let assignments = Arc::clone(assignments);
        let began = Instant::now();
        // On another thread, so that a second signal ends the process meanwhile.
        let written = tokio::task::spawn_blocking(move || keeper.write(&assignments, &clock)).await;
        let seconds = began.elapsed().as_secs_f64();
        match written {
            Ok(Ok(written)) => {
                tracing::info!(channels = written.channels, bytes = written.bytes, seconds, "the memory is written");
            }
            Ok(Err(error)) => tracing::error!(%error, "the memory is not written, and the next start begins in doubt"),
            Err(error) => tracing::error!(%error, "the memory is not written, and the next start begins in doubt"),
        }
    }
}

fn described(restored: &Restored) -> String {
    let Restored { channels, in_doubt, rules_left_out, apps_in_doubt, .. } = restored;
    let mut sentence = format!("{channels} channels of the process before are restored, {in_doubt} of them in doubt");
    if *rules_left_out > 0 || *apps_in_doubt > 0 {
        sentence += &format!(
            "; {rules_left_out} of its rules are gone or mean something else, and {apps_in_doubt} apps have rules that it did not have"
        );
    }
    sentence
}

fn log_restored(restored: &Restored, age: Duration, took: Duration) {
    let Restored { channels, in_doubt, without_room, rules_left_out, apps_in_doubt } = restored;
    tracing::info!(
        channels,
        in_doubt,
        without_room,
        rules_left_out,
        apps_in_doubt,
        age_seconds = age.as_secs_f64(),
        seconds = took.as_secs_f64(),
        "the memory of the process before is restored"
    );
}

/// One line: what was found, and what follows from it.
fn log_nothing(why: &NothingFound, start_doubt: Duration) {
    let (reason, seconds) = (why.to_string(), start_doubt.as_secs_f64());
    let code = if let NothingFound::Unused(unused) = why { unused.code() } else { "" };
    let is_usual = match why {
        NothingFound::NoDirectory | NothingFound::Local | NothingFound::Shared => true,
        NothingFound::Unused(unused) => matches!(unused, Unused::NoFile),
        NothingFound::Unread(_) => false,
    };
    match why {
        NothingFound::Local | NothingFound::Shared => {}
        NothingFound::NoDirectory if start_doubt.is_zero() => {}
        NothingFound::Unused(Unused::Locked) => tracing::warn!(
            reason,
            code,
            seconds,
            "nothing is suppressed until the other process has ended, and for assignments.start_doubt after that"
        ),
        _ if start_doubt.is_zero() && is_usual => tracing::info!(reason, code, "no memory is restored"),
        _ if start_doubt.is_zero() => tracing::warn!(reason, code, "no memory is restored"),
        _ if is_usual => tracing::info!(reason, code, seconds, "{AT_FIRST}"),
        _ => tracing::warn!(reason, code, seconds, "{AT_FIRST}"),
    }
}

const AT_FIRST: &str =
    "nothing is suppressed at first: what was sent before this start may still be applied (assignments.start_doubt)";
