//! A simulated trigger's record in the form that a running usher shows (`GET /triggers/<id>`), and its facts, one a line.

use usher::admin::record_json;
use usher::clock::{Calendar, Clock};
use usher::rules::Rule;
use usher::simulation::Verdict;

use super::tail::trigger::{Assignment, Finding, Pointer, Trigger};
use super::terminal::Printable;

/// The record of a simulated trigger.
#[derive(Debug)]
pub(super) struct Judged {
    /// As `GET /triggers/<id>` answers it.
    pub(super) json: String,
    /// The same, read.
    pub(super) trigger: Trigger,
}

impl Judged {
    /// The record of `verdict`, by moments of `clock`; `None`: it has none.
    ///
    /// # Errors
    /// The record is not readable; this does not happen.
    pub(super) fn of(verdict: &Verdict, clock: Clock, rules: &[Rule]) -> anyhow::Result<Option<Self>> {
        let Some((id, encoded)) = &verdict.end.record else { return Ok(None) };
        let Some(record) = encoded.record() else { return Ok(None) };
        let json = record_json(&Calendar::new(clock), *id, &record, rules)?;
        let trigger = serde_json::from_str(&json)?;
        Ok(Some(Self { json, trigger }))
    }
}

/// Lines of one fact each, with aligned values. Text from elsewhere is printed without control characters.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<String>);

impl Facts {
    /// A fact; `depth`: how far it belongs to the one before.
    pub(super) fn add(&mut self, depth: usize, name: &str, value: &str) {
        let name = format!("{:indent$}{name}", "", indent = 2 * depth);
        self.0.push(format!("{name:<12} {}", Printable(value)).trim_end().to_owned());
    }

    /// What a rule read, knew before and decided.
    pub(super) fn finding(&mut self, depth: usize, finding: &Finding) {
        if let Some(assignment) = &finding.assignment {
            self.add(depth, "now", &assigned(assignment));
        }
        if let Some(before) = &finding.before {
            self.add(depth, "before", &assigned(before));
        }
        let Finding { decision, reason, why, .. } = finding;
        self.add(depth, "decision", &format!("{decision} ({reason}): {why}"));
    }

    /// The lines, each with `indent` before it.
    pub(super) fn text(&self, indent: &str) -> String {
        self.0.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
    }
}

/// An assignment in one line.
pub(super) fn assigned(assignment: &Assignment) -> String {
    let pair = |Pointer { pointer, value }: &Pointer| format!("{pointer} = {}", value.get());
    std::iter::once(&assignment.identity).chain(&assignment.context).map(pair).collect::<Vec<_>>().join(", ")
}
