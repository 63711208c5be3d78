//! Whom announcements have reached: connections that are left out, clients that come late, and doubts from elsewhere.

use super::*;

const ANNA: Socket = Socket::of((1, 7));
const BEN: Socket = Socket::of((1, 8));

impl Bench {
    /// An announcement of A that leaves a connection out, or nobody.
    fn forward_without(&mut self, left_out: impl Into<Option<Socket>>) -> TicketId {
        self.claim_for(Announced { value: &one("A"), left_out: left_out.into() }, true).0
    }

    fn announce_without(&mut self, left_out: impl Into<Option<Socket>>) {
        let id = self.forward_without(left_out);
        self.settle(id, Outcome::Accepted);
    }

    fn compare_without(&self, left_out: impl Into<Option<Socket>>) -> Comparison {
        self.compare_value(Announced { value: &one("A"), left_out: left_out.into() })
    }

    /// Whether A is redundant that leaves out nobody, Anna, Ben.
    fn are_redundant(&self) -> [bool; 3] {
        [None, Some(ANNA), Some(BEN)].map(|left_out| matches!(self.compare_without(left_out), Comparison::Redundant(_)))
    }
}

#[test]
fn who_was_left_out_is_reached_by_one_that_leaves_out_another() {
    let mut bench = Bench::new();
    bench.announce_without(ANNA);
    assert_eq!(bench.are_redundant(), [false, true, false]);
    let left_out = |shown| Comparison::Renews(Renewal::LeftOut, shown);
    let shown = Shown { since: START, difference: None };
    assert_eq!([bench.compare_without(None), bench.compare_without(BEN)], [left_out(Some(shown)); 2]);
    bench.announce_without(ANNA);
    assert_eq!(bench.are_redundant(), [false, true, false], "the same connection once more");
    bench.announce_without(BEN);
    assert_eq!(bench.are_redundant(), [true; 3], "together they have reached all");
    bench.announce_without(ANNA);
    assert_eq!(bench.are_redundant(), [true; 3]);
    bench.announce("B", Outcome::Accepted);
    bench.announce_without(BEN);
    assert_eq!(bench.are_redundant(), [false, false, true], "what was known before is something else");
}

#[test]
fn one_that_is_not_accepted_reaches_nobody() {
    for outcome in [Outcome::Refused, Outcome::Partial, Outcome::Ambiguous] {
        let mut bench = Bench::new();
        bench.announce_without(ANNA);
        let id = bench.forward_without(BEN);
        bench.settle(id, outcome);
        assert_eq!(bench.are_redundant(), [false, outcome == Outcome::Refused, false]);
    }
}

#[test]
fn an_announcement_waits_only_for_one_that_reaches_its_clients() {
    let mut bench = Bench::new();
    let id = bench.forward_without(ANNA);
    let left_out = Comparison::Renews(Renewal::LeftOut, None);
    assert_eq!(
        [None, Some(ANNA), Some(BEN)].map(|it| bench.compare_without(it)),
        [left_out, Comparison::InFlight(id), left_out]
    );
    let all = bench.forward_without(None);
    assert_eq!([None, Some(BEN)].map(|it| bench.compare_without(it)), [Comparison::InFlight(all); 2]);
    bench.settle(id, Outcome::Accepted);
    assert_eq!(bench.compare_without(None), Comparison::InFlight(all), "what is known does not reach all, but it may");
    bench.settle(all, Outcome::Accepted);
    assert_eq!(bench.are_redundant(), [true; 3]);
}

#[test]
fn several_in_flight_reach_together_whom_each_reaches() {
    for first_to_end in [0, 1] {
        let mut bench = Bench::new();
        let tickets = [bench.forward_without(ANNA), bench.forward_without(BEN)];
        bench.settle(tickets[first_to_end], Outcome::Accepted);
        bench.settle(tickets[1 - first_to_end], Outcome::Accepted);
        assert_eq!(bench.are_redundant(), [true; 3]);
    }
}

#[test]
fn a_batch_that_ends_with_it_reaches_those_alone_whom_its_last_part_reaches() {
    let mut bench = Bench::new();
    bench.announce_without(ANNA);
    let (id, _) = bench.claim_for(Announced { value: &Value::Last(person("A")), left_out: Some(BEN) }, true);
    bench.settle(id, Outcome::Accepted);
    assert_eq!(
        bench.are_redundant(),
        [false, false, true],
        "it showed something else first, also to whom it left out then"
    );
}

#[test]
fn one_that_began_in_an_earlier_epoch_adds_nothing() {
    let mut bench = Bench::new();
    bench.announce_without(ANNA);
    bench.snapshot.epoch = Epoch::of(2);
    bench.announce_without(BEN);
    assert_eq!(bench.are_redundant(), [false, false, true]);
}

