//! Hand-written histories: what the checker accepts, and what it reports.

use super::super::record::Answer;
use super::*;

const ROOM: &str = "room";

/// A history in which each event happens ten nanoseconds after the previous one.
#[derive(Default)]
struct HistoryBuilder {
    record: Record,
    now: Nanos,
}

impl HistoryBuilder {
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

    /// These parts of a call arrive upstream.
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

    /// All parts of a call arrive upstream.
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

    /// Ends a call without a response: the process was killed.
    fn lost(&mut self, call: usize) {
        self.ends(call, 0, "");
    }

    fn acknowledges(&mut self, arrival: usize, decision: &str) {
        self.record.arrivals[arrival].acknowledged = true;
        self.ends(self.record.arrivals[arrival].call, 200, decision);
    }

    /// A complete call that upstream accepts.
    fn accepted(&mut self, staff: &str) {
        let call = self.announces(staff);
        let arrival = self.arrives(call);
        self.applies(arrival);
        self.acknowledges(arrival, "forwarded");
    }

    /// A complete call that is dropped.
    fn dropped(&mut self, staff: &str) {
        let call = self.announces(staff);
        self.suppressed(call);
    }

    #[track_caller]
    fn is_right(&self, dropped: usize) {
        let result = check(&self.record);
        assert_eq!((result.violations, result.dropped.len()), (Vec::new(), dropped));
    }

    #[track_caller]
    fn breaks(&self, breach: &Breach) {
        let found: Vec<Breach> = check(&self.record).violations.into_iter().map(|violation| violation.breach).collect();
        assert_eq!(found, std::slice::from_ref(breach));
    }
}

