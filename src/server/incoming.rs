//! The webhooks that come in, as the configuration has them.

use std::sync::Arc;

use crate::config::Config;
use crate::gateway::{IncomingWebhooks, Shared};
use crate::shutdown::Tasks;
use crate::tls;
use crate::webhooks::Receiver;

/// Takes webhooks in as `config` says, from now on. `tls` has the authorities of receivers, also those of later reloads.
pub(super) fn configure(shared: &Shared, config: &Config, tls: &tls::Client) {
    let present = shared.incoming_webhooks.load_full();
    if present.as_ref().map(|present| present.options()) == config.incoming_webhooks.as_ref() {
        return;
    }
    let next = config.incoming_webhooks.clone().and_then(|options| {
        // Its connections are driven by the workers that open them, and end with those.
        let receiver = options.forward_to.as_ref().map(|url| Receiver::new(url, tls, Tasks::default())).transpose();
        match receiver {
            Ok(receiver) => Some(Arc::new(IncomingWebhooks::new(options, receiver, present.as_deref()))),
            Err(error) => {
                tracing::error!(
                    error,
                    "webhooks cannot be handed on, and are not taken in (incoming_webhooks.forward_to)"
                );
                None
            }
        }
    });
    shared.incoming_webhooks.store(next);
}
