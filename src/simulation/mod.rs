//! What usher would decide on triggers of the past, or on made-up ones: the gateway's own decision, with a virtual time
//! and an upstream whose outcomes are told beforehand. [`case`](TestCase) are tests of rules, which `run` runs.
//!
//! The memory begins empty and without the doubt of a start; rate limits, and what a listener refuses (signatures, sizes,
//! overload), are left out.

mod case;
mod run;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use case::{Expectation, TestCase, TestStep};
pub use run::{CaseResult, Mismatched, StepResult, rules_read, run};

use crate::assignment::Entry;
use crate::clock::{Clock, Moment};
use crate::gateway::{
    OfflineEnd, OfflineGateway, OfflineOptions, OfflineRequest, OfflineSent, OfflineStep, OfflineWait,
};
use crate::recording::HeadForm;
use crate::rules::Mode;

pub use crate::gateway::{KnownChannel, RuleFigures, UpstreamOutcome};

/// How often what is no longer remembered is forgotten. It changes no decision, and bounds the memory.
const SWEEP: Duration = Duration::from_mins(10);

/// The apps, rules and bounds of a simulation.
pub type Setup = OfflineOptions;

/// A trigger.
pub type Request<'r> = OfflineRequest<'r>;

impl Setup {
    /// The same, in which every rule enforces that is not off.
    #[must_use]
    pub fn enforcing(mut self) -> Self {
        for rule in self.rules.iter_mut().filter(|rule| rule.spec().mode == Mode::Observe) {
            *rule = rule.in_mode(Mode::Enforce);
        }
        self
    }

    /// The same, with the record of each trigger.
    #[must_use]
    pub fn with_records(mut self) -> Self {
        self.keeps_records = true;
        self
    }
}

/// What upstream will do with a trigger, if it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// What it does.
    pub outcome: UpstreamOutcome,
    /// When that is known.
    pub settled: Settled,
}

/// When the outcome of a trigger is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// So long after it was sent.
    After(Duration),
    /// Then, or when it is sent if that is later.
    At(Micros),
}

/// A time in microseconds of the simulation's clock. Moments are milliseconds; within one, triggers come and are settled
/// in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(pub u64);

impl Micros {
    const fn moment(self) -> Moment {
        Moment::from_millis(self.0 / 1000)
    }

    /// The time `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl From<Moment> for Micros {
    fn from(moment: Moment) -> Self {
        Self(moment.as_millis().saturating_mul(1000))
    }
}

impl Default for Upstream {
    /// It accepts it at once.
    fn default() -> Self {
        Self { outcome: UpstreamOutcome::Accepted, settled: Settled::After(Duration::ZERO) }
    }
}

/// What became of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The number that [`Simulation::arrive`] returned.
    pub number: u64,
    /// When it was answered.
    pub at: Moment,
    /// What became of it.
    pub end: OfflineEnd,
}

/// What is done with a trigger, whatever upstream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is sent as received.
    Forwarded,
    /// It is sent without its redundant part.
    Reduced,
    /// It is dropped.
    Suppressed,
    /// usher answers an error.
    Refused,
}

impl Fate {
    /// In one word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Reduced => "reduced",
            Self::Suppressed => "suppressed",
            Self::Refused => "refused",
        }
    }
}

impl Verdict {
    /// What was done with it.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match (&self.end.reduced, self.end.is_sent) {
            (Some(_), _) => Fate::Reduced,
            (None, true) => Fate::Forwarded,
            (None, false) if self.end.decision == "refused" => Fate::Refused,
            (None, false) => Fate::Suppressed,
        }
    }
}

/// A gateway with a virtual time and a scripted upstream.
#[derive(Debug)]
pub struct Simulation {
    gateway: OfflineGateway,
    now: Micros,
    /// What happens later, the next first.
    due: BinaryHeap<Reverse<Due>>,
    sent: HashMap<u64, (OfflineSent, UpstreamOutcome)>,
    /// In the order in which they began to wait.
    waiting: Vec<Waiting>,
    /// Those that are not taken yet.
    verdicts: Vec<Verdict>,
    arrived: u64,
    swept: Moment,
    /// Whether something was settled since the waiting triggers were looked at.
    has_settled: bool,
}

/// Something that happens later. Ordered by its moment, then by the triggers' numbers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Micros,
    number: u64,
    what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The outcome of a trigger is known.
    Settlement,
    /// A trigger has waited as long as it may.
    Deadline,
}

/// A trigger that waits for an equal announcement.
#[derive(Debug)]
struct Waiting {
    number: u64,
    wait: OfflineWait,
    upstream: Upstream,
    app: String,
    path: String,
    body: Vec<u8>,
    head: Option<HeadForm>,
}

