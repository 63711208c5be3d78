//! JSON in and out of structs, and the identifiers in it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The object that `text` is, in full; `None` for anything else. serde alone would also take an array for the struct's fields in turn.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
}

/// `value` as JSON.
pub(super) fn text(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("text, numbers and objects with text for keys can always be written as JSON")
}

/// The identifier in a JSON value: a text that is not empty, or a number as it is written.
pub(super) fn identifier(token: &RawValue) -> Option<String> {
    let token = token.get();
    let text = if token.starts_with('"') {
        serde_json::from_str::<String>(token).ok()?
    } else {
        token.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| token.to_owned())?
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair {
        a: u8,
        #[serde(default)]
        b: u8,
    }

    #[test]
    fn only_objects_are_objects() {
        assert_eq!(object(" \n{\"a\":1,\"c\":[]} "), Some(Pair { a: 1, b: 0 }));
        for text in ["[1,2]", "[1]", "", "{", "null", "\"{}\"", "{\"a\":1} {}", "{\"a\":1,\"a\":1}", "\u{a0}{\"a\":1}"] {
            assert_eq!(object::<Pair>(text), None, "{text}");
        }
    }
}
