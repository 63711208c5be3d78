//! Processes that claim at a real server.

use super::*;
use crate::assignment::{
    Announced, Assignment, Before, Bounds, ClaimMode, Claimed, Outcome, Reach, Socket, Uncertainty, Value,
};
use crate::clock::Clock;
use crate::cluster::tests::server::{Server, nobody};
use crate::cluster::{Isolated, LinkOptions, Read, Servers, Standing, StoreLog, Switchboard, Terms};

const DOUBT: Duration = Duration::from_secs(1);

/// A lease that a busy machine renews in time: what runs a quarter of it after it was sent is refused.
const TERMS: Terms = Terms {
    lease: Duration::from_secs(5),
    member_timeout: Duration::from_mins(10),
    doubt_period: DOUBT,
    replicas: 0,
    exchange: Duration::from_secs(1),
};

fn named(name: &str) -> Value {
    Value::One(Assignment::new(0, name, []))
}

/// Anna was known.
fn known(reach: Reach) -> Before {
    Before::Known { assignment: Assignment::new(0, "anna", []), reach, is_due: false }
}

fn rule() -> RuleSettings {
    RuleSettings {
        app: "1001".into(),
        rule: "joined".into(),
        definition: [7; 32],
        remember_for: Duration::from_mins(1),
        refresh_after: None,
    }
}

/// A process that has one rule.
struct Process {
    shared: Shared,
    clock: Clock,
    _tasks: Tasks,
}

/// What is decided on an announcement.
#[derive(Debug)]
enum Decided {
    Dropped,
    /// It goes on with its tickets, and what was known before.
    Sent(Before, Option<Box<SharedTickets>>),
}

/// How a process takes part.
struct Part {
    link: LinkOptions,
    terms: Terms,
    isolated: Isolated,
    rule: RuleSettings,
}

impl Part {
    fn of(server: &Server) -> Self {
        Self { link: server.options(), terms: TERMS, isolated: Isolated::Forward, rule: rule() }
    }
}

/// A name that is announced, and the connection that is left out.
#[derive(Clone, Copy)]
struct Said<'n>(&'n str, Option<Socket>);

impl<'n> From<&'n str> for Said<'n> {
    fn from(name: &'n str) -> Self {
        Self(name, None)
    }
}

impl Process {
    async fn join(server: &Server, node: &str) -> Self {
        let process = Self::outside(Part::of(server), node);
        process.until_member().await;
        process
    }

    /// A process that need not have entered yet.
    fn outside(part: Part, node: &str) -> Self {
        let Part { link, terms, isolated, rule } = part;
        let bounds = Bounds {
            max_channels: 10,
            max_waiters_per_channel: 1,
            max_waiters: 1,
            doubt_period: DOUBT,
            start_doubt: Duration::ZERO,
        };
        let (clock, tasks) = (Clock::start(), Tasks::default());
        let context = MemoryContext::new(clock, Arc::new(bounds));
        let options = ClusterOptions {
            link,
            prefix: "usher".to_owned(),
            node: node.to_owned(),
            terms,
            isolated,
            switchboard: Switchboard::default(),
            store_log: StoreLog::default(),
        };
        let app = SharedApp::join(&options, "1001", &[&rule], true, &context, (&tasks, &tasks));
        Self { shared: app.under(&[&rule]), clock, _tasks: tasks }
    }

    async fn until_member(&self) {
        let member = self.shared.app.store.member();
        until("it is a member", async || (member.standing() == Standing::Member).then_some(())).await;
    }

    /// No other process lives; and the doubt passes.
    async fn close_history(&self) {
        until("the history is closed", async || self.shared.app.store.close().await.ok()).await;
        self.until_read("the app is not open", |read| read.open.is_none()).await;
        self.until_doubt_is_over().await;
    }

    async fn until_doubt_is_over(&self) {
        self.until_read("the doubt is over", |read| read.doubt_left.is_zero()).await;
    }

