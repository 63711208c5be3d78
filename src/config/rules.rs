//! `[[rules]]`: the rules. `Rule::new` checks them; here their errors are reported at their lines.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfiguredMode;
use super::problem::{Origin, Problem, code, quote};
use super::report::nearest;
use super::section::Section;
use crate::rules::{LateJoiners, Mode, OnDifference, Rule, RuleError, RuleSpec};

/// How long a channel may be remembered, and how old an announcement may become before it is forwarded again.
const REMEMBERED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 365);

/// The rules, for apps with these `ids`, and their modes as written. `observe`: rules that enforce observe instead.
pub(super) fn read(root: &mut Section<'_>, ids: &[String], observe: bool) -> Vec<(Rule, ConfiguredMode)> {
    let mut names = BTreeMap::new();
    let rules = root.sections("rules", |section| rule(section, ids, observe, &mut names));
    if rules.is_empty() {
        warn_unwatched(root, "rules", "rule");
    }
    rules.into_iter().flatten().collect()
}

/// Warns that the list `key` is empty, so that nothing can be recognised as an announcement.
pub(super) fn warn_unwatched(root: &mut Section<'_>, key: &str, kind: &str) {
    let origin = root.origin(key);
    let message = format!(
        "nothing is watched: no {kind} is given ({origin}), so every trigger is forwarded and none is suppressed."
    );
    root.warn(key, "nothing_watched", message, format!("Add `[[{key}]]`; config/usher.toml describes it."));
}

fn rule(
    section: &mut Section<'_>,
    ids: &[String],
    observe: bool,
    names: &mut BTreeMap<String, String>,
) -> Option<(Rule, ConfiguredMode)> {
    let modes = [("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)];
    let differences =
        [OnDifference::Suppress, OnDifference::Count, OnDifference::Forward].map(|one| (one.label(), one));
    let late_joiners = LateJoiners::ALL.map(|one| (one.label(), one));
    let mode = section.choice("mode", modes, Mode::Enforce);
    let written = ConfiguredMode { mode, source: section.report.origin(&section.key("mode")).label() };
    let apps = section.texts("apps");
    let spec = RuleSpec {
        name: section.required("name", "staff-assigned", |_| Ok(())),
        event: section.required("event", "staff-assigned", |_| Ok(())),
        channel: section.required("channel", "{hotelSlug}-room-{roomNumber}-chat", |_| Ok(())),
        identity: texts(section, "identity"),
        context: texts(section, "context"),
        filter: section.json("where"),
        ignore: texts(section, "ignore"),
        on_difference: section.choice("on_difference", differences, OnDifference::Count),
        released_by: texts(section, "released_by"),
        remember_for: section.duration("remember_for", Duration::from_hours(24), REMEMBERED),
        late_joiners: section.choice("late_joiners", late_joiners, LateJoiners::Ignore),
        refresh_after: section.optional_duration("refresh_after", REMEMBERED),
        detect_bypass: section.flag("detect_bypass", false),
        mode: if observe && mode == Mode::Enforce { Mode::Observe } else { mode },
        apps: apps.iter().map(|(id, _)| id.clone()).collect(),
    };
    if spec.identity.is_empty() {
        section.missing(
            "identity",
            "No pointer says who is assigned. Name one or more in the event's data, e.g. identity = [\"/staff_id\"].",
        );
    }
    check_app_ids(section, apps, ids);
    let this = section.key("name");
    match names.get(&spec.name) {
        Some(other) if !spec.name.is_empty() => {
            section.problem("name", format!("`{other}` is the same. Each rule has its own name."))
        }
        _ => {
            names.insert(spec.name.clone(), this);
        }
    }
    Rule::new(spec).map_err(|errors| report_errors(section, errors)).ok().map(|rule| (rule, written))
}

/// Reports each error at the line of its key. Errors of keys that have a problem already are left out: they are
/// consequences of it.
pub(super) fn report_errors(section: &mut Section<'_>, errors: Vec<RuleError>) {
    let errors: Vec<_> =
        errors.into_iter().filter(|error| !section.report.is_faulty(&section.key(error.key))).collect();
    for RuleError { key, problem: message } in errors {
        let (origin, key) = (section.origin(key), section.key(key));
        let problem = Problem { origin, key, message, suggestion: None, code: code::INVALID };
        section.report.problems.push(problem);
    }
}

fn texts(section: &mut Section<'_>, key: &str) -> Vec<String> {
    section.texts(key).into_iter().map(|(text, _)| text).collect()
}

/// Reports ids that no app has.
pub(super) fn check_app_ids(section: &mut Section<'_>, apps: Vec<(String, Origin)>, ids: &[String]) {
    for (id, origin) in apps {
        if !ids.contains(&id) {
            let suggestion = nearest(&id, ids.iter().map(String::as_str)).map(str::to_owned);
            let message = format!(
                "No app has the id {}. Name apps of `[[apps]]`, or leave the list empty for all of them.",
                quote(&id)
            );
            section.problem_at(origin, "apps", message, suggestion);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::report::Report;
    use crate::config::tree;

    #[test]
    fn errors_of_a_rule_find_their_lines() {
        let text = "[[rules]]\nname = 7\n\nidentity = [\"a\", \"b\"]\n";
        let tree = tree::parse(&Path::new("x.toml").into(), text).unwrap();
        let error = |key, problem: &str| RuleError { key, problem: problem.to_owned() };
        let errors = vec![
            error("name", "known"),
            error("identity", "one"),
            error("identity", "two"),
            error("channel", "absent"),
        ];
        let mut report = Report::default();
        Section::root(tree, &mut report, |root| {
            root.sections("rules", |section| {
                section.text("name");
                section.texts("identity");
                report_errors(section, errors.clone());
            });
        });
        let found: Vec<_> = report.problems[1..]
            .iter()
            .map(|problem| (problem.origin.line(), problem.key.as_str(), problem.message.as_str()))
            .collect();
        let expected = [
            (Some(4), "rules.0.identity", "one"),
            (Some(4), "rules.0.identity", "two"),
            (Some(1), "rules.0.channel", "absent"),
        ];
        assert_eq!(found, expected);
    }
}
