//! What usher forwarded of one rule's announcements and may still be delivered. Deliveries come late: what was forwarded
//! is expected until `assignments.doubt_period` after it was settled, and while it is in flight.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::assignment::Assignment;
use crate::clock::Moment;

/// The largest number of settled announcements that are kept. Beyond it, the oldest ones are forgotten, and nothing is
/// judged for as long as they might be delivered.
const MAX_SETTLED: usize = 65_536;

/// What an event says to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::gateway) enum Said<'a> {
    /// This is assigned.
    Assigned(&'a Assignment),
    /// Nobody is assigned any more.
    Released,
    /// Something that cannot be read exactly.
    Anything,
}

impl<'a> Said<'a> {
    /// What an event says with this assignment, if it has one.
    pub(in crate::gateway) const fn of(assignment: Option<&'a Assignment>, is_release: bool) -> Self {
        match assignment {
            Some(assignment) => Self::Assigned(assignment),
            None if is_release => Self::Released,
            None => Self::Anything,
        }
    }

    /// The assignment.
    pub(super) const fn assignment(&self) -> Option<&'a Assignment> {
        match self {
            Self::Assigned(assignment) => Some(assignment),
            Self::Released | Self::Anything => None,
        }
    }
}

/// What is to be expected of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// usher forwarded it, or cannot say.
    Forwarded,
    /// usher knew it within the doubt period, but has forwarded it before that: it may be a delivery that comes very late.
    Superseded,
    /// It was found to come another way already, within the doubt period.
    Found,
    /// Nothing that usher knows explains it.
    Unexplained,
}

/// The announcements of one rule of one app.
#[derive(Debug)]
pub(in crate::gateway) struct Forwarded {
    hasher: RandomState,
    doubt_period: Duration,
    /// Nothing is judged before: what was forwarded before the rule was watched may still be delivered.
    judges_from: Moment,
    /// A lock: held for a few look-ups; never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By keys ([`Forwarded::key`]), with the number of triggers in flight.
    in_flight: HashMap<u64, u32>,
    /// By keys.
    settled: HashMap<u64, Settled>,
    /// The keys in the order in which they are over. An entry of `settled` may have been renewed since.
    order: VecDeque<(Moment, u64)>,
    /// Nothing is judged before.
    blind_until: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    until: Moment,
    /// Until when a delivery of what was forwarded may come.
    forwarded_until: Moment,
    is_found: bool,
}

impl Settled {
    fn expectation(self, now: Moment) -> Expectation {
        match self.is_found {
            _ if now < self.forwarded_until => Expectation::Forwarded,
            true => Expectation::Found,
            false => Expectation::Superseded,
        }
    }
}

impl Forwarded {
    pub(super) fn new(doubt_period: Duration, judges_from: Moment) -> Self {
        Self { hasher: RandomState::new(), doubt_period, judges_from, state: Mutex::default() }
    }

    /// The key of what is said on `channel`; on any channel, if it is empty.
    pub(super) fn key(&self, channel: &str, said: Said<'_>) -> u64 {
        self.hasher.hash_one((channel, said))
    }

    /// It is forwarded. [`Forwarded::settle`] has to follow.
    pub(super) fn send(&self, key: u64) {
        *self.lock().in_flight.entry(key).or_default() += 1;
    }

