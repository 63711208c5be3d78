//! One node and a server that counts on it, with requests that run late, are answered late or never, and do not reach
//! the replicas. What is checked at every moment is what the safety of the whole rests on.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cluster::{Cause, SwitchedModes};

const TERMS: Terms = Terms {
    lease: Duration::from_millis(400),
    member_timeout: Duration::from_millis(2_000),
    doubt_period: Duration::from_millis(300),
    replicas: 1,
    exchange: Duration::ZERO,
};

/// The server's clock is ahead of the node's by this.
const AHEAD: u64 = 1_000_000;

/// What the server holds of the node.
#[derive(Debug, Default)]
struct Server {
    /// The end of its lease; `None`: it is not a member.
    lease: Option<u64>,
    is_missing: bool,
}

impl Server {
    /// What time changes. Returns whether the node is given up now.
    fn pass(&mut self, now: u64) -> bool {
        let Some(lease) = self.lease else { return false };
        self.is_missing |= lease <= now;
        let is_given_up = self.is_missing && now >= lease + millis(TERMS.member_timeout);
        if is_given_up {
            *self = Self::default();
        }
        is_given_up
    }

    fn counts_on(&self, now: u64) -> bool {
        !self.is_missing && self.lease.is_some_and(|lease| lease > now)
    }

    fn run(&mut self, now: u64, ask: Ask) -> Answer<Entered> {
        self.pass(now);
        let refused = |why| Answer::Refused(Refusal { now, history: "h".into(), why });
        let (by, is_entry) = match ask {
            Ask::Time => return refused(Why::Unknown),
            Ask::Enter { by, .. } => (by, true),
            Ask::Renew { by } => (by, false),
        };
        if !is_entry && !self.counts_on(now) {
            return refused(Why::Lease);
        }
        if now > by {
            return refused(Why::Late);
        }
        let lease_until = now + millis(TERMS.lease);
        *self = Self { lease: Some(lease_until), is_missing: false };
        let (history, epoch) = ("h".to_owned(), 7);
        let doubt_left = Duration::ZERO;
        let (open, open_until, cause, present, missing) = (None, 0, Cause::Other, 1, 0);
        Answer::Done(Entered {
            now,
            history,
            lease_until,
            epoch,
            doubt_left,
            open,
            open_until,
            cause,
            present,
            missing,
            switched: SwitchedModes::default(),
        })
    }
}

/// A request, wherever it is.
#[derive(Debug)]
struct Request {
    ask: Ask,
    sent: Local,
    /// When it runs at the server.
    runs: u64,
    /// The answer comes so much later; `None`: never.
    answered_after: Option<u64>,
    reached: bool,
    answer: Option<Answer<Entered>>,
}

/// How one request fares: delays in milliseconds.
#[derive(Debug, Clone)]
struct Fate {
    /// The pause before it is sent.
    pause: u64,
    runs_after: u64,
    answered_after: Option<u64>,
    reached: bool,
    /// When the node stops waiting for it.
    patience: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    let pause = prop_oneof![4 => 1_u64..120, 1 => 1_u64..1_200, 1 => 1_u64..4_000];
    let delay = || prop_oneof![6 => 0_u64..20, 2 => 0_u64..300, 1 => 0_u64..3_000];
    let answered = prop_oneof![5 => delay().prop_map(Some), 1 => Just(None)];
    (pause, delay(), answered, prop::bool::weighted(0.8), 20_u64..400).prop_map(
        |(pause, runs_after, answered_after, reached, patience)| Fate {
            pause,
            runs_after,
            answered_after,
            reached,
            patience,
        },
    )
}

