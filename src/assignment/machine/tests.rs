//! The rules of ARCHITECTURE.md "When an announcement is suppressed", one by one.

mod reaching;

use std::time::Duration;

use super::*;

const DOUBT: Duration = Duration::from_secs(30);
const START: Moment = Moment::from_millis(1_000);
const CALM: AppSnapshot = AppSnapshot { epoch: Epoch::of(1), in_flight: false, in_doubt: false };

fn person(name: &str) -> Assignment {
    Assignment::new(0, name, [])
}

fn one(name: &str) -> Value {
    Value::One(person(name))
}

/// A was known.
fn known(reach: Reach, is_due: bool) -> Before {
    Before::Known { assignment: person("A"), reach, is_due }
}

/// A channel under test, with the current time and the state of its app.
struct Bench {
    channel: Channel,
    now: Moment,
    snapshot: AppSnapshot,
    refresh_after: Duration,
    last: TicketId,
}

impl Bench {
    fn new() -> Self {
        let (channel, refresh_after) = (Channel::default(), Duration::MAX);
        Self { channel, now: START, snapshot: CALM, refresh_after, last: 0 }
    }

    /// A channel that is known to show `name`.
    fn showing(name: &str) -> Self {
        let mut bench = Self::new();
        bench.announce(name, Outcome::Accepted);
        assert!(bench.is_known(name));
        bench
    }

    fn claim(&mut self, value: Value) -> (TicketId, Before) {
        self.claim_for(Announced::from(&value), true)
    }

    fn claim_for(&mut self, announced: Announced<'_>, renews: bool) -> (TicketId, Before) {
        self.last += 1;
        (self.last, self.channel.claim(self.last, announced, renews, self.occasion(), self.snapshot))
    }

    fn forward(&mut self, value: Value) -> TicketId {
        self.claim(value).0
    }

    fn settle(&mut self, id: TicketId, outcome: Outcome) -> bool {
        self.channel.settle(id, outcome, self.now, DOUBT)
    }

    fn announce(&mut self, name: &str, outcome: Outcome) {
        let id = self.forward(one(name));
        self.settle(id, outcome);
    }

    fn compare(&self, name: &str) -> Comparison {
        self.compare_value((&one(name)).into())
    }

    fn compare_value(&self, announced: Announced<'_>) -> Comparison {
        self.channel.compare(announced, self.occasion(), self.snapshot)
    }

    fn occasion(&self) -> Occasion {
        Occasion::new(self.now, crate::clock::millis(self.refresh_after))
    }

    fn is_known(&self, name: &str) -> bool {
        matches!(self.compare(name), Comparison::Redundant(_))
    }

