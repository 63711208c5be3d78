//! Histories made by hand: what the checker lets pass, and what it finds.

use super::super::record::Answer;
use super::*;

const ROOM: &str = "room";

/// A history in which everything happens ten nanoseconds after what was before.
#[derive(Default)]
struct Hand {
    record: Record,
    now: Nanos,
}

impl Hand {
    fn moment(&mut self) -> Nanos {
        self.now += 10;
        self.now
    }

    /// A call that announces these begins.
    fn wants(&mut self, parts: &[(&str, &str)]) -> usize {
        let began = self.moment();
        self.record.calls.push(Call {
            began,
            halved: false,
            complete: began,
            ended: Nanos::MAX,
            wanted: parts_of(parts),
            answer: None,
        });
        self.record.calls.len() - 1
    }

    fn announces(&mut self, staff: &str) -> usize {
        self.wants(&[(ROOM, staff)])
    }

    /// These parts of it arrive upstream.
    fn arrives_with(&mut self, call: usize, parts: &[(&str, &str)]) -> usize {
        let at = self.moment();
        let parts = parts_of(parts);
        self.record.arrivals.push(Arrival {
            call,
            at,
            parts,
            applied: None,
            acknowledged: false,
            signed: true,
            action: String::new(),
        });
        self.record.arrivals.len() - 1
    }

    /// All of it arrives upstream.
    fn arrives(&mut self, call: usize) -> usize {
        let arrival = self.arrives_with(call, &[]);
        self.record.arrivals[arrival].parts = self.record.calls[call].wanted.clone();
        arrival
    }

    fn applies(&mut self, arrival: usize) {
        let all = self.record.arrivals[arrival].parts.len();
        self.record.arrivals[arrival].applied = Some((self.moment(), all));
    }

    fn ends(&mut self, call: usize, status: u16, decision: &str) {
        self.record.calls[call].ended = self.moment();
        self.record.calls[call].answer = (status > 0).then(|| Answer { status, decision: decision.to_owned() });
    }

    fn suppressed(&mut self, call: usize) {
        self.ends(call, 200, "suppressed");
    }

    /// It has no answer: the process was killed.
    fn lost(&mut self, call: usize) {
        self.ends(call, 0, "");
    }

    fn acknowledges(&mut self, arrival: usize, decision: &str) {
        self.record.arrivals[arrival].acknowledged = true;
        self.ends(self.record.arrivals[arrival].call, 200, decision);
    }

    /// A whole call that upstream accepts.
    fn accepted(&mut self, staff: &str) {
        let call = self.announces(staff);
        let arrival = self.arrives(call);
        self.applies(arrival);
        self.acknowledges(arrival, "forwarded");
    }

    /// A whole call that is dropped.
    fn dropped(&mut self, staff: &str) {
        let call = self.announces(staff);
        self.suppressed(call);
    }

    #[track_caller]
    fn is_right(&self, dropped: usize) {
        let verdict = check(&self.record);
        assert_eq!((verdict.violations, verdict.dropped.len()), (Vec::new(), dropped));
    }

    #[track_caller]
    fn breaks(&self, breach: &Breach) {
        let found: Vec<Breach> = check(&self.record).violations.into_iter().map(|violation| violation.breach).collect();
        assert_eq!(found, std::slice::from_ref(breach));
    }
}

/// `""` is nobody whom one could compare.
fn parts_of(parts: &[(&str, &str)]) -> Vec<Part> {
    let part = |(channel, staff): &(&str, &str)| Part {
        channel: (*channel).to_owned(),
        shows: (!staff.is_empty()).then(|| (*staff).to_owned()),
    };
    parts.iter().map(part).collect()
}

fn not_shown(dropped: &str, shown: &str) -> Breach {
    Breach::NotShown { dropped: dropped.to_owned(), shown: (!shown.is_empty()).then(|| shown.to_owned()) }
}

fn overtaken(dropped: &str, by: &str) -> Breach {
    Breach::Overtaken { dropped: dropped.to_owned(), by: Some(by.to_owned()) }
}

#[test]
fn what_guests_see_may_be_dropped() {
    let mut hand = Hand::default();
    hand.accepted("A");
    hand.dropped("A");
    hand.accepted("B");
    hand.dropped("B");
    hand.accepted("A");
    hand.dropped("A");
    hand.is_right(3);
}

