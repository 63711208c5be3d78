//! Equal states as one: numbers, order and names that do not matter are taken away.

use super::state::*;

impl Model {
    /// Which node is which does not matter.
    pub fn sort(&self, s: &mut State) {
        let mut order: Vec<(u64, usize)> = (0..self.nodes).map(|n| (look(s, n), n)).collect();
        order.sort_unstable();
        if order.windows(2).all(|w| w[0].1 < w[1].1) {
            return;
        }
        let (mut to, was) = ([0u8; NODES], s.clone());
        for (new, (_, old)) in order.iter().enumerate() {
            to[*old] = new as u8;
            s.nodes[new] = was.nodes[*old];
            for at in 0..2 {
                s.servers[at].data.members[new] = was.servers[at].data.members[*old];
                let (data, old_data) = (&mut s.servers[at].data, &was.servers[at].data);
                data.odd[new] = old_data.odd[*old];
                data.newer[new] = old_data.newer[*old];
                data.prolonged[new] = old_data.prolonged[*old];
                data.overdue[new] = old_data.overdue[*old];
                data.leased[new] = old_data.leased[*old];
            }
        }
        for f in &mut s.flights {
            f.node = to[f.node as usize];
        }
        for t in s.servers.iter_mut().flat_map(|s| &mut s.data.tickets) {
            t.node = to[t.node as usize];
        }
    }

    /// Small numbers, sorted lists, nothing that no longer matters.
    pub fn plain(&self, mut s: State) -> State {
        for at in 0..2 {
            if s.left.failovers == 0 && s.servers[at].role != Role::Primary && !self.is("norole") {
                s.servers[at].data = empty();
                s.servers[at].replid = 0;
                s.servers[at].data.doubt = false;
            }
            if !s.servers[at].data.doubt {
                for f in &mut s.flights {
                    f.covered &= !(1 << at);
                }
                for l in &mut s.late {
                    l.1 &= !(1 << at);
                }
            }
        }
        if self.deep && !self.twins {
            self.sort(&mut s);
        }
        s.late.sort_unstable();
        s.flights.sort_unstable_by(|a, b| {
            (a.node, a.value, a.stage, a.tracked, a.covered, a.id)
                .cmp(&(b.node, b.value, b.stage, b.tracked, b.covered, b.id))
        });
        let (mut ids, mut last) = ([0u8; 32], 0);
        let mut small = |id: &mut u8| {
            let i = &mut ids[*id as usize];
            if *i == 0 {
                last += 1;
                *i = last;
            }
            *id = *i;
        };
        for f in &mut s.flights {
            if f.tracked {
                small(&mut f.id);
            } else {
                f.id = 0;
            }
        }
        for at in 0..2 {
            for t in &mut s.servers[at].data.tickets {
                small(&mut t.id);
            }
            s.servers[at].data.tickets.sort_unstable();
        }
        s
    }
}

/// A number for what a node is and has, whatever its own number.
pub fn look(s: &State, n: usize) -> u64 {
    let mix = |h: u64, x: u64| (h ^ x).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    let node = &s.nodes[n];
    let ask = match node.ask {
        Ask::No => 0,
        Ask::Sent { to, enter } => 2 + 2 * to + u8::from(enter),
        Ask::Ran { to } => 6 + to,
        Ask::Late { to, enter } => 8 + 2 * to + u8::from(enter),
    };
    let mut h = [
        u8::from(node.lease),
        u8::from(node.fenced),
        u8::from(node.fresh),
        u8::from(node.odd),
        u8::from(node.newer),
        u8::from(node.wary),
        node.history,
        ask,
    ]
    .iter()
    .fold(1, |h, x| mix(h, (*x).into()));
    for s in &s.servers {
        let tickets = s.data.tickets.iter().filter(|t| t.node == n as u8);
        let all = tickets.map(|t| {
            [t.value, t.before.map_or(2, |b| b), u8::from(t.overlapped), u8::from(t.contested), u8::from(t.current)]
                .iter()
                .fold(2, |h, x| mix(h, (*x).into()))
        });
        let marks = [s.data.odd[n], s.data.newer[n], s.data.prolonged[n], s.data.overdue[n], s.data.leased[n]]
            .iter()
            .fold(0, |bits, is| 2 * bits + u64::from(*is));
        h = [s.data.members[n] as u64, marks, all.fold(0, u64::wrapping_add)].iter().fold(h, |h, x| mix(h, *x));
    }
    let flights = s.flights.iter().filter(|f| f.node == n as u8);
    mix(
        h,
        flights
            .map(|f| {
                [f.value, f.stage as u8, u8::from(f.tracked), f.covered].iter().fold(3, |h, x| mix(h, (*x).into()))
            })
            .fold(0, u64::wrapping_add),
    )
}