#[test]
fn who_subscribes_makes_the_next_announcement_go_on() {
    let mut bench = Bench::showing("A");
    assert!(bench.channel.joined() && !bench.channel.joined(), "the second changes nothing");
    let shown = Shown { since: START, difference: None };
    assert_eq!(bench.compare("A"), Comparison::Renews(Renewal::LateJoiner, Some(shown)));
    assert_eq!(bench.compare("B"), Comparison::Open);
    assert_eq!(bench.channel.standing(bench.now, CALM), Standing::Known(person("A")));
    bench.announce("B", Outcome::Refused);
    assert!(!bench.is_known("A"), "what is known again has not reached them either");
    bench.announce("A", Outcome::Accepted);
    assert!(bench.is_known("A"));
}

#[test]
fn who_subscribes_while_it_is_in_flight_may_have_missed_it() {
    let mut bench = Bench::new();
    let id = bench.forward(one("A"));
    bench.channel.joined();
    assert_eq!(bench.compare("A"), Comparison::Renews(Renewal::LateJoiner, None), "nobody waits for it");
    bench.settle(id, Outcome::Accepted);
    assert!(!bench.is_known("A"));
    // Of two, only the one that was claimed after them counts, whichever is settled first.
    for first_to_end in [0, 1] {
        let mut bench = Bench::new();
        let before = bench.forward(one("A"));
        bench.channel.joined();
        let tickets = [before, bench.forward(one("A"))];
        bench.settle(tickets[first_to_end], Outcome::Accepted);
        bench.settle(tickets[1 - first_to_end], Outcome::Accepted);
        assert!(bench.is_known("A"));
    }
}

#[test]
fn whoever_was_left_out_may_be_who_has_subscribed() {
    let mut bench = Bench::showing("A");
    bench.channel.joined();
    assert_eq!(bench.claim(one("B")).1, known(Reach::NotAll, false));
    bench.settle(bench.last, Outcome::Refused);
    bench.announce_without(BEN);
    assert_eq!(bench.are_redundant(), [false, false, true]);
}

#[test]
fn what_is_old_is_announced_again() {
    let mut bench = Bench::showing("A");
    bench.refresh_after = Duration::from_mins(10);
    bench.pass(Duration::from_mins(10) - Duration::from_millis(1));
    assert!(bench.is_known("A"));
    bench.pass(Duration::from_millis(1));
    let shown = Shown { since: START, difference: None };
    assert_eq!(bench.compare("A"), Comparison::Renews(Renewal::Refresh, Some(shown)));
    let (id, before) = bench.claim(one("A"));
    assert_eq!(before, known(Reach::All, true));
    assert_eq!(bench.compare("A"), Comparison::InFlight(id), "once is enough");
    bench.settle(id, Outcome::Accepted);
    assert!(bench.is_known("A"));
}

#[test]
fn a_doubt_forgets_and_lets_nothing_become_known() {
    for (value, outcome) in [("A", Outcome::Accepted), ("B", Outcome::Refused)] {
        let mut bench = Bench::showing("A");
        let id = bench.forward(one(value));
        bench.channel.doubt(bench.now, DOUBT);
        assert_eq!(bench.channel.standing(bench.now, CALM), Standing::Unsettled);
        bench.settle(id, outcome);
        assert!(bench.nothing_is_known());
        bench.pass(DOUBT + Duration::from_millis(1));
        assert!(bench.nothing_is_known());
        assert_eq!(bench.channel.standing(bench.now, CALM), Standing::Unknown);
        bench.announce("A", Outcome::Accepted);
        assert!(bench.is_known("A"));
    }
}

#[test]
fn what_stands_is_what_is_known_and_settled() {
    let mut bench = Bench::new();
    let standing = |bench: &Bench| bench.channel.standing(bench.now, bench.snapshot);
    assert_eq!(standing(&bench), Standing::Unknown);
    let (first, second) = (bench.forward(one("A")), bench.forward(one("A")));
    assert_eq!(standing(&bench), Standing::Unsettled);
    bench.settle(first, Outcome::Accepted);
    assert_eq!(standing(&bench), Standing::Known(person("A")), "nothing else is in flight");
    bench.settle(second, Outcome::Ambiguous);
    assert_eq!(standing(&bench), Standing::Unsettled);
    let mut bench = Bench::showing("A");
    bench.snapshot.in_flight = true;
    assert_eq!(standing(&bench), Standing::Unsettled);
    bench.snapshot = AppSnapshot { epoch: Epoch::of(2), ..CALM };
    assert_eq!(standing(&bench), Standing::Unknown);
}
