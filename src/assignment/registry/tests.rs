//! What is remembered over a change of the configuration.

use super::*;
use crate::assignment::{Assignment, Before, Claim, Outcome, Patience, Value};

const DOUBT: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

fn assignments() -> Arc<Assignments> {
    Assignments::new(
        Clock::start(),
        Bounds { max_channels: 100, max_waiters_per_channel: 3, max_waiters: 5, doubt_period: DOUBT, start_doubt: Duration::ZERO },
    )
}

fn watch(app: &str, rule: &str, definition: u64) -> Watch {
    Watch { app: app.into(), rule: rule.into(), definition, remember_for: MINUTE }
}

/// Announces the same person to the same channel, and says what was known of it; `None`: just this.
fn announce(assignments: &Assignments, memory: &Arc<RuleMemory>) -> Option<Before> {
    match memory.claim("room", &Value::One(Assignment::new(0, "7", [])), Patience::Holds, assignments.census.clock.now()) {
        Claim::Reserved { reservation, before, .. } => {
            reservation.settle(Outcome::Accepted);
            Some(before)
        }
        Claim::Redundant { .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unchanged_rule_keeps_its_memory() {
    let assignments = assignments();
    let wanted = [watch("1", "joined", 7), watch("2", "joined", 7)];
    let first = assignments.configure(&wanted);
    assert!(!first[0].0.in_doubt(assignments.census.clock.now()), "nothing was forwarded before the first configuration");
    assert_eq!(announce(&assignments, &first[0].1), Some(Before::Nothing));
    let patient = Watch { remember_for: MINUTE * 2, ..wanted[0].clone() };
    let second = assignments.configure(&[wanted[1].clone(), patient]);
    assert!(Arc::ptr_eq(&second[0].1, &first[1].1) && Arc::ptr_eq(&second[1].1, &first[0].1), "in the order wanted");
    assert_eq!(announce(&assignments, &second[1].1), None);
    assert_eq!(second[1].1.remember_for(), MINUTE * 2);
    let names: Vec<_> = assignments.watches().iter().map(|watched| (watched.app.to_string(), watched.rule.to_string())).collect();
    assert_eq!(names, [("2".to_owned(), "joined".to_owned()), ("1".to_owned(), "joined".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_begins_in_doubt_with_nothing() {
    let assignments = assignments();
    let first = assignments.configure(&[watch("1", "joined", 7), watch("2", "joined", 7)]);
    announce(&assignments, &first[0].1);
    announce(&assignments, &first[1].1);
    let second = assignments.configure(&[watch("1", "joined", 8), watch("2", "joined", 7)]);
    assert!(Arc::ptr_eq(&first[0].0, &second[0].0) && !Arc::ptr_eq(&first[0].1, &second[0].1));
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain));
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain));
    assert_eq!(announce(&assignments, &second[1].1), None, "the other app is not concerned");
    tokio::time::advance(DOUBT * 2).await;
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Nothing));
    assert_eq!(announce(&assignments, &second[0].1), None);
}

#[test]
fn a_new_rule_puts_its_app_in_doubt() {
    let assignments = assignments();
    assignments.configure(&[]);
    let early = assignments.app("1");
    let [(app, memory)] = &assignments.configure(&[watch("1", "joined", 7)])[..] else { panic!("one was wanted") };
    assert!(Arc::ptr_eq(&early, app), "an app is the same with and without rules");
    assert_eq!(announce(&assignments, memory), Some(Before::Uncertain));
}

#[test]
fn a_rule_that_went_and_came_back_is_new() {
    let assignments = assignments();
    let first = assignments.configure(&[watch("1", "joined", 7)]);
    announce(&assignments, &first[0].1);
    assert!(assignments.configure(&[]).is_empty() && assignments.watches().is_empty());
    let second = assignments.configure(&[watch("1", "joined", 7)]);
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain));
}

#[test]
fn apps_that_nobody_uses_are_dropped() {
    let assignments = assignments();
    let held = assignments.app("held");
    drop(assignments.app("loose"));
    assignments.configure(&[watch("1", "joined", 7)]);
    let apps = |assignments: &Assignments| lock(&assignments.registry).apps.len();
    assert_eq!(apps(&assignments), 2);
    assert!(Arc::ptr_eq(&held, &assignments.app("held")));
    drop(held);
    assignments.configure(&[]);
    assert_eq!(apps(&assignments), 0);
}

#[test]
fn the_counts_are_those_of_all_memories() {
    let assignments = assignments();
    let memories = assignments.configure(&[watch("1", "joined", 7), watch("2", "joined", 7)]);
    let mut waiting = Vec::new();
    for (_, memory) in &memories {
        announce(&assignments, memory);
        let now = assignments.census.clock.now();
        let claim = || memory.claim("other", &Value::One(Assignment::new(0, "7", [])), Patience::Waits, now);
        waiting.push((claim(), claim()));
    }
    assert_eq!(assignments.waiting(), 2);
    drop(waiting);
    assert_eq!(assignments.waiting(), 0);
    assignments.sweep(assignments.census.clock.now().after(MINUTE));
    assert_eq!(assignments.evictions(), Evictions { capacity: 0, idle: 4 });
    assert_eq!(assignments.bounds().max_channels, 100);
}
