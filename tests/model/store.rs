//! What a server does with its record, and what a node knows of it.

use super::state::*;

impl Model {
    pub fn is(&self, m: &str) -> bool {
        self.left_out.split('+').any(|one| one == m)
    }

    pub fn open(&self, s: &Store) -> bool {
        let differ = |of: &[bool; NODES]| {
            [false, true].iter().all(|is| (0..NODES).any(|n| s.members[n] != Member::Out && of[n] == *is))
        };
        s.unsettled
            || s.members.contains(&Member::Missing)
            || (differ(&s.odd) && !self.is("rulesdiffer"))
            || (differ(&s.newer) && !self.is("versionsdiffer"))
    }

    /// The rules and versions in use, as bits. Those of the last member stay when it leaves.
    pub fn mask(&self, s: &Store) -> u8 {
        let own = |n: usize| u8::from(s.odd[n]) + 2 * u8::from(s.newer[n] && !self.is("quietversions"));
        let mask = (0..NODES).filter(|n| s.members[*n] != Member::Out).fold(0, |m, n| m | 1 << own(n));
        if mask == 0 { s.rules } else { mask }
    }

    /// A new epoch that begins in doubt. The tickets of `gone` are dropped, the others commit nothing.
    pub fn doubting(&self, st: &mut State, at: usize, gone: Option<usize>) {
        let s = &mut st.servers[at].data;
        s.tickets.retain(|t| Some(t.node as usize) != gone);
        if !self.is("noepoch") {
            s.known = None;
            for t in &mut s.tickets {
                t.before = None;
                t.current = false;
            }
        }
        if !self.is("nocontest") {
            for t in &mut s.tickets {
                t.overlapped = true;
                t.contested = true;
            }
        }
        if !self.is("nodoubt") {
            Self::doubt(st, at);
        }
    }

    /// A doubt lasts longer than anything that was sent before it may take.
    pub fn doubt(st: &mut State, at: usize) {
        st.servers[at].data.doubt = true;
        for f in &mut st.flights {
            if f.stage == Stage::Sent {
                f.covered |= 1 << at;
            }
        }
        for l in &mut st.late {
            l.1 |= 1 << at;
        }
    }

    /// A change of the rules in use is a new epoch in doubt.
    pub fn ruled(&self, st: &mut State, at: usize) {
        let mask = self.mask(&st.servers[at].data);
        if mask != st.servers[at].data.rules {
            st.servers[at].data.rules = mask;
            if !self.is("quietrules") {
                self.doubting(st, at, None);
            }
        }
    }

    /// Whether a script of this node runs on this server.
    pub fn accepts(&self, st: &State, at: usize, n: usize) -> bool {
        let (s, node) = (&st.servers[at], &st.nodes[n]);
        let history = s.data.history == s.replid && (node.history == s.replid || self.is("anyhistory"));
        let stepped = s.data.set_back || (node.wary && !self.is("unwary"));
        s.role == Role::Primary
            && (history || self.is("noreplid"))
            && !stepped
            && matches!(s.data.members[n], Member::In | Member::Late)
    }

    /// Whether an entry or a renewal on this server counts: every replica acknowledges it.
    pub fn counts(&self, st: &State, at: usize) -> bool {
        st.servers[at].role == Role::Primary
            && (self.lone || st.servers[1 - at].role == Role::Replica || self.is("nowait"))
    }

    /// Whether a node may put an announcement on the wire now.
    pub fn may_send(&self, st: &State, n: usize) -> bool {
        let node = st.nodes[n];
        if node.lease {
            return true;
        }
        if node.fenced {
            return self.is("nofence");
        }
        if match node.ask {
            Ask::Sent { enter, .. } => !self.is(if enter { "blindentering" } else { "uncounted" }),
            Ask::Ran { .. } => !self.is("blindentering"),
            _ => false,
        } {
            return false;
        }
        // Every lease that it has asked for is over.
        let counted = |s: &Store| s.members[n] == Member::In && !s.prolonged[n];
        self.is("hasty")
            || st.servers.iter().all(|s| !(s.role == Role::Primary && s.data.history == s.replid && counted(&s.data)))
    }

