//! All that can happen to one channel that two or three gateways watch and whose memory they share in one store: an
//! exhaustive model of the rules by which they keep the first law.
//!
//! Values A and B. Two servers: the primary and its replica, which lags (`lone`: one server and its file). Nodes may
//! lose the store, forward blind, come back, be given up. Checked: an announcement of x is dropped only while x is the
//! last value applied upstream and nothing else can still be applied.
//!
//! ```sh
//! rustc -O --edition 2024 tests/model/cluster.rs -o /tmp/cluster
//! /tmp/cluster REQUESTS LOSSES FAILOVERS [BOUND=N ...] [lone] [twins] [deep] [RULE[+RULE]]
//! ```
//!
//! A RULE is left out; `RULES` has them, with arguments at which the handoff that is lost then is found. Each bound is
//! 0 unless given (nodes: 2):
//!
//! - `failovers`: promotions of a replica, one after another, also of one that holds old data because it never followed
//!   the new primary; lone: restarts from the file.
//! - `splits`: promotions that leave the old primary in service, with its data and its identity, for whoever enters
//!   there.
//! - `asks`: entries and renewals whose sending, running and answering are three steps, any of which may come late or
//!   never.
//! - `changes`: clean leaves and restarts of a node, with the same rules or others (an odd node takes no announcement
//!   for one).
//! - `upgrades`: the same with another version of the records. All begin with the newer one; an older one forwards what
//!   a newer one has written.
//! - `steps`: steps of the primary's clock, back or ahead, by more than any time that is counted. Not with `asks`.
//! - `nodes`: 3 instead of 2.
//!
//! `twins`: the two nodes are processes of one name, of which the first is a member. That is against the rules of
//! operation; it is safe as long as both reach the store. `deep` searches depth first and takes nodes for one another:
//! fewer states and less memory, traces that are hard to read.
//!
//! A failover may come while leases last: that they are shorter than its detection is not assumed. A node's lease and
//! the server's end apart; the server's never before the node's, unless its clock steps. Time is only an order. Not
//! modelled: a claim that changes between its reading and its swap; a third server; `cluster.isolated = "forward"`; whom
//! an announcement has reached, which is part of a channel's record (`assignment::machine`'s walk has it).
//!
//! Nothing is lost (all `deep`; states in millions): 3 1 1 (5.9), 3 2 1 (21), 4 2 0 (12); 3 0 2 splits=1 (93), 3 1 1
//! splits=1 (26), 3 0 1 splits=1 asks=1 (37), 3 0 1 splits=1 changes=1 (38), 3 1 0 asks=1 changes=1 (8.0), 3 0 1
//! nodes=3 (2.6), 3 1 0 nodes=3 (0.26); lone: 3 0 2 (18), 3 0 1 changes=1 (10); 3 0 0 upgrades=2 (0.4), 3 0 0
//! twins (0.02).
//! `cargo test --test model` plays small bounds; `tests/long 1 model` those of all rules, and leaves each rule out.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the developer")]
#![expect(clippy::cast_possible_truncation, reason = "all numbers are small")]
#![expect(unreachable_pub, reason = "one program: nothing in it is public")]

mod announcing;
mod failing;
mod membership;
mod plain;
mod state;
mod store;

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use state::*;

