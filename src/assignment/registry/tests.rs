//! Tests of what is remembered across changes of the configuration.

use super::*;
use crate::assignment::Uncertainty;
use crate::assignment::{Assignment, Before, Claim, ClaimMode, Outcome, Value};

const DOUBT: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

fn assignments() -> Arc<Assignments> {
    Assignments::new(
        Clock::start(),
        Bounds {
            max_channels: 100,
            max_waiters_per_channel: 3,
            max_waiters: 5,
            doubt_period: DOUBT,
            start_doubt: Duration::ZERO,
        },
    )
}

/// Configures the `wanted` rules and their apps.
fn configure(assignments: &Assignments, wanted: &[RuleSettings]) -> Vec<(Arc<AppMemory>, Arc<RuleMemory>)> {
    let mut apps: Vec<Arc<str>> = wanted.iter().map(|settings| Arc::clone(&settings.app)).collect();
    apps.dedup();
    assignments.configure(&apps, wanted).rules.into_iter().map(|memory| (Arc::clone(memory.app()), memory)).collect()
}

/// Configures the app 1 with these rules. Returns the state that its requests share.
fn configure_app(assignments: &Assignments, rules: &[(&str, u8)]) -> (InProcess, Vec<Arc<RuleMemory>>) {
    let wanted: Vec<_> = rules.iter().map(|(rule, definition)| settings("1", rule, *definition)).collect();
    let Configured { rules, mut apps, .. } = assignments.configure(&["1".into()], &wanted);
    let app = in_process(apps.remove(0));
    (app, rules)
}

fn settings(app: &str, rule: &str, definition: u8) -> RuleSettings {
    let (app, rule, definition) = (app.into(), rule.into(), [definition; 32]);
    RuleSettings { app, rule, definition, remember_for: MINUTE, refresh_after: None }
}

/// Announces the same person to the same channel, and returns what was known of it; `None`: the announcement is
/// redundant.
fn announce(assignments: &Assignments, memory: &Arc<RuleMemory>) -> Option<Before> {
    match memory.claim(
        "room",
        &Value::One(Assignment::new(0, "7", [])),
        ClaimMode::MustNotWait,
        assignments.context.clock.now(),
    ) {
        Claim::Reserved { reservation, before, .. } => {
            reservation.settle(Outcome::Accepted);
            Some(before)
        }
        Claim::Redundant(_) => None,
        other => panic!("{other:?}"),
    }
}

fn in_process(store: Store) -> InProcess {
    match store {
        Store::InProcess(app) => app,
        Store::Shared(_) => panic!("the memory is not shared"),
    }
}

