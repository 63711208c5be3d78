//! Tests of what the memory adds to the machine: bounds, eviction, waiting requests, and requests that concern a whole
//! app.

mod clients;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::assignment::{Before, Bounds, Evictions, Value};
use crate::clock::Clock;

const DAY: Duration = Duration::from_secs(86_400);

fn bounds(max_channels: usize) -> Arc<Bounds> {
    Arc::new(Bounds {
        max_channels,
        max_waiters_per_channel: 3,
        max_waiters: 5,
        doubt_period: Duration::from_secs(30),
        start_doubt: Duration::ZERO,
    })
}

fn memory_of(max_channels: usize) -> Arc<RuleMemory> {
    RuleMemory::new(AppMemory::new(Clock::start(), bounds(max_channels)), DAY)
}

fn one(name: &str) -> Value {
    Value::One(Assignment::new(0, name, []))
}

trait Asking {
    fn ask(&self, channel: &str, name: &str) -> Claim;
    fn reserve(&self, channel: &str, value: Value) -> Reservation;
    fn announce(&self, channel: &str, name: &str);
    fn knows(&self, channel: &str, name: &str) -> bool;
    fn wait(&self, channel: &str, name: &str) -> Waiter;
}

impl Asking for Arc<RuleMemory> {
    fn ask(&self, channel: &str, name: &str) -> Claim {
        self.claim(channel, &one(name), ClaimMode::MayWait, self.now())
    }

    fn reserve(&self, channel: &str, value: Value) -> Reservation {
        match self.claim(channel, &value, ClaimMode::Forced, self.now()) {
            Claim::Reserved { reservation, .. } => reservation,
            other => panic!("not reserved: {other:?}"),
        }
    }

    fn announce(&self, channel: &str, name: &str) {
        self.reserve(channel, one(name)).settle(Outcome::Accepted);
    }

    fn knows(&self, channel: &str, name: &str) -> bool {
        self.entries(channel, usize::MAX)
            .iter()
            .any(|entry| entry.channel == channel && entry.known == Some(Assignment::new(0, name, [])))
    }

    fn wait(&self, channel: &str, name: &str) -> Waiter {
        match self.ask(channel, name) {
            Claim::InFlight(waiter) => waiter,
            other => panic!("nothing to wait for: {other:?}"),
        }
    }
}

fn is_settled(waiter: Waiter) -> bool {
    pin!(waiter.settled()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn the_story_of_a_conversation() {
    let memory = memory_of(100);
    assert!(
        matches!(memory.ask("room-1", "Anna"), Claim::Reserved { before: Before::Nothing, redundant: false, .. }),
        "dropped: in doubt"
    );
    let entry = &memory.entries("", 10)[0];
    assert!(entry.in_doubt && entry.known.is_none() && entry.in_flight == 0);
    memory.announce("room-2", "Anna");
    for _ in 0..20 {
        assert!(matches!(memory.ask("room-2", "Anna"), Claim::Redundant(_)));
    }
    let Claim::Reserved { reservation, before, redundant: false, .. } = memory.ask("room-2", "Ben") else {
        panic!("a handoff")
    };
    assert!(matches!(before, Before::Known { assignment, .. } if assignment == Assignment::new(0, "Anna", [])));
    reservation.settle(Outcome::Accepted);
    assert!(matches!(memory.ask("room-2", "Anna"), Claim::Reserved { .. }), "Anna returns");
    let entry = &memory.entries("room-2", 10)[0];
    assert_eq!((entry.announced, entry.suppressed), (2, 20));
    assert!(memory.claim("room-3", &Value::Opaque, ClaimMode::MayWait, memory.now()).is_reserved());
}

impl Claim {
    fn is_reserved(&self) -> bool {
        matches!(self, Self::Reserved { .. })
    }
}

#[test]
fn patience_decides_what_may_be_answered() {
    let memory = memory_of(100);
    memory.announce("known", "Anna");
    let _leader = memory.reserve("flying", one("Anna"));
    let claim = |channel, mode| memory.claim(channel, &one("Anna"), mode, memory.now());
    assert!(matches!(claim("known", ClaimMode::MustNotWait), Claim::Redundant(_)));
    assert!(matches!(
        claim("known", ClaimMode::Forced),
        Claim::Reserved { redundant: true, before: Before::Known { .. }, .. }
    ));
    assert!(matches!(claim("flying", ClaimMode::MayWait), Claim::InFlight(_)));
    assert!(matches!(
        claim("flying", ClaimMode::MustNotWait),
        Claim::Reserved { redundant: true, before: Before::Uncertain(_), .. }
    ));
    assert!(matches!(claim("flying", ClaimMode::Forced), Claim::Reserved { redundant: true, .. }));
    assert!(matches!(
        claim("new", ClaimMode::Forced),
        Claim::Reserved { redundant: false, before: Before::Nothing, .. }
    ));
}

#[test]
fn every_outcome_of_the_leader_wakes_the_waiters() {
    for outcome in [Outcome::Accepted, Outcome::Refused, Outcome::Partial, Outcome::Ambiguous] {
        let memory = memory_of(100);
        let leader = memory.reserve("room", one("Anna"));
        let waiter = memory.wait("room", "Anna");
        let mut settled = pin!(waiter.settled());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(settled.as_mut().poll(&mut context), Poll::Pending);
        leader.settle(outcome);
        assert_eq!(settled.poll(&mut context), Poll::Ready(()), "{outcome:?}");
    }
}

#[test]
fn a_panic_of_the_leader_wakes_the_waiters_and_leaves_a_doubt() {
    let memory = memory_of(100);
    let leader = memory.reserve("room", one("Anna"));
    let waiter = memory.wait("room", "Anna");
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _leader = leader;
        std::panic::resume_unwind(Box::new("the leader's task"));
    }));
    assert!(end.is_err() && is_settled(waiter));
    assert!(memory.entries("room", 1)[0].in_doubt);
    assert!(matches!(memory.ask("room", "Anna"), Claim::Reserved { before: Before::Uncertain(_), .. }));
}

