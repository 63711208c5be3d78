//! The lenient pass over a body that was not read exactly: it collects every channel that any reader could find in it,
//! in linear time and without recursion.

use std::collections::HashSet;

use super::AffectedChannels;
use crate::pusher::json::{self, AllMembers};

/// With more names than this, the trigger counts as affecting any channel.
const MAX_NAMES: usize = 1_000;

/// The channels that `body` may affect.
pub(super) fn affected(body: &[u8]) -> AffectedChannels {
    let mut names = Names::default();
    match std::str::from_utf8(body).ok().and_then(|text| names.body(text)) {
        Some(()) if !names.found.is_empty() => AffectedChannels::Listed(names.found),
        _ => AffectedChannels::All,
    }
}

/// The names found so far. Its methods return `None` where the channels cannot be determined.
#[derive(Default)]
struct Names {
    found: Vec<String>,
    seen: HashSet<String>,
    /// Names in the text, repeated ones included.
    counted: usize,
}

impl Names {
    fn body(&mut self, text: &str) -> Option<()> {
        // Below, serde_json skips values of any depth.
        if !json::is_valid(text) {
            return None;
        }
        for (key, value) in object(text)? {
            match key {
                Key::Channels => self.channels(value)?,
                Key::Batch => {
                    for item in json::elements(value)? {
                        self.item(item)?;
                    }
                }
                Key::Other => {}
            }
        }
        Some(())
    }

    fn item(&mut self, item: &str) -> Option<()> {
        for (key, value) in object(item)? {
            match key {
                Key::Channels => self.channels(value)?,
                // A batch within a batch has no defined meaning.
                Key::Batch => return None,
                Key::Other => {}
            }
        }
        Some(())
    }

    /// A string, or an array of strings.
    fn channels(&mut self, value: &str) -> Option<()> {
        if !value.starts_with('[') {
            return self.name(value);
        }
        json::elements(value)?.into_iter().try_for_each(|element| self.name(element))
    }

    fn name(&mut self, token: &str) -> Option<()> {
        self.counted += 1;
        let name = json::string(token).filter(|name| self.counted <= MAX_NAMES && !name.contains('\0'))?.into_owned();
        if self.seen.insert(name.clone()) {
            self.found.push(name);
        }
        Some(())
    }
}

/// All members of the object in `text`, duplicates included, by the possible meaning of their keys.
fn object(text: &str) -> Option<impl Iterator<Item = (Key, &str)>> {
    let AllMembers(entries) = serde_json::from_str(text).ok()?;
    Some(entries.into_iter().map(|(key, value)| (Key::of(&key), value)))
}

/// The meaning that some reader may give to a key.
enum Key {
    Channels,
    Batch,
    Other,
}

impl Key {
    /// Whitespace around the key and its case are ignored. Compared in upper case, so that `ſ` equals `s`, as in Go's
    /// JSON decoder.
    fn of(key: &str) -> Self {
        let is = |name: &str| key.trim().chars().flat_map(char::to_uppercase).eq(name.chars());
        if is("CHANNEL") || is("CHANNELS") {
            Self::Channels
        } else if is("BATCH") {
            Self::Batch
        } else {
            Self::Other
        }
    }
}