impl Simulation {
    /// A simulation that begins at `now`.
    #[must_use]
    pub fn new(setup: Setup, now: Moment) -> Self {
        Self {
            gateway: OfflineGateway::new(setup, now),
            now: now.into(),
            due: BinaryHeap::new(),
            sent: HashMap::new(),
            waiting: Vec::new(),
            verdicts: Vec::new(),
            arrived: 0,
            swept: now,
            has_settled: false,
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.gateway.now()
    }

    /// The clock of its moments.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.gateway.clock()
    }

    /// Takes over what a running usher knows of a channel, before the first trigger. Returns whether there is such a
    /// rule.
    pub fn know(&mut self, known: &KnownChannel<'_>) -> bool {
        self.gateway.know(known)
    }

    /// A trigger comes at `at`, or now if that is later. Returns its number; they are counted from 0 on.
    pub fn arrive(&mut self, at: impl Into<Micros>, request: &Request<'_>, upstream: Upstream) -> u64 {
        self.advance_to(at);
        let number = self.arrived;
        self.arrived += 1;
        let step = self.gateway.arrive(*request);
        self.proceed(number, step, upstream, request);
        self.wake();
        number
    }

    /// Somebody subscribes to a channel of the app with this id at `at`, or now if that is later.
    pub fn join(&mut self, at: impl Into<Micros>, app: &str, channel: &str) {
        self.advance_to(at);
        self.gateway.join(app, channel);
    }

    /// Lets time pass until `time`: what is due until then happens.
    pub fn advance_to(&mut self, time: impl Into<Micros>) {
        let time = time.into();
        while self.due.peek().is_some_and(|Reverse(due)| due.at <= time) {
            self.happen();
        }
        self.pass(time);
        let moment = self.now();
        if moment.since(self.swept) >= SWEEP {
            self.swept = moment;
            self.gateway.sweep();
        }
    }

    /// Lets time pass until every trigger is answered.
    pub fn finish(&mut self) {
        while !self.due.is_empty() {
            self.happen();
        }
    }

    /// The verdicts since the last call, in the order in which the triggers were answered.
    pub fn take_verdicts(&mut self) -> std::vec::Drain<'_, Verdict> {
        self.verdicts.drain(..)
    }

    /// What is known of every channel, by app and rule, in the order of the channels.
    #[must_use]
    pub fn known(&self) -> Vec<(Arc<str>, Arc<str>, Entry)> {
        self.gateway.known()
    }

    /// The figures of every rule of every app so far.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleFigures> {
        self.gateway.rules()
    }

    /// Time passes until `time`, unless it is later already.
    fn pass(&mut self, time: Micros) {
        self.now = self.now.max(time);
        self.gateway.advance_to(self.now.moment());
    }

    /// What is due next happens.
    fn happen(&mut self) {
        let Some(Reverse(Due { at, number, what })) = self.due.pop() else { return };
        self.pass(at);
        match what {
            What::Settlement => {
                if let Some((sent, outcome)) = self.sent.remove(&number) {
                    self.settle(number, sent, outcome);
                }
            }
            What::Deadline => {
                if let Some(position) = self.waiting.iter().position(|waiting| waiting.number == number) {
                    self.decide_again(position, true);
                }
            }
        }
        self.wake();
    }

    /// Decides again on the triggers whose wait is over.
    fn wake(&mut self) {
        while std::mem::take(&mut self.has_settled) {
            while let Some(position) = self.waiting.iter_mut().position(|waiting| waiting.wait.is_over()) {
                self.decide_again(position, false);
            }
        }
    }

    fn decide_again(&mut self, position: usize, is_late: bool) {
        let Waiting { number, wait, upstream, app, path, body, head } = self.waiting.remove(position);
        let request = Request { app: &app, path: &path, body: &body, head };
        let step = wait.decide(&self.gateway, &request, is_late);
        self.proceed(number, step, upstream, &request);
    }

    fn proceed(&mut self, number: u64, step: OfflineStep, upstream: Upstream, request: &Request<'_>) {
        match step {
            OfflineStep::Done(end) => self.verdicts.push(Verdict { number, at: self.now(), end }),
            OfflineStep::Sent(sent) => {
                let at = match upstream.settled {
                    Settled::After(delay) => self.now.after(delay),
                    Settled::At(time) => time,
                };
                if at <= self.now {
                    self.settle(number, sent, upstream.outcome);
                } else {
                    self.due.push(Reverse(Due { at, number, what: What::Settlement }));
                    self.sent.insert(number, (sent, upstream.outcome));
                }
            }
            OfflineStep::Waits(wait) => {
                self.due.push(Reverse(Due { at: wait.deadline().into(), number, what: What::Deadline }));
                let Request { app, path, body, head } = *request;
                let (app, path, body) = (app.to_owned(), path.to_owned(), body.to_vec());
                self.waiting.push(Waiting { number, wait, upstream, app, path, body, head });
            }
        }
    }

    fn settle(&mut self, number: u64, sent: OfflineSent, outcome: UpstreamOutcome) {
        let end = sent.settle(&self.gateway, outcome);
        self.verdicts.push(Verdict { number, at: self.now(), end });
        self.has_settled = !self.waiting.is_empty();
    }
}