    pub fn settle(&self, st: &mut State, at: usize, node: usize, id: u8, outcome: &str) {
        // An older one does not write what a newer one has written.
        let newer = st.nodes[node].newer;
        let s = &mut st.servers[at].data;
        if s.newest && !newer {
            return;
        }
        let Some(k) = s.tickets.iter().position(|t| t.id == id && t.node == node as u8) else { return };
        let t = s.tickets.remove(k);
        match outcome {
            "accepted" => {
                if !t.contested && !s.doubt && (t.current || self.is("noepoch")) {
                    s.known = Some(t.value)
                }
            }
            "refused" => {
                if !t.overlapped {
                    s.known = t.before
                }
            }
            _ => {
                s.known = None;
                for t in &mut s.tickets {
                    t.overlapped = true;
                    t.contested = true;
                }
                Self::doubt(st, at);
            }
        }
    }

    pub fn copy(st: &mut State, from: usize, to: usize) {
        st.servers[to].data = st.servers[from].data.clone();
        let bits = |c: &mut u8| *c = *c & !(1 << to) | (*c >> from & 1) << to;
        for f in &mut st.flights {
            bits(&mut f.covered);
        }
        for l in &mut st.late {
            bits(&mut l.1);
        }
    }

    /// The server's part of an entry.
    pub fn entry(&self, st: &mut State, at: usize, n: usize, member: Member) {
        let (replid, wary) = (st.servers[at].replid, st.nodes[n].wary);
        if (st.servers[at].data.history != replid && !self.is("noreplid")) || st.servers[at].data.set_back || wary {
            let leased = std::array::from_fn(|m| m != n && st.nodes[m].lease && self.is("shortopen"));
            let s = &mut st.servers[at].data;
            s.history = replid;
            s.unsettled = !self.is("quickclose");
            (s.set_back, s.prolonged, s.overdue, s.leased) = (false, [false; NODES], [false; NODES], leased);
            if !self.is("hearsay") {
                for m in &mut s.members {
                    if *m != Member::Out {
                        *m = Member::Missing;
                    }
                }
            }
            if !self.is("quiethistory") {
                self.doubting(st, at, None);
            }
        }
        let quiet = st.nodes[n].fresh && st.servers[at].data.members[n] == Member::Out;
        if self.twins {
            self.take_place(st, at, 1 - n);
        }
        let s = &mut st.servers[at].data;
        s.members[n] = member;
        (s.odd[n], s.newer[n], s.prolonged[n], s.overdue[n], s.leased[n]) =
            (st.nodes[n].odd, st.nodes[n].newer, false, false, false);
        self.ruled(st, at);
        if !quiet && !self.is("quietreturn") {
            self.doubting(st, at, Some(n));
        }
    }

    /// A process enters under the name of this one.
    pub fn take_place(&self, st: &mut State, at: usize, old: usize) {
        if st.servers[at].data.members[old] == Member::Out {
            return;
        }
        st.servers[at].data.members[old] = Member::Out;
        st.nodes[old].place = Place::Taken;
        self.doubting(st, at, Some(old));
    }

    /// The node's part of it.
    pub fn entered(&self, st: &mut State, at: usize, n: usize) {
        // What was held when it lost the store is not sent under the new membership: it is judged again.
        if !self.is("keepheld") {
            st.flights.retain(|f| !(f.node == n as u8 && f.stage == Stage::Held));
        }
        st.servers[at].data.members[n] = Member::In;
        if !self.lone && st.servers[1 - at].role == Role::Replica {
            Self::copy(st, at, 1 - at);
        }
        let history = st.servers[at].replid;
        st.nodes[n] =
            Node { lease: true, fenced: false, fresh: false, wary: false, history, ask: Ask::No, ..st.nodes[n] };
    }
}
