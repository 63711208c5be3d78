//! Verifies queries that differ from an earlier one of the same caller only in their values.

use std::ops::Range;

use hmac::Mac;

use super::authenticate::{SignedRequest, VERSION, authenticate};
use super::{Body, SignatureError, SignedPath};
use crate::pusher::{App, KeyPair, Query, hex};

/// The signed text between timestamp and digest.
const BETWEEN: &str = "&auth_version=1.0&body_md5=";

/// The form of a signed query as every library sends it with a trigger: the five parameters of the authentication, each
/// once, nothing encoded. The requests of one caller differ in three values only. So a query is compared with the form
/// of an earlier one, instead of being split, sorted and joined again.
#[derive(Debug)]
pub struct Pattern {
    /// The signed text up to the timestamp's value.
    prefix: Box<str>,
    /// The same with the other part of the path that may be signed.
    other_prefix: Option<Box<str>>,
    key: Range<usize>,
    timestamp: Range<usize>,
    body_md5: Range<usize>,
    signature: Range<usize>,
}

/// The values of a query that has a pattern, not verified yet.
#[derive(Debug)]
pub struct SignatureClaim<'q> {
    query: &'q str,
    timestamp: u64,
    body_md5: [u8; 16],
    signature: [u8; 32],
}

impl<'q> SignatureClaim<'q> {
    /// The query with these values.
    #[must_use]
    pub const fn query(&self) -> &'q str {
        self.query
    }
}

impl Pattern {
    /// The pattern of a request with this path and query, if the query has such a form.
    #[must_use]
    pub fn of<'p>(method: &str, path: impl Into<SignedPath<'p>>, query: &Query<'_>) -> Option<Self> {
        let [mut key, mut timestamp, mut version, mut body_md5, mut signature] = [const { None }; 5];
        for (name, place) in query.value_ranges()? {
            let found = match name {
                "auth_key" => &mut key,
                "auth_timestamp" => &mut timestamp,
                "auth_version" => &mut version,
                "body_md5" => &mut body_md5,
                "auth_signature" => &mut signature,
                _ => return None,
            };
            if found.replace(place).is_some() {
                return None;
            }
        }
        let (key, timestamp, version, body_md5, signature) = (key?, timestamp?, version?, body_md5?, signature?);
        let raw = query.raw();
        let prefix = |path: &str| format!("{method}\n{path}\nauth_key={}&auth_timestamp=", &raw[key.clone()]).into();
        let mut prefixes = path.into().choices().map(prefix);
        let pattern = Self {
            prefix: prefixes.next()?,
            other_prefix: prefixes.next(),
            key: key.clone(),
            timestamp,
            body_md5,
            signature,
        };
        (raw[version] == *VERSION && pattern.claim(raw).is_some()).then_some(pattern)
    }

    /// The ranges in which queries of this pattern may differ, in their order.
    #[must_use]
    pub fn variable(&self) -> [Range<usize>; 3] {
        let mut places = [self.timestamp.clone(), self.body_md5.clone(), self.signature.clone()];
        places.sort_unstable_by_key(|place| place.start);
        places
    }

    /// The values of `query`, which equals the first query except in the [variable](Self::variable) ranges. `None`: a
    /// value is malformed, so `query` does not have this pattern.
    #[must_use]
    pub fn claim<'q>(&self, query: &'q str) -> Option<SignatureClaim<'q>> {
        Some(SignatureClaim {
            query,
            timestamp: seconds(query.get(self.timestamp.clone())?)?,
            body_md5: hex::decode(query.get(self.body_md5.clone())?)?,
            signature: hex::decode(query.get(self.signature.clone())?)?,
        })
    }

    /// Verifies a request of `app` with such a query, as [`verify`](super::verify) does. `claim`: the result of
    /// [`claim`](Self::claim) for this query.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify<'a>(
        &self,
        app: &'a App,
        claim: &SignatureClaim<'_>,
        body: Body<'_>,
        now: u64,
    ) -> Result<&'a KeyPair, SignatureError> {
        authenticate(app, &PatternRequest { pattern: self, claim }, body, now)
    }
}

