//! Redis Cluster: an app's link leads to the owner of its slot.

use tokio::time::timeout;

use super::greeting::problem;
use super::*;
use crate::cluster::{Problem, Servers};

const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// Three nodes that know each other and have all slots between them.
fn nodes() -> [Server; 3] {
    let nodes = [(); 3].map(|()| {
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &server::free_port().to_string()])
    });
    for (node, (first, last)) in nodes.iter().zip(SLOTS) {
        node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
    }
    for node in &nodes[1..] {
        let bus = node.command(&["CONFIG", "GET", "cluster-port"]);
        let bus = bus.lines().last().expect("a port").to_owned();
        nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus]);
    }
    for node in &nodes {
        node.await_answer(&["CLUSTER", "INFO"], "cluster_state:ok");
        node.await_answer(&["CLUSTER", "INFO"], "cluster_known_nodes:3");
    }
    nodes
}

fn options(nodes: &[Server; 3], app: &str) -> LinkOptions {
    let servers = Servers::Cluster { nodes: vec![server::nobody(), nodes[0].address()] };
    LinkOptions { servers, key: AppKeys::new("usher", app).members(), ..nodes[0].options() }
}

/// The index of the node with the app's slot, as a node tells it.
fn owner(nodes: &[Server; 3], app: &str) -> (usize, u16) {
    let key = String::from_utf8(AppKeys::new("usher", app).members()).expect("text");
    let answer = nodes[0].command(&["CLUSTER", "KEYSLOT", &key]);
    let slot = answer.trim_start_matches(':').trim().parse().expect("a slot");
    (SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).expect("an owner"), slot)
}

#[tokio::test]
async fn each_app_is_on_the_node_that_owns_its_slot() {
    let nodes = nodes();
    let mut seen = std::collections::HashSet::new();
    for app in 1001..1009 {
        let app = app.to_string();
        let link = Link::new(options(&nodes, &app), &Tasks::default());
        link.tried().await.expect("a connection");
        let (index, _) = owner(&nodes, &app);
        assert_eq!(link.server().expect("a server").0, nodes[index].address());
        let node = Node::on(link, "a", LONG);
        let keys = AppKeys::new("usher", &app);
        let channel = keys.channel("joined", "grand-room-101-chat");
        let enter = Action::Enter { is_fresh: true, rules: RULES, has_stepped: false };
        let entered = node
            .client
            .change(&keys, &node.tenure, u64::MAX >> 12, enter, &SwitchedModes::default())
            .await
            .expect("an answer");
        let tenure = Tenure { history: done(entered).history, ..node.tenure.clone() };
        done(node.client.read(&keys, &tenure, &[(channel, REMEMBERED)]).await.expect("an answer"));
        seen.insert(index);
    }
    assert!(seen.len() > 1, "these apps are on several nodes");
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let nodes = nodes();
    let (from, slot) = owner(&nodes, "1001");
    let to = (from + 1) % 3;
    let link = Link::new(options(&nodes, "1001"), &Tasks::default());
    link.tried().await.expect("a connection");
    let answer = nodes[to].command(&["CLUSTER", "MYID"]);
    let id = answer.lines().last().expect("an id").to_owned();
    for index in [to, from, (from + 2) % 3] {
        nodes[index].command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
    }
    let follow = async {
        while link.server().is_none_or(|(server, _)| server != nodes[to].address()) {
            let (Ok(_) | Err(_)) = link.ask(redis::cmd("EXISTS").arg(keys().members())).await;
            link.connected().await;
        }
    };
    timeout(Duration::from_secs(30), follow).await.expect("the slot is followed");
    link.ask(redis::cmd("EXISTS").arg(keys().members())).await.expect("an answer");
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_told() {
    let node = Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &server::free_port().to_string()]);
    let found = problem(Servers::Cluster { nodes: vec![node.address()] }, |_| {}).await;
    assert!(matches!(found, Problem::NoOwner { .. }) && !found.stays(), "{found:?}");
}
