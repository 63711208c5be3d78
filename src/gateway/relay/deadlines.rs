//! What ends a relay although both ends are there: silence, and usher's own end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::direction::Passage;
use super::end::RelayEnd;
use crate::clock::Moment;
use crate::shutdown::Phase;

/// The deadlines of one relay. They are looked at when no message has passed, or one may be over: not at each message.
#[derive(Debug)]
pub(super) struct Deadlines<'d, T> {
    idle_timeout: Duration,
    /// Fires at `due`.
    silence: Pin<&'d mut Sleep>,
    /// No sooner than this it may have been silent for too long.
    due: Moment,
    /// This relay's turn to be closed because usher is about to end.
    turn: Pin<&'d mut T>,
    /// Whether the task will be woken for both.
    are_set: bool,
}

impl<'d, T: Future<Output = ()>> Deadlines<'d, T> {
    /// Of a relay that is silent for at most `idle_timeout`. `silence`: any timer.
    pub(super) fn new(idle_timeout: Duration, silence: Pin<&'d mut Sleep>, turn: Pin<&'d mut T>) -> Self {
        Self { idle_timeout, silence, due: Moment::default(), turn, are_set: false }
    }

    /// Ready once the relay has to end. `has_passed`: whether a message has passed right now.
    pub(super) fn poll(&mut self, passage: &Passage, has_passed: bool, context: &mut Context<'_>) -> Poll<RelayEnd> {
        let may_be_over = passage.last() >= self.due || passage.shared.drain.has_reached(Phase::Leaving);
        if has_passed && self.are_set && !may_be_over {
            return Poll::Pending;
        }
        if !self.are_set {
            self.set(passage);
        }
        while self.silence.as_mut().poll(context).is_ready() {
            if self.set(passage).is_zero() {
                return Poll::Ready(RelayEnd::Idle);
            }
        }
        self.turn.as_mut().poll(context).map(|()| RelayEnd::Drained)
    }

    /// Sets the timer by the last message. Returns how long there may still be silence.
    fn set(&mut self, passage: &Passage) -> Duration {
        let now = passage.shared.clock.now();
        let left = self.idle_timeout.saturating_sub(now.since(passage.last()));
        self.due = now.after(left);
        self.silence.as_mut().reset(Instant::now() + left);
        self.are_set = true;
        left
    }
}
