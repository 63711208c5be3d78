//! A membership that is kept at a real server.

use std::sync::Arc;

use super::*;
use crate::cluster::{Member, Standing};

/// A lease that a busy machine renews in time.
const KEPT: Terms = Terms { lease: Duration::from_secs(2), member_timeout: Duration::from_secs(6), ..TERMS };

fn rules() -> Arc<str> {
    RULES.into()
}

/// A member, and the tasks that keep it.
struct Kept {
    member: Arc<Member>,
    tasks: Tasks,
}

impl Kept {
    fn new(server: &Server, node: &str, terms: Terms) -> Self {
        let tasks = Tasks::default();
        let link = Link::new(LinkOptions { timeout: Duration::from_millis(500), ..server.options() }, &tasks);
        let client = Client::new(link, node.to_owned(), terms);
        let member = Arc::new(Member::new(client, keys(), rules(), true));
        let keeping = Arc::clone(&member);
        tasks.spawn(async move { keeping.keep().await });
        Self { member, tasks }
    }

    async fn until(&self, standing: Standing) {
        for _ in 0..6_000 {
            if self.member.standing() == standing {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{standing:?} was expected: {:?}", self.member.standing());
    }
}

#[tokio::test]
async fn a_node_enters_goes_blind_without_a_server_is_isolated_and_comes_back() {
    let mut server = Server::start();
    let kept = Kept::new(&server, "a", KEPT);
    let is_fenced = || kept.member.position(RULES).is_fenced;
    assert!(kept.member.standing() == Standing::Outside && is_fenced());
    kept.until(Standing::Member).await;
    let before = kept.member.tenure().expect("a member");
    server.kill();
    kept.until(Standing::Silent).await;
    kept.until(Standing::Blind).await;
    assert!(!is_fenced());
    kept.until(Standing::Isolated).await;
    assert!(is_fenced());
    server.restart();
    kept.until(Standing::Member).await;
    let back = kept.member.tenure().expect("a member");
    assert!(
        back.history != before.history && back.number > before.number && back.generation != before.generation,
        "another history, and what was held is claimed again: {back:?}"
    );
    assert!(kept.tasks.running() > 0);
}

#[tokio::test]
async fn a_node_whose_data_is_lost_enters_again_and_two_nodes_see_each_other() {
    let server = Server::start();
    let (first, second) = (Kept::new(&server, "a", KEPT), Kept::new(&server, "b", KEPT));
    first.until(Standing::Member).await;
    second.until(Standing::Member).await;
    server.command(&["FLUSHALL"]);
    let observer = Node::entered(&server, "observer", LONG).await;
    observer.until("both have entered again", |read| read.members.len() == 3).await;
}

#[tokio::test]
async fn without_its_replica_a_lease_does_not_count() {
    let server = Server::start();
    let kept = Kept::new(&server, "a", Terms { replicas: 1, ..KEPT });
    let mut observer = Node::new(&server, "observer", Terms { replicas: 1, ..LONG }).await;
    observer.enter(true, RULES).await;
    observer.until("it has entered", |read| read.members.len() == 2).await;
    assert_eq!(kept.member.standing(), Standing::Outside);
    let replica = Server::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    kept.until(Standing::Member).await;
}

#[tokio::test]
async fn a_node_whose_rules_change_enters_again_and_is_no_member_until_then() {
    let server = Server::start();
    let kept = Kept::new(&server, "a", KEPT);
    kept.until(Standing::Member).await;
    let before = kept.member.tenure().expect("a member");
    let others: Arc<str> = "others".into();
    kept.member.set_rules(&others);
    assert_eq!(kept.member.position("others").standing, Standing::Silent);
    kept.until(Standing::Member).await;
    let after = kept.member.tenure().expect("a member");
    assert!(after.number > before.number && after.history == before.history, "{after:?}");
    assert_eq!(kept.member.position("others").standing, Standing::Member);
    assert_eq!(kept.member.position(RULES).standing, Standing::Silent, "who decides by the old ones does not claim");
    assert!(
        !kept.member.saw(&before, Duration::ZERO, 0, Some(Why::Unknown)),
        "an answer under the old membership ends nothing"
    );
    assert_eq!(kept.member.standing(), Standing::Member);
}

#[tokio::test]
async fn of_two_processes_with_one_name_the_later_one_stays_and_the_other_never_enters_again() {
    let server = Server::start();
    let first = Kept::new(&server, "a", KEPT);
    first.until(Standing::Member).await;
    let second = Kept::new(&server, "a", KEPT);
    second.until(Standing::Member).await;
    first.until(Standing::Replaced).await;
    let generation = second.member.tenure().expect("a member").generation;
    tokio::time::sleep(KEPT.lease).await;
    assert_eq!(first.member.standing(), Standing::Replaced);
    assert_eq!(second.member.tenure().expect("a member").generation, generation, "nobody takes its place");
}
