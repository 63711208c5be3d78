//! Notifications to the service manager (sd_notify(3)). Without one (`NOTIFY_SOCKET` is not set) nothing is sent.

use sd_notify::NotifyState;

/// Both listeners serve: the start is over. `text` is shown as the unit's status.
pub fn ready(text: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// `text` is shown as the unit's status.
pub fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// usher ends, and is not to be restarted for that. `text` is shown as the unit's status.
pub fn stopping(text: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(text)]);
}

/// A failure changes nothing for callers, so it is only logged. systemd itself ends a unit of `Type=notify` that does
/// not become ready.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "the service manager could not be notified");
    }
}