#[test]
fn an_unchanged_rule_keeps_its_memory() {
    let assignments = assignments();
    let wanted = [settings("1", "joined", 7), settings("2", "joined", 7)];
    let first = configure(&assignments, &wanted);
    assert!(
        !first[0].0.in_doubt(assignments.context.clock.now()),
        "nothing was forwarded before the first configuration"
    );
    assert_eq!(announce(&assignments, &first[0].1), Some(Before::Nothing));
    let longer = RuleSettings { remember_for: MINUTE * 2, refresh_after: Some(Duration::ZERO), ..wanted[0].clone() };
    let second = configure(&assignments, &[wanted[1].clone(), longer]);
    assert!(Arc::ptr_eq(&second[0].1, &first[1].1) && Arc::ptr_eq(&second[1].1, &first[0].1), "in the order wanted");
    assert!(announce(&assignments, &second[1].1).is_some(), "it is too old already");
    let third = configure(&assignments, &wanted);
    assert_eq!(announce(&assignments, &third[0].1), None);
    assert_eq!((third[0].1.remember_for(), second[1].1.remember_for()), (MINUTE, MINUTE));
    configure(&assignments, &[wanted[1].clone(), RuleSettings { remember_for: MINUTE * 2, ..wanted[0].clone() }]);
    assert_eq!(second[1].1.remember_for(), MINUTE * 2);
    let names: Vec<_> = assignments.rules().iter().map(|rule| (rule.app.to_string(), rule.rule.to_string())).collect();
    assert_eq!(names, [("2".to_owned(), "joined".to_owned()), ("1".to_owned(), "joined".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_begins_in_doubt_with_nothing() {
    let assignments = assignments();
    let first = configure(&assignments, &[settings("1", "joined", 7), settings("2", "joined", 7)]);
    announce(&assignments, &first[0].1);
    announce(&assignments, &first[1].1);
    let second = configure(&assignments, &[settings("1", "joined", 8), settings("2", "joined", 7)]);
    assert!(Arc::ptr_eq(&first[0].0, &second[0].0) && !Arc::ptr_eq(&first[0].1, &second[0].1));
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    assert_eq!(announce(&assignments, &second[1].1), None, "the other app is not concerned");
    tokio::time::advance(DOUBT * 2).await;
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Nothing));
    assert_eq!(announce(&assignments, &second[0].1), None);
}

#[test]
fn a_new_rule_puts_its_app_in_doubt() {
    let assignments = assignments();
    let (early, _) = configure_app(&assignments, &[]);
    let (app, rules) = configure_app(&assignments, &[("joined", 7)]);
    assert!(Arc::ptr_eq(&early.memory, &app.memory), "an app is the same with and without rules");
    assert_eq!(announce(&assignments, &rules[0]), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
}

#[tokio::test(start_paused = true)]
async fn every_memory_begins_in_the_doubt_of_the_start() {
    let bounds = Bounds { start_doubt: MINUTE, ..(*assignments().context.bounds).clone() };
    let assignments = Assignments::new(Clock::start(), bounds);
    let first = configure(&assignments, &[settings("1", "joined", 7)]);
    let now = || assignments.context.clock.now();
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    assert!(first[0].0.in_start_doubt(now()) && assignments.in_start_doubt(now()));
    assert_eq!(announce(&assignments, &first[0].1), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    assert_eq!(announce(&assignments, &first[0].1), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    let later = configure_app(&assignments, &[]).0.memory;
    assert!(later.in_doubt(now()));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!((later.in_doubt(now()), first[0].0.in_start_doubt(now())), (false, false));
    assert_eq!(announce(&assignments, &first[0].1), Some(Before::Nothing));
    assert_eq!(announce(&assignments, &first[0].1), None);
}

/// Announces B under the first of two generations of rules, which is `superseded` before or after the request is sent;
/// returns the answer to a claim while it is in flight, and after it was settled with `outcome` and the doubt of the
/// change has ended.
async fn over_a_change(superseded_first: bool, outcome: Outcome) -> (usize, Option<Before>, Option<Before>) {
    let assignments = assignments();
    let (old, _) = configure_app(&assignments, &[]);
    let mut ticket = (!superseded_first).then(|| old.generation.begin());
    let (new, rules) = configure_app(&assignments, &[("joined", 7)]);
    let ticket = ticket.take().unwrap_or_else(|| old.generation.begin());
    tokio::time::advance(DOUBT * 2).await;
    let (in_flight, meanwhile) = (new.memory.wide_in_flight(), announce(&assignments, &rules[0]));
    ticket.settle(outcome);
    assert_eq!(new.memory.wide_in_flight(), 0);
    (in_flight, meanwhile, announce(&assignments, &rules[0]))
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_over_a_change_may_touch_any_channel() {
    for superseded_first in [false, true] {
        let known_after = Some(Before::Nothing);
        assert_eq!(
            over_a_change(superseded_first, Outcome::Accepted).await,
            (1, Some(Before::Uncertain(Uncertainty::AppInFlight)), known_after.clone())
        );
        assert_eq!(
            over_a_change(superseded_first, Outcome::Refused).await,
            (1, Some(Before::Uncertain(Uncertainty::AppInFlight)), known_after)
        );
        let doubt_begins_anew = Some(Before::Uncertain(Uncertainty::AppInDoubt));
        assert_eq!(
            over_a_change(superseded_first, Outcome::Ambiguous).await,
            (1, Some(Before::Uncertain(Uncertainty::AppInFlight)), doubt_begins_anew)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_an_unchanged_generation_are_not_counted() {
    let assignments = assignments();
    let (first, rules) = configure_app(&assignments, &[("joined", 7)]);
    let ticket = first.generation.begin();
    let (second, _) = configure_app(&assignments, &[("joined", 7)]);
    assert!(Arc::ptr_eq(&first.generation, &second.generation));
    assert_eq!(announce(&assignments, &rules[0]), Some(Before::Nothing));
    drop(ticket);
    assert_eq!(announce(&assignments, &rules[0]), None);
}

#[tokio::test(start_paused = true)]
async fn requests_for_an_app_that_becomes_known_may_touch_any_of_its_channels() {
    let assignments = assignments();
    let unknown = assignments.configure(&[], &[]).unknown_apps;
    let (early, late) = (unknown.begin(), unknown.begin());
    early.settle(Outcome::Ambiguous);
    let (app, rules) = configure_app(&assignments, &[("joined", 7)]);
    assert_eq!(app.memory.wide_in_flight(), 1);
    tokio::time::advance(DOUBT * 2).await;
    assert_eq!(announce(&assignments, &rules[0]), Some(Before::Uncertain(Uncertainty::AppInFlight)));
    drop(late);
    assert_eq!(app.memory.wide_in_flight(), 0);
    assert!(app.memory.in_doubt(assignments.context.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn an_app_configured_again_counts_its_requests_in_flight() {
    let assignments = assignments();
    let (old, rules) = configure_app(&assignments, &[("joined", 7)]);
    let ticket = old.generation.begin();
    drop((old, rules));
    configure(&assignments, &[]);
    configure(&assignments, &[]);
    let (app, _) = configure_app(&assignments, &[("joined", 7)]);
    assert_eq!(app.memory.wide_in_flight(), 1);
    ticket.settle(Outcome::Accepted);
    assert_eq!(app.memory.wide_in_flight(), 0);
}

#[test]
fn a_rule_that_went_and_came_back_is_new() {
    let assignments = assignments();
    let first = configure(&assignments, &[settings("1", "joined", 7)]);
    announce(&assignments, &first[0].1);
    assert!(configure(&assignments, &[]).is_empty() && assignments.rules().is_empty());
    let second = configure(&assignments, &[settings("1", "joined", 7)]);
    assert_eq!(announce(&assignments, &second[0].1), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
}

#[test]
fn unused_apps_are_dropped() {
    let assignments = assignments();
    let held = in_process(assignments.configure(&["held".into(), "loose".into()], &[]).apps.remove(0));
    configure(&assignments, &[settings("1", "joined", 7)]);
    let apps = |assignments: &Assignments| lock(&assignments.registry).apps.len();
    assert_eq!(apps(&assignments), 2);
    let again = in_process(assignments.configure(&["held".into()], &[]).apps.remove(0));
    assert!(Arc::ptr_eq(&held.memory, &again.memory));
    drop(again);
    drop(held);
    configure(&assignments, &[]);
    assert_eq!(apps(&assignments), 0);
}

#[test]
fn the_counts_are_those_of_all_memories() {
    let assignments = assignments();
    let memories = configure(&assignments, &[settings("1", "joined", 7), settings("2", "joined", 7)]);
    let mut waiting = Vec::new();
    for (_, memory) in &memories {
        announce(&assignments, memory);
        let now = assignments.context.clock.now();
        let claim = || memory.claim("other", &Value::One(Assignment::new(0, "7", [])), ClaimMode::MayWait, now);
        waiting.push((claim(), claim()));
    }
    assert_eq!(assignments.waiting(), 2);
    drop(waiting);
    assert_eq!(assignments.waiting(), 0);
    assignments.sweep(assignments.context.clock.now().after(MINUTE));
    assert_eq!(assignments.evictions(), Evictions { capacity: 0, idle: 4 });
    assert_eq!(assignments.max_channels(), 100);
}

/// Makes `name` known in the memory of a rule.
fn know(assignments: &Assignments, memory: &Arc<RuleMemory>, name: &str) {
    let now = assignments.context.clock.now();
    let claim = memory.claim(name, &Value::One(Assignment::new(0, "7", [])), ClaimMode::MayWait, now);
    if let Claim::Reserved { reservation, .. } = claim {
        reservation.settle(Outcome::Accepted);
    }
}

#[test]
fn a_bound_on_channels_is_changed_without_forgetting_what_fits() {
    let bounds = Bounds { max_channels: 2_000, ..(*assignments().context.bounds).clone() };
    let assignments = Assignments::new(Clock::start(), bounds);
    let rules = [settings("1", "joined", 7)];
    let (_, memory) = configure(&assignments, &rules).swap_remove(0);
    let fill = |count: usize| (0..count).for_each(|number| know(&assignments, &memory, &format!("c-{number}")));
    fill(1_000);
    assert_eq!(memory.len(), 1_000);

    assignments.set_max_channels(4_000);
    let (_, more) = configure(&assignments, &rules).swap_remove(0);
    assert!(Arc::ptr_eq(&memory, &more) && memory.len() == 1_000, "nothing is forgotten");
    fill(5_000);
    assert!((3_000..=4_000).contains(&memory.len()), "{} of 4000", memory.len());

    assignments.set_max_channels(500);
    configure(&assignments, &rules);
    assert!((300..=500).contains(&memory.len()), "{} of 500", memory.len());
    assert!(assignments.evictions().capacity > 3_000);
    fill(5_000);
    assert!((300..=500).contains(&memory.len()), "{} of 500", memory.len());
}

/// One queue for a million channels would be slow, and 280 queues hold no two channels: such a memory begins anew, as
/// after a change of the rule.
#[test]
fn a_bound_that_the_memory_cannot_take_begins_a_new_one() {
    let assignments = assignments();
    let rules = [settings("1", "joined", 7)];
    let mut before = configure(&assignments, &rules).swap_remove(0).1;
    for max_channels in [1_000_000, 2] {
        know(&assignments, &before, "c");
        assignments.set_max_channels(max_channels);
        let (app, memory) = configure(&assignments, &rules).swap_remove(0);
        assert!(!Arc::ptr_eq(&before, &memory) && memory.is_empty() && assignments.max_channels() == max_channels);
        assert!(app.in_doubt(assignments.context.clock.now()));
        before = memory;
    }
}
