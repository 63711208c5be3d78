//! The state directory: what is written and taken over, and what is not.

mod files;
mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::assignment::{
    Announced, Assignment, Before, Bounds, Claim, ClaimMode, Outcome, Reach, Renewal, RuleMemory, RuleSettings, Socket,
    Uncertainty, Value,
};

const MAX_AGE: Duration = Duration::from_mins(1);
const DOUBT: Duration = Duration::from_secs(30);
const START_DOUBT: Duration = Duration::from_secs(54);
const REMEMBER_FOR: Duration = Duration::from_hours(1);
const URL: &str = "https://api-eu.pusher.com/";

/// App, name and definition of each rule of a process.
type Rules<'r> = &'r [(&'r str, &'r str, u8)];

const ONE_RULE: Rules<'_> = &[("1", "joined", 7)];

/// A process with its memory.
struct Process {
    keeper: Option<Keeper>,
    clock: Clock,
    assignments: Arc<Assignments>,
    memories: Vec<Arc<RuleMemory>>,
    /// What became of the file that it found.
    taken: Result<Restored, Unused>,
}

impl Process {
    fn start(directory: &Path, rules: Rules<'_>) -> Self {
        Self::start_at(directory, rules, Reading::now(), URL)
    }

    fn start_at(directory: &Path, rules: Rules<'_>, now: io::Result<Reading>, upstream: &str) -> Self {
        Self::start_with(directory, rules, now, upstream, 1_000)
    }

    fn start_with(
        directory: &Path,
        rules: Rules<'_>,
        now: io::Result<Reading>,
        upstream: &str,
        max_channels: usize,
    ) -> Self {
        let opened = Keeper::open(directory, MAX_AGE, upstream, &now);
        let clock = opened.found.as_ref().map_or_else(
            |_| Clock::start(),
            |found| Clock::resume(found.moment(now.as_ref().expect("no file is found without clocks"))),
        );
        let bounds = Bounds {
            max_channels,
            max_waiters_per_channel: 8,
            max_waiters: 8,
            doubt_period: DOUBT,
            start_doubt: START_DOUBT,
        };
        let assignments = Assignments::new(clock, bounds);
        let settings = rules.iter().map(|(app, rule, definition)| RuleSettings {
            app: (*app).into(),
            rule: (*rule).into(),
            definition: [*definition; 32],
            remember_for: REMEMBER_FOR,
            refresh_after: None,
        });
        let settings: Vec<_> = settings.collect();
        let mut apps: Vec<Arc<str>> = settings.iter().map(|rule| Arc::clone(&rule.app)).collect();
        apps.dedup();
        let memories = assignments.configure(&apps, &settings).rules;
        if opened.keeper.as_ref().is_some_and(Keeper::waits) {
            assignments.hold_start_doubt();
        }
        let taken = opened.found.map(|found| found.restore(&assignments).expect("it is whole"));
        Self { keeper: opened.keeper, clock, assignments, memories, taken }
    }

    /// The same in a process that is not in the doubt of its start.
    fn start_late(directory: &Path, rules: Rules<'_>) -> Self {
        let process = Self::start(directory, rules);
        assert!(process.assignments.continue_from(&process.kept_apps(), &process.kept_rules()) == 0);
        process
    }

    fn kept_apps(&self) -> Vec<crate::assignment::KeptApp> {
        let apps = self.assignments.keep(self.clock.now()).expect("nothing is in flight").apps;
        apps.into_iter().map(|app| crate::assignment::KeptApp { doubt_left: Duration::ZERO, ..app }).collect()
    }

    fn kept_rules(&self) -> Vec<crate::assignment::KeptRule> {
        let rules = self.assignments.keep(self.clock.now()).expect("nothing is in flight").rules;
        rules.into_iter().map(|(rule, _)| rule).collect()
    }

    /// Announces `staff` on `channel` of the rule number `rule`, `later` from the start on; `None`: it is redundant.
    fn claim(
        &self,
        rule: usize,
        channel: &str,
        staff: &str,
        later: Duration,
    ) -> Option<(Before, crate::assignment::Reservation)> {
        let value = Value::One(Assignment::new(0, staff, ["null"]));
        let now = self.clock.now().after(later);
        match self.memories[rule].claim(channel, &value, ClaimMode::MustNotWait, now) {
            Claim::Redundant { .. } => None,
            Claim::Reserved { reservation, before, .. } => Some((before, reservation)),
            other => panic!("{other:?}"),
        }
    }

    fn announce(&self, rule: usize, channel: &str, staff: &str, outcome: Outcome) -> Option<Before> {
        self.claim(rule, channel, staff, Duration::ZERO).map(|(before, reservation)| {
            reservation.settle(outcome);
            before
        })
    }

    fn write(&self) -> Result<Written, NotWritten> {
        self.keeper.as_ref().expect("the directory can be used").write(&self.assignments, &self.clock)
    }

    /// Ends it, and writes its memory.
    fn stop(self) -> Written {
        self.write().expect("the memory is written")
    }

    fn unused(&self) -> &Unused {
        self.taken.as_ref().expect_err("the file is not used")
    }
}

/// A directory with the file of a process that knew one channel and had another one in doubt.
fn left_behind() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_late(directory.path(), ONE_RULE);
    assert_eq!(process.announce(0, "a", "Anna", Outcome::Accepted), Some(Before::Nothing));
    process.announce(0, "b", "Ben", Outcome::Ambiguous);
    process.announce(0, "c", "Cem", Outcome::Partial);
    assert_eq!(process.stop().channels, 2, "of an unknown channel there is nothing to keep");
    directory
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join(STATE)
}

/// A start doubts everything, and leaves no file.
#[track_caller]
fn assert_unused(directory: &TempDir, process: &Process, code: &str) {
    assert_eq!(process.unused().code(), code, "{}", process.unused());
    assert!(process.assignments.in_start_doubt(process.clock.now()));
    let before = process.announce(0, "a", "Anna", Outcome::Accepted);
    assert_eq!(before, Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    assert!(!file(directory).exists());
    assert!(!process.unused().to_string().contains('\n'));
}
