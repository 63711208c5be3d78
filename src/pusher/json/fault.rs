//! Why an object was not read. Nobody waits for this but those who are served with forwarding, so it is left to serde_json.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::any_twice;

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
        let keys = match Keys::deserialize(&mut deserializer) {
            Ok(keys) => keys,
            Err(error) if error.is_data() => return Self::NotAnObject,
            Err(_) => return Self::NotJson,
        };
        if deserializer.end().is_err() {
            Self::TrailingBytes
        } else if keys.any_escaped {
            Self::EscapedKey
        } else if any_twice(keys.plain.into_iter()) {
            Self::DuplicateKey
        } else {
            // serde_json skips values without a limit; what it finds nothing wrong with is deeper than ours.
            Self::TooDeep
        }
    }
}

/// The keys of one object.
struct Keys<'a> {
    plain: Vec<&'a str>,
    any_escaped: bool,
}

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut keys = Keys { plain: Vec::new(), any_escaped: false };
                while let Some((key, IgnoredAny)) = map.next_entry::<Key<'de>, IgnoredAny>()? {
                    match key {
                        Key::Plain(key) => keys.plain.push(key),
                        Key::Escaped => keys.any_escaped = true,
                    }
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_map(KeysVisitor)
    }
}

/// A key; serde_json lends it from the text exactly when it holds no escape.
enum Key<'a> {
    Plain(&'a str),
    Escaped,
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key::Plain(key))
            }

            fn visit_str<E>(self, _key: &str) -> Result<Self::Value, E> {
                Ok(Key::Escaped)
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}
