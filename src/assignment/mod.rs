//! The memory: who is assigned to each conversation channel, and what may be said of it while announcements are in
//! flight.
//!
//! [`Assignments`] holds one [`RuleMemory`] for every rule of every app. A request *claims* each channel that it may
//! change; a claim is answered with "redundant" only if upstream is known to show just that and nothing in flight can
//! change it, and else with a [`Reservation`] that has to be settled. In reading order: `value` what is compared,
//! `claim` its answers and outcomes, `machine` one channel as a pure state machine, `app` and `snapshot` what concerns
//! all channels of an app, `generation` requests that were judged under earlier rules, `idle_entry`, `slot` and
//! `channels` how a million channels are stored, `memory` one rule's memory, `registry` all memories.

mod app;
mod bounds;
mod channels;
mod claim;
mod generation;
mod idle_entry;
mod machine;
mod memory;
mod registry;
#[cfg(all(test, usher_shuttle))]
mod schedules;
mod slot;
mod snapshot;
mod sync;
mod value;

pub use app::{AppMemory, WideReservation};
pub use bounds::{Bounds, Evictions};
pub use claim::{Before, Claim, ClaimMode, Outcome, Reservation, Waiter};
pub use generation::{Generation, GenerationTicket};
pub use memory::{Entry, RuleMemory};
pub use registry::{Assignments, Configured, ConfiguredApp, RegisteredRule, RuleSettings};
pub use value::{Assignment, Value};
