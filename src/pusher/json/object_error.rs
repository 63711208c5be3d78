//! Why an object was not read. It is determined only for bodies that are forwarded anyway, so serde_json, which is
//! slower, finds it out.

use std::borrow::Cow;

use serde::Deserialize;

use super::all_members::AllMembers;
use super::has_duplicates;

/// Why an object was not read. Of several reasons, the first in the order of the checks counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectError {
    NotJson,
    NotAnObject,
    TrailingBytes,
    EscapedKey,
    DuplicateKey,
    TooDeep,
}

impl ObjectError {
    /// What is wrong with a `text` that is not read as an object.
    #[cold]
    #[inline(never)]
    pub(super) fn of(text: &str) -> Self {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let entries = match AllMembers::deserialize(&mut deserializer) {
            Ok(AllMembers(entries)) => entries,
            Err(error) if error.is_data() => return Self::NotAnObject,
            Err(_) => return Self::NotJson,
        };
        if deserializer.end().is_err() {
            Self::TrailingBytes
        } else if entries.iter().any(|(key, _)| matches!(key, Cow::Owned(_))) {
            Self::EscapedKey
        } else if has_duplicates(entries.iter().map(|(key, _)| &**key)) {
            Self::DuplicateKey
        } else {
            // serde_json skips values of any depth: a text in which it finds no error exceeds the limit on depth.
            Self::TooDeep
        }
    }
}
