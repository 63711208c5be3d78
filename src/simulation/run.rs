//! Runs tests of rules.

use super::{Fate, Settled, Setup, Simulation, TestCase, TestStep, Upstream, Verdict};
use crate::clock::{Clock, Moment};
use crate::gateway::UnknownApps;
use crate::pusher::{Endpoint, Trigger};
use crate::rules::{EventMeaning, RemainderKey, Rule};

/// What came of a test.
#[derive(Debug)]
pub struct CaseResult<'t> {
    /// The test.
    pub case: &'t TestCase,
    /// What came of its steps, in their order.
    pub steps: Vec<StepResult<'t>>,
    /// The clock of the moments in the records.
    pub clock: Clock,
}

/// What came of a step.
#[derive(Debug)]
pub struct StepResult<'t> {
    /// The step.
    pub step: &'t TestStep,
    /// What was done with its trigger.
    pub verdict: Verdict,
    /// What is otherwise than expected.
    pub mismatch: Option<Mismatched>,
}

/// What is otherwise than expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatched {
    /// What was done with the trigger.
    Fate,
    /// The reason.
    Reason,
}

impl CaseResult<'_> {
    /// Whether all is as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.mismatch.is_none())
    }
}

/// Runs `case` with the rules of `setup`, each of which enforces unless it is off.
#[must_use]
pub fn run<'t>(setup: &Setup, case: &'t TestCase) -> CaseResult<'t> {
    let mut setup = setup.clone().enforcing().with_records();
    setup.unknown_apps = UnknownApps::Reject;
    let mut simulation = Simulation::new(setup, Moment::default());
    let mut now = simulation.now();
    let mut verdicts = Vec::new();
    for step in &case.steps {
        now = now.after(step.after);
        for channel in &step.joined {
            simulation.join(now, &step.app, channel);
        }
        let upstream = Upstream { outcome: step.upstream, settled: Settled::After(step.takes) };
        simulation.arrive(now, &step.request(), upstream);
        verdicts.extend(simulation.take_verdicts());
    }
    simulation.finish();
    verdicts.extend(simulation.take_verdicts());
    verdicts.sort_unstable_by_key(|verdict| verdict.number);
    let steps = case.steps.iter().zip(verdicts).map(|(step, verdict)| {
        let mismatch = mismatch(step, &verdict);
        StepResult { step, verdict, mismatch }
    });
    CaseResult { case, steps: steps.collect(), clock: simulation.clock() }
}

fn mismatch(step: &TestStep, verdict: &Verdict) -> Option<Mismatched> {
    let expected = step.expect.as_ref()?;
    let fate: Fate = verdict.fate();
    if fate != expected.fate {
        return Some(Mismatched::Fate);
    }
    expected.reason.as_ref().filter(|reason| **reason != verdict.end.reason).map(|_| Mismatched::Reason)
}

/// Which of `rules` read an event of the test's triggers that is theirs: the others are not tested by it.
#[must_use]
pub fn rules_read<'r>(rules: &'r [Rule], case: &TestCase) -> Vec<&'r Rule> {
    let reads = |rule: &Rule, step: &TestStep| {
        let endpoint = if step.path.ends_with("/batch_events") { Endpoint::Batch } else { Endpoint::Events };
        let Ok(trigger) = Trigger::parse(endpoint, step.body.as_bytes()) else { return false };
        rule.is_for(&step.app)
            && trigger.events.iter().any(|event| {
                let data = event.data(&mut []).map(std::borrow::Cow::into_owned);
                // What else the event says does not matter here, so neither does the key.
                let meaning = rule.read(&event.name, data.as_deref(), &RemainderKey::new([0; 16]));
                !matches!(meaning, EventMeaning::Unrelated | EventMeaning::Filtered(_))
                    && event.channels.iter().any(|channel| rule.watches(channel))
            })
    };
    rules.iter().filter(|rule| case.steps.iter().any(|step| reads(rule, step))).collect()
}
