//! `[[tests]]`: tests of the rules, in the configuration or in files of their own. They are read apart from everything
//! else: a fault in a test keeps no usher from serving.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::file::ReadMode;
use super::overlay::parse_file;
use super::problem::{Problem, Problems, code, quote};
use super::report::{Report, nearest};
use super::section::Section;
use super::tree::{Node, Table};
use crate::decision::EventDecision;
use crate::simulation::{Expectation, Fate, TestCase, TestStep, UpstreamOutcome};

const LIST: &str = "tests";

/// The tests of a configuration, or what is wrong with them.
#[derive(Debug, Clone, Default)]
pub struct Tests {
    /// Those that can be run.
    pub cases: Vec<TestCase>,
    /// What is wrong with the others.
    pub problems: Option<Problems>,
}

/// Takes the tests out of the tree of a configuration with apps of these `ids`.
pub(super) fn take(tree: &mut Table) -> Option<Node> {
    tree.remove(LIST)
}

/// Reads what [`take`] returned.
pub(super) fn read(taken: Option<Node>, ids: &[String]) -> Tests {
    let mut report = Report::default();
    let table = taken.map(|node| (LIST.to_owned(), node)).into_iter().collect();
    let cases = read_table(table, ids, &mut report);
    Tests { cases, problems: Problems::check(report.problems).err() }
}

/// The tests in the file at `path`, which has nothing else, for apps with these `ids`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_tests(path: &Path, ids: &[String]) -> Result<Vec<TestCase>, Problems> {
    let mut report = Report::new(ReadMode::Lookup);
    let mut table = parse_file(&Arc::from(path), &mut report)?;
    let tests = take(&mut table);
    for (key, node) in table {
        let message = format!("A file of tests has `[[{LIST}]]` alone. Name the configuration with --config.");
        report.problem(Problem { origin: node.origin, key, message, suggestion: None, code: code::UNKNOWN });
    }
    let cases = read_table(tests.map(|node| (LIST.to_owned(), node)).into_iter().collect(), ids, &mut report);
    Problems::check(report.problems).map(|()| cases)
}

fn read_table(table: Table, ids: &[String], report: &mut Report) -> Vec<TestCase> {
    let mut names = BTreeSet::new();
    let cases = Section::root(table, report, |root| {
        root.sections(LIST, |section| case(section, ids, &mut names)).into_iter().flatten().collect()
    });
    report.refuse_unknown();
    cases
}

fn case(section: &mut Section<'_>, ids: &[String], names: &mut BTreeSet<String>) -> Option<TestCase> {
    let name = section.required("name", "a repeat is suppressed", |_| Ok(()));
    if !name.is_empty() && !names.insert(name.clone()) {
        section.problem("name", "Another test has this name. Each has its own.");
    }
    let place = section.origin("name").to_string();
    let app = app(section, ids, ids.first().cloned().unwrap_or_default());
    let mut expects = false;
    let steps: Vec<_> = section.sections("steps", |section| {
        expects |= section.has("expect");
        step(section, ids, &app)
    });
    if steps.is_empty() {
        section.missing("steps", "The test has no steps. Write `[[tests.steps]]` below it.");
    } else if !expects {
        section.problem("steps", "The test expects nothing. Give a step `expect`, e.g. expect = \"suppressed\".");
    }
    let steps = steps.into_iter().collect::<Option<Vec<_>>>()?;
    Some(TestCase { name, place, steps })
}

/// The app of a test or step; `default` if none is given.
fn app(section: &mut Section<'_>, ids: &[String], default: String) -> String {
    let app = section.text("app");
    if app.is_empty() {
        return default;
    }
    if !ids.contains(&app) {
        let suggestion = nearest(&app, ids.iter().map(String::as_str)).map(str::to_owned);
        let (origin, message) = (section.origin("app"), format!("No app has the id {}.", quote(&app)));
        section.problem_at(origin, "app", message, suggestion);
    }
    app
}

/// A step; `None`: a problem is reported.
fn step(section: &mut Section<'_>, ids: &[String], app_of_test: &str) -> Option<TestStep> {
    let place = section.place();
    let app = app(section, ids, app_of_test.to_owned());
    let after = section.duration("after", Duration::ZERO, Duration::ZERO..=Duration::from_hours(24 * 365));
    let takes = section.duration("takes", Duration::ZERO, Duration::ZERO..=Duration::from_hours(1));
    let upstream = section.choice(
        "upstream",
        [
            ("accepted", UpstreamOutcome::Accepted),
            ("refused", UpstreamOutcome::Refused),
            ("ambiguous", UpstreamOutcome::Ambiguous),
            ("not_sent", UpstreamOutcome::NotSent),
        ],
        UpstreamOutcome::Accepted,
    );
    let joined = section.texts("joined").into_iter().map(|(channel, _)| channel).collect();
    let expect = expectation(section);
    let Sent { title, endpoint, body } = sent(section)?;
    let path = format!("/apps/{app}/{endpoint}");
    Some(TestStep { place, title, after, app, joined, path, body, upstream, takes, expect })
}

