//! Whether upstream's answers of success can be understood: an announcement counts as accepted only if its answer says
//! so.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// So many answers without one that is understood are no accident, such as a page of a proxy while a server starts.
const WARNING_THRESHOLD: u32 = 3;

/// What the 2xx answers to triggers have been since the process began. Relaxed throughout: nothing else is published
/// through these numbers.
#[derive(Debug, Default)]
pub struct SuccessFormat {
    json: AtomicBool,
    other: AtomicU32,
}

impl SuccessFormat {
    /// Notes one that was a JSON object.
    pub(super) fn record_json(&self) {
        // Looked at first: nearly always there is nothing to write, and all workers share the place.
        if !self.json.load(Ordering::Relaxed) {
            self.json.store(true, Ordering::Relaxed);
        }
    }

    /// Notes one for `app` that was anything else. Warns once, if all were.
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

    /// Whether there were several and none was a JSON object: nothing can be suppressed then.
    pub(super) fn is_never_json(&self) -> bool {
        self.other.load(Ordering::Relaxed) >= WARNING_THRESHOLD && !self.json.load(Ordering::Relaxed)
    }
}