#[test]
fn waiters_are_woken_by_their_own_leader_only() {
    let memory = memory_of(100);
    let anna = memory.reserve("room", one("Anna"));
    let ben = memory.reserve("room", one("Ben"));
    let (for_anna, for_ben) = (memory.wait("room", "Anna"), memory.wait("room", "Ben"));
    ben.settle(Outcome::Accepted);
    assert!(is_settled(for_ben) && !is_settled(for_anna));
    drop(anna);
}

#[test]
fn forgetting_wakes_the_waiters() {
    let memory = memory_of(100);
    let leader = memory.reserve("room", one("Anna"));
    let waiter = memory.wait("room", "Anna");
    assert!(memory.forget("room"));
    assert!(is_settled(waiter));
    leader.settle(Outcome::Accepted);
    assert!(!memory.knows("room", "Anna"));
}

#[test]
fn forgetting_removes_what_is_at_rest() {
    let memory = memory_of(100);
    assert!(!memory.forget("room"));
    memory.announce("room", "Anna");
    assert!(memory.forget("room"));
    assert!(memory.is_empty() && !memory.forget("room"));
}

#[test]
fn waiters_are_bounded_per_channel_and_in_total() {
    let memory = memory_of(100);
    let app = Arc::clone(memory.app());
    let _leaders = ["1", "2"].map(|channel| memory.reserve(channel, one("Anna")));
    let mut waiting: Vec<Waiter> = (0..3).map(|_| memory.wait("1", "Anna")).collect();
    assert!(matches!(memory.ask("1", "Anna"), Claim::Reserved { redundant: true, .. }), "three a channel");
    waiting.extend((0..2).map(|_| memory.wait("2", "Anna")));
    assert!(matches!(memory.ask("2", "Anna"), Claim::Reserved { redundant: true, .. }), "five in all");
    assert_eq!(app.context().waiting(), 5);
    // A released wait can be taken again, in the list of its channel as well.
    drop(waiting.remove(0));
    assert_eq!(app.context().waiting(), 4);
    waiting.push(memory.wait("1", "Anna"));
    drop(waiting);
    assert_eq!(app.context().waiting(), 0);
    for _ in 0..1_000 {
        drop(memory.wait("1", "Anna"));
    }
}

#[test]
fn a_refusal_leaves_nothing_behind_on_a_new_channel() {
    let memory = memory_of(100);
    memory.reserve("room", one("Anna")).settle(Outcome::Refused);
    assert!(memory.is_empty());
}