    async fn until_read(&self, what: &str, fits: impl Fn(&Read) -> bool) {
        until(what, async || {
            let tenure = self.shared.app.store.member().tenure()?;
            let read = self.shared.app.store.read(&tenure, &[]).await.ok()?;
            fits(&read).then_some(())
        })
        .await;
    }

    fn claims(&self, carried: Carried) -> SharedClaims<'_> {
        SharedClaims::new(&self.shared, self.clock.now(), carried)
    }

    /// One step of a decision on an announcement: what it has to know first, or what is decided.
    fn step<'n>(&self, said: impl Into<Said<'n>>, carried: Carried) -> Result<Decided, Box<Ask>> {
        let Said(name, left_out) = said.into();
        let mut claims = self.claims(carried);
        match claims.prepare([(0, "room")].into_iter(), false) {
            Prepared::Ready => {}
            Prepared::Wait(ask) => return Err(ask),
            Prepared::Denied(denied) => panic!("{denied}"),
        }
        let before = match claims.claim(0, "room", Announced { value: &named(name), left_out }, ClaimMode::MustNotWait)
        {
            Claimed::Redundant { .. } => return Ok(Decided::Dropped),
            Claimed::Held { before, .. } => before,
            other => panic!("{other:?}"),
        };
        match claims.commit() {
            Some(ask) => Err(ask),
            None => Ok(Decided::Sent(before, claims.into_tickets())),
        }
    }

    async fn decide<'n>(&self, said: impl Into<Said<'n>>) -> Decided {
        let (said, mut carried) = (said.into(), Carried::default());
        loop {
            match self.step(said, carried) {
                Ok(decided) => return decided,
                Err(ask) => carried = ask.answered().await,
            }
        }
    }

    /// The tickets of a request that may touch any channel of the app.
    async fn claim_all(&self) -> Box<SharedTickets> {
        let mut carried = Carried::default();
        loop {
            let mut claims = self.claims(carried);
            let ask = match claims.prepare(std::iter::empty(), true) {
                Prepared::Ready => {
                    claims.claim_all();
                    claims.commit()
                }
                Prepared::Wait(ask) => Some(ask),
                Prepared::Denied(denied) => panic!("{denied}"),
            };
            match ask {
                Some(ask) => carried = ask.answered().await,
                None => return claims.into_tickets().expect("a member has tickets"),
            }
        }
    }

    /// Announces, and upstream accepts. Returns what was known before; `None`: it was dropped.
    async fn announce<'n>(&self, said: impl Into<Said<'n>>) -> Option<Before> {
        let Decided::Sent(before, tickets) = self.decide(said).await else { return None };
        tickets.expect("a member has tickets").settle(Outcome::Accepted);
        Some(before)
    }

    /// What a decision has learned after so many answers.
    async fn carried(&self, name: &str, answers: usize) -> Carried {
        let mut carried = Carried::default();
        for _ in 0..answers {
            carried = self.step(name, carried).expect_err("it asks").answered().await;
        }
        carried
    }
}

async fn until<R>(what: &str, look: impl AsyncFn() -> Option<R>) -> R {
    for _ in 0..4_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: {what}");
}

#[tokio::test]
async fn what_one_announces_is_redundant_for_the_other() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    assert_eq!(one.announce("anna").await, Some(Before::Nothing));
    // The settlement follows the answer.
    until("it is dropped", async || two.announce("anna").await.is_none().then_some(())).await;
    assert_eq!(two.announce("ben").await, Some(known(Reach::All)));
}

#[tokio::test]
async fn whom_one_left_out_is_known_to_the_other() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    let [first, second] = [1, 2].map(|number| Socket::of((7, number)));
    one.announce(Said("anna", Some(first))).await;
    until("it is dropped", async || two.announce(Said("anna", Some(first))).await.is_none().then_some(())).await;
    assert_eq!(two.announce(Said("anna", Some(second))).await, Some(known(Reach::AllBut(first))));
    until("all have had it", async || one.announce("anna").await.is_none().then_some(())).await;
}