/// A request whose query has a pattern: each of its parameters is given once, and well-formed.
struct PatternRequest<'r> {
    pattern: &'r Pattern,
    claim: &'r SignatureClaim<'r>,
}

impl SignedRequest for PatternRequest<'_> {
    #[inline]
    fn key(&self) -> Result<&str, SignatureError> {
        Ok(&self.claim.query[self.pattern.key.clone()])
    }

    #[inline]
    fn version(&self) -> Result<&str, SignatureError> {
        Ok(VERSION)
    }

    #[inline]
    fn timestamp(&self) -> Result<u64, SignatureError> {
        Ok(self.claim.timestamp)
    }

    #[inline]
    fn body_md5(&self) -> Result<Option<[u8; 16]>, SignatureError> {
        Ok(Some(self.claim.body_md5))
    }

    #[inline]
    fn signature(&self) -> Result<[u8; 32], SignatureError> {
        Ok(self.claim.signature)
    }

    #[inline]
    fn is_signed_by(&self, pair: &KeyPair, signature: &[u8; 32]) -> bool {
        let (pattern, query) = (self.pattern, self.claim.query);
        let is_right = |prefix: &str| {
            let mut mac = pair.secret().authenticate(prefix.as_bytes());
            for piece in [&query[pattern.timestamp.clone()], BETWEEN, &query[pattern.body_md5.clone()]] {
                mac.update(piece.as_bytes());
            }
            mac.verify_slice(signature).is_ok()
        };
        is_right(&pattern.prefix) || pattern.other_prefix.as_deref().is_some_and(is_right)
    }
}