/// The rules that can be left out, with arguments at which that is found. Those of an empty text are guarded by others:
/// `unwary` by what the record keeps, `hearsay` by `quickclose`, `nocontest` by `noepoch`, `quiethistory` by the
/// entry's own epoch, `anyhistory` by what is open by time.
const RULES: &[(&str, &str)] = &[
    ("noepoch", "3 1 0"),
    ("nodoubt", "3 1 0"),
    ("notopen", "3 1 0"),
    ("hasty", "3 1 0"),
    ("nofence", "3 1 0"),
    ("nocheck", "3 1 0"),
    ("quietreturn", "3 1 0"),
    ("keepheld", "3 1 0"),
    ("giveupearly", "3 1 0"),
    ("quietgivenup", "3 1 0"),
    ("norole", "3 0 1"),
    ("noreplid", "3 0 1"),
    ("nowait", "3 0 1 splits=1"),
    // There is no time by which a request must run.
    ("laterenewal", "3 1 0 asks=1"),
    ("lateentry", "3 1 0 asks=1"),
    // It forwards while its entry is on its way.
    ("blindentering", "3 1 0 asks=1"),
    // It reckons only with renewals that counted.
    ("uncounted", "3 1 0 asks=1"),
    // Members with different rules suppress.
    ("rulesdiffer", "3 0 0 changes=1"),
    // It forwards before it has entered.
    ("unentered", "3 0 0 changes=1"),
    // No new epoch begins when the rules in use change.
    ("quietrules", "3 0 0 changes=2"),
    // Fenced, it forwards what is no announcement by its own rules.
    ("oddfenced", "3 1 0 changes=1"),
    // A new history is not open by time.
    ("quickclose", "3 0 1 lone changes=1"),
    // No new epoch begins when a new history is not open any more.
    ("quietsettled", "3 0 1 lone changes=1"),
    // A new history is open for the time-out of a member only, and not for a lease before: one that it does not name
    // may hold a lease that began just before.
    ("shortopen", "3 0 1 lone changes=1"),
    // Members that write different versions suppress.
    ("versionsdiffer", "3 0 0 upgrades=1"),
    // No new epoch begins when the versions in use change.
    ("quietversions", "3 0 0 upgrades=2"),
    // A process whose place another one has taken goes on as one that has lost the store.
    ("reenters", "3 0 0 twins"),
    // The doubt in which a place is taken does not outlast the lease of the process before.
    ("shorttaking", "3 0 0 twins"),
    // The record does not keep the time of the last script, so that only nodes notice a clock that was set back: a
    // process that has just started does not.
    ("unseen", "3 1 0 steps=1 changes=1"),
    // Time in which no script ran counts towards giving a member up.
    ("unwatched", "3 1 0 steps=1 changes=1"),
    // A node does not look at the server's time in each answer.
    ("unwary+unseen", "3 1 0 steps=1"),
    ("unwary", ""),
    ("hearsay", ""),
    ("nocontest", ""),
    ("quiethistory", ""),
    ("anyhistory", ""),
];

/// The model of these arguments: see the top of the file.
fn model(args: &[&str]) -> Model {
    let bounds = Bounds { requests: 3, losses: 1, failovers: 1, splits: 0, asks: 0, changes: 0, upgrades: 0, steps: 0 };
    let mut model = Model { left_out: String::new(), nodes: 2, lone: false, deep: false, twins: false, bounds };
    for (i, arg) in args.iter().enumerate() {
        let (name, value) = arg
            .split_once('=')
            .unwrap_or_else(|| (["requests", "losses", "failovers"].get(i).copied().unwrap_or(arg), arg));
        let number = || value.parse().unwrap();
        match name {
            "requests" => model.bounds.requests = number(),
            "losses" => model.bounds.losses = number(),
            "failovers" => model.bounds.failovers = number(),
            "splits" => model.bounds.splits = number(),
            "asks" => model.bounds.asks = number(),
            "changes" => model.bounds.changes = number(),
            "upgrades" => model.bounds.upgrades = number(),
            "steps" => model.bounds.steps = number(),
            "nodes" => model.nodes = number().into(),
            "twins" => model.twins = true,
            "lone" => model.lone = true,
            "deep" => model.deep = true,
            _ => {
                let is_rule = |name| RULES.iter().any(|(rule, _)| *rule == name);
                assert!(name.split('+').all(is_rule), "there is no rule {name}");
                model.left_out = name.to_owned();
            }
        }
    }
    assert!(model.bounds.steps == 0 || model.bounds.asks == 0, "steps and asks exclude each other");
    model
}

impl Model {
    fn steps(&self, st: &State, out: &mut Vec<(String, State)>, drops: &mut Vec<(usize, Val)>) {
        self.announce(st, out, drops);
        self.fly(st, out);
        for n in 0..self.nodes {
            self.membership(st, n, out);
        }
        if self.bounds.asks > 0 {
            for n in 0..self.nodes {
                self.ask(st, n, out);
            }
        }
        if st.left.changes + st.left.upgrades > 0 {
            for n in 0..self.nodes {
                self.change(st, n, out);
            }
        }
        self.fail(st, out);
        if st.left.steps > 0 {
            for at in 0..2 {
                self.step(st, at, out);
            }
        }
    }

