//! The members of an object as serde_json finds them, for texts that are not read on the fast path.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// All members in their order, duplicates included. Keys are decoded, and borrowed exactly where they have no escape;
/// values are tokens, of any depth.
#[derive(Debug)]
pub(crate) struct AllMembers<'a>(pub(crate) Vec<(Cow<'a, str>, &'a str)>);

/// A key; serde_json borrows it from the text exactly where it has no escape.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for AllMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllMembersVisitor;

        impl<'de> Visitor<'de> for AllMembersVisitor {
            type Value = AllMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    entries.push((key, value.get()));
                }
                Ok(AllMembers(entries))
            }
        }

        deserializer.deserialize_map(AllMembersVisitor)
    }
}
