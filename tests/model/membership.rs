//! Leases: lost, entered, given up; entries and renewals that take their time; restarts.

use super::state::*;

impl Model {
    pub fn membership(&self, st: &State, n: usize, out: &mut Vec<(String, State)>) {
        let node = st.nodes[n];
        match node.place {
            Place::Own => {}
            Place::Taken => return self.refused(st, n, out),
            Place::Lost => return,
        }
        // Two living processes of one name are against the rules: what is left is safe as long as both reach the store.
        let other = self.twins.then(|| st.nodes[1 - n]);
        let may_enter = other.is_none_or(|other| other.lease || other.fenced);
        let waits = matches!(node.ask, Ask::Sent { .. } | Ask::Ran { .. });
        if node.lease {
            // Where nothing can renew it, it ends of itself.
            let held = (0..2).any(|at| self.accepts(st, at, n) && self.counts(st, at));
            if !held || st.left.losses > 0 {
                let mut s = st.clone();
                s.nodes[n].lease = false;
                if held {
                    s.left.losses -= 1;
                }
                out.push((format!("leaselost{n}"), s));
            }
        } else if !node.fenced && !waits {
            let mut s = st.clone();
            s.nodes[n].fenced = true;
            out.push((format!("fence{n}"), s));
        }
        for at in 0..2 {
            let s = &st.servers[at];
            if s.role != Role::Primary {
                continue;
            }
            let here =
                node.history == s.replid || self.is("noreplid") || (self.is("anyhistory") && self.accepts(st, at, n));
            let holds = node.lease && here;
            if self.counts(st, at) && !waits && may_enter && (!holds || node.wary || s.data.set_back) {
                let mut s = st.clone();
                self.entry(&mut s, at, n, Member::In);
                self.entered(&mut s, at, n);
                out.push((format!("enter{n}@{at}"), s));
            }
            if s.data.history != s.replid && !self.is("noreplid") {
                continue;
            }
            if matches!(s.data.members[n], Member::In | Member::Late) && !waits && !holds {
                let mut s = st.clone();
                s.servers[at].data.members[n] = Member::Missing;
                out.push((format!("missing{n}@{at}"), s));
            }
            self.pass_time(st, at, n, out);
        }
    }

    /// Another process has taken its place, and it is told so: it stops for good.
    fn refused(&self, st: &State, n: usize, out: &mut Vec<(String, State)>) {
        let node = st.nodes[n];
        let mut s = st.clone();
        s.nodes[n] = if self.is("reenters") {
            Node { lease: false, place: Place::Own, ..node }
        } else {
            Node { lease: false, fenced: true, place: Place::Lost, ..node }
        };
        out.push((format!("refused{n}"), s));
    }

    /// What a script does because of the time: a member is given up, a new history is not open any more.
    fn pass_time(&self, st: &State, at: usize, n: usize, out: &mut Vec<(String, State)>) {
        let s = &st.servers[at];
        // Without a word for so long that it must be fenced. Without WAIT it may renew elsewhere all the while.
        let gone = |n: usize| {
            st.nodes[n].fenced || (self.is("nowait") && st.nodes[n].lease && st.nodes[n].history != s.replid)
        };
        if s.data.members[n] == Member::Missing && (gone(n) || s.data.overdue[n] || self.is("giveupearly")) {
            let mut s = st.clone();
            s.servers[at].data.members[n] = Member::Out;
            s.servers[at].data.overdue[n] = false;
            self.ruled(&mut s, at);
            if !self.is("quietgivenup") {
                self.doubting(&mut s, at, Some(n));
            }
            out.push((format!("givenup{n}@{at}"), s));
        }
        let settled = |n: usize| {
            let node = st.nodes[n];
            (node.history == s.replid && !node.wary) || gone(n) || (s.data.leased[n] && !node.lease)
        };
        if n == 0 && s.data.unsettled && (0..self.nodes).all(settled) {
            let mut s = st.clone();
            s.servers[at].data.unsettled = false;
            if !self.is("quietsettled") {
                self.doubting(&mut s, at, None);
            }
            out.push((format!("settled@{at}"), s));
        }
    }