/// `""` stands for an event that cannot be compared. Behind a slash is whom it leaves out.
fn parts_of(parts: &[(&str, &str)]) -> Vec<Part> {
    let part = |(channel, staff): &(&str, &str)| {
        let (staff, left_out) = staff.split_once('/').map_or((*staff, None), |(staff, socket)| (staff, Some(socket)));
        Part {
            channel: (*channel).to_owned(),
            shows: (!staff.is_empty()).then(|| staff.to_owned()),
            left_out: left_out.map(str::to_owned),
        }
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
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    history.dropped("A");
    history.accepted("B");
    history.dropped("B");
    history.accepted("A");
    history.dropped("A");
    history.is_right(3);
}

#[test]
fn what_guests_do_not_see_may_not() {
    let mut history = HistoryBuilder::default();
    history.dropped("A");
    history.breaks(&not_shown("A", ""));

    let mut history = HistoryBuilder::default();
    history.accepted("A");
    history.accepted("B");
    history.dropped("A");
    history.breaks(&not_shown("A", "B"));

    // Another room has other guests.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let call = history.wants(&[("elsewhere", "A")]);
    history.suppressed(call);
    history.breaks(&not_shown("A", ""));

    // The end of a conversation, or an event that cannot be compared.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    history.accepted("");
    history.dropped("A");
    history.breaks(&not_shown("A", ""));
}

#[test]
fn one_moment_while_the_call_ran_is_enough() {
    // It waits for an equal announcement in flight.
    let mut history = HistoryBuilder::default();
    let first = history.announces("A");
    let waiter = history.announces("A");
    let arrival = history.arrives(first);
    history.applies(arrival);
    history.suppressed(waiter);
    history.acknowledges(arrival, "forwarded");
    history.is_right(1);

    // Another staff member takes over before the response, but possibly after the decision.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let dropped = history.announces("A");
    history.accepted("B");
    history.suppressed(dropped);
    history.is_right(1);

    // It is applied after the response.
    let mut history = HistoryBuilder::default();
    let first = history.announces("A");
    let arrival = history.arrives(first);
    history.dropped("A");
    history.applies(arrival);
    history.acknowledges(arrival, "forwarded");
    history.breaks(&not_shown("A", ""));
}

#[test]
fn a_request_in_flight_that_is_applied_later_makes_a_drop_wrong() {
    // In flight.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let takeover = history.announces("B");
    let arrival = history.arrives(takeover);
    history.dropped("A");
    history.applies(arrival);
    history.acknowledges(arrival, "forwarded");
    history.breaks(&overtaken("A", "B"));

    // Left in flight by a killed process. An accepted A afterwards does not help, since B is still applied later.
    let mut history = HistoryBuilder::default();
    let takeover = history.announces("B");
    let arrival = history.arrives(takeover);
    history.lost(takeover);
    history.accepted("A");
    history.dropped("A");
    history.applies(arrival);
    history.breaks(&overtaken("A", "B"));

    // The same, and it has been applied.
    let mut history = HistoryBuilder::default();
    let takeover = history.announces("B");
    let arrival = history.arrives(takeover);
    history.lost(takeover);
    history.accepted("A");
    history.applies(arrival);
    history.dropped("A");
    history.breaks(&not_shown("A", "B"));
}

#[test]
fn a_request_in_flight_that_changes_nothing_does_not() {
    // It is never applied.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let takeover = history.announces("B");
    history.arrives(takeover);
    history.lost(takeover);
    history.dropped("A");
    history.is_right(1);

    // Its last part shows the same.
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let batch = history.wants(&[(ROOM, "B"), (ROOM, "A")]);
    let arrival = history.arrives(batch);
    history.lost(batch);
    history.dropped("A");
    history.applies(arrival);
    history.is_right(1);

    // It has been applied, and another one after it.
    let mut history = HistoryBuilder::default();
    let takeover = history.announces("B");
    let arrival = history.arrives(takeover);
    history.lost(takeover);
    history.applies(arrival);
    history.accepted("A");
    history.dropped("A");
    history.is_right(1);
}

#[test]
fn a_refusal_shows_nothing() {
    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    let arrival = history.arrives(call);
    history.acknowledges(arrival, "forwarded");
    history.dropped("A");
    history.breaks(&not_shown("A", ""));

    // Neither does a part of a request that was not applied.
    let mut history = HistoryBuilder::default();
    let call = history.wants(&[("elsewhere", "A"), (ROOM, "A")]);
    let arrival = history.arrives(call);
    history.record.arrivals[arrival].applied = Some((history.now, 1));
    history.ends(call, 400, "forwarded");
    history.dropped("A");
    history.breaks(&not_shown("A", ""));
}

#[test]
fn what_cannot_be_compared_is_never_dropped() {
    let mut history = HistoryBuilder::default();
    history.accepted("");
    history.dropped("");
    history.breaks(&Breach::Incomparable);

    let mut history = HistoryBuilder::default();
    let message = history.wants(&[]);
    history.suppressed(message);
    history.breaks(&Breach::Incomparable);
}

#[test]
fn a_part_is_dropped_before_the_rest_arrives() {
    let two = [(ROOM, "A"), ("elsewhere", "A")];
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let call = history.wants(&two);
    let arrival = history.arrives_with(call, &two[1..]);
    history.applies(arrival);
    history.acknowledges(arrival, "reduced");
    history.is_right(1);

    // Guests see A only after the decision.
    let mut history = HistoryBuilder::default();
    let call = history.wants(&two);
    let arrival = history.arrives_with(call, &two[1..]);
    history.accepted("A");
    history.applies(arrival);
    history.acknowledges(arrival, "reduced");
    history.breaks(&not_shown("A", ""));

    // It was dropped, although no caller got the response.
    let mut history = HistoryBuilder::default();
    let call = history.wants(&two);
    history.arrives_with(call, &two[1..]);
    history.lost(call);
    history.breaks(&not_shown("A", ""));
}

#[test]
fn within_a_request_the_one_before_counts() {
    let reduced = |wanted: &[&str], arrived: &[&str]| {
        let parts = |staff: &[&'static str]| staff.iter().map(|staff| (ROOM, *staff)).collect::<Vec<_>>();
        let owned = |staff: &[&str]| {
            staff.iter().map(|staff| ["A", "B", ""].into_iter().find(|name| name == staff).unwrap()).collect::<Vec<_>>()
        };
        let mut history = HistoryBuilder::default();
        history.accepted("A");
        let call = history.wants(&parts(&owned(wanted)));
        let arrival = history.arrives_with(call, &parts(&owned(arrived)));
        history.applies(arrival);
        history.acknowledges(arrival, "reduced");
        history
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
fn whom_it_would_reach_has_had_it() {
    let drops = |accepted: &[&str], dropped: &str| {
        let mut history = HistoryBuilder::default();
        accepted.iter().for_each(|staff| history.accepted(staff));
        let call = history.announces(dropped);
        history.suppressed(call);
        history
    };
    drops(&["A/1.2"], "A/1.2").is_right(1);
    drops(&["A/1.2"], "A").breaks(&not_shown("A", ""));
    drops(&["A/1.2"], "A/3.4").breaks(&not_shown("A", ""));
    drops(&["B", "A/1.2"], "A/3.4").breaks(&not_shown("A", "B"));
    drops(&["A/1.2", "A/3.4"], "A").is_right(1);
    drops(&["A/1.2", "A/3.4"], "A/5.6").is_right(1);
    drops(&["A", "B/1.2"], "A/3.4").breaks(&not_shown("A", "B"));
    drops(&["A", "B/1.2", "A/1.2"], "A").is_right(1);
    // In one request: what it says before reaches some of them, and others see it already.
    let behind = |before: &[&str], sent: &[&str], dropped: &str| {
        let mut history = HistoryBuilder::default();
        before.iter().for_each(|staff| history.accepted(staff));
        let sent: Vec<_> = sent.iter().map(|staff| (ROOM, *staff)).collect();
        let call = history.wants(&[&sent[..], &[(ROOM, dropped)]].concat());
        let arrival = history.arrives_with(call, &sent);
        history.applies(arrival);
        history.acknowledges(arrival, "reduced");
        history
    };
    behind(&[], &["A/1.2", "A/3.4"], "A").is_right(1);
    behind(&[], &["A/1.2"], "A").breaks(&not_shown("A", ""));
    behind(&["A"], &["A/1.2"], "A").is_right(1);
    behind(&["B"], &["A/1.2"], "A").breaks(&not_shown("A", "B"));
}

#[test]
fn a_batch_that_shows_another_one_to_somebody_overtakes() {
    let mut history = HistoryBuilder::default();
    history.accepted("A");
    let batch = history.wants(&[(ROOM, "B"), (ROOM, "A/1.2")]);
    let arrival = history.arrives(batch);
    let call = history.announces("A");
    history.suppressed(call);
    history.applies(arrival);
    history.acknowledges(arrival, "forwarded");
    history.breaks(&overtaken("A", "B"));
}

#[test]
fn responses_to_callers_are_true() {
    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    history.ends(call, 200, "forwarded");
    history.breaks(&Breach::NotAcknowledged);

    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    let arrival = history.arrives(call);
    history.applies(arrival);
    history.ends(call, 200, "forwarded");
    history.breaks(&Breach::NotAcknowledged);

    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    history.arrives(call);
    history.suppressed(call);
    history.breaks(&Breach::NotSuppressed);

    // An error response is no acceptance, whatever upstream did.
    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    let arrival = history.arrives(call);
    history.applies(arrival);
    history.ends(call, 504, "");
    history.is_right(0);
}

#[test]
fn a_request_is_forwarded_once_and_unchanged() {
    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    history.arrives(call);
    history.arrives(call);
    history.lost(call);
    history.breaks(&Breach::SentTwice);

    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    history.arrives_with(call, &[(ROOM, "A"), (ROOM, "B")]);
    history.lost(call);
    history.breaks(&Breach::Changed);

    let mut history = HistoryBuilder::default();
    let call = history.announces("A");
    let arrival = history.arrives(call);
    history.record.arrivals[arrival].signed = false;
    history.lost(call);
    history.breaks(&Breach::Unsigned);
}

#[test]
fn what_guests_see_in_the_end_is_what_was_applied_last() {
    let mut history = HistoryBuilder::default();
    let takeover = history.announces("B");
    let arrival = history.arrives(takeover);
    history.lost(takeover);
    history.accepted("A");
    history.applies(arrival);
    assert_eq!(shown_in_the_end(&history.record)[ROOM].as_deref(), Some("B"));
}
