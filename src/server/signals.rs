//! Signals: drain, end at once, or read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code when a second signal ends the drain: the code that a shell reports for SIGINT.
const CUT_SHORT: i32 = 130;

/// The signals that usher handles.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// If the system refuses that.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Calls `reload` at each SIGHUP and returns at the first SIGTERM or SIGINT.
    pub(super) async fn until_drain(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(),
            }
        }
    }

    /// Ends the process at the next SIGTERM or SIGINT.
    pub(super) async fn end_at_once(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::warn!("a second signal: ending at once");
        std::process::exit(CUT_SHORT);
    }
}
