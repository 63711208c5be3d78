//! Signals: end, end at once, or read the configuration again.

use std::convert::Infallible;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code when a second signal ends the process: the code that a shell reports for SIGINT.
const CUT_SHORT: i32 = 130;

/// The SIGHUPs since this exists. Without it, one ends the process, so it is made before the configuration is read.
#[derive(Debug)]
pub struct HangUps(Signal);

impl HangUps {
    /// Registers the handler.
    ///
    /// # Errors
    /// If the system refuses that.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }
}

/// The signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// SIGTERM, from whoever manages the process.
    Terminated,
    /// SIGINT, from a terminal: somebody waits for the end.
    Interrupted,
}

/// The signals that usher handles.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_ups: HangUps,
}

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// If the system refuses that.
    pub(super) fn new(hang_ups: HangUps) -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hang_ups })
    }

    /// Calls `reload` at each SIGHUP and returns at the first SIGTERM or SIGINT.
    pub(super) async fn until_end(&mut self, reload: impl Fn()) -> Ending {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ending::Terminated,
                _ = self.interrupt.recv() => return Ending::Interrupted,
                _ = self.hang_ups.0.recv() => reload(),
            }
        }
    }

    /// While connections are still served: calls `reload` at each SIGHUP, and ends the process at the next SIGTERM or
    /// SIGINT.
    pub(super) async fn while_leaving(&mut self, reload: impl Fn()) -> Infallible {
        let _second = self.until_end(reload).await;
        end_at_once()
    }

    /// Once the listeners are closed: refuses each SIGHUP, and ends the process at the next SIGTERM or SIGINT.
    pub(super) async fn while_draining(mut self) -> Infallible {
        self.while_leaving(|| tracing::warn!("the configuration is not read again: usher is about to end")).await
    }
}

fn end_at_once() -> ! {
    tracing::warn!("a second signal: ending at once");
    std::process::exit(CUT_SHORT);
}