#[tokio::test]
async fn who_subscribes_is_known_to_all_a_little_later() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    one.shared.joined(0, "room");
    one.announce("anna").await;
    until("it is dropped", async || two.announce("anna").await.is_none().then_some(())).await;
    one.shared.joined(0, "another room");
    for _ in 0..3 {
        one.shared.joined(0, "room");
    }
    let goes_on = Some(known(Reach::NotAll));
    until("it goes on", async || (two.announce("anna").await == goes_on).then_some(())).await;
    until("it is dropped again", async || one.announce("anna").await.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_settlement_reads_a_channel_that_has_changed_since_it_was_claimed() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    let conflicts = || one.shared.app.store.conflicts();
    assert_eq!(one.announce("anna").await, Some(Before::Nothing));
    until("it is dropped", async || two.announce("anna").await.is_none().then_some(())).await;
    assert_eq!(conflicts(), 0, "nobody has changed it");
    let Decided::Sent(_, first) = one.decide("ben").await else { panic!("anna was known") };
    let Decided::Sent(before, second) = two.decide("eva").await else { panic!("ben is in flight") };
    assert_eq!(before, Before::Uncertain(Uncertainty::InFlight));
    first.expect("a member has tickets").settle(Outcome::Accepted);
    until("it was read", async || (conflicts() == 1).then_some(())).await;
    second.expect("a member has tickets").settle(Outcome::Accepted);
    until("both are settled", async || (one.announce("ben").await == Some(Before::Nothing)).then_some(())).await;
}

#[tokio::test]
async fn a_settlement_in_a_later_membership_finds_its_ticket_gone() {
    let server = Server::start();
    let one = Process::join(&server, "a").await;
    one.close_history().await;
    let Decided::Sent(_, tickets) = one.decide("anna").await else { panic!("nothing was known") };
    let (member, rules) = (one.shared.app.store.member(), one.shared.fingerprint.clone());
    let before = member.tenure().expect("a member").number;
    // By other rules, and by the same again.
    member.set_rules(&"others".into());
    member.set_rules(&rules);
    until("it has entered again", async || member.tenure().filter(|tenure| tenure.number > before)).await;
    one.until_doubt_is_over().await;
    tickets.expect("a member has tickets").settle(Outcome::Accepted);
    one.until_read("the app is in doubt", |read| !read.doubt_left.is_zero()).await;
}

#[tokio::test]
async fn what_came_another_way_is_doubted_for_all_unless_a_member_explains_it() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    let [anna, ben] = ["anna", "ben"].map(|name| Assignment::new(0, name, []));
    let doubts = async |said: &Assignment| two.shared.doubt_beside(0, "room", Some(said)).await.unwrap();
    one.announce("anna").await;
    until("it is dropped", async || two.announce("anna").await.is_none().then_some(())).await;
    assert!(!doubts(&anna).await, "the other member has forwarded it");
    assert!(!doubts(&ben).await, "it may have been known a moment ago");
    until("what was known before is not delivered any more", async || doubts(&ben).await.then_some(())).await;
    assert_eq!(one.announce("anna").await, Some(Before::Uncertain(Uncertainty::InDoubt)));
    assert!(!doubts(&ben).await, "the channel is in doubt already");
}

#[tokio::test]
async fn while_the_app_is_open_nothing_is_dropped_and_nothing_becomes_known() {
    let server = Server::start();
    let one = Process::join(&server, "a").await;
    for _ in 0..3 {
        assert_eq!(one.announce("anna").await, Some(Before::Uncertain(Uncertainty::Open)));
    }
    one.close_history().await;
    assert_eq!(one.announce("anna").await, Some(Before::Nothing));
}

