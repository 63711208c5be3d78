//! The fake upstream of a history: it treats each request as a real server under faults may, and records what it has
//! applied.
//!
//! It applies requests late only within the time that usher tolerates: `assignments.doubt_period` after an ambiguous
//! outcome. usher sees the outcome at the earliest when the call was sent, and a time-out at the earliest
//! `upstream.timeout` later. So a request with a bad or cut response is applied within [`Lasting::late`] after its call
//! was complete, and one without a response within [`TIMEOUT`] and that, or never. Where a drain cuts requests off
//! before [`TIMEOUT`], the first holds for all. If the machine is too busy for that, the request is never applied, so no
//! history fails because of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::record::{Reading, Recorder};
use super::setup::{Lasting, TIMEOUT};
use crate::harness::{Fake, Random, Recorded, Step};

/// When a request without a conclusive response is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Never,
    AtOnce,
    Late,
}

/// The action of upstream on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamAction {
    Accepted,
    AcceptedSlowly,
    /// A 4xx.
    Refused,
    /// A refusal as soketi 1.x sends it: `200` with the reason in the body.
    RefusedWith200,
    /// A 4xx to a request whose first part was applied, as Reverb and sockudo do with batches.
    RefusedAfterTheFirst,
    /// A 5xx.
    Failed(Applied),
    /// The connection ends without an answer.
    Cut(Applied),
    /// The connection ends in the middle of a 200.
    CutInTheAnswer(Applied),
    /// No answer at all.
    Hangs(Applied),
    /// A 200 after usher's time-out.
    AnswersTooLate,
}

impl UpstreamAction {
    /// A random action other than `Accepted`.
    fn faulty(random: &mut Random) -> Self {
        let applied = random.pick(&[Applied::Never, Applied::AtOnce, Applied::Late, Applied::Late]);
        match random.below(16) {
            0 | 1 => Self::Refused,
            2 | 3 => Self::RefusedWith200,
            4 => Self::RefusedAfterTheFirst,
            5 | 6 => Self::Failed(applied),
            7 | 8 => Self::Cut(applied),
            9 => Self::CutInTheAnswer(applied),
            10..=12 => Self::Hangs(applied),
            13 => Self::AnswersTooLate,
            _ => Self::AcceptedSlowly,
        }
    }
}

/// The state of the fake upstream of one history.
#[derive(Debug)]
pub struct Upstream {
    recorder: Arc<Recorder>,
    seed: u64,
    /// How long after a call was complete it is applied if its response leaves that open.
    late: Duration,
    /// The same if it has no response.
    silent: Duration,
    state: Mutex<UpstreamState>,
}

#[derive(Debug, Default)]
struct UpstreamState {
    /// The last announcement on each channel: faults matter most at a change.
    last: HashMap<String, Option<String>>,
    /// The actions that were chosen for some calls in advance.
    decided: HashMap<usize, UpstreamAction>,
    /// Whether every request is accepted from now on.
    accept_all: bool,
}

impl Upstream {
    /// Makes `fake` answer by these rules.
    pub fn serve(fake: &Fake, recorder: &Arc<Recorder>, seed: u64, lasting: &Lasting) -> Arc<Self> {
        let late = lasting.late;
        let silent = if lasting.drain < TIMEOUT { late } else { TIMEOUT + late };
        let upstream = Arc::new(Self { recorder: Arc::clone(recorder), seed, late, silent, state: Mutex::default() });
        let serving = Arc::clone(&upstream);
        fake.otherwise(move |request| serving.respond(request));
        upstream
    }

    /// Chooses the action on a call before it is made.
    pub fn decide(&self, call: usize, action: UpstreamAction) {
        self.state.lock().unwrap().decided.insert(call, action);
    }

    /// Accepts everything from now on.
    pub fn accept_all(&self) {
        self.state.lock().unwrap().accept_all = true;
    }

    fn respond(&self, request: &Recorded) -> Step {
        let target = request.target();
        let reading = Reading::of(&target, &request.body);
        let signed = !target.starts_with("/apps/3/") || request.is_signed();
        let arrival = self.recorder.arrive(reading.call, &reading.parts, signed);
        let mut random = Random(self.seed ^ (reading.call as u64 + 1) << 20);
        let action = self.action(&reading, &mut random);
        self.recorder.set_action(arrival, format!("{action:?}"));
        self.perform(action, arrival, reading.parts.len(), &mut random)
    }

    fn action(&self, reading: &Reading, random: &mut Random) -> UpstreamAction {
        let mut state = self.state.lock().unwrap();
        let mut changes = false;
        for part in &reading.parts {
            changes |=
                state.last.insert(part.channel.clone(), part.shows.clone()).is_some_and(|last| last != part.shows);
        }
        match state.decided.remove(&reading.call) {
            _ if state.accept_all => UpstreamAction::Accepted,
            Some(action) => action,
            None if random.chance(if changes { 25 } else { 3 }) => UpstreamAction::faulty(random),
            None => UpstreamAction::Accepted,
        }
    }

    fn perform(&self, action: UpstreamAction, arrival: usize, parts: usize, random: &mut Random) -> Step {
        match action {
            UpstreamAction::Accepted => self.accept(arrival, parts),
            UpstreamAction::AcceptedSlowly => {
                thread::sleep(random.millis(5, 100));
                self.accept(arrival, parts)
            }
            UpstreamAction::Refused => Step::status(403),
            UpstreamAction::RefusedWith200 => {
                self.recorder.acknowledge(arrival);
                let body = r#"{"error":"The rate limit is reached.","code":429}"#;
                Step::answer(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
            }
            // For a single event, it is a plain refusal.
            UpstreamAction::RefusedAfterTheFirst => {
                if parts > 1 {
                    self.recorder.apply(arrival, 1, self.late);
                }
                Step::status(400)
            }
            UpstreamAction::Failed(applied) => {
                self.leave_open(arrival, (applied, parts), self.late, random, Step::status(503))
            }
            UpstreamAction::Cut(applied) => {
                self.leave_open(arrival, (applied, parts), self.late, random, Step::close())
            }
            UpstreamAction::CutInTheAnswer(applied) => {
                self.leave_open(arrival, (applied, parts), self.late, random, Step::cut())
            }
            UpstreamAction::Hangs(applied) => {
                self.leave_open(arrival, (applied, parts), self.silent, random, Step::silence())
            }
            UpstreamAction::AnswersTooLate => {
                thread::sleep(TIMEOUT + random.millis(10, if self.silent > self.late { 400 } else { 200 }));
                self.accept(arrival, parts)
            }
        }
    }

    /// Applies a request and answers 200; if that would be too late, the request is not applied and gets no response.
    fn accept(&self, arrival: usize, parts: usize) -> Step {
        if !self.recorder.apply(arrival, parts, self.silent) {
            return Step::close();
        }
        self.recorder.acknowledge(arrival);
        Step::ok()
    }

    fn leave_open(
        &self,
        arrival: usize,
        (applied, parts): (Applied, usize),
        allowed: Duration,
        random: &mut Random,
        step: Step,
    ) -> Step {
        match applied {
            Applied::Never => {}
            Applied::AtOnce => {
                self.recorder.apply(arrival, parts, allowed);
            }
            // Usually close to the latest permitted time.
            Applied::Late => self.recorder.apply_late(
                arrival,
                allowed,
                100 - (random.below(80) as u64 * random.below(80) as u64) / 80,
            ),
        }
        step
    }
}
