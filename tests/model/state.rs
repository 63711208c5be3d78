//! What there is at one moment: servers, nodes, and what is on its way.

/// At most; a run uses the first two or three.
pub const NODES: usize = 3;
pub type Val = u8; // 0 = A, 1 = B

/// What a server holds of a node. Late: in by a request that ran so late that the node no longer reckons with it (only
/// where a rule is left out).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Member {
    In,
    Late,
    Missing,
    Out,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket {
    pub id: u8,
    pub node: u8,
    pub value: Val,
    pub before: Option<Val>,
    pub overlapped: bool,
    pub contested: bool,
    pub current: bool,
}

/// What is stored: the members' record and the channel.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    /// The `master_replid` under which the record was entered.
    pub history: u8,
    /// A new history is open by time: nodes that its record does not name may be blind.
    pub unsettled: bool,
    pub doubt: bool,
    pub members: [Member; NODES],
    /// The members' rules: an odd node takes no announcement for one.
    pub odd: [bool; NODES],
    /// The members that write the newer version of the records.
    pub newer: [bool; NODES],
    /// Which rules and versions were in use last, as bits.
    pub rules: u8,
    /// The server's clock was set back, and nobody has entered since.
    pub set_back: bool,
    /// The members whose leases a clock that was set back prolongs.
    pub prolonged: [bool; NODES],
    /// The members that a step ahead lets a script give up at once. Only where a rule is left out.
    pub overdue: [bool; NODES],
    /// The nodes that held a lease when the history began. Only where a rule is left out.
    pub leased: [bool; NODES],
    /// The channel is in the newer version.
    pub newest: bool,
    pub known: Option<Val>,
    pub tickets: Vec<Ticket>,
}

/// Cut: follows nobody and serves nobody; its data is what it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Primary,
    Replica,
    Cut,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    pub role: Role,
    pub replid: u8,
    pub data: Store,
}

/// An entry or a renewal on its way. Ran: at the server, not answered yet. Late: the node no longer reckons with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    No,
    Sent { to: u8, enter: bool },
    Ran { to: u8 },
    Late { to: u8, enter: bool },
}

/// The place under a node's name. Taken: by another process, which is not known yet. Lost: it is, for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    Own,
    Taken,
    Lost,
}

/// Fresh: a process that has sent nothing yet. It is fenced until it has entered. Wary: it knows the server's clock
/// from before a step, and sees it with the next answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    pub lease: bool,
    pub fenced: bool,
    pub fresh: bool,
    pub odd: bool,
    pub newer: bool,
    pub wary: bool,
    pub place: Place,
    pub history: u8,
    pub ask: Ask,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Stage {
    Held,
    Sent,
    Applied,
}

/// Covered: the servers (as bits) whose present doubt began after it was sent, so that it lasts until this one is over.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Flight {
    pub id: u8,
    pub node: u8,
    pub value: Val,
    pub stage: Stage,
    pub tracked: bool,
    pub covered: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bounds {
    pub requests: u8,
    pub losses: u8,
    pub failovers: u8,
    pub splits: u8,
    pub asks: u8,
    pub changes: u8,
    pub upgrades: u8,
    pub steps: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub up: Option<Val>,
    pub late: Vec<(Val, u8)>,
    pub servers: [Server; 2],
    pub nodes: [Node; NODES],
    pub flights: Vec<Flight>,
    pub left: Bounds,
}

pub struct Model {
    pub left_out: String,
    pub nodes: usize,
    pub lone: bool,
    pub deep: bool,
    pub twins: bool,
    pub bounds: Bounds,
}

pub fn empty() -> Store {
    let none = [false; NODES];
    Store {
        history: 0,
        unsettled: false,
        doubt: false,
        members: [Member::Out; NODES],
        odd: none,
        newer: none,
        rules: 1,
        set_back: false,
        prolonged: none,
        overdue: none,
        leased: none,
        newest: false,
        known: None,
        tickets: vec![],
    }
}