#[tokio::test]
async fn what_was_read_or_claimed_in_an_earlier_membership_is_asked_for_again() {
    let mut server = Server::start();
    let one = Process::join(&server, "a").await;
    one.close_history().await;
    let (read, held) = (one.carried("anna", 1).await, one.carried("anna", 2).await);
    server.restart();
    let before = one.shared.app.store.member().tenure();
    until("it has entered again", async || {
        let tenure = one.shared.app.store.member().tenure();
        tenure.filter(|tenure| before.as_ref().is_none_or(|before| before.number != tenure.number))
    })
    .await;
    for carried in [read, held] {
        let prepared = one.claims(carried).prepare([(0, "room")].into_iter(), false);
        assert!(matches!(prepared, Prepared::Wait(_)), "it goes on with what it has learned before");
    }
}

#[tokio::test]
async fn what_was_read_justifies_no_drop_once_the_lease_is_over() {
    let mut server = Server::start();
    let one = Process::join(&server, "a").await;
    one.close_history().await;
    one.announce("anna").await;
    until("it is known", async || one.announce("anna").await.is_none().then_some(())).await;
    let at_once = one.step("anna", one.carried("anna", 1).await);
    assert!(matches!(at_once, Ok(Decided::Dropped)), "under the lease it is dropped: {at_once:?}");
    let read = one.carried("anna", 1).await;
    server.kill();
    let member = one.shared.app.store.member();
    until("its lease is over", async || (member.standing() != Standing::Member).then_some(())).await;
    let late = one.step("anna", read);
    assert!(!matches!(late, Ok(Decided::Dropped)), "the others may have announced something else since");
}

