//! Which part of a request's path its signature covers.

use super::matches;
use crate::pusher::{KeyPair, Query};

/// A request's path, and which parts of it the signature may cover.
///
/// A server may have a base path, as Laravel Reverb has with `REVERB_SERVER_PATH`: a trigger then goes to
/// `/reverb/apps/3/events`. The PHP library does not sign the base path
/// (<https://github.com/laravel/reverb/issues/356>); other libraries sign the whole path. A `&str` is a path that is
/// signed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedPath<'p> {
    whole: &'p str,
    /// The part that begins at `/apps/`, if there is a base path.
    behind_base: Option<&'p str>,
}

impl<'p> From<&'p str> for SignedPath<'p> {
    fn from(whole: &'p str) -> Self {
        Self { whole, behind_base: None }
    }
}

impl<'p> SignedPath<'p> {
    /// A path that is signed as a whole, or without the `base` bytes at its beginning.
    #[must_use]
    pub fn behind(base: usize, whole: &'p str) -> Self {
        Self { whole, behind_base: whole.get(base..).filter(|_| base > 0) }
    }

    /// The parts that may be signed, the usual one first.
    pub(super) fn choices(self) -> impl Iterator<Item = &'p str> {
        self.behind_base.into_iter().chain([self.whole])
    }

    /// The part that the signature in `query` covers; the whole path if it covers neither.
    pub(super) fn signed_in(self, pair: &KeyPair, method: &str, query: &Query<'_>) -> &'p str {
        self.behind_base.filter(|path| matches(pair, method, path, query)).unwrap_or(self.whole)
    }
}
