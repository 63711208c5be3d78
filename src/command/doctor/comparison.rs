//! What differs between ushers that run side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::finding::Finding;
use super::running::listed;

/// A smaller difference of the clocks is no finding.
const SMALL_SKEW: Duration = Duration::from_secs(1);
/// From this difference on, one usher refuses signatures that another accepts (`pusher-protocol.md` 2.1).
const WINDOW: Duration = Duration::from_mins(10);

/// Keys and sections that belong to the machine of an usher: addresses, files and logs.
const OF_MACHINE: [&str; 10] = [
    "server.listen",
    "server.workers",
    "server.tls",
    "admin.listen",
    "upstream.ca_file",
    "upstream.certificate",
    "upstream.key",
    "state.path",
    "cluster.node",
    "log",
];

/// The key with the environment's name, which has a finding of its own.
const ENVIRONMENT: &str = "admin.name";

/// Sections that must be the same everywhere: what a channel shows is judged by them.
const SHARED: [&str; 3] = ["apps", "rules", "events"];

/// An usher that answered.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name in the findings.
    pub(super) name: String,
    pub(super) version: String,
    /// `admin.name`.
    pub(super) environment: String,
    /// Its clock, if it says the time.
    pub(super) clock: Option<ClockReading>,
    /// The values that are in effect, by key.
    pub(super) values: BTreeMap<String, Value>,
}

/// How far a clock is ahead of this machine's, in seconds: surely at least and at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    least: f64,
    most: f64,
}

impl ClockReading {
    /// Of an answer with this `Date`, whose request was sent and which was received at these times since the Unix epoch.
    pub(super) fn new(date: &str, sent: Duration, received: Duration) -> Option<Self> {
        // A date has whole seconds: the clock was between it and the next one at some moment in between.
        let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        Some(Self { least: date - received.as_secs_f64(), most: date + 1.0 - sent.as_secs_f64() })
    }
}

/// The findings about what differs; none for fewer than two.
pub(super) fn compare(members: &[Member]) -> Vec<Finding> {
    if members.len() < 2 {
        return Vec::new();
    }
    let mut findings = vec![versions(members), environments(members), clocks(members)];
    findings.extend(configurations(members));
    findings
}

fn versions(members: &[Member]) -> Finding {
    match said(members, |member| Some(member.version.clone())) {
        Said::Same(version) => Finding::ok("version", "", format!("all are usher {}", version.unwrap_or_default())),
        Said::Differs(versions) => {
            Finding::warning("version", "", format!("they differ: {versions}"), "finish the upgrade")
        }
    }
}

fn environments(members: &[Member]) -> Finding {
    match said(members, |member| Some(format!("{:?}", member.environment))) {
        Said::Same(_) if members[0].environment.is_empty() => {
            Finding::ok("environment", "", "none has a name (admin.name)")
        }
        Said::Same(name) => Finding::ok("environment", "", format!("all are {}", name.unwrap_or_default())),
        Said::Differs(names) => Finding::warning(
            "environment",
            "",
            format!("they are of different environments: {names}"),
            "check that each --admin is the one that you mean; else give all the same admin.name",
        ),
    }
}

/// The largest difference that is sure between two clocks.
fn clocks(members: &[Member]) -> Finding {
    let known = || members.iter().filter_map(|member| Some((member, member.clock?)));
    let pairs = known().flat_map(|ahead| known().map(move |behind| (ahead, behind)));
    let skew = |((_, ahead), (_, behind)): &((_, ClockReading), (_, ClockReading))| ahead.least - behind.most;
    let widest = pairs.max_by(|one, other| skew(one).total_cmp(&skew(other)));
    let Some(widest) = widest.filter(|_| known().count() == members.len()) else {
        let advice = "make sure that the clocks of their machines are synchronised (NTP)";
        return Finding::warning("clock", "", "not all of them say the time, so that it cannot be compared", advice);
    };
    let skew = Duration::try_from_secs_f64(skew(&widest)).unwrap_or_default();
    if skew < SMALL_SKEW {
        return Finding::ok("clock", "", "their clocks do not differ, as far as whole seconds show");
    }
    let ((ahead, _), (behind, _)) = widest;
    let found =
        format!("the clock of {} is at least {} s ahead of that of {}", ahead.name, skew.as_secs(), behind.name);
    let advice = format!(
        "synchronise the clocks (NTP): what they say of times cannot be compared, and from {} s on one refuses signatures that the other accepts",
        WINDOW.as_secs()
    );
    if skew < WINDOW {
        Finding::warning("clock", "", found, advice)
    } else {
        Finding::problem("clock", "", found, advice)
    }
}

