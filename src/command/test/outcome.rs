//! What came of a test, for people.

use usher::rules::Rule;
use usher::simulation::{CaseResult, Expectation, StepResult, Verdict};

use super::shown;
use crate::command::judged::{Facts, Judged};

/// What came of a test.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its name.
    pub(super) name: String,
    /// Where it is written.
    pub(super) place: String,
    /// How many steps it has.
    pub(super) steps: usize,
    /// What is otherwise than expected, for each such step.
    pub(super) failures: Vec<Failure>,
}

/// A step that is otherwise than expected.
#[derive(Debug)]
pub(super) struct Failure {
    /// In one line.
    pub(super) summary: String,
    /// Lines with the difference and what was read.
    pub(super) details: String,
}

impl Outcome {
    /// # Errors
    /// A record is not readable; this does not happen.
    pub(super) fn of(result: &CaseResult<'_>, rules: &[Rule]) -> anyhow::Result<Self> {
        let failed = result.steps.iter().enumerate().filter(|(_, step)| step.mismatch.is_some());
        let failures = failed.map(|(index, step)| Failure::of(index, step, result, rules));
        Ok(Self {
            name: shown(&result.case.name),
            place: shown(&result.case.place),
            steps: result.case.steps.len(),
            failures: failures.collect::<anyhow::Result<_>>()?,
        })
    }

    /// A line, and for a test that failed what differs.
    pub(super) fn text(&self, has_colours: bool) -> String {
        let (word, colour) = if self.failures.is_empty() { ("ok", 32) } else { ("FAILED", 31) };
        let padded = format!("{word:<6}");
        let word = if has_colours { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded };
        let steps = if self.steps == 1 { "step" } else { "steps" };
        let mut text = format!("{word}  {} ({} {steps})", self.name, self.steps);
        for Failure { summary, details } in &self.failures {
            text.push_str(&format!("\n    {summary}\n{details}"));
        }
        text
    }
}

impl Failure {
    fn of(index: usize, result: &StepResult<'_>, case: &CaseResult<'_>, rules: &[Rule]) -> anyhow::Result<Self> {
        let StepResult { step, verdict, .. } = result;
        let judged = Judged::of(verdict, case.clock, rules)?;
        let mut facts = Facts::default();
        if let Some(Expectation { fate, reason }) = &step.expect {
            let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            facts.add(0, "expected", &format!("{}{reason}", fate.label()));
        }
        facts.add(0, "got", &got(verdict, judged.as_ref()));
        let trigger = judged.map(|judged| judged.trigger).unwrap_or_default();
        for finding in &trigger.rules {
            facts.add(0, "rule", &format!("{}: {} on {}", finding.rule, finding.event, finding.channel));
            facts.finding(1, finding);
        }
        for rule in &trigger.not_matched {
            facts.add(0, "no match", &format!("{}: {}", rule.rule, rule.why));
        }
        if let Some(reduced) = &verdict.end.reduced {
            facts.add(0, "sent", &String::from_utf8_lossy(reduced));
        }
        let summary = format!("step {}, {}: {}", index + 1, shown(&step.place), shown(&step.title));
        Ok(Self { summary, details: facts.text("      ") })
    }
}

/// What was done, and why.
fn got(verdict: &Verdict, judged: Option<&Judged>) -> String {
    let reason = verdict.end.reason;
    let why = judged.and_then(|judged| {
        let findings = judged.trigger.rules.iter();
        findings.filter(|finding| finding.reason == reason).map(|finding| finding.why.clone()).next()
    });
    let why = why.or_else(|| judged.map(|judged| judged.trigger.why.clone())).unwrap_or_default();
    format!("{} ({reason}): {why}", verdict.fate().label())
}
