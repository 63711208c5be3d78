//! Whether the other side is still there (`pusher-protocol.md` 4.2): after some silence it is asked, and if it does not
//! answer, it is gone.

use std::time::Duration;

use super::super::frame;
use super::Effect;
use crate::clock::Moment;
use crate::pusher::ErrorCode;

/// How long an answer to `pusher:ping` may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of the other side.
#[derive(Debug)]
pub(super) struct Liveness {
    activity_timeout: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// It last gave a sign of life at this moment.
    Active(Moment),
    /// It was asked for one at this moment.
    Asked(Moment),
}

impl Liveness {
    pub(super) const fn new(activity_timeout: Duration, now: Moment) -> Self {
        Self { activity_timeout, state: State::Active(now) }
    }

    /// A sign of life.
    pub(super) const fn heard(&mut self, now: Moment) {
        self.state = State::Active(now);
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Moment {
        match self.state {
            State::Active(at) => at.after(self.activity_timeout),
            State::Asked(at) => at.after(PONG_TIMEOUT),
        }
    }

    /// Does it, if it is time.
    pub(super) fn on_time(&mut self, now: Moment) -> Effect {
        match self.state {
            _ if now < self.deadline() => Effect::None,
            State::Active(_) => {
                self.state = State::Asked(now);
                Effect::Reply(frame::ping())
            }
            State::Asked(_) => Effect::Close(ErrorCode::PongTimeout),
        }
    }
}