    fn nothing_is_known(&self) -> bool {
        self.channel.known(self.now, self.snapshot).is_none() && !self.is_known("A") && !self.is_known("B")
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

#[test]
fn known_only_after_upstream_accepted() {
    let mut bench = Bench::new();
    let (id, before) = bench.claim(one("A"));
    assert_eq!(before, Before::Nothing);
    assert!(!bench.is_known("A"), "in flight is not known");
    bench.pass(Duration::from_secs(1));
    assert!(bench.settle(id, Outcome::Accepted), "an announcement was accepted");
    assert_eq!(bench.compare("A"), Comparison::Redundant(Shown { since: bench.now, difference: None }));
    assert_eq!(bench.compare("B"), Comparison::Open);
}

#[test]
fn the_current_value_counts_and_not_the_history() {
    let mut bench = Bench::showing("A");
    assert_eq!(bench.claim(one("B")).1, known(Reach::All, false));
    bench.settle(bench.last, Outcome::Accepted);
    assert_eq!(bench.compare("A"), Comparison::Open, "A, B, A are three announcements");
}

#[test]
fn a_claim_makes_the_channel_unknown_at_once() {
    let mut bench = Bench::showing("A");
    let _b = bench.forward(one("B"));
    assert!(bench.nothing_is_known());
    assert_eq!(bench.claim(one("A")).1, Before::Uncertain(Uncertainty::InFlight));
}

#[test]
fn an_equal_announcement_in_flight_is_waited_for() {
    let mut bench = Bench::new();
    let id = bench.forward(one("A"));
    assert_eq!(bench.compare("A"), Comparison::InFlight(id));
    assert_eq!(bench.compare("B"), Comparison::Open);
    assert_eq!(bench.compare_value((&Value::Opaque).into()), Comparison::Open);
    assert_eq!(bench.compare_value((&Value::Last(person("A"))).into()), Comparison::Open);
}

#[test]
fn a_batch_equals_no_value_but_its_last_part_becomes_known() {
    let mut bench = Bench::new();
    let id = bench.forward(Value::Last(person("A")));
    assert_eq!(bench.compare("A"), Comparison::Open, "it shows others on the way");
    bench.settle(id, Outcome::Accepted);
    assert!(bench.is_known("A"));
    assert_eq!(bench.compare_value((&Value::Last(person("A"))).into()), Comparison::Open);
}

#[test]
fn an_opaque_value_never_becomes_known() {
    let mut bench = Bench::showing("A");
    let id = bench.forward(Value::Opaque);
    assert!(!bench.settle(id, Outcome::Accepted), "no announcement");
    assert!(bench.nothing_is_known());
}

#[test]
fn refused_restores_what_was_known() {
    for value in [one("B"), Value::Opaque, Value::Last(person("B")), one("A")] {
        let mut bench = Bench::showing("A");
        let id = bench.forward(value);
        bench.pass(Duration::from_secs(1));
        bench.settle(id, Outcome::Refused);
        assert_eq!(bench.compare("A"), Comparison::Redundant(Shown { since: START, difference: None }));
    }
}

#[test]
fn refused_restores_nothing_if_another_ticket_overlapped() {
    for first_to_end in [0, 1] {
        let mut bench = Bench::showing("A");
        let tickets = [bench.forward(one("B")), bench.forward(one("C"))];
        bench.settle(tickets[first_to_end], Outcome::Refused);
        bench.settle(tickets[1 - first_to_end], Outcome::Refused);
        assert!(bench.nothing_is_known());
    }
}

#[test]
fn partial_is_unknown_but_not_in_doubt() {
    for value in [one("B"), Value::Last(person("A")), Value::Opaque] {
        let mut bench = Bench::showing("A");
        let id = bench.forward(value);
        assert!(!bench.settle(id, Outcome::Partial));
        assert!(bench.nothing_is_known());
        assert!(!bench.channel.in_doubt(bench.now));
        bench.announce("A", Outcome::Accepted);
        assert!(bench.is_known("A"), "the next announcement heals it");
    }
}

#[test]
fn ambiguous_is_unknown_and_in_doubt() {
    let mut bench = Bench::showing("A");
    bench.announce("B", Outcome::Ambiguous);
    assert!(bench.nothing_is_known(), "the old value must not come back: B may have been delivered");
    assert!(bench.channel.in_doubt(bench.now));
    assert_eq!(bench.claim(one("A")).1, Before::Uncertain(Uncertainty::InDoubt));
    bench.settle(bench.last, Outcome::Accepted);
    assert!(bench.nothing_is_known(), "B may still be applied");
    bench.pass(DOUBT);
    assert!(bench.channel.in_doubt(bench.now), "a moment is rounded down, so the period has not passed whole");
    bench.pass(Duration::from_millis(1));
    assert!(!bench.channel.in_doubt(bench.now));
    bench.announce("A", Outcome::Accepted);
    assert!(bench.is_known("A"));
}

#[test]
fn the_old_value_does_not_come_back_when_the_doubt_ends() {
    let mut bench = Bench::showing("A");
    bench.announce("B", Outcome::Ambiguous);
    bench.pass(DOUBT * 2);
    assert!(bench.nothing_is_known(), "B may have been delivered");
    assert_eq!(bench.claim(one("A")).1, Before::Nothing);
}

#[test]
fn a_claim_made_in_doubt_never_commits() {
    let mut bench = Bench::new();
    bench.announce("B", Outcome::Ambiguous);
    let id = bench.forward(one("A"));
    bench.pass(DOUBT * 2);
    bench.settle(id, Outcome::Accepted);
    assert!(bench.nothing_is_known(), "B may have been applied after A");
}

#[test]
fn a_doubt_contests_the_tickets_in_flight() {
    let mut bench = Bench::new();
    // They are equal, so neither contests the other.
    let (first, second) = (bench.forward(one("A")), bench.forward(one("A")));
    bench.settle(first, Outcome::Ambiguous);
    bench.pass(DOUBT * 2);
    bench.settle(second, Outcome::Accepted);
    assert!(bench.nothing_is_known());
}

#[test]
fn the_longer_doubt_counts() {
    let mut bench = Bench::new();
    let (first, second) = (bench.forward(one("A")), bench.forward(one("B")));
    bench.settle(first, Outcome::Ambiguous);
    bench.pass(Duration::from_secs(20));
    bench.settle(second, Outcome::Ambiguous);
    bench.pass(Duration::from_secs(20));
    assert!(bench.channel.in_doubt(bench.now));
}

#[test]
fn different_assignments_in_flight_at_once_commit_nothing() {
    for last_to_end in [0, 1] {
        let mut bench = Bench::new();
        let tickets = [bench.forward(one("A")), bench.forward(one("B"))];
        bench.settle(tickets[1 - last_to_end], Outcome::Accepted);
        assert!(bench.nothing_is_known());
        bench.settle(tickets[last_to_end], Outcome::Accepted);
        assert!(bench.nothing_is_known(), "the order at upstream is not ours to know");
        bench.announce("B", Outcome::Accepted);
        assert!(bench.is_known("B"), "the next announcement heals it");
    }
}

#[test]
fn equal_assignments_in_flight_at_once_commit() {
    let mut bench = Bench::new();
    let (first, second) = (bench.forward(one("A")), bench.forward(one("A")));
    bench.settle(first, Outcome::Accepted);
    assert!(bench.is_known("A"), "whatever becomes of the second, it shows A");
    bench.settle(second, Outcome::Refused);
    assert!(bench.is_known("A"));
}

#[test]
fn an_opaque_value_in_flight_contests() {
    let mut bench = Bench::new();
    let nobody = bench.forward(Value::Opaque);
    bench.announce("A", Outcome::Accepted);
    assert!(bench.nothing_is_known());
    bench.settle(nobody, Outcome::Accepted);
    assert!(bench.nothing_is_known());
}

#[test]
fn forgetting_lets_no_ticket_commit_or_release() {
    let mut bench = Bench::showing("A");
    let id = bench.forward(one("B"));
    bench.channel.forget();
    bench.settle(id, Outcome::Accepted);
    assert!(bench.nothing_is_known());

    let mut bench = Bench::showing("A");
    let id = bench.forward(one("B"));
    bench.channel.forget();
    bench.settle(id, Outcome::Refused);
    assert!(bench.nothing_is_known());
}

#[test]
fn forgetting_does_not_end_a_doubt() {
    let mut bench = Bench::new();
    bench.announce("B", Outcome::Ambiguous);
    bench.channel.forget();
    assert!(bench.channel.in_doubt(bench.now));
}

#[test]
fn another_epoch_forgets() {
    let mut bench = Bench::showing("A");
    bench.snapshot.epoch = Epoch::of(2);
    assert!(bench.nothing_is_known());
    assert_eq!(bench.claim(one("B")).1, Before::Nothing);
}

#[test]
fn an_epoch_that_began_in_between_lets_nothing_become_known() {
    for outcome in [Outcome::Accepted, Outcome::Refused] {
        let mut bench = Bench::showing("A");
        let id = bench.forward(one(if outcome == Outcome::Accepted { "A" } else { "B" }));
        bench.snapshot.epoch = Epoch::of(2);
        bench.settle(id, outcome);
        assert!(bench.nothing_is_known());
    }
}

#[test]
fn an_uncertain_app_makes_nothing_known() {
    let mut bench = Bench::showing("A");
    bench.snapshot.in_doubt = true;
    assert!(bench.nothing_is_known());
    assert_eq!(bench.claim(one("A")).1, Before::Uncertain(Uncertainty::AppInDoubt));
    bench.snapshot.in_doubt = false;
    bench.settle(bench.last, Outcome::Accepted);
    assert!(bench.nothing_is_known(), "claimed while it was uncertain");
}

#[test]
fn what_is_announced_again_is_known_since_the_first_time() {
    let mut bench = Bench::showing("A");
    bench.pass(Duration::from_secs(5));
    let (id, _) = bench.claim_for((&one("A")).into(), false);
    bench.settle(id, Outcome::Accepted);
    assert_eq!(bench.compare("A"), Comparison::Redundant(Shown { since: START, difference: None }));
    bench.announce("A", Outcome::Accepted);
    let since = START.after(Duration::from_secs(5));
    assert_eq!(bench.compare("A"), Comparison::Redundant(Shown { since, difference: None }), "it was news");
}

#[test]
fn what_has_expired_is_not_restored_by_a_later_claim() {
    let mut bench = Bench::showing("A");
    bench.channel.expire();
    assert_eq!(bench.claim(one("B")).1, Before::Nothing);
    bench.settle(bench.last, Outcome::Refused);
    assert!(bench.nothing_is_known());
}

#[test]
fn a_ticket_is_settled_once() {
    let mut bench = Bench::new();
    let id = bench.forward(one("A"));
    assert!(bench.settle(id, Outcome::Accepted));
    assert!(!bench.settle(id, Outcome::Ambiguous), "there is no such ticket any more");
    assert!(bench.is_known("A"));
}