/// Plays the fates in turn, a millisecond at a time. Returns how often the node was in each standing.
fn play(fates: &[Fate]) -> [u32; 6] {
    let mut node = Membership::new(TERMS, true, Local::ZERO);
    let mut server = Server::default();
    let mut requests: Vec<Request> = Vec::new();
    let mut waits: Option<(Local, u64)> = None;
    let mut seen = [0; 6];
    let mut has_counted = false;
    let mut is_given_up = false;
    let (mut fates, mut next) = (fates.iter(), 0);
    let mut now = 0_u64;
    let mut last = 0;
    loop {
        let local = Duration::from_millis(now);
        let at_server = now + AHEAD;
        is_given_up |= server.pass(at_server);
        for request in requests.iter_mut().filter(|request| request.answer.is_none() && request.runs <= at_server) {
            let answer = server.run(at_server, request.ask);
            if matches!(answer, Answer::Done(_)) {
                is_given_up = false;
            }
            request.answer = Some(answer);
        }
        if let Some((sent, until)) = waits {
            let came = requests.iter().find(|request| {
                let due = request.answered_after.is_some_and(|after| request.runs + after <= at_server);
                request.sent == sent && request.answer.is_some() && due
            });
            if let Some(Request { ask, answer: Some(answer), reached, .. }) = came {
                match (ask, answer) {
                    (Ask::Time, Answer::Refused(refusal)) => node.told(sent, local, refusal.now),
                    _ => node.answered(sent, local, answer, *reached),
                }
                has_counted |= *reached && matches!(answer, Answer::Done(_));
                waits = None;
            } else if now >= until {
                node.unanswered();
                waits = None;
            }
        } else if now >= next {
            let Some(fate) = fates.next() else {
                last = last.max(now + 6_000);
                next = u64::MAX;
                continue;
            };
            next = now + fate.pause;
            requests.retain(|request| request.answer.is_none());
            let Fate { runs_after, answered_after, reached, patience, .. } = *fate;
            let runs = at_server + runs_after;
            requests.push(Request { ask: node.ask(local), sent: local, runs, answered_after, reached, answer: None });
            waits = Some((local, now + patience));
        }
        let standing = node.standing(local);
        let counts = server.counts_on(at_server);
        match standing {
            Standing::Outside => assert!(!has_counted, "at {now}: a member is forgotten"),
            Standing::Member => assert!(counts && !node.is_fenced(local), "at {now}: its lease is over at the server"),
            Standing::Blind => assert!(!counts && !is_given_up, "at {now}: the others suppress on its account"),
            Standing::Isolated => assert!(!counts, "at {now}: the server counts on it"),
            Standing::Silent | Standing::Replaced => {}
        }
        assert!(!is_given_up || node.is_fenced(local), "at {now}: it was given up and does not know");
        seen[standing as usize] += 1;
        if last > 0 && now >= last {
            return seen;
        }
        now += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_node_never_relies_on_what_the_server_does_not_hold(fates in vec(fate(), 1..60)) {
        play(&fates);
    }
}

/// A fate of a request on a fast network.
fn well() -> Fate {
    Fate { pause: 100, runs_after: 1, answered_after: Some(1), reached: true, patience: 200 }
}

#[test]
fn a_node_enters_stays_goes_blind_and_is_isolated() {
    let mut fates = vec![well(); 20];
    let [outside, member, silent, blind, isolated, _replaced] = play(&fates);
    assert!(outside < 200 && member > 1_500, "it enters after one answer, and stays");
    // At the end nobody answers any more: a lease and a quarter after the last request it is blind, then isolated.
    assert!((50..=500).contains(&silent) && (1_000..=1_600).contains(&blind) && isolated > 3_000, "{silent} {blind}");
    fates.extend(vec![Fate { runs_after: 10_000, ..well() }; 5]);
    let [_, _, silent, ..] = play(&fates);
    assert!(silent <= 600, "a server that is halted holds the announcements once: {silent}");
}

#[test]
fn only_what_has_reached_the_replicas_counts_and_a_refusal_ends_it() {
    let at = Duration::from_millis;
    let mut node = Membership::new(TERMS, true, Local::ZERO);
    let mut server = Server::default();
    node.told(at(0), at(1), 1_000);
    for (sent, reached, standing) in [(10, false, Standing::Outside), (20, true, Standing::Member)] {
        let ask = node.ask(at(sent));
        let answer = server.run(1_000 + sent, ask);
        node.answered(at(sent), at(sent + 1), &answer, reached);
        assert_eq!(node.standing(at(sent + 1)), standing);
    }
    // A renewal that has not reached them does not prolong the lease, and is reckoned with all the same.
    let answer = server.run(1_100, node.ask(at(100)));
    node.answered(at(100), at(101), &answer, false);
    assert_eq!((node.standing(at(419)), node.standing(at(420))), (Standing::Member, Standing::Silent));
    assert_eq!((node.standing(at(599)), node.standing(at(600))), (Standing::Silent, Standing::Blind));
    let refused = Answer::Refused(Refusal { now: 1_201, history: "h".into(), why: Why::Generation });
    node.ask(at(200));
    node.answered(at(200), at(201), &refused, false);
    assert_eq!(node.standing(at(201)), Standing::Replaced, "another process has its place");
    assert!(node.is_fenced(at(201)), "nobody counts on this one");
}

#[test]
fn an_answer_to_what_was_asked_before_the_membership_was_lost_does_not_count() {
    let at = Duration::from_millis;
    let losses: [fn(&mut Membership, Local); 2] =
        [Membership::reenter, |node, now| node.saw(now, now, 1_000 + millis(now), true)];
    for lose in losses {
        let mut node = Membership::new(TERMS, true, Local::ZERO);
        let mut server = Server::default();
        node.told(at(0), at(1), 1_000);
        let answer = server.run(1_010, node.ask(at(10)));
        node.answered(at(10), at(11), &answer, true);
        assert_eq!((node.standing(at(11)), node.tenure("g").number), (Standing::Member, 1));
        // Of the membership that is lost while it is under way.
        let renewed = server.run(1_100, node.ask(at(100)));
        lose(&mut node, at(101));
        node.answered(at(100), at(102), &renewed, true);
        assert_eq!(node.standing(at(102)), Standing::Silent, "its lease counts although the membership was lost");
        // The entry that follows counts.
        let Ask::Enter { .. } = node.ask(at(110)) else { panic!("an entry") };
        let entered = server.run(1_110, Ask::Enter { by: 2_000, is_fresh: false, has_stepped: false });
        node.answered(at(110), at(111), &entered, true);
        assert_eq!((node.standing(at(111)), node.tenure("g").number), (Standing::Member, 2));
    }
}

#[test]
fn a_step_of_the_servers_clock_ends_the_lease_and_the_next_entry_says_so() {
    let at = Duration::from_millis;
    let mut node = Membership::new(TERMS, true, Local::ZERO);
    assert_eq!(node.ask(at(0)), Ask::Time);
    node.told(at(0), at(2), 1_000);
    let Ask::Enter { by: 1_100, is_fresh: true, has_stepped: false } = node.ask(at(2)) else { panic!("an entry") };
    let mut server = Server::default();
    let by = |by| Ask::Enter { by, is_fresh: true, has_stepped: false };
    node.answered(at(2), at(4), &server.run(1_002, by(1_100)), true);
    assert_eq!((node.standing(at(4)), node.history(), node.tenure("g").number), (Standing::Member, "h", 1));
    let Ask::Renew { by: 1_200 } = node.ask(at(102)) else { panic!("a renewal") };
    // It is 3 s earlier there than it was.
    let mut stepped = Server { lease: Some(9_000), is_missing: false };
    node.answered(at(102), at(104), &stepped.run(5_000, Ask::Renew { by: 6_000 }), true);
    assert_eq!(node.standing(at(104)), Standing::Silent);
    let Ask::Enter { is_fresh: false, has_stepped: true, .. } = node.ask(at(110)) else { panic!("an entry") };
    node.answered(at(110), at(112), &stepped.run(5_008, by(6_000)), true);
    assert_eq!(
        (node.standing(at(112)), node.tenure("g").number),
        (Standing::Member, 2),
        "what was claimed before is claimed again"
    );
    let Ask::Renew { .. } = node.ask(at(120)) else { panic!("a renewal") };
    node.has_left(at(121));
    assert_eq!(node.standing(at(121)), Standing::Outside);
    assert!(node.is_fenced(at(121)));
}

#[test]
fn a_process_that_has_waited_for_too_long_enters_as_one_that_may_have_sent_something() {
    for (now, fresh) in [(Duration::from_secs(29), true), (Duration::from_secs(31), false)] {
        let mut node = Membership::new(TERMS, true, Local::ZERO);
        node.told(now, now, 1_000);
        let Ask::Enter { is_fresh, .. } = node.ask(now) else { panic!("an entry") };
        assert_eq!(is_fresh, fresh, "after {now:?}");
    }
}
