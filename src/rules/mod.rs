//! What to watch: a rule names an event on a family of channels and says which values of its `data` are the assignment;
//! a contract says which events belong on which families at all.

mod contract;
mod fingerprint;
mod pointers;
mod rule;
mod spec;
mod template;
#[cfg(test)]
mod tests;

pub use contract::{Contract, ContractEntry, EventSpec, MisplacedEvent};
pub use fingerprint::Fingerprint;
pub use rule::{EventMeaning, Rule};
pub use spec::{Mode, RuleError, RuleSpec};
