//! Rules and contracts. A rule names an event on a family of channels, and which values in its `data` are the
//! assignment. A contract lists which events belong on which families of channels.

mod contract;
mod fingerprint;
mod index;
mod mismatch;
mod overlap;
mod pointers;
mod remainder;
mod rule;
mod spec;
mod template;
#[cfg(test)]
mod tests;

pub use contract::{Contract, ContractEntry, EventSpec, MisplacedEvent, OTHER};
pub use fingerprint::Fingerprint;
pub use index::{Positions, RuleIndex};
pub use mismatch::Mismatch;
pub use pointers::{escaped, unescaped};
pub use remainder::{Leaf, RemainderKey};
pub use rule::{EventMeaning, PointerReading, Rule, Unreadable};
pub use spec::{LateJoiners, Mode, OnDifference, RuleError, RuleSpec};
