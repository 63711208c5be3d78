//! The checks of a signed request, in their order.

use super::{Body, SignatureError};
use crate::pusher::{App, KeyPair};

/// A timestamp that differs from the clock by this many seconds, or more, is refused (`pusher-protocol.md` 2.1).
const WINDOW: u64 = 600;

/// Most bytes that are kept of an unknown key: as many as a secret may have, so that one that was sent as the key by
/// mistake is recognised.
const MAX_KEY: usize = 4096;

/// The only `auth_version`.
pub(super) const VERSION: &str = "1.0";

/// A request, and what its query claims. Each parameter of the authentication is read when it is checked: a request
/// with several faults is refused for the first one in the order of [`authenticate`].
pub(super) trait SignedRequest {
    /// `auth_key`.
    fn key(&self) -> Result<&str, SignatureError>;
    /// `auth_version`.
    fn version(&self) -> Result<&str, SignatureError>;
    /// `auth_timestamp`, in seconds since the Unix epoch.
    fn timestamp(&self) -> Result<u64, SignatureError>;
    /// `body_md5`, if it is given.
    fn body_md5(&self) -> Result<Option<[u8; 16]>, SignatureError>;
    /// `auth_signature`.
    fn signature(&self) -> Result<[u8; 32], SignatureError>;
    /// Whether `signature` is the one that `pair` makes for this request. Compared in constant time.
    fn is_signed_by(&self, pair: &KeyPair, signature: &[u8; 32]) -> bool;
}

/// Verifies that `request` with `body` is of `app`, and returns the pair of the app that signed it: the one that its
/// `auth_key` names. `now`: seconds since the Unix epoch.
///
/// Key, version, timestamp, digest and signature are checked in this order. Nothing is hashed here before everything
/// else is in order, so a forged request costs at most one MD5 and one HMAC (`threats.md` AUTH-08), or two HMACs where
/// a part of the path may be unsigned.
///
/// # Errors
/// The first check that failed.
#[inline]
pub(super) fn authenticate<'a>(
    app: &'a App,
    request: &impl SignedRequest,
    body: Body<'_>,
    now: u64,
) -> Result<&'a KeyPair, SignatureError> {
    let key = request.key()?;
    let pair = app.pair(key).ok_or_else(|| {
        let key = &key[..key.floor_char_boundary(MAX_KEY)];
        SignatureError::UnknownKey { app: app.id().into(), key: key.into() }
    })?;
    if request.version()? != VERSION {
        return Err(SignatureError::UnsupportedVersion);
    }
    check_window(request.timestamp()?, now)?;
    let claimed_md5 = request.body_md5()?;
    if claimed_md5.is_none() && !body.is_empty() {
        return Err(SignatureError::MissingBodyMd5);
    }
    let signature = request.signature()?;
    if claimed_md5.is_some_and(|claimed| claimed != body.md5()) {
        return Err(SignatureError::BodyMd5Mismatch);
    }
    if request.is_signed_by(pair, &signature) { Ok(pair) } else { Err(SignatureError::Mismatch) }
}

fn check_window(timestamp: u64, now: u64) -> Result<(), SignatureError> {
    let seconds = now.abs_diff(timestamp);
    match seconds < WINDOW {
        true => Ok(()),
        false if timestamp < now => Err(SignatureError::TimestampTooOld { seconds }),
        false => Err(SignatureError::TimestampTooNew { seconds }),
    }
}
