//! Over what of a request's path its signature is made.

use super::matches;
use crate::pusher::{App, Query};

/// A request's path, and over what of it the signature may be made.
///
/// A server may stand behind a path of its own, as Laravel Reverb does with `REVERB_SERVER_PATH`: a trigger then goes
/// to `/reverb/apps/3/events`. The PHP library does not sign that path
/// (<https://github.com/laravel/reverb/issues/356>), whoever knows nothing of it signs the whole. A `&str` is a path
/// that is signed as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedPath<'p> {
    whole: &'p str,
    /// What begins at `/apps/`, if anything stands before it.
    behind_base: Option<&'p str>,
}

impl<'p> From<&'p str> for SignedPath<'p> {
    fn from(whole: &'p str) -> Self {
        Self { whole, behind_base: None }
    }
}

impl<'p> SignedPath<'p> {
    /// A path that is signed as it stands, or without the `base` bytes at its beginning.
    #[must_use]
    pub fn behind(base: usize, whole: &'p str) -> Self {
        Self { whole, behind_base: whole.get(base..).filter(|_| base > 0) }
    }

    /// What may be signed; what is usual stands first.
    pub(super) fn choices(self) -> impl Iterator<Item = &'p str> {
        self.behind_base.into_iter().chain([self.whole])
    }

    /// What the signature in `query` is made over; the whole path if it is made over something else.
    pub(super) fn signed_in(self, app: &App, method: &str, query: &Query<'_>) -> &'p str {
        self.behind_base.filter(|path| matches(app, method, path, query)).unwrap_or(self.whole)
    }
}