fn expectation(section: &mut Section<'_>) -> Option<Expectation> {
    let fates = [Fate::Forwarded, Fate::Suppressed, Fate::Reduced].map(|fate| (fate.label(), fate));
    let fate = section.optional_choice("expect", fates);
    let reason = Some(section.text("reason")).filter(|reason| !reason.is_empty());
    if let Some(reason) = &reason {
        let known = || EventDecision::ALL.iter().map(|decision| decision.reason());
        if !known().any(|code| code == reason) {
            let suggestion = nearest(reason, known()).map(str::to_owned);
            let origin = section.origin("reason");
            let message = format!("{} is no reason. docs/reasons.md has all of them.", quote(reason));
            section.problem_at(origin, "reason", message, suggestion);
        } else if fate.is_none() {
            section.problem("reason", "A reason alone is not compared. Give `expect` as well.");
        }
    }
    fate.map(|fate| Expectation { fate, reason })
}

/// What a step sends.
struct Sent {
    title: String,
    /// The last segment of the path.
    endpoint: &'static str,
    body: String,
}

fn sent(section: &mut Section<'_>) -> Option<Sent> {
    let body = section.text("body");
    let batch: Vec<_> = section.sections("batch", event);
    let single = event(section);
    let given = [!body.is_empty(), !batch.is_empty(), single.is_some()].into_iter().filter(|given| *given).count();
    if given != 1 {
        let message = "A step sends one thing: `event` on a `channel` or on `channels`, or a `batch`, or a `body`.";
        section.problem("event", message);
        return None;
    }
    if !body.is_empty() {
        let is_batch = serde_json::from_str::<Value>(&body).is_ok_and(|body| body.get("batch").is_some());
        return Some(Sent { title: "a body as written".to_owned(), endpoint: endpoint(is_batch), body });
    }
    if let Some(event) = single {
        return Some(Sent { title: event.title(), endpoint: endpoint(false), body: event.json().to_string() });
    }
    let batch = batch.into_iter().collect::<Option<Vec<_>>>();
    let Some(batch) = batch else {
        section.problem("batch", "Each event of a batch has `event` and `channel`.");
        return None;
    };
    if batch.iter().any(|event| event.channels.len() != 1) {
        section.problem("batch", "An event of a batch has one `channel`.");
        return None;
    }
    let titles: Vec<String> = batch.iter().map(Event::title).collect();
    let body = json!({ "batch": batch.iter().map(Event::json).collect::<Vec<_>>() });
    Some(Sent { title: format!("batch: {}", titles.join(", ")), endpoint: endpoint(true), body: body.to_string() })
}

const fn endpoint(is_batch: bool) -> &'static str {
    if is_batch { "batch_events" } else { "events" }
}

/// An event of a step.
struct Event {
    name: String,
    channels: Vec<String>,
    /// The text of its data.
    data: String,
    socket_id: String,
}

