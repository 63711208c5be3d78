//! What is wrong with a link now, told once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Arg, Cmd, RedisError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::problem::Problem;
use super::servers::Address;

/// The same problem is told again after this time at the earliest: two kinds of calls may end and bring it in turns.
const TELL_AGAIN: Duration = Duration::from_mins(10);
/// The most problems of which it is remembered that they were told.
const MAX_TOLD: usize = 16;

/// What is wrong with a link.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether there is a problem, for calls that look at it each time.
    exists: AtomicBool,
    present: watch::Sender<Option<Present>>,
    told: Mutex<Vec<(Problem, Instant)>>,
}

#[derive(Debug)]
struct Present {
    problem: Problem,
    /// The name of the command that it is about, if a call brought it: a new connection does not end that.
    command: Option<String>,
}

impl Trouble {
    /// Nothing is known to be wrong.
    pub(super) fn none() -> Self {
        Self { exists: AtomicBool::new(false), present: watch::Sender::new(None), told: Mutex::default() }
    }

    /// The problem.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.present.borrow().as_ref().map(|present| present.problem.clone())
    }

    /// Returns once there is a problem.
    pub(super) async fn appears(&self) -> Problem {
        loop {
            let mut present = self.present.subscribe();
            // An error means that `self` is gone, which is borrowed.
            if let Ok(found) = present.wait_for(Option::is_some).await
                && let Some(present) = &*found
            {
                return present.problem.clone();
            }
        }
    }

    /// No connection could be made.
    pub(super) fn unconnected(&self, problem: Problem) {
        self.set(Present { problem, command: None });
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        self.end_if(|command| command.is_none());
    }

    /// The server does not permit a call.
    pub(super) fn not_permitted(&self, command: &Cmd, server: &Address, error: &RedisError) {
        let name = name(command);
        self.set(Present { problem: Problem::answered(server, &name, error), command: Some(name) });
    }

    /// A call was answered.
    pub(super) fn answered(&self, command: &Cmd) {
        if self.exists.load(Ordering::Relaxed) {
            self.end_if(|about| about.is_some_and(|about| about == name(command)));
        }
    }

    fn end_if(&self, is_over: impl FnOnce(Option<&str>) -> bool) {
        self.present.send_if_modified(|present| {
            let ends = present.as_ref().is_some_and(|present| is_over(present.command.as_deref()));
            if ends {
                *present = None;
                self.exists.store(false, Ordering::Relaxed);
            }
            ends
        });
    }

    fn set(&self, new: Present) {
        let problem = &new.problem;
        if !problem.stays() {
            tracing::debug!("no connection to the shared store: {problem}");
        } else if self.is_news(problem) {
            tracing::warn!("the shared store cannot be used: {problem}");
        }
        self.present.send_modify(|present| {
            *present = Some(new);
            self.exists.store(true, Ordering::Relaxed);
        });
    }

    /// Whether the problem was not told a moment ago; notes that it is told now.
    fn is_news(&self, problem: &Problem) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock();
        told.retain(|(_, when)| now.duration_since(*when) < TELL_AGAIN);
        if told.iter().any(|(known, _)| known == problem) {
            return false;
        }
        if told.len() == MAX_TOLD {
            told.remove(0);
        }
        told.push((problem.clone(), now));
        true
    }
}

/// The name of a command, in upper case. A script is the same by its hash and by its text.
fn name(command: &Cmd) -> String {
    let name = match command.args_iter().next() {
        Some(Arg::Simple(name)) => String::from_utf8_lossy(name).to_uppercase(),
        Some(_) | None => String::new(),
    };
    if name == "EVALSHA" { "EVAL".to_owned() } else { name }
}
