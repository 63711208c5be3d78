//! What is proposed, as TOML with comments and as JSON.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use usher::discovery::{FamilyReport, Judgement, Proposal, Reasoned, Step, judge};
use usher::rules::{LateJoiners, Mode, OnDifference, Rule, RuleSpec};

use crate::command::terminal::Printable;

/// How long a channel is remembered by default.
const REMEMBER_FOR: Duration = Duration::from_hours(24);

/// All families with what they suggest, those first that would save most.
pub(super) struct Proposed {
    judged: Vec<(FamilyReport, Judgement)>,
    /// Whether they are of several apps.
    has_apps: bool,
}

impl Proposed {
    pub(super) fn of(families: Vec<FamilyReport>) -> Self {
        let has_apps = families.windows(2).any(|pair| pair[0].app != pair[1].app);
        let mut judged: Vec<_> = families
            .into_iter()
            .map(|family| {
                let judgement = judge(&family);
                (family, judgement)
            })
            .collect();
        judged.sort_by_key(|(family, judgement)| {
            let saved = judgement.equal_but;
            std::cmp::Reverse((judgement.proposal.is_some(), saved.calls + saved.deliveries, family.count))
        });
        let mut names: HashMap<String, usize> = HashMap::new();
        for proposal in judged.iter_mut().filter_map(|(_, judgement)| judgement.proposal.as_mut()) {
            let times = names.entry(proposal.name.clone()).or_default();
            *times += 1;
            if *times > 1 {
                proposal.name.truncate(60);
                proposal.name.push_str(&format!("-{times}"));
            }
        }
        Self { judged, has_apps }
    }

