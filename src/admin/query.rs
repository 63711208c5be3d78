//! Strict parsing of query strings: an ignored misspelt parameter would list or delete something else than intended.

use std::ops::RangeInclusive;

use super::refusal::Refusal;
use crate::pusher::decode_query;

/// The default number of entries of a listing.
const DEFAULT_LIMIT: usize = 100;

/// The largest number of entries of a listing.
pub(super) const MAX_LIMIT: usize = 10_000;

/// The parameters of a query, without duplicates.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `raw` (without `?`).
    ///
    /// # Errors
    /// A parameter is not in `known`, or is repeated.
    pub(super) fn parse(raw: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode_query(key).into_owned();
            if !known.contains(&key.as_str()) || pairs.iter().any(|(earlier, _)| *earlier == key) {
                return Err(Refusal::BadQuery(format!(
                    "The query takes each of these once at most: {}.",
                    known.join(", ")
                )));
            }
            pairs.push((key, decode_query(value).into_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of `key`; `None` if it is absent or empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// The value is absent or empty.
    pub(super) fn required(&self, key: &str) -> Result<&str, Refusal> {
        self.get(key).ok_or_else(|| Refusal::BadQuery(format!("The query needs a value for {key}.")))
    }

    /// The value of `key` as `true` or `false`; `None` if it is absent.
    ///
    /// # Errors
    /// The value is neither.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        self.get(key)
            .map(|value| value.parse().map_err(|_invalid| Refusal::BadQuery(format!("{key} is true or false."))))
            .transpose()
    }

    /// The requested number of entries.
    ///
    /// # Errors
    /// The value is not a number from 1 to [`MAX_LIMIT`].
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        self.number("limit", DEFAULT_LIMIT, 1..=MAX_LIMIT)
    }

    /// The value of `key` as a number, or `default`.
    ///
    /// # Errors
    /// The value is not a number, or out of `bounds`.
    pub(super) fn number(&self, key: &str, default: usize, bounds: RangeInclusive<usize>) -> Result<usize, Refusal> {
        let Some(number) = self.get(key) else { return Ok(default) };
        let number = number.parse().ok().filter(|number| bounds.contains(number));
        number
            .ok_or_else(|| Refusal::BadQuery(format!("{key} is a number from {} to {}.", bounds.start(), bounds.end())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["app", "channel", "limit"];

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("app=a%20b+c&&channel=%C3%A9%2&limit=", KNOWN).unwrap();
        assert_eq!(query.get("app"), Some("a b c"));
        assert_eq!(query.get("channel"), Some("é%2"));
        assert_eq!(query.get("limit"), None);
        assert_eq!(query.required("app"), Ok("a b c"));
        assert!(query.required("rule").is_err());
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        for raw in ["chanel=x", "app=1&app=2", "app=1&%61pp=2", "=", "APP=1"] {
            assert!(matches!(Query::parse(raw, KNOWN), Err(Refusal::BadQuery(_))), "{raw}");
        }
        assert!(Query::parse("", KNOWN).is_ok() && Query::parse("&", KNOWN).is_ok());
    }

    #[test]
    fn the_limit_is_bounded() {
        let limit = |raw: &str| Query::parse(raw, KNOWN).unwrap().limit().ok();
        assert_eq!((limit(""), limit("limit=1"), limit("limit=10000")), (Some(100), Some(1), Some(10_000)));
        for wrong in ["limit=0", "limit=10001", "limit=-1", "limit=x", "limit=99999999999999999999", "limit=1.5"] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }
}