#[test]
fn the_cap_holds_and_the_oldest_go_first() {
    let memory = memory_of(64);
    for second in 0..64 {
        let Claim::Reserved { reservation, .. } =
            memory.claim(&second.to_string(), &one("Anna"), ClaimMode::MayWait, Moment::from_millis(second * 1_000))
        else {
            panic!("a new channel")
        };
        reservation.settle(Outcome::Accepted);
    }
    // Claimed again, so no longer the oldest.
    assert!(matches!(
        memory.claim("0", &one("Anna"), ClaimMode::MayWait, Moment::from_millis(90_000)),
        Claim::Redundant(_)
    ));
    memory.announce("new", "Anna");
    assert_eq!(memory.len(), 61, "one in sixteen went");
    assert_eq!(memory.app().context().evictions(), Evictions { capacity: 4, idle: 0 });
    let left = |channel: &str| memory.entries(channel, 64).iter().any(|entry| entry.channel == channel);
    assert!(left("0") && ["1", "2", "3", "4"].iter().all(|gone| !left(gone)) && left("5"));
}

#[test]
fn of_the_same_age_no_more_go_than_have_to() {
    let memory = memory_of(64);
    for channel in 0..64 {
        memory.announce(&channel.to_string(), "Anna");
    }
    memory.announce("new", "Anna");
    assert_eq!(memory.len(), 61);
}

#[test]
fn what_is_in_flight_or_in_doubt_is_never_evicted() {
    let memory = memory_of(3);
    let leader = memory.reserve("flying", one("Anna"));
    drop(memory.reserve("doubtful", one("Anna")));
    memory.announce("resting", "Anna");
    memory.announce("new", "Anna");
    assert!(!memory.forget("resting"), "it made room");
    memory.reserve("new", one("Ben")).settle(Outcome::Ambiguous);
    assert!(matches!(memory.ask("newer", "Anna"), Claim::Full));
    assert!(matches!(memory.claim("newer", &Value::Opaque, ClaimMode::Forced, memory.now()), Claim::Full));
    assert_eq!(memory.len(), 3);
    assert!(matches!(memory.ask("flying", "Anna"), Claim::InFlight(_)), "who is held already is no newcomer");
    // Once the doubts have ended, there is space again.
    let later = memory.now().after(Duration::from_secs(31));
    assert!(memory.claim("newer", &one("Anna"), ClaimMode::MayWait, later).is_reserved());
    leader.settle(Outcome::Accepted);
    assert!(memory.knows("flying", "Anna"));
}

#[test]
fn no_memory_at_all_is_full() {
    assert!(matches!(memory_of(0).ask("room", "Anna"), Claim::Full));
}

#[test]
fn a_name_that_no_entry_can_hold_is_full() {
    let memory = memory_of(100);
    let name = "x".repeat(1 << 16);
    assert!(matches!(memory.ask(&name, "Anna"), Claim::Full));
    memory.announce(&name[1..], "Anna");
    assert!(matches!(memory.ask(&name[1..], "Anna"), Claim::Redundant(_)));
}

#[test]
fn many_channels_keep_within_the_cap_over_all_shards() {
    for max in [1, 2, 1_024, 1_025, 3_000] {
        let memory = memory_of(max);
        for channel in 0..max * 2 {
            memory.announce(&channel.to_string(), "Anna");
            assert!(matches!(memory.ask(&channel.to_string(), "Anna"), Claim::Redundant(_)));
        }
        assert!(memory.len() <= max && memory.len() >= max * 3 / 4, "{} of {max}", memory.len());
    }
}

