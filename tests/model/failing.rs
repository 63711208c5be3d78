//! What happens to the servers: promotions, restarts, clocks that step.

use super::state::*;

impl Model {
    pub fn fail(&self, st: &State, out: &mut Vec<(String, State)>) {
        let next = 1 + st.servers.iter().map(|s| s.replid).max().unwrap();
        for at in 0..2 {
            let other = 1 - at;
            if st.servers[at].role == Role::Primary {
                continue;
            }
            if st.left.failovers > 0
                && (self.lone || st.servers[at].role == Role::Replica)
                && st.servers[at].data != st.servers[other].data
            {
                let mut s = st.clone();
                Self::copy(&mut s, other, at);
                out.push(("replicate".into(), s));
            }
            if st.left.failovers > 0 {
                let mut s = st.clone();
                s.left.failovers -= 1;
                if self.lone {
                    // It starts anew from its file.
                    Self::copy(&mut s, at, other);
                    s.servers[other].replid = next;
                    out.push(("restart".into(), s));
                    continue;
                }
                s.servers[at].role = Role::Primary;
                s.servers[at].replid = next;
                if st.left.splits > 0 && st.servers[other].role == Role::Primary {
                    let mut s = s.clone();
                    s.left.splits -= 1;
                    out.push((format!("split@{at}"), s));
                }
                s.servers[other].role = Role::Cut;
                out.push((format!("promote@{at}"), s));
            }
        }
        // Whoever is not a replica may become the primary's, with its data.
        if !self.lone {
            for at in 0..2 {
                if st.servers[at].role == Role::Replica || st.servers[1 - at].role != Role::Primary {
                    continue;
                }
                let mut s = st.clone();
                Self::copy(&mut s, 1 - at, at);
                s.servers[at].role = Role::Replica;
                s.servers[at].replid = st.servers[1 - at].replid;
                out.push((format!("follow@{at}"), s));
            }
        }
    }

    /// The server's clock steps, further than any time that is counted.
    pub fn step(&self, st: &State, at: usize, out: &mut Vec<(String, State)>) {
        if st.servers[at].role != Role::Primary {
            return;
        }
        let mut stepped = st.clone();
        stepped.left.steps -= 1;
        for node in &mut stepped.nodes {
            node.wary |= !node.fresh && node.history == st.servers[at].replid;
        }
        let mut back = stepped.clone();
        let s = &mut back.servers[at].data;
        s.set_back = !self.is("unseen");
        for n in 0..self.nodes {
            s.prolonged[n] |= s.members[n] == Member::In;
        }
        out.push((format!("back@{at}"), back));
        // All leases are over. Time in which no script ran does not count towards giving up, nor towards the end of a
        // doubt or of a new history.
        let s = &mut stepped.servers[at].data;
        for n in 0..self.nodes {
            if matches!(s.members[n], Member::In | Member::Late) {
                s.members[n] = Member::Missing;
            }
            s.overdue[n] = s.members[n] == Member::Missing && self.is("unwatched");
        }
        out.push((format!("ahead@{at}"), stepped.clone()));
        if stepped.servers[at].data.doubt && self.is("unwatched") {
            stepped.servers[at].data.doubt = false;
            out.push((format!("aheadover@{at}"), stepped));
        }
    }
}
