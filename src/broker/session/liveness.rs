//! Detects dead connections (`pusher-protocol.md` 4.2): after some time without activity the server sends a ping;
//! without an answer the connection is closed.

use std::time::Duration;

use super::super::frame;
use super::Effect;
use crate::clock::Moment;
use crate::pusher::ErrorCode;

/// The time for an answer to `pusher:ping`.
const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// The liveness of one client.
#[derive(Debug)]
pub(super) struct Liveness {
    activity_timeout: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The last activity was at this moment.
    Active(Moment),
    /// A ping was sent at this moment.
    PingSent(Moment),
}

impl Liveness {
    pub(super) const fn new(activity_timeout: Duration, now: Moment) -> Self {
        Self { activity_timeout, state: State::Active(now) }
    }

    /// Notes activity.
    pub(super) const fn on_activity(&mut self, now: Moment) {
        self.state = State::Active(now);
    }

    /// When [`Liveness::on_time`] has to be called.
    pub(super) fn deadline(&self) -> Moment {
        match self.state {
            State::Active(at) => at.after(self.activity_timeout),
            State::PingSent(at) => at.after(PONG_TIMEOUT),
        }
    }

    /// Handles the deadline, if it has passed.
    pub(super) fn on_time(&mut self, now: Moment) -> Effect {
        match self.state {
            _ if now < self.deadline() => Effect::None,
            State::Active(_) => {
                self.state = State::PingSent(now);
                Effect::Reply(frame::ping())
            }
            State::PingSent(_) => Effect::Close(ErrorCode::PongTimeout),
        }
    }
}
