//! Whether upstream's 2xx answers have the expected format: an announcement counts as accepted only if the answer says
//! so.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// After this many answers of another format, and none of the expected one, usher warns. Fewer may be e.g. a proxy's
/// page while a server starts.
const WARNING_THRESHOLD: u32 = 3;

/// The formats of all 2xx answers to triggers since the process began. All orderings are relaxed: nothing else is
/// published through these values.
#[derive(Debug, Default)]
pub struct SuccessFormat {
    json: AtomicBool,
    other: AtomicU32,
}

impl SuccessFormat {
    /// Records an answer that was a JSON object.
    pub(super) fn record_json(&self) {
        // Read first: nearly always there is nothing to write, and all workers share the value.
        if !self.json.load(Ordering::Relaxed) {
            self.json.store(true, Ordering::Relaxed);
        }
    }

    /// Records an answer for `app` that was anything else. Warns once, if all were.
    pub(super) fn record_other(&self, app: &str) {
        let others = self.other.load(Ordering::Relaxed);
        if others >= WARNING_THRESHOLD || self.json.load(Ordering::Relaxed) {
            return;
        }
        if self.other.fetch_add(1, Ordering::Relaxed) + 1 == WARNING_THRESHOLD {
            tracing::warn!(
                app,
                "upstream answers triggers with 2xx, but never with a JSON object as Pusher servers do, so nothing says that an announcement was \
                 accepted: nothing can be suppressed. Is upstream.url a Pusher server, and does a proxy before it compress or replace its answers?"
            );
        }
    }

    /// Whether there were several answers and none was a JSON object: nothing can be suppressed then.
    pub(super) fn is_never_json(&self) -> bool {
        self.other.load(Ordering::Relaxed) >= WARNING_THRESHOLD && !self.json.load(Ordering::Relaxed)
    }
}
