//! JSON, one level of an object at a time, read strictly; every value stays the token that was received. What two
//! readers may read differently is an error here: duplicate keys, escapes in keys, bytes after the end (`threats.md`
//! 2.5).

mod all_members;
mod find;
mod object_error;
mod scan;
mod string;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub(crate) use all_members::AllMembers;
pub(crate) use object_error::ObjectError;
pub(crate) use scan::{Refused, Scanner, is_valid};
pub(crate) use string::{string, string_into};

/// The most levels of arrays and objects that a text may have: as many as serde_json reads (`threats.md` JSON-12).
pub(crate) const MAX_DEPTH: usize = 127;

/// Up to this many texts are compared pairwise; more are sorted.
const COMPARED_PAIRWISE: usize = 16;

/// The members of one object in their order. No key is there twice or has an escape; the values are tokens without
/// whitespace around them.
#[derive(Debug)]
pub(crate) struct Members<'a>(SmallVec<[(&'a str, &'a str); 6]>);

impl<'a> Members<'a> {
    /// Reads the object in `text`.
    pub(crate) fn parse(text: &'a str) -> Result<Self, ObjectError> {
        let members = Self::collect(text).map_err(|Refused| ObjectError::of(text))?;
        if has_duplicates(members.iter().map(|(key, _)| key)) { Err(ObjectError::DuplicateKey) } else { Ok(members) }
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Keys and values in their order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone {
        self.0.iter().copied()
    }

    fn collect(text: &'a str) -> Result<Self, Refused> {
        let mut scanner = Scanner::object(text);
        let mut members = SmallVec::new();
        while let Some(member) = scanner.member()? {
            members.push(member);
        }
        Ok(Self(members))
    }
}

/// The elements of the array in `text`, as tokens. `None` if `text` is anything else.
pub(crate) fn elements(text: &str) -> Option<SmallVec<[&str; 1]>> {
    let mut scanner = Scanner::array(text);
    let mut elements = SmallVec::new();
    while let Some(element) = scanner.element().ok()? {
        elements.push(element);
    }
    Some(elements)
}

/// Whether two of `texts` are equal. Takes n log n comparisons at most, since the sender decides on their number.
pub(crate) fn has_duplicates<'t>(texts: impl ExactSizeIterator<Item = &'t str> + Clone) -> bool {
    if texts.len() <= COMPARED_PAIRWISE {
        let mut later = texts;
        while let Some(text) = later.next() {
            if later.clone().any(|other| other == text) {
                return true;
            }
        }
        return false;
    }
    let mut sorted: Vec<_> = texts.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
