//! The store that several processes share: one Redis or Valkey server, and its replicas.
//!
//! The server holds bytes and swaps them. It decides what a process may do there (who is a member, whose lease is over,
//! which history and which epoch it is), since only one place can; what a claim means is decided by
//! [`assignment`](crate::assignment). In reading order: `client` what is asked, `answer` what is answered, `script` how
//! the server is told, `record` the bytes of one channel, `servers` where the store is, `dial` how one server is reached,
//! `route` which one, `link` the connection, `problem` why there is none, `sighting` what the server says of itself, `survey`
//! what else an operator wants to know of it, `store_log` what of it is told, `membership` what a node may do, `member`
//! how that is kept, `membership_log` what of it is told, `subscription` what is published, `switched_modes` what
//! operators have switched for all members, `app_store` one app with all of it.

mod answer;
mod app_store;
mod client;
mod dial;
mod link;
mod member;
mod membership;
mod membership_log;
mod problem;
mod record;
mod route;
mod script;
mod servers;
mod sighting;
mod slot;
mod store_log;
mod subscription;
mod survey;
mod switched_modes;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod trouble;
mod version;

pub use answer::{Answer, Cause, Entered, Inspection, Open, Read, Refusal, Seat, Swapped, Why};
pub use app_store::{AppStore, ClusterOptions, NotChanged, Unusable};
pub use client::{Action, AppKeys, Client, Swap, SwappedChannel, Tenure, Terms};
pub use link::{Failure, Link, LinkOptions};
pub use member::{Member, Position};
pub use membership::{Ask, Local, Membership, Standing};
pub use problem::Problem;
pub use record::{Known, Reached, Record, Ticket, TicketValue, Unreadable, VERSION};
pub use servers::{Address, Isolated, Login, Servers};
pub use sighting::{MemoryPolicy, PolicyFault, Sighting};
pub use store_log::StoreLog;
pub use survey::{Scripted, Survey, Watch, survey};
pub use switched_modes::{Switchboard, SwitchedModes};
pub use token::Tokens;
pub use version::Version;
