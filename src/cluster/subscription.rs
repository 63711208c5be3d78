//! What is published at the store, on a connection of its own: one that is subscribed takes no other commands.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;

use super::Link;
use super::dial::Dialer;

/// The pause after a connection has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// Calls `heard` with each message on `channel`, from the server that `link` is connected to.
pub(super) async fn follow(link: &Link, dialer: &Dialer, channel: &[u8], heard: impl Fn(&[u8])) {
    while link.connected().await {
        if let Some((server, _version)) = link.server() {
            match dialer.subscribe(&server, channel).await {
                Ok(mut subscription) => {
                    let mut messages = subscription.on_message();
                    let hear = async {
                        while let Some(message) = messages.next().await {
                            heard(message.get_payload_bytes());
                        }
                    };
                    tokio::select! {
                        () = hear => {}
                        // It may be connected to another server from now on.
                        () = link.disconnected() => {}
                    }
                }
                Err(problem) => tracing::debug!(%server, %problem, "no subscription at the shared store"),
            }
        }
        sleep(PAUSE).await;
    }
}