    /// Entries and renewals that take their time.
    pub fn ask(&self, st: &State, n: usize, out: &mut Vec<(String, State)>) {
        let node = st.nodes[n];
        match node.ask {
            Ask::No if st.left.asks > 0 => {
                for at in 0..2 {
                    if st.servers[at].role != Role::Primary {
                        continue;
                    }
                    let enter = !(node.lease && self.accepts(st, at, n));
                    let mut s = st.clone();
                    s.left.asks -= 1;
                    s.nodes[n].ask = Ask::Sent { to: at as u8, enter };
                    if enter {
                        s.nodes[n].lease = false;
                    }
                    out.push((format!("ask{n}@{at}"), s));
                }
            }
            Ask::Sent { to, enter } => {
                let at = to as usize;
                if st.servers[at].role == Role::Primary {
                    let mut s = st.clone();
                    if enter {
                        self.entry(&mut s, at, n, if self.is("blindentering") { Member::Late } else { Member::In });
                        s.nodes[n].ask = Ask::Ran { to };
                    } else {
                        if !node.lease && self.accepts(st, at, n) && self.is("uncounted") {
                            s.servers[at].data.members[n] = Member::Late;
                        }
                        s.nodes[n].ask = Ask::No;
                    }
                    out.push((format!("run{n}@{at}"), s));
                }
                // Refused when it arrives.
                let mut s = st.clone();
                s.nodes[n].ask = if self.is(if enter { "lateentry" } else { "laterenewal" }) {
                    Ask::Late { to, enter }
                } else {
                    Ask::No
                };
                out.push((format!("lapse{n}@{at}"), s));
            }
            Ask::Ran { to } => {
                let at = to as usize;
                let s = &st.servers[at];
                if self.counts(st, at)
                    && matches!(s.data.members[n], Member::In | Member::Late)
                    && (s.data.history == s.replid || self.is("noreplid"))
                {
                    let mut s = st.clone();
                    self.entered(&mut s, at, n);
                    out.push((format!("answer{n}@{at}"), s));
                }
                let mut s = st.clone();
                s.nodes[n].ask = Ask::No;
                out.push((format!("nowords{n}@{at}"), s));
            }
            Ask::Late { to, enter } => self.run_late(st, n, to as usize, enter, out),
            Ask::No => {}
        }
    }

    /// A request runs with which the node no longer reckons.
    fn run_late(&self, st: &State, n: usize, at: usize, enter: bool, out: &mut Vec<(String, State)>) {
        let mut s = st.clone();
        s.nodes[n].ask = Ask::No;
        if st.servers[at].role == Role::Primary && !st.nodes[n].lease {
            if enter {
                self.entry(&mut s, at, n, Member::Late);
            } else if self.accepts(st, at, n) {
                s.servers[at].data.members[n] = Member::Late;
            }
            out.push((format!("runlate{n}@{at}"), s));
        }
    }

    /// Leaves, or starts anew in its predecessor's place, with these or other rules.
    pub fn change(&self, st: &State, n: usize, out: &mut Vec<(String, State)>) {
        let node = st.nodes[n];
        if node.fresh || node.place != Place::Own {
            return;
        }
        let changed = [false, true].map(|odd| (odd, node.newer, st.left.changes > 0));
        for (odd, newer, possible) in changed.into_iter().chain([(node.odd, !node.newer, st.left.upgrades > 0)]) {
            if !possible {
                continue;
            }
            let mut gone = st.clone();
            if newer == node.newer {
                gone.left.changes -= 1;
            } else {
                gone.left.upgrades -= 1;
            }
            gone.nodes[n] = Node {
                lease: false,
                fenced: !self.is("unentered"),
                fresh: true,
                odd,
                newer,
                wary: false,
                ask: Ask::No,
                ..node
            };
            let mut s = gone.clone();
            s.flights.retain(|f| !(f.node == n as u8 && f.stage == Stage::Held));
            for f in &mut s.flights {
                if f.node == n as u8 {
                    f.tracked = false;
                }
            }
            out.push((format!("restart{n}{}{}", u8::from(odd), u8::from(newer)), s));
            let home = (0..2).find(|at| node.lease && self.accepts(st, *at, n));
            if let Some(at) = home.filter(|_| st.flights.iter().all(|f| f.node != n as u8)) {
                gone.servers[at].data.members[n] = Member::Out;
                self.ruled(&mut gone, at);
                out.push((format!("leave{n}{}{}", u8::from(odd), u8::from(newer)), gone));
            }
        }
    }
}