    /// As lines of a configuration.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.judged.is_empty() {
            lines.push("# Nothing came yet that could be read.".to_owned());
        }
        for (index, (family, judgement)) in self.judged.iter().enumerate() {
            lines.push(comment(&format!("{}. {}", index + 1, title(family))));
            lines.extend(figures(family, judgement).into_iter().map(|line| comment(&format!("   {line}"))));
            match judgement.proposal.as_ref().map(|proposal| (proposal, self.fault(family, proposal))) {
                Some((proposal, None)) => {
                    lines.push(
                        "#    Clients must need no repeat: look at each line, and at GET /report, before it enforces."
                            .to_owned(),
                    );
                    lines.extend(self.rule(family, proposal));
                    lines.push(String::new());
                    lines.extend(self.test(family, proposal));
                }
                Some((_, Some(fault))) => lines.push(comment(&format!("   Nothing is proposed: {fault}."))),
                None => {
                    let why = judgement.nothing.as_ref().map(ToString::to_string).unwrap_or_default();
                    lines.push(comment(&format!("   Nothing is proposed: {why}.")));
                }
            }
            lines.push(String::new());
        }
        lines
    }

    /// As JSON.
    pub(super) fn json(&self, notes: &[String]) -> Value {
        let family = |(family, judgement): &(FamilyReport, Judgement)| {
            let fit = judgement.proposal.as_ref().filter(|proposal| self.fault(family, proposal).is_none());
            let mut shown = json!(family);
            shown["judgement"] = json!(judgement);
            shown["why"] = json!(judgement.nothing.as_ref().map(ToString::to_string));
            shown["rule"] = json!(fit.map(|proposal| self.rule(family, proposal).join("\n")));
            shown["tests"] = json!(fit.map(|proposal| self.test(family, proposal).join("\n")));
            shown
        };
        json!({ "families": self.judged.iter().map(family).collect::<Vec<_>>(), "notes": notes })
    }

    /// What keeps a proposal from being a rule, such as a name that no channel has.
    fn fault(&self, family: &FamilyReport, proposal: &Proposal) -> Option<String> {
        let pointers = |reasoned: &[Reasoned]| reasoned.iter().map(|one| one.pointer.clone()).collect::<Vec<_>>();
        let spec = RuleSpec {
            name: proposal.name.clone(),
            event: proposal.event.clone(),
            channel: proposal.channel.clone(),
            identity: pointers(&proposal.identity),
            context: pointers(&proposal.context),
            filter: proposal.kinds.iter().map(|(pointer, value)| (pointer.clone(), json!(value))).collect(),
            ignore: pointers(&proposal.ignore),
            on_difference: OnDifference::Forward,
            released_by: Vec::new(),
            remember_for: REMEMBER_FOR,
            late_joiners: LateJoiners::Ignore,
            refresh_after: None,
            detect_bypass: false,
            mode: Mode::Observe,
            apps: if self.has_apps { vec![family.app.clone()] } else { Vec::new() },
        };
        let errors = Rule::new(spec).err()?;
        Some(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// The table of a rule.
    fn rule(&self, family: &FamilyReport, proposal: &Proposal) -> Vec<String> {
        let mut lines = vec![
            "[[rules]]".to_owned(),
            format!("name = {}", quote(&proposal.name)),
            format!("event = {}", quote(&proposal.event)),
            format!("channel = {}", quote(&proposal.channel)),
            "mode = \"observe\"".to_owned(),
        ];
        if self.has_apps {
            lines.push(format!("apps = [{}]", quote(&family.app)));
        }
        if !proposal.kinds.is_empty() {
            let kinds: Vec<String> = proposal
                .kinds
                .iter()
                .map(|(pointer, value)| format!("{} = {}", quote(pointer), quote(value)))
                .collect();
            lines.push("# The kind of event; other kinds are families of their own.".to_owned());
            lines.push(format!("where = {{ {} }}", kinds.join(", ")));
        }
        for (key, reasoned) in
            [("identity", &proposal.identity), ("context", &proposal.context), ("ignore", &proposal.ignore)]
        {
            if !reasoned.is_empty() {
                lines.extend(reasoned.iter().map(|one| comment(&format!("{}: {}", one.pointer, one.reason))));
                let pointers: Vec<String> = reasoned.iter().map(|one| quote(&one.pointer)).collect();
                lines.push(format!("{key} = [{}]", pointers.join(", ")));
            }
        }
        lines.push("# Whatever differs outside `ignore` is news.".to_owned());
        lines.push("on_difference = \"forward\"".to_owned());
        lines
    }

    /// The table of its test.
    fn test(&self, family: &FamilyReport, proposal: &Proposal) -> Vec<String> {
        let mut lines = vec![
            "# Made-up values in the structure of what came.".to_owned(),
            "[[tests]]".to_owned(),
            format!("name = {}", quote(&format!("{}: repeats are dropped, and changes are not", proposal.name))),
        ];
        if self.has_apps {
            lines.push(format!("app = {}", quote(&family.app)));
        }
        for Step { channel, data, expect, reason } in &proposal.test {
            // TOML has no null.
            let data =
                toml::Value::try_from(data).map_or_else(|_null| quote(&data.to_string()), |data| data.to_string());
            lines.extend([
                String::new(),
                "[[tests.steps]]".to_owned(),
                format!("channel = {}", quote(channel)),
                format!("event = {}", quote(&proposal.event)),
                format!("data = {data}"),
                format!("expect = {}", quote(expect)),
                format!("reason = {}", quote(reason)),
            ]);
        }
        lines
    }
}

/// What a family is.
fn title(family: &FamilyReport) -> String {
    let kinds: Vec<String> = family.kinds.iter().map(|(pointer, value)| format!("{pointer} = {value}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" with {}", kinds.join(", ")) };
    format!("{}{kinds} on {}, app {}", family.event, family.channel, family.app)
}

/// How often it came, and what dropping repeats would save.
fn figures(family: &FamilyReport, judgement: &Judgement) -> Vec<String> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let mut lines = vec![format!(
        "{} times; {} were compared with the one before on their channel: {} say the same wholly, {} but for what is ignored.",
        family.count,
        family.compared,
        percent(judgement.equal.share),
        percent(judgement.equal_but.share)
    )];
    if judgement.proposal.is_some() {
        let saved = judgement.equal_but;
        let deliveries = match family.audience_known {
            true => format!(" and {} deliveries", saved.deliveries),
            false => ", and their deliveries".to_owned(),
        };
        lines.push(format!("Dropping those would have saved {} calls{deliveries}.", saved.calls));
    } else if !judgement.changing.is_empty() {
        let changing: Vec<String> =
            judgement.changing.iter().map(|(pointer, share)| format!("{pointer} ({})", percent(*share))).collect();
        lines.push(format!("What changed most: {}.", changing.join(", ")));
    }
    lines
}

/// A line of comment. What came from outside may hold anything, also the end of a line.
fn comment(text: &str) -> String {
    format!("# {}", Printable(text))
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
