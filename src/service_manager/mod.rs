//! What usher and the service manager (systemd) tell each other: the sockets that it opened before usher began, and
//! when usher is ready.

mod notification;
mod passed;

pub use notification::{ready, status, stopping};
pub use passed::{PassedSocketError, PassedSockets};
