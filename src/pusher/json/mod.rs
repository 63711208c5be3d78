//! JSON one object level at a time, strictly, every value kept as the token that was received. What two readers may
//! read differently is a fault here: duplicate keys, escapes inside keys, bytes after the end (`threats.md` 2.5).

mod entries;
mod fault;
mod find;
mod scan;
mod string;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub(crate) use entries::Entries;
pub(crate) use fault::Fault;
pub(crate) use scan::{Refused, Scanner, is_valid};
pub(crate) use string::{string, string_in};

/// The most levels of arrays and objects that a text may have: what serde_json itself reads (`threats.md` JSON-12).
pub(crate) const MAX_DEPTH: usize = 127;

/// Up to so many texts are compared each with each.
const FEW: usize = 16;

/// The members of one object in their order, no key twice, no key with escapes; the values are tokens without
/// whitespace around them.
#[derive(Debug)]
pub(crate) struct Members<'a>(SmallVec<[(&'a str, &'a str); 6]>);

impl<'a> Members<'a> {
    /// Reads the object that `text` is.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        let members = Self::collect(text).map_err(|Refused| Fault::of(text))?;
        if any_twice(members.iter().map(|(key, _)| key)) { Err(Fault::DuplicateKey) } else { Ok(members) }
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

/// The elements of the array that `text` is, as tokens. `None` if it is anything else.
pub(crate) fn elements(text: &str) -> Option<SmallVec<[&str; 1]>> {
    let mut scanner = Scanner::array(text);
    let mut elements = SmallVec::new();
    while let Some(element) = scanner.element().ok()? {
        elements.push(element);
    }
    Some(elements)
}

/// Whether two of `texts` are equal. Takes n log n comparisons, for how many there are is the caller's choice.
pub(crate) fn any_twice<'t>(texts: impl ExactSizeIterator<Item = &'t str> + Clone) -> bool {
    if texts.len() <= FEW {
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