    /// A trigger with it is settled; `may_be_applied`: unless upstream has refused it.
    pub(super) fn settle(&self, key: u64, may_be_applied: bool, now: Moment) {
        let mut state = self.lock();
        if let Some(count) = state.in_flight.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                state.in_flight.remove(&key);
            }
        }
        if may_be_applied {
            self.keep(&mut state, key, Expectation::Forwarded, now);
        }
    }

    /// The channel was known to show `assignment`, and something else is announced now.
    pub(in crate::gateway) fn supersede(&self, channel: &str, assignment: &Assignment, now: Moment) {
        let key = self.key(channel, Said::Assigned(assignment));
        self.keep(&mut self.lock(), key, Expectation::Superseded, now);
    }

    /// It came another way. Returns whether that is to be reported: nothing explains it, and it was not found within the
    /// doubt period already.
    pub(super) fn find(&self, key: u64, now: Moment) -> bool {
        let mut state = self.lock();
        state.drop_settled(now);
        let is_new = !state.settled.contains_key(&key);
        if is_new {
            self.keep(&mut state, key, Expectation::Found, now);
        }
        is_new
    }

    /// What is to be expected of a delivery of this on `channel`.
    pub(super) fn expects(&self, channel: &str, said: Said<'_>, now: Moment) -> Expectation {
        let own = self.key(channel, said);
        let keys = [own, self.key(channel, Said::Anything), self.key("", Said::Anything)];
        let mut state = self.lock();
        state.drop_settled(now);
        let is_forwarded = |key: &u64| {
            state.in_flight.contains_key(key)
                || state.settled.get(key).is_some_and(|it| it.expectation(now) == Expectation::Forwarded)
        };
        if now < self.judges_from || now < state.blind_until || keys.iter().any(is_forwarded) {
            return Expectation::Forwarded;
        }
        state.settled.get(&own).map_or(Expectation::Unexplained, |it| it.expectation(now))
    }

    fn keep(&self, state: &mut State, key: u64, expectation: Expectation, now: Moment) {
        state.drop_settled(now);
        // One millisecond more: `now` was rounded down.
        let until = now.after(self.doubt_period).after(Duration::from_millis(1));
        let new = Settled { until, forwarded_until: Moment::default(), is_found: false };
        let settled = state.settled.entry(key).or_insert(new);
        settled.until = until;
        match expectation {
            Expectation::Forwarded => settled.forwarded_until = until,
            Expectation::Found => settled.is_found = true,
            Expectation::Superseded | Expectation::Unexplained => {}
        }
        state.order.push_back((until, key));
        while state.order.len() > MAX_SETTLED {
            let Some((until, key)) = state.order.pop_front() else { return };
            if state.settled.get(&key).is_some_and(|it| it.until <= until) {
                state.settled.remove(&key);
                state.blind_until = state.blind_until.max(until);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn drop_settled(&mut self, now: Moment) {
        while let Some((until, key)) = self.order.front().copied().filter(|(until, _)| *until <= now) {
            self.order.pop_front();
            if self.settled.get(&key).is_some_and(|it| it.until <= until) {
                self.settled.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "h-room-1-chat";
    const PERIOD: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn named(name: &str) -> Assignment {
        Assignment::new(0, name, [])
    }

    #[test]
    fn what_was_forwarded_is_expected_in_flight_and_for_a_while_after() {
        let forwarded = Forwarded::new(PERIOD, at(0));
        let (anna, ben) = (named("\"Anna\""), named("\"Ben\""));
        let expects = |name: &Assignment, seconds| forwarded.expects(ROOM, Said::Assigned(name), at(seconds));
        assert_eq!(expects(&anna, 1), Expectation::Unexplained);
        let key = forwarded.key(ROOM, Said::Assigned(&anna));
        forwarded.send(key);
        forwarded.send(key);
        assert_eq!([expects(&anna, 90), expects(&ben, 90)], [Expectation::Forwarded, Expectation::Unexplained]);
        forwarded.settle(key, false, at(100));
        assert_eq!(expects(&anna, 200), Expectation::Forwarded, "another one is in flight");
        forwarded.settle(key, true, at(200));
        assert_eq!([expects(&anna, 230), expects(&anna, 231)], [Expectation::Forwarded, Expectation::Unexplained]);
        assert_eq!(forwarded.expects("h-room-2-chat", Said::Assigned(&anna), at(210)), Expectation::Unexplained);
        // Refused: nothing of it is delivered.
        forwarded.send(key);
        forwarded.settle(key, false, at(300));
        assert_eq!(expects(&anna, 301), Expectation::Unexplained);
        assert!(forwarded.lock().order.is_empty() && forwarded.lock().settled.is_empty());
    }

    #[test]
    fn what_cannot_be_read_explains_everything_on_its_channels() {
        let forwarded = Forwarded::new(PERIOD, at(0));
        let anna = named("\"Anna\"");
        let expects = |channel: &str, seconds| forwarded.expects(channel, Said::Assigned(&anna), at(seconds));
        forwarded.settle(forwarded.key(ROOM, Said::Anything), true, at(0));
        assert_eq!([expects(ROOM, 30), expects("other", 30)], [Expectation::Forwarded, Expectation::Unexplained]);
        forwarded.settle(forwarded.key("", Said::Anything), true, at(31));
        assert_eq!([expects(ROOM, 61), expects("other", 61)], [Expectation::Forwarded; 2]);
        assert_eq!(forwarded.expects(ROOM, Said::Released, at(62)), Expectation::Unexplained);
    }

    #[test]
    fn what_was_superseded_or_found_is_not_found_again() {
        let forwarded = Forwarded::new(PERIOD, at(0));
        let anna = named("\"Anna\"");
        let key = forwarded.key(ROOM, Said::Assigned(&anna));
        let expects = |seconds| forwarded.expects(ROOM, Said::Assigned(&anna), at(seconds));
        forwarded.settle(key, true, at(0));
        forwarded.supersede(ROOM, &anna, at(10));
        assert_eq!(expects(29), Expectation::Forwarded, "it may come late");
        assert_eq!([expects(31), expects(40)], [Expectation::Superseded; 2], "it was known a moment ago");
        forwarded.supersede(ROOM, &anna, at(50));
        assert_eq!((expects(70), forwarded.find(key, at(70))), (Expectation::Superseded, false));
        assert!(forwarded.find(key, at(81)) && !forwarded.find(key, at(90)));
        assert_eq!([expects(111), expects(112)], [Expectation::Found, Expectation::Unexplained]);
        assert!(forwarded.find(key, at(200)));
        forwarded.settle(key, true, at(201));
        assert_eq!(expects(202), Expectation::Forwarded);
    }

    #[test]
    fn the_table_is_bounded_and_judges_nothing_while_it_has_forgotten_something() {
        let forwarded = Forwarded::new(PERIOD, at(1));
        let expects = |channel: &str, at| forwarded.expects(channel, Said::Released, at);
        assert_eq!(expects(ROOM, at(0)), Expectation::Forwarded, "it was not watched long enough");
        assert_eq!(expects(ROOM, at(1)), Expectation::Unexplained);
        for number in 0..MAX_SETTLED + 7 {
            forwarded.settle(forwarded.key(&number.to_string(), Said::Released), true, at(2));
        }
        assert_eq!(forwarded.lock().order.len(), MAX_SETTLED);
        assert_eq!([expects("0", at(3)), expects(ROOM, at(3))], [Expectation::Forwarded; 2]);
        assert_eq!([expects("0", at(33)), expects(ROOM, at(33))], [Expectation::Unexplained; 2]);
        assert!(forwarded.lock().settled.is_empty());
    }
}
