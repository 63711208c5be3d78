//! The lenient pass over a body that was not read exactly: every channel that any reader could find in it. Linear in time, flat on the stack.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Reach;
use crate::pusher::json;

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

/// All members of the object that `text` is, duplicates too.
fn object(text: &str) -> Option<Vec<(Key, &str)>> {
    serde_json::from_str(text).ok().map(|Entries(entries)| entries)
}

struct Entries<'a>(Vec<(Key, &'a str)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key, &'de RawValue>()? {
                    entries.push((key, value.get()));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
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

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key::of(key))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}