#[test]
fn what_guests_do_not_see_may_not() {
    let mut hand = Hand::default();
    hand.dropped("A");
    hand.breaks(&not_shown("A", ""));

    let mut hand = Hand::default();
    hand.accepted("A");
    hand.accepted("B");
    hand.dropped("A");
    hand.breaks(&not_shown("A", "B"));

    // Another room is none of its guests'.
    let mut hand = Hand::default();
    hand.accepted("A");
    let call = hand.wants(&[("elsewhere", "A")]);
    hand.suppressed(call);
    hand.breaks(&not_shown("A", ""));

    // The end of a conversation, or somebody who cannot be compared.
    let mut hand = Hand::default();
    hand.accepted("A");
    hand.accepted("");
    hand.dropped("A");
    hand.breaks(&not_shown("A", ""));
}

#[test]
fn one_moment_while_the_call_ran_is_enough() {
    // It waits for an equal one in flight.
    let mut hand = Hand::default();
    let first = hand.announces("A");
    let waiter = hand.announces("A");
    let arrival = hand.arrives(first);
    hand.applies(arrival);
    hand.suppressed(waiter);
    hand.acknowledges(arrival, "forwarded");
    hand.is_right(1);

    // Another takes over before it has its answer, but may have come after it.
    let mut hand = Hand::default();
    hand.accepted("A");
    let dropped = hand.announces("A");
    hand.accepted("B");
    hand.suppressed(dropped);
    hand.is_right(1);

    // It is applied when the answer is there already.
    let mut hand = Hand::default();
    let first = hand.announces("A");
    let arrival = hand.arrives(first);
    hand.dropped("A");
    hand.applies(arrival);
    hand.acknowledges(arrival, "forwarded");
    hand.breaks(&not_shown("A", ""));
}

#[test]
fn what_is_on_its_way_and_comes_after_makes_a_drop_wrong() {
    // In flight.
    let mut hand = Hand::default();
    hand.accepted("A");
    let takeover = hand.announces("B");
    let arrival = hand.arrives(takeover);
    hand.dropped("A");
    hand.applies(arrival);
    hand.acknowledges(arrival, "forwarded");
    hand.breaks(&overtaken("A", "B"));

    // Left behind by a process that was killed. A after it heals nothing, for it still comes.
    let mut hand = Hand::default();
    let takeover = hand.announces("B");
    let arrival = hand.arrives(takeover);
    hand.lost(takeover);
    hand.accepted("A");
    hand.dropped("A");
    hand.applies(arrival);
    hand.breaks(&overtaken("A", "B"));

    // The same, and it has come.
    let mut hand = Hand::default();
    let takeover = hand.announces("B");
    let arrival = hand.arrives(takeover);
    hand.lost(takeover);
    hand.accepted("A");
    hand.applies(arrival);
    hand.dropped("A");
    hand.breaks(&not_shown("A", "B"));
}

#[test]
fn what_is_on_its_way_and_changes_nothing_does_not() {
    // It never comes.
    let mut hand = Hand::default();
    hand.accepted("A");
    let takeover = hand.announces("B");
    hand.arrives(takeover);
    hand.lost(takeover);
    hand.dropped("A");
    hand.is_right(1);

    // It shows the same in the end.
    let mut hand = Hand::default();
    hand.accepted("A");
    let batch = hand.wants(&[(ROOM, "B"), (ROOM, "A")]);
    let arrival = hand.arrives(batch);
    hand.lost(batch);
    hand.dropped("A");
    hand.applies(arrival);
    hand.is_right(1);

    // It has come, and another after it.
    let mut hand = Hand::default();
    let takeover = hand.announces("B");
    let arrival = hand.arrives(takeover);
    hand.lost(takeover);
    hand.applies(arrival);
    hand.accepted("A");
    hand.dropped("A");
    hand.is_right(1);
}

#[test]
fn a_refusal_shows_nobody() {
    let mut hand = Hand::default();
    let call = hand.announces("A");
    let arrival = hand.arrives(call);
    hand.acknowledges(arrival, "forwarded");
    hand.dropped("A");
    hand.breaks(&not_shown("A", ""));

    // Nor does the part of a request that was not applied.
    let mut hand = Hand::default();
    let call = hand.wants(&[("elsewhere", "A"), (ROOM, "A")]);
    let arrival = hand.arrives(call);
    hand.record.arrivals[arrival].applied = Some((hand.now, 1));
    hand.ends(call, 400, "forwarded");
    hand.dropped("A");
    hand.breaks(&not_shown("A", ""));
}

