//! The memory: who is assigned to each conversation channel, and what may be said of it while announcements are in flight.

mod memory;
mod value;

pub use memory::{AppMemory, Before, Bounds, Claim, Entry, Outcome, Patience, Reservation, RuleMemory, Waiter, WideReservation};
pub use value::{Assignment, Value};