/// The event in `section`; `None`: there is none, or it has no channel.
fn event(section: &mut Section<'_>) -> Option<Event> {
    let name = section.text("event");
    let channel = section.text("channel");
    let mut channels: Vec<String> = section.texts("channels").into_iter().map(|(channel, _)| channel).collect();
    let data = match section.json_value("data") {
        None => "{}".to_owned(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let socket_id = section.text("socket_id");
    if name.is_empty() {
        return None;
    }
    match (channel.is_empty(), channels.is_empty()) {
        (false, true) => channels = vec![channel],
        (true, false) => {}
        (false, false) => section.problem("channels", "Both `channel` and `channels` are given. Keep one of them."),
        (true, true) => {
            section.missing("channel", "The event has no channel. Give `channel`, or a list of them in `channels`.");
        }
    }
    Some(Event { name, channels, data, socket_id })
}

impl Event {
    fn title(&self) -> String {
        let socket = if self.socket_id.is_empty() { "" } else { ", with a socket_id" };
        format!("{} on {}{socket}", self.name, self.channels.join(", "))
    }

    /// As a library writes it.
    fn json(&self) -> Value {
        let Self { name, channels, data, socket_id } = self;
        let mut event = match &channels[..] {
            [channel] => json!({ "name": name, "channel": channel, "data": data }),
            channels => json!({ "name": name, "channels": channels, "data": data }),
        };
        if !socket_id.is_empty() {
            event["socket_id"] = Value::from(socket_id.as_str());
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Origin;
    use crate::config::tree;

    fn read_text(text: &str) -> Tests {
        let mut tree = tree::parse(&Arc::from(Path::new("t.toml")), text).unwrap();
        read(take(&mut tree), &["1".to_owned(), "2".to_owned()])
    }

    #[test]
    fn steps_become_requests() {
        let tests = read_text(
            r#"
            [[tests]]
            name = "a"
            [[tests.steps]]
            channel = "c"
            event = "e"
            data = { staff = { id = 7 }, "x" = "é" }
            expect = "forwarded"
            reason = "nothing_known"
            [[tests.steps]]
            app = "2"
            channels = ["c", "d"]
            event = "e"
            data = '{"as": "written"}'
            socket_id = "1.2"
            upstream = "not_sent"
            joined = "c"
            after = "3s"
            takes = "100ms"
            [[tests.steps]]
            batch = [{ channel = "c", event = "e" }, { channel = "d", event = "f", data = [1] }]
            [[tests.steps]]
            body = '{"batch":[]}'
            "#,
        );
        assert_eq!(tests.problems, None);
        let [case] = &tests.cases[..] else { panic!("{tests:?}") };
        let sent: Vec<_> = case.steps.iter().map(|step| (&*step.path, &*step.body)).collect();
        assert_eq!(
            sent,
            [
                ("/apps/1/events", r#"{"channel":"c","data":"{\"staff\":{\"id\":7},\"x\":\"é\"}","name":"e"}"#),
                (
                    "/apps/2/events",
                    r#"{"channels":["c","d"],"data":"{\"as\": \"written\"}","name":"e","socket_id":"1.2"}"#
                ),
                (
                    "/apps/1/batch_events",
                    r#"{"batch":[{"channel":"c","data":"{}","name":"e"},{"channel":"d","data":"[1]","name":"f"}]}"#
                ),
                ("/apps/1/batch_events", r#"{"batch":[]}"#),
            ]
        );
        let second = &case.steps[1];
        assert_eq!((second.upstream, second.after), (UpstreamOutcome::NotSent, Duration::from_secs(3)));
        assert_eq!((case.steps[0].joined.len(), &second.joined[..]), (0, &["c".to_owned()][..]));
        assert_eq!((second.takes, &second.expect), (Duration::from_millis(100), &None));
        assert_eq!(second.title, "e on c, d, with a socket_id");
        assert_eq!(
            case.steps[0].expect,
            Some(Expectation { fate: Fate::Forwarded, reason: Some("nothing_known".to_owned()) })
        );
        assert!(case.place.starts_with("t.toml:3:") && case.steps[0].place.starts_with("t.toml:4:"), "{case:?}");
    }

    #[test]
    fn every_fault_is_named() {
        let tests = read_text(
            r#"
            [[tests]]
            name = "a"
            [[tests.steps]]
            event = "e"
            expects = "forwarded"
            [[tests.steps]]
            channel = "c"
            [[tests.steps]]
            channel = "c"
            event = "e"
            expect = "dropped"
            reason = "same_assignement"
            app = "3"
            upstream = "accept"
            [[tests]]
            name = "a"
            "#,
        );
        let problems = tests.problems.unwrap();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        for key in [
            "tests.0.steps.0.channel",
            "tests.0.steps.0.expects",
            "tests.0.steps.1.event",
            "tests.0.steps.2.expect",
            "tests.0.steps.2.reason",
            "tests.0.steps.2.app",
            "tests.0.steps.2.upstream",
            "tests.1.name",
            "tests.1.steps",
        ] {
            assert!(keys.contains(&key), "{key}: {keys:?}");
        }
        let line = |key| problems.iter().find(|problem| problem.key == key).unwrap().origin.line();
        assert_eq!(line("tests.0.steps.2.reason"), Some(13));
        assert!(problems.iter().all(|problem| !matches!(problem.origin, Origin::Default)), "{problems}");
        let meant = problems.iter().find_map(|problem| problem.suggestion.clone().filter(|it| it.contains("same")));
        assert_eq!(meant.as_deref(), Some("same_assignment"));
    }
}