    /// All are members; of two processes of one name the first.
    fn start(&self) -> State {
        let mut store = empty();
        let newer = self.bounds.upgrades > 0;
        (store.newer, store.rules) = ([newer; NODES], if newer { 4 } else { 1 });
        for n in 0..self.nodes {
            store.members[n] = if self.twins && n == 1 { Member::Out } else { Member::In };
        }
        let member = Node {
            lease: true,
            fenced: false,
            fresh: false,
            odd: false,
            newer,
            wary: false,
            place: Place::Own,
            history: 0,
            ask: Ask::No,
        };
        let mut nodes = [member; NODES];
        if self.twins {
            nodes[1] = Node { lease: false, fenced: true, fresh: true, ..member };
        }
        let server = |role| Server { role, replid: 0, data: store.clone() };
        let state = State {
            up: None,
            late: vec![],
            servers: [server(Role::Primary), server(Role::Replica)],
            nodes,
            flights: vec![],
            left: self.bounds,
        };
        self.plain(state)
    }

    /// Whether a drop of an announcement of `value` loses a handoff: guests see something else, or will.
    fn is_lost(state: &State, value: Val) -> bool {
        let mut pending = state
            .flights
            .iter()
            .filter(|f| f.stage == Stage::Sent)
            .map(|f| f.value)
            .chain(state.late.iter().map(|l| l.0));
        state.up != Some(value) || pending.any(|other| other != value)
    }

    /// Looks at all states. Returns how many states and how many drops there are, or the first lost handoff.
    fn search(&self) -> Result<(usize, u64), String> {
        let start = self.start();
        let mut index: HashSet<u64> = HashSet::new();
        let print = |s: &State| {
            let mut h = DefaultHasher::new();
            s.hash(&mut h);
            h.finish()
        };
        // How each state was reached first: from which one, and by what.
        let mut came: Vec<(u32, [u8; 12])> = vec![(0, [0; 12])];
        let name = |step: &str| {
            let mut name = [b' '; 12];
            name.iter_mut().zip(step.bytes()).for_each(|(to, byte)| *to = byte);
            name
        };
        index.insert(print(&start));
        let mut todo = VecDeque::from([(start, 0u32)]);
        let (mut out, mut drops, mut count) = (vec![], vec![], 0u64);
        while let Some((state, at)) = if self.deep { todo.pop_back() } else { todo.pop_front() } {
            out.clear();
            drops.clear();
            self.steps(&state, &mut out, &mut drops);
            for (node, value) in &drops {
                count += 1;
                if Self::is_lost(&state, *value) {
                    let mut path = vec![format!("DROP{node}{value}")];
                    let mut reached = at as usize;
                    while reached != 0 {
                        let (before, step) = &came[reached];
                        path.push(String::from_utf8_lossy(step).trim().to_string());
                        reached = *before as usize;
                    }
                    path.reverse();
                    return Err(format!("lost after {} states: {}", index.len(), path.join(" ")));
                }
            }
            for (step, next) in out.drain(..) {
                let next = self.plain(next);
                if index.insert(print(&next)) {
                    todo.push_back((next, u32::try_from(came.len()).unwrap()));
                    came.push((at, name(&step)));
                }
            }
            if index.len() > 250_000_000 {
                return Err("too many states".into());
            }
        }
        Ok((index.len(), count))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match model(&args).search() {
        Ok((states, drops)) => println!("{args:?}: {states} states, {drops} drops, nothing is lost"),
        Err(lost) => {
            println!("{args:?}: {lost}");
            std::process::exit(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(arguments: &str, left_out: Option<&str>) -> Result<(usize, u64), String> {
        model(&arguments.split(' ').chain(left_out).collect::<Vec<_>>()).search()
    }

    #[test]
    fn nothing_is_lost_within_small_bounds() {
        for arguments in ["2 1 0 deep", "2 0 1 deep", "3 0 0 twins deep"] {
            let (_, drops) = search(arguments, None).unwrap();
            assert!(drops > 0, "{arguments}: nothing is dropped");
        }
    }

    #[test]
    #[ignore = "takes minutes: `tests/long 1 model`"]
    fn nothing_is_lost_and_each_rule_that_is_left_out_is_found() {
        let mut played = HashSet::new();
        for (rule, arguments) in RULES.iter().filter(|(_, arguments)| !arguments.is_empty()) {
            if played.insert(arguments) {
                println!("{arguments}: {:?}", search(&format!("{arguments} deep"), None).unwrap());
            }
            let lost = search(arguments, Some(rule)).expect_err(rule);
            println!("{arguments} {rule}: {lost}");
        }
    }
}
