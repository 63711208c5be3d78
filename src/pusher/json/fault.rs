//! Why an object was not read. Nobody waits for this but those who are served with forwarding, so it is left to
//! serde_json.

use std::borrow::Cow;

use serde::Deserialize;

use super::any_twice;
use super::entries::Entries;

/// Why an object was not read. Of several reasons, the first in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NotJson,
    NotAnObject,
    TrailingBytes,
    EscapedKey,
    DuplicateKey,
    TooDeep,
}

impl Fault {
    /// What is wrong with a `text` that cannot be read as an object.
    #[cold]
    #[inline(never)]
    pub(super) fn of(text: &str) -> Self {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let entries = match Entries::deserialize(&mut deserializer) {
            Ok(Entries(entries)) => entries,
            Err(error) if error.is_data() => return Self::NotAnObject,
            Err(_) => return Self::NotJson,
        };
        if deserializer.end().is_err() {
            Self::TrailingBytes
        } else if entries.iter().any(|(key, _)| matches!(key, Cow::Owned(_))) {
            Self::EscapedKey
        } else if any_twice(entries.iter().map(|(key, _)| &**key)) {
            Self::DuplicateKey
        } else {
            // serde_json skips values without a limit; what it finds nothing wrong with is deeper than ours.
            Self::TooDeep
        }
    }
}
