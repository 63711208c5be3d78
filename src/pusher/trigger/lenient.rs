//! The lenient pass over a body that was not read exactly: every channel that any reader could find in it. Linear in
//! time, flat on the stack.

use std::collections::HashSet;

use super::Reach;
use crate::pusher::json::{self, Entries};

/// More names than this are as good as any channel.
const MAX_NAMES: usize = 1_000;

/// What `body` may touch.
pub(super) fn reach(body: &[u8]) -> Reach {
    let mut names = Names::default();
    match std::str::from_utf8(body).ok().and_then(|text| names.body(text)) {
        Some(()) if !names.found.is_empty() => Reach::Channels(names.found),
        _ => Reach::App,
    }
}

/// The names found so far. Its methods answer `None` when it cannot be told which channels are meant.
#[derive(Default)]
struct Names {
    found: Vec<String>,
    seen: HashSet<String>,
    /// Names in the text, repeated ones included.
    counted: usize,
}

impl Names {
    fn body(&mut self, text: &str) -> Option<()> {
        // What serde_json reads below it skips to any depth.
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
                // A batch within a batch: nobody knows what that would mean.
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

/// All members of the object that `text` is, duplicates too, by what their keys may mean.
fn object(text: &str) -> Option<impl Iterator<Item = (Key, &str)>> {
    let Entries(entries) = serde_json::from_str(text).ok()?;
    Some(entries.into_iter().map(|(key, value)| (Key::of(&key), value)))
}

/// What a key may mean to some reader.
enum Key {
    Channels,
    Batch,
    Other,
}

impl Key {
    /// Whitespace around it and case do not count; in upper case, so that `ſ` is an `s`, as it is to Go's JSON decoder.
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