/// One finding for apps, rules and events, and one for everything else that should be the same.
fn configurations(members: &[Member]) -> Vec<Finding> {
    let keys = members.iter().flat_map(|member| member.values.keys()).filter(|key| *key != ENVIRONMENT);
    let keys: BTreeSet<&String> = keys.collect();
    let (mut shared, mut others, mut of_machine) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        let value = |member: &Member| member.values.get(key).map(Value::to_string);
        let Said::Differs(values) = said(members, value) else { continue };
        if is_of_machine(key) {
            of_machine.push(key.clone());
        } else if is_within(key, &SHARED) {
            shared.push(format!("{key} is {values}"));
        } else {
            others.push(format!("{key} is {values}"));
        }
    }
    let mut findings = Vec::new();
    if shared.is_empty() {
        findings.push(Finding::ok("rules", "", "apps, rules and events are the same; secrets are not compared"));
    } else {
        findings.push(Finding::problem(
            "rules",
            "",
            format!("apps, rules or events differ: {}", listed(&shared)),
            "give all the same and reload them (SIGHUP): ushers that share their memory suppress nothing while their rules differ",
        ));
    }
    if !others.is_empty() {
        let found = format!("it differs: {}", listed(&others));
        findings.push(Finding::warning("configuration", "", found, "give all the same value, unless it is meant so"));
    } else if of_machine.is_empty() {
        findings.push(Finding::ok("configuration", "", "the same"));
    } else {
        let found = format!("the same but for what belongs to each machine: {}", listed(&of_machine));
        findings.push(Finding::ok("configuration", "", found));
    }
    findings
}

fn is_of_machine(key: &str) -> bool {
    is_within(key, &OF_MACHINE) || key.ends_with("_file")
}

/// Whether `key` is one of `sections` or in one of them.
fn is_within(key: &str, sections: &[&str]) -> bool {
    let is_in =
        |section: &&str| key.strip_prefix(*section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    sections.iter().any(is_in)
}

/// What all say of something.
enum Said {
    /// All the same.
    Same(Option<String>),
    /// In words, who says what.
    Differs(String),
}

fn said(members: &[Member], what: impl Fn(&Member) -> Option<String>) -> Said {
    let mut groups: Vec<(Option<String>, Vec<&str>)> = Vec::new();
    for member in members {
        let value = what(member);
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(&member.name),
            None => groups.push((value, vec![&member.name])),
        }
    }
    if let [(value, _)] = &mut groups[..] {
        return Said::Same(value.take());
    }
    let group = |(value, names): &(Option<String>, Vec<&str>)| {
        format!("{} at {}", value.as_deref().unwrap_or("not set"), names.join(" and "))
    };
    Said::Differs(groups.iter().map(group).collect::<Vec<_>>().join(", but "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, clock: ClockReading) -> Member {
        let (version, environment, values) = ("0.1.0".to_owned(), String::new(), BTreeMap::new());
        Member { name: name.to_owned(), version, environment, clock: Some(clock), values }
    }

    #[test]
    fn only_what_is_sure_of_the_clocks_counts() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let at = |millis: u64| Duration::from_millis(784_111_777_000 + millis);
        // Both have the right time; one answers a second after the other, at the end of the same second of its own.
        let reading = |sent, received| ClockReading::new(date, at(sent), at(received)).unwrap();
        let said = |one, other| clocks(&[member("a", one), member("b", other)]).to_string();
        assert!(said(reading(0, 10), reading(950, 990)).starts_with("ok "));
        // A slow answer says less.
        assert!(said(reading(0, 10), reading(1_500, 9_000)).starts_with("ok "));
        let told = said(reading(0, 10), reading(3_500, 3_600));
        assert!(told.starts_with("warning ") && told.contains("the clock of a is at least 2 s ahead of that of b"));
        assert!(said(reading(900_000, 900_000), reading(0, 0)).starts_with("problem "));
        assert!(ClockReading::new("yesterday", at(0), at(1)).is_none());
    }

    #[test]
    fn keys_belong_to_machines_or_to_all() {
        for key in ["server.listen", "server.tls.certificate", "log.level", "apps.0.secret_file", "cluster.node"] {
            assert!(is_of_machine(key), "{key}");
        }
        for key in ["limits.max_head", "upstream.url", "state.max_age", "rules.0.mode", "logs"] {
            assert!(!is_of_machine(key), "{key}");
        }
        assert!(is_within("rules.0.name", &SHARED) && !is_within("rules_of.x", &SHARED));
    }
}
