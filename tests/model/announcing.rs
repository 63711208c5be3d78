//! Announcements: claimed or forwarded blind, on their way, applied, settled.

use super::state::*;

impl Model {
    pub fn announce(&self, st: &State, out: &mut Vec<(String, State)>, drops: &mut Vec<(usize, Val)>) {
        if st.left.requests == 0 {
            return;
        }
        let ids =
            st.flights.iter().map(|f| f.id).chain(st.servers.iter().flat_map(|s| s.data.tickets.iter().map(|t| t.id)));
        let id = 1 + ids.max().unwrap_or(0);
        for n in 0..self.nodes {
            for v in 0..2 {
                // The first one announced is called A.
                if v == 1 && st.left.requests == self.bounds.requests {
                    continue;
                }
                let node = st.nodes[n];
                let mut one = st.clone();
                one.left.requests -= 1;
                let untracked = Flight { id, node: n as u8, value: v, stage: Stage::Sent, tracked: false, covered: 0 };
                if node.odd {
                    if !node.fenced || (!node.fresh && self.is("oddfenced")) {
                        one.flights.push(untracked);
                        out.push((format!("odd{n}{v}"), one));
                    }
                } else if node.lease {
                    for at in 0..2 {
                        self.claim(&one, at, &untracked, out, drops);
                    }
                } else if self.may_send(st, n) {
                    one.flights.push(untracked);
                    out.push((format!("blind{n}{v}"), one));
                }
            }
        }
    }

    /// A node with a lease asks this server, and drops the announcement or takes a ticket. `flight`: the announcement
    /// without one.
    fn claim(
        &self,
        st: &State,
        at: usize,
        flight: &Flight,
        out: &mut Vec<(String, State)>,
        drops: &mut Vec<(usize, Val)>,
    ) {
        let (n, v, id) = (usize::from(flight.node), flight.value, flight.id);
        let (node, server) = (st.nodes[n], &st.servers[at]);
        let stale = self.is("norole")
            && server.role == Role::Replica
            && server.data.history == node.history
            && server.replid == node.history;
        if !self.accepts(st, at, n) && !stale {
            return;
        }
        let s = &server.data;
        if s.newest && !node.newer {
            // It cannot read the channel, and must not write it.
            let mut one = st.clone();
            one.flights.push(flight.clone());
            out.push((format!("older{n}{v}"), one));
            return;
        }
        let open = self.open(s);
        if s.known == Some(v) && !s.doubt && (!open || self.is("notopen")) {
            drops.push((n, v));
            out.push((format!("drop{n}{v}"), st.clone()));
            return;
        }
        let unsure = open || s.doubt;
        // One that waits for an equal one is the same as one that arrives later.
        if stale || (!unsure && s.tickets.iter().any(|t| t.value == v)) {
            return;
        }
        let mut one = st.clone();
        let s = &mut one.servers[at].data;
        let overlapped = unsure || !s.tickets.is_empty();
        let contested = unsure || s.tickets.iter().any(|t| t.value != v);
        for t in &mut s.tickets {
            t.overlapped = true;
            t.contested |= t.value != v;
        }
        let before = if unsure { None } else { s.known };
        s.known = None;
        s.newest |= node.newer;
        s.tickets.push(Ticket { id, node: flight.node, value: v, before, overlapped, contested, current: true });
        let mut lost = one.clone();
        lost.nodes[n].lease = false;
        out.push((format!("claimlost{n}{v}"), lost));
        one.flights.push(Flight { stage: Stage::Held, tracked: true, ..flight.clone() });
        out.push((format!("claim{n}{v}"), one));
    }

    pub fn fly(&self, st: &State, out: &mut Vec<(String, State)>) {
        for k in 0..st.flights.len() {
            let f = &st.flights[k];
            let n = f.node as usize;
            let home = if f.tracked && st.nodes[n].lease { (0..2).find(|at| self.accepts(st, *at, n)) } else { None };
            let mut rest = st.clone();
            rest.flights.remove(k);
            let with = |outcome: &str, late: Option<(Val, u8)>| {
                let mut s = rest.clone();
                s.late.extend(late);
                if let Some(at) = home {
                    self.settle(&mut s, at, n, f.id, outcome);
                }
                s
            };
            match f.stage {
                Stage::Held => {
                    if self.may_send(st, n) || self.is("nocheck") {
                        let mut s = st.clone();
                        s.flights[k].stage = Stage::Sent;
                        // A doubt in which a place was taken outlasts the lease of the process before, and what that
                        // one sends.
                        if st.nodes[n].place == Place::Taken && !self.is("shorttaking") {
                            s.flights[k].covered = 3;
                        }
                        out.push((format!("send{n}{}", f.value), s));
                    }
                    out.push((format!("giveup{n}{}", f.value), with("refused", None)));
                }
                Stage::Sent => {
                    let mut s = st.clone();
                    s.flights[k].stage = Stage::Applied;
                    s.flights[k].covered = 0;
                    s.up = Some(f.value);
                    out.push((format!("apply{n}{}", f.value), s));
                    out.push((format!("refused{n}{}", f.value), with("refused", None)));
                    out.push((format!("ambiguous{n}{}", f.value), with("ambiguous", None)));
                    out.push((format!("amblate{n}{}", f.value), with("ambiguous", Some((f.value, f.covered)))));
                }
                Stage::Applied => {
                    out.push((format!("accepted{n}{}", f.value), with("accepted", None)));
                    if home.is_some() {
                        out.push((format!("setlost{n}{}", f.value), rest.clone()));
                    }
                    out.push((format!("ambapplied{n}{}", f.value), with("ambiguous", None)));
                }
            }
        }
        for k in 0..st.late.len() {
            let mut s = st.clone();
            let (v, _) = s.late.remove(k);
            s.up = Some(v);
            out.push((format!("late{v}"), s));
        }
        for at in 0..2 {
            let s = &st.servers[at];
            let tracked = |f: &Flight| f.tracked && s.data.tickets.iter().any(|t| t.id == f.id && t.node == f.node);
            let pending = st.late.iter().any(|l| l.1 >> at & 1 == 1)
                || st.flights.iter().any(|f| f.covered >> at & 1 == 1 && !tracked(f));
            let pending =
                pending || (st.nodes.iter().any(|n| n.place == Place::Taken && n.lease) && !self.is("shorttaking"));
            if s.role == Role::Primary && s.data.doubt && !pending {
                let mut s = st.clone();
                s.servers[at].data.doubt = false;
                out.push((format!("doubtover{at}"), s));
            }
        }
    }
}
