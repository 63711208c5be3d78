//! The memory: the person assigned to each conversation channel, and what is known of it while announcements are in
//! flight.
//!
//! [`Assignments`] holds one [`RuleMemory`] for every rule of every app. A request *claims* each channel that it may
//! change; the answer to a claim is `Redundant` only if upstream is known to show exactly that assignment and no
//! request in flight can change it; otherwise it is a [`Reservation`] that has to be settled. In reading order: `value`
//! defines what is compared, `reach` whom an announcement has reached, `claim` the answers and outcomes, `machine` one channel as a pure state machine, `app` and
//! `snapshot` the state of all channels of an app, `generation` the requests decided under earlier rules, `idle_entry`,
//! `slot` and `channels` how a million channels are stored, `memory` one rule's memory, `tickets` what a request holds,
//! `store` where an app's memory is and how a request claims in it, `beside` what came another way, `shared` the memory that several processes share,
//! `registry` all memories, `kept` what of them outlives the process.

mod app;
mod beside;
mod bounds;
mod channels;
mod claim;
mod generation;
mod idle_entry;
mod kept;
mod machine;
mod memory;
mod newcomer;
mod reach;
mod registry;
#[cfg(all(test, usher_shuttle))]
mod schedules;
mod shared;
mod slot;
mod snapshot;
mod store;
mod sync;
mod tickets;
mod value;

pub use app::{AppMemory, WideReservation};
pub use bounds::{Bounds, Evictions};
pub use claim::{
    Announced, Before, Claim, ClaimMode, Outcome, Renewal, Reservation, Shown, Standing, Uncertainty, Waiter,
};
pub use generation::{Generation, GenerationTicket};
pub use kept::{Kept, KeptApp, KeptChannel, KeptRule, StillInFlight};
pub use memory::{Entry, RuleMemory};
pub use newcomer::{Present, Settlement};
pub use reach::{Reach, Socket};
pub use registry::{Assignments, Configured, Membership, RegisteredRule, RuleSettings};
pub use shared::{Ask, Carried, Denied, Listing, NotReached, Prepared, Shared, SharedRuleChannels, SharedTickets};
use shared::{SharedApp, SharedClaims};
pub use store::{Claimed, Claims, InProcess, Store};
pub use tickets::{InProcessTickets, Tickets};
pub use value::{Assignment, Digest, Remainder, Value};