#[test]
fn what_cannot_be_compared_is_never_dropped() {
    let mut hand = Hand::default();
    hand.accepted("");
    hand.dropped("");
    hand.breaks(&Breach::Incomparable);

    let mut hand = Hand::default();
    let message = hand.wants(&[]);
    hand.suppressed(message);
    hand.breaks(&Breach::Incomparable);
}

#[test]
fn a_part_is_dropped_before_the_rest_arrives() {
    let two = [(ROOM, "A"), ("elsewhere", "A")];
    let mut hand = Hand::default();
    hand.accepted("A");
    let call = hand.wants(&two);
    let arrival = hand.arrives_with(call, &two[1..]);
    hand.applies(arrival);
    hand.acknowledges(arrival, "reduced");
    hand.is_right(1);

    // Guests see A only when it has been decided.
    let mut hand = Hand::default();
    let call = hand.wants(&two);
    let arrival = hand.arrives_with(call, &two[1..]);
    hand.accepted("A");
    hand.applies(arrival);
    hand.acknowledges(arrival, "reduced");
    hand.breaks(&not_shown("A", ""));

    // Dropped it was, though nobody was told.
    let mut hand = Hand::default();
    let call = hand.wants(&two);
    hand.arrives_with(call, &two[1..]);
    hand.lost(call);
    hand.breaks(&not_shown("A", ""));
}

#[test]
fn within_a_request_the_one_before_counts() {
    let reduced = |wanted: &[&str], arrived: &[&str]| {
        let parts = |staff: &[&'static str]| staff.iter().map(|staff| (ROOM, *staff)).collect::<Vec<_>>();
        let owned = |staff: &[&str]| {
            staff.iter().map(|staff| ["A", "B", ""].into_iter().find(|name| name == staff).unwrap()).collect::<Vec<_>>()
        };
        let mut hand = Hand::default();
        hand.accepted("A");
        let call = hand.wants(&parts(&owned(wanted)));
        let arrival = hand.arrives_with(call, &parts(&owned(arrived)));
        hand.applies(arrival);
        hand.acknowledges(arrival, "reduced");
        hand
    };
    reduced(&["B", "B"], &["B"]).is_right(1);
    reduced(&["A", "B", "A"], &["B", "A"]).is_right(1);
    let behind = |dropped: &str, behind: &str| Breach::OutOfOrder {
        dropped: dropped.to_owned(),
        behind: Some(behind.to_owned()),
    };
    reduced(&["B", "A"], &["B"]).breaks(&behind("A", "B"));
    reduced(&["B", ""], &["B"]).breaks(&Breach::Incomparable);
}

#[test]
fn callers_are_told_the_truth() {
    let mut hand = Hand::default();
    let call = hand.announces("A");
    hand.ends(call, 200, "forwarded");
    hand.breaks(&Breach::NotAcknowledged);

    let mut hand = Hand::default();
    let call = hand.announces("A");
    let arrival = hand.arrives(call);
    hand.applies(arrival);
    hand.ends(call, 200, "forwarded");
    hand.breaks(&Breach::NotAcknowledged);

    let mut hand = Hand::default();
    let call = hand.announces("A");
    hand.arrives(call);
    hand.suppressed(call);
    hand.breaks(&Breach::NotSuppressed);

    // An error is no acceptance, whatever upstream did.
    let mut hand = Hand::default();
    let call = hand.announces("A");
    let arrival = hand.arrives(call);
    hand.applies(arrival);
    hand.ends(call, 504, "");
    hand.is_right(0);
}

#[test]
fn a_request_goes_once_and_as_it_was_sent() {
    let mut hand = Hand::default();
    let call = hand.announces("A");
    hand.arrives(call);
    hand.arrives(call);
    hand.lost(call);
    hand.breaks(&Breach::SentTwice);

    let mut hand = Hand::default();
    let call = hand.announces("A");
    hand.arrives_with(call, &[(ROOM, "A"), (ROOM, "B")]);
    hand.lost(call);
    hand.breaks(&Breach::Changed);

    let mut hand = Hand::default();
    let call = hand.announces("A");
    let arrival = hand.arrives(call);
    hand.record.arrivals[arrival].signed = false;
    hand.lost(call);
    hand.breaks(&Breach::Unsigned);
}

#[test]
fn what_guests_see_in_the_end_is_what_was_applied_last() {
    let mut hand = Hand::default();
    let takeover = hand.announces("B");
    let arrival = hand.arrives(takeover);
    hand.lost(takeover);
    hand.accepted("A");
    hand.applies(arrival);
    assert_eq!(shown_in_the_end(&hand.record)[ROOM].as_deref(), Some("B"));
}
