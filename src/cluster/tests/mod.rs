//! Tests with a real server, which each of them starts on a port of its own.

mod clock;
mod greeting;
mod inspecting;
mod keeping;
mod link;
mod login;
mod membership;
mod nodes;
mod secure;
mod sentinels;
pub(crate) mod server;
mod surveying;
mod swapping;

use std::time::Duration;

use self::server::Server;
use super::{
    Action, Answer, AppKeys, Client, Entered, Link, LinkOptions, Read, Swap, Swapped, SwitchedModes, Tenure, Terms, Why,
};
use crate::shutdown::Tasks;

/// Short ones, since the tests wait for them.
const TERMS: Terms = Terms {
    lease: Duration::from_millis(400),
    member_timeout: Duration::from_millis(1_500),
    doubt_period: Duration::from_millis(300),
    replicas: 0,
    exchange: Duration::ZERO,
};

/// A lease that does not end during a test.
const LONG: Terms = Terms { lease: Duration::from_secs(60), member_timeout: Duration::from_secs(600), ..TERMS };

const RULES: &str = "rules";

/// How long a channel is remembered.
const REMEMBERED: Duration = Duration::from_mins(1);

fn keys() -> AppKeys {
    AppKeys::new("usher", "1001")
}

/// A node with its client and its membership.
struct Node {
    client: Client,
    tenure: Tenure,
}

impl Node {
    /// A process that has not entered.
    async fn new(server: &Server, node: &str, terms: Terms) -> Self {
        let link = Link::new(server.options(), &Tasks::default());
        assert!(link.connected().await);
        Self::on(link, node, terms)
    }

    /// The same on a link.
    fn on(link: Link, node: &str, terms: Terms) -> Self {
        let tenure = Tenure { generation: super::Tokens::default().text(), ..Tenure::default() };
        Self { client: Client::new(link, node.to_owned(), terms), tenure }
    }

    /// A process that has entered without having sent anything.
    async fn entered(server: &Server, node: &str, terms: Terms) -> Self {
        let mut node = Self::new(server, node, terms).await;
        node.enter(true, RULES).await;
        node
    }

    async fn change(&self, action: Action<'_>) -> Answer<Entered> {
        self.change_by(u64::MAX >> 12, action).await
    }

    async fn change_by(&self, by: u64, action: Action<'_>) -> Answer<Entered> {
        self.client.change(&keys(), &self.tenure, by, action, &SwitchedModes::default()).await.expect("an answer")
    }

    /// What counts once the store knows that the process knows `switched`.
    async fn switch(&self, switched: &SwitchedModes) -> SwitchedModes {
        let answer = self.client.change(&keys(), &self.tenure, u64::MAX >> 12, Action::Switch, switched).await;
        done(answer.expect("an answer")).switched
    }

    async fn enter(&mut self, is_fresh: bool, rules: &str) -> Entered {
        self.enter_as(Action::Enter { is_fresh, rules, has_stepped: false }).await
    }

    async fn enter_as(&mut self, action: Action<'_>) -> Entered {
        let entered = done(self.change(action).await);
        self.tenure.history.clone_from(&entered.history);
        entered
    }

    async fn ask(&self, channels: &[&str]) -> Answer<Read> {
        let named = |channel: &&str| (keys().channel("joined", channel), REMEMBERED);
        let channels: Vec<_> = channels.iter().map(named).collect();
        self.client.read(&keys(), &self.tenure, &channels).await.expect("an answer")
    }

    async fn read(&self, channels: &[&str]) -> Read {
        done(self.ask(channels).await)
    }

    async fn swap(&self, swap: Swap) -> Answer<Swapped> {
        self.client.swap(&keys(), &self.tenure, swap).await.expect("an answer")
    }

    /// Reads until a condition is met.
    async fn until(&self, what: &str, condition: impl Fn(&Read) -> bool) -> Read {
        for _ in 0..2_000 {
            let read = self.read(&[]).await;
            if condition(&read) {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}");
    }
}

/// Begins a history and closes it, by nodes whose terms let that end at once. No member is left.
async fn close_history(server: &Server) {
    let at_once = Terms { member_timeout: Duration::ZERO, ..LONG };
    Node::entered(server, "first", Terms { lease: Duration::from_millis(1), ..at_once }).await;
    let second = Node::entered(server, "second", at_once).await;
    second.until("the history closes", |read| read.open.is_none()).await;
    done(second.change(Action::Leave).await);
}

fn done<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Answer::Done(done) => done,
        Answer::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Answer<T>, why: Why) {
    match answer {
        Answer::Refused(refusal) => {
            assert_eq!(refusal.why, why);
            assert!(refusal.now > 1_700_000_000_000 && refusal.history.len() == 40, "{refusal:?}");
        }
        Answer::Done(done) => panic!("{why:?} was expected: {done:?}"),
    }
}