/// The number in `text`, of digits alone.
pub(super) fn seconds(text: &str) -> Option<u64> {
    // `parse` alone would accept a leading plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{sign_query, signature, verify};
    use super::*;

    const PATH: &str = "/apps/3/events";
    const NOW: u64 = 1_700_000_000;

    fn app() -> App {
        App::new("3", "key", "secret")
    }

    /// A signed query whose pairs stand in another order: the one at each place of `order`.
    fn signed(order: [usize; 5], body: &[u8], timestamp: u64) -> String {
        let query = sign_query(&app(), "POST", PATH, &[], Some(body), timestamp);
        let pairs: Vec<&str> = query.split('&').collect();
        order.map(|place| pairs[place]).join("&")
    }

    /// What the pattern of `query` says of it, and what `verify` does.
    fn both(query: &str, body: &[u8]) -> Option<(Result<(), SignatureError>, Result<(), SignatureError>)> {
        both_at(PATH.into(), query, body)
    }

    fn both_at(
        path: SignedPath<'_>,
        query: &str,
        body: &[u8],
    ) -> Option<(Result<(), SignatureError>, Result<(), SignatureError>)> {
        let pattern = Pattern::of("POST", path, &Query::parse(query))?;
        let claim = pattern.claim(query)?;
        Some((
            pattern.verify(&app(), &claim, Body::from(body), NOW).map(|_pair| ()),
            verify(&app(), "POST", path, &Query::parse(query), body, NOW).map(|_pair| ()),
        ))
    }

    #[test]
    fn says_what_verify_says_of_a_path_of_which_a_part_may_be_unsigned() {
        let whole = "/ws/apps/3/events";
        for (path, signed, is_right) in [
            (SignedPath::behind(3, whole), PATH, true),
            (SignedPath::behind(3, whole), whole, true),
            (SignedPath::behind(3, whole), "/apps/4/events", false),
            (whole.into(), PATH, false),
            (SignedPath::behind(0, PATH), PATH, true),
        ] {
            let query = sign_query(&app(), "POST", signed, &[], Some(b"{}"), NOW);
            let (ours, theirs) = both_at(path, &query, b"{}").expect("such queries have a pattern");
            assert_eq!((ours.is_ok(), &ours), (is_right, &theirs), "{path:?} signed as {signed}");
        }
    }

    #[test]
    fn queries_of_other_parameters_have_no_pattern() {
        let query = signed([0, 1, 2, 3, 4], b"{}", NOW);
        assert!(both(&query, b"{}").is_some());
        let cases = [
            format!("{query}&a=b"),
            format!("{query}&auth_key=key"),
            format!("{query}&"),
            query.replace("auth_version=1.0", "auth_version=2.0"),
            query.replace("auth_version=1.0", "Auth_version=1.0"),
            query.replace("auth_key=key", "auth_key=%6bey"),
            query.replace("auth_key=key", "auth_key"),
            query.replace("auth_timestamp=1", "auth_timestamp=+1"),
            query.replace("auth_timestamp=1", "auth_timestamp="),
            query.replace("body_md5=", "body_md5=0"),
            query.replace("&auth_version=1.0", ""),
            String::new(),
        ];
        for case in &cases[..8] {
            assert!(both(case, b"{}").is_none(), "{case}");
        }
        assert!(both(&cases[8], b"{}").is_some_and(|(ours, theirs)| ours.is_err() && ours == theirs));
        for case in &cases[9..] {
            assert!(both(case, b"{}").is_none(), "{case}");
        }
    }

    proptest! {
        #[test]
        fn says_what_verify_says(order in Just([0, 1, 2, 3, 4]).prop_shuffle(), body: Vec<u8>, other: Vec<u8>, off in -700..700_i64) {
            let query = signed(order, &body, NOW.saturating_add_signed(off));
            let (ours, theirs) = both(&query, &body).expect("such queries have a pattern");
            prop_assert_eq!(ours.is_ok(), off.abs() < 600);
            prop_assert_eq!(ours, theirs);
            let (ours, theirs) = both(&query, &other).expect("such queries have a pattern");
            prop_assert_eq!(ours, theirs);
        }

        /// One query's pattern reads another one, or does not take it for its own.
        #[test]
        fn reads_queries_like_the_first(
            order in Just([0, 1, 2, 3, 4]).prop_shuffle(),
            body: Vec<u8>,
            place in 0..200_usize,
            byte in prop::sample::select(b"0af9gAF&=+% ".to_vec()),
        ) {
            let first = signed(order, b"{}", NOW);
            let pattern = Pattern::of("POST", PATH, &Query::parse(&first)).expect("such queries have a pattern");
            let mut second = signed(order, &body, NOW + 1).into_bytes();
            let claim = pattern.claim(std::str::from_utf8(&second)?).expect("they differ where they may");
            prop_assert_eq!(pattern.verify(&app(), &claim, Body::from(&body), NOW).map(|_pair| ()), Ok(()));
            // Now with another byte in a place where it may differ.
            let places: Vec<usize> = pattern.variable().into_iter().flatten().collect();
            second[places[place % places.len()]] = byte;
            let second = std::str::from_utf8(&second)?;
            let theirs = verify(&app(), "POST", PATH, &Query::parse(second), &body, NOW).map(|_pair| ());
            match pattern.claim(second) {
                Some(claim) => prop_assert_eq!(pattern.verify(&app(), &claim, Body::from(&body), NOW).map(|_pair| ()), theirs),
                // Then it has no pattern of its own either, and is read in the general way.
                None => prop_assert!(Pattern::of("POST", PATH, &Query::parse(second)).is_none()),
            }
        }
    }

    #[test]
    fn another_key_or_signature_is_refused() {
        let query = signed([0, 1, 2, 3, 4], b"{}", NOW);
        let pattern = Pattern::of("POST", PATH, &Query::parse(&query)).expect("such queries have a pattern");
        let claim = pattern.claim(&query).expect("it is its own");
        let verify = |app: &App| pattern.verify(app, &claim, Body::from(b"{}"), NOW).map(|_pair| ());
        assert_eq!(
            verify(&App::new("3", "other", "secret")),
            Err(SignatureError::UnknownKey { app: "3".into(), key: "key".into() })
        );
        assert_eq!(verify(&App::new("3", "key", "other")), Err(SignatureError::Mismatch));
        assert_eq!(verify(&app()), Ok(()));
        assert_eq!(
            signature(app().first(), "POST", PATH, &Query::parse(&query)),
            query.rsplit_once('=').expect("a signature").1
        );
    }
}