#[test]
fn unused_channels_are_forgotten() {
    let app = AppMemory::new(Clock::start(), bounds(100));
    let memory = RuleMemory::new(app, Duration::from_secs(10));
    let at = |seconds: u64| Moment::from_millis(seconds * 1_000);
    let announce = |channel, now| match memory.claim(channel, &one("Anna"), ClaimMode::MayWait, now) {
        Claim::Reserved { reservation, before, .. } => {
            reservation.settle(Outcome::Accepted);
            Some(before)
        }
        _ => None,
    };
    assert_eq!(announce("used", at(0)), Some(Before::Nothing));
    assert_eq!(announce("swept", at(0)), Some(Before::Nothing));
    assert_eq!(announce("used", at(9)), None, "redundant, and seen");
    assert_eq!(announce("used", at(18)), None);
    memory.sweep(at(18));
    assert_eq!((memory.len(), memory.app().context().evictions()), (1, Evictions { capacity: 0, idle: 1 }));
    assert_eq!(announce("used", at(28)), Some(Before::Nothing), "unseen for just as long");
    let _leader = memory.claim("flying", &one("Anna"), ClaimMode::MayWait, at(0));
    drop(memory.claim("doubtful", &one("Anna"), ClaimMode::MayWait, at(0)));
    memory.sweep(at(29));
    assert_eq!(memory.len(), 3, "in flight and in doubt stay");
    memory.set(DAY, None);
    assert_eq!(announce("used", at(80_000)), None, "a changed setting holds for what is remembered");
}

#[test]
fn a_request_that_may_touch_any_channel_forgets_all_of_them() {
    for outcome in [Outcome::Accepted, Outcome::Refused, Outcome::Partial] {
        let memory = memory_of(100);
        memory.announce("room", "Anna");
        let before_it = memory.reserve("other", one("Anna"));
        let wide = memory.app().claim_all();
        assert!(!memory.knows("room", "Anna"));
        let Claim::Reserved { reservation, before: Before::Uncertain(_), .. } = memory.ask("room", "Anna") else {
            panic!("uncertain")
        };
        before_it.settle(Outcome::Accepted);
        wide.settle(outcome);
        reservation.settle(Outcome::Accepted);
        assert!(!memory.knows("other", "Anna"), "in flight when it began");
        assert!(!memory.knows("room", "Anna"), "claimed while it was in flight");
        assert!(matches!(memory.ask("new", "Anna"), Claim::Reserved { before: Before::Nothing, .. }));
        memory.announce("room", "Anna");
        assert!(memory.knows("room", "Anna"), "the next announcement heals it");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_end_of_it_leaves_the_app_in_doubt() {
    let app = AppMemory::new(Clock::start(), bounds(100));
    let (memory, other) = (RuleMemory::new(Arc::clone(&app), DAY), RuleMemory::new(Arc::clone(&app), DAY));
    drop(app.claim_all());
    assert!(app.in_doubt(memory.now()) && app.wide_in_flight() == 0);
    for memory in [&memory, &other] {
        memory.announce("room", "Anna");
        assert!(!memory.knows("room", "Anna"));
    }
    let claimed_in_doubt = memory.reserve("room", one("Anna"));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(!app.in_doubt(memory.now()));
    claimed_in_doubt.settle(Outcome::Accepted);
    assert!(!memory.knows("room", "Anna"));
    memory.announce("room", "Anna");
    assert!(memory.knows("room", "Anna"));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_of_a_channel_ends() {
    let memory = memory_of(100);
    memory.announce("room", "Anna");
    drop(memory.reserve("room", one("Ben")));
    memory.announce("room", "Anna");
    assert!(!memory.knows("room", "Anna"));
    tokio::time::advance(Duration::from_secs(31)).await;
    memory.sweep(memory.now());
    memory.announce("room", "Anna");
    let entry = &memory.entries("room", 1)[0];
    assert!(memory.knows("room", "Anna") && !entry.in_doubt && entry.announced == 3);
}

#[test]
fn entries_are_found_by_prefix_and_limited() {
    let memory = memory_of(100_000);
    for channel in ["b-2", "a-1", "b-1", "b-3"] {
        memory.announce(channel, "Anna");
    }
    let names =
        |prefix, limit| memory.entries(prefix, limit).into_iter().map(|entry| entry.channel).collect::<Vec<_>>();
    assert_eq!(names("b-", 10), ["b-1", "b-2", "b-3"]);
    assert_eq!((names("b-", 2).len(), names("", 0).len(), names("c", 10).len()), (2, 0, 0));
    let entry = &memory.entries("a", 1)[0];
    assert_eq!(entry.known.as_ref().map(Assignment::identity), Some("Anna"));
    assert!(entry.since.is_some() && entry.in_flight == 0);
    assert!(format!("{memory:?}").len() < 100, "no channels in it");
}