#[tokio::test]
async fn a_settlement_that_finds_its_ticket_gone_puts_the_app_in_doubt() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    let Decided::Sent(_, tickets) = one.decide("anna").await else { panic!("nothing was known") };
    server.command(&["FLUSHALL"]);
    two.until_member().await;
    two.close_history().await;
    two.announce("ben").await;
    until("it is known", async || two.announce("ben").await.is_none().then_some(())).await;
    one.until_member().await;
    tickets.expect("a member has tickets").settle(Outcome::Accepted);
    until("the app is in doubt", async || {
        (two.announce("ben").await == Some(Before::Uncertain(Uncertainty::AppInDoubt))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_has_lost_the_store_waits_and_then_forwards_without_a_ticket() {
    let mut server = Server::start();
    let one = Process::join(&server, "a").await;
    one.close_history().await;
    one.announce("anna").await;
    until("it is known", async || one.announce("anna").await.is_none().then_some(())).await;
    server.kill();
    let member = one.shared.app.store.member();
    until("its lease is over", async || (member.standing() == Standing::Silent).then_some(())).await;
    assert!(one.step("anna", Carried::default()).is_err() || member.standing() != Standing::Silent, "it does not wait");
    let decided = one.decide("anna").await;
    let unreached = Before::Uncertain(Uncertainty::Unreached);
    assert!(matches!(&decided, Decided::Sent(before, None) if *before == unreached), "{decided:?}");
    assert_eq!(member.standing(), Standing::Blind);
}

#[tokio::test]
async fn while_one_may_touch_any_channel_and_after_it_nothing_is_known() {
    let server = Server::start();
    let (one, two) = (Process::join(&server, "a").await, Process::join(&server, "b").await);
    one.close_history().await;
    one.announce("anna").await;
    until("it is known", async || two.announce("anna").await.is_none().then_some(())).await;
    let tickets = one.claim_all().await;
    assert_eq!(two.announce("anna").await, Some(Before::Uncertain(Uncertainty::AppInFlight)));
    tickets.settle(Outcome::Accepted);
    until("it is settled", async || (two.announce("ben").await == Some(Before::Nothing)).then_some(())).await;
}

#[tokio::test]
async fn beside_a_member_that_decides_otherwise_nothing_is_dropped() {
    let server = Server::start();
    let one = Process::join(&server, "a").await;
    one.close_history().await;
    one.announce("anna").await;
    until("it is known", async || one.announce("anna").await.is_none().then_some(())).await;
    let rule = RuleSettings { definition: [8; 32], ..rule() };
    let odd = Process::outside(Part { rule, ..Part::of(&server) }, "b");
    odd.until_member().await;
    // Also once the doubt is over with which the app has opened.
    for process in [&one, &odd] {
        for _ in 0..3 {
            assert_eq!(process.announce("anna").await, Some(Before::Uncertain(Uncertainty::Open)));
        }
        process.until_doubt_is_over().await;
    }
}

#[tokio::test]
async fn before_it_has_entered_a_process_forwards_no_announcement() {
    let server = Server::start();
    let link = LinkOptions { servers: Servers::One(nobody()), ..server.options() };
    let process = Process::outside(Part { link, ..Part::of(&server) }, "a");
    assert!(process.step("anna", Carried::default()).is_err(), "it waits");
    assert!(matches!(process.claims(Carried::default()).prepare(std::iter::empty(), true), Prepared::Wait(_)));
    let unwatched = process.claims(Carried::default()).prepare(std::iter::empty(), false);
    assert!(matches!(unwatched, Prepared::Ready), "what no rule watches need not: {unwatched:?}");
    let link = LinkOptions { servers: Servers::One(nobody()), ..server.options() };
    let process = Process::outside(Part { link, isolated: Isolated::Refuse, ..Part::of(&server) }, "b");
    let unwatched = process.claims(Carried::default()).prepare(std::iter::empty(), false);
    assert!(matches!(unwatched, Prepared::Wait(_)), "others may decide on it by their rules: {unwatched:?}");
}

#[tokio::test]
async fn a_process_that_was_away_for_so_long_that_it_is_given_up_refuses_if_it_is_to() {
    let mut server = Server::start();
    let terms = Terms { lease: Duration::from_secs(2), member_timeout: Duration::from_secs(5), ..TERMS };
    let part = Part { terms, isolated: Isolated::Refuse, ..Part::of(&server) };
    let link = LinkOptions { timeout: Duration::from_millis(500), ..part.link };
    let process = Process::outside(Part { link, ..part }, "a");
    process.until_member().await;
    server.kill();
    let member = process.shared.app.store.member();
    until("it is isolated", async || (member.standing() == Standing::Isolated).then_some(())).await;
    for named in [vec![(0, "room")], Vec::new()] {
        let prepared = process.claims(Carried::default()).prepare(named.into_iter(), false);
        assert!(matches!(prepared, Prepared::Denied(Denied::Isolated)), "{prepared:?}");
    }
}

#[test]
fn whoever_decides_otherwise_has_another_fingerprint() {
    let bounds = |doubt_period| Bounds {
        max_channels: 10,
        max_waiters_per_channel: 1,
        max_waiters: 1,
        doubt_period,
        start_doubt: Duration::ZERO,
    };
    let context = |doubt_period| MemoryContext::new(Clock::start(), Arc::new(bounds(doubt_period)));
    let (context, longer) = (context(DOUBT), context(DOUBT * 2));
    let other = RuleSettings { definition: [8; 32], ..rule() };
    let renamed = RuleSettings { rule: "left".into(), ..rule() };
    let longer_remembered = RuleSettings { remember_for: Duration::from_mins(2), ..rule() };
    let same = fingerprint(&[&rule(), &other], &context);
    assert_eq!(fingerprint(&[&longer_remembered, &other], &context), same);
    let others = [
        fingerprint(&[&rule(), &other], &longer),
        fingerprint(&[&other, &rule()], &context),
        fingerprint(&[&rule(), &rule()], &context),
        fingerprint(&[&renamed, &other], &context),
        fingerprint(&[&rule()], &context),
    ];
    assert!(others.iter().all(|fingerprint| *fingerprint != same), "{others:?}");
}
