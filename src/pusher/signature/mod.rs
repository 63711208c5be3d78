//! The request signature: verified for received requests, computed for reduced triggers and for usher's own client.
//!
//! The string to sign is `METHOD LF PATH LF k1=v1&k2=v2…`: all query parameters but `auth_signature`, keys lower-cased
//! and sorted, values decoded (`pusher-protocol.md` 2.1). The body is bound to it by `body_md5`.

mod authenticate;
mod body;
mod error;
mod lanes;
mod path;
mod pattern;
#[cfg(test)]
mod tests;
mod token;
mod webhook;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub use body::Body;
pub use error::SignatureError;
pub use path::SignedPath;
pub use pattern::{Pattern, SignatureClaim};
pub use token::{Grant, TokenError};
pub use webhook::WebhookSignature;

use self::authenticate::{SignedRequest, VERSION, authenticate};
use super::percent::encode_into;
use super::query::{Credentials, Occurrence, decode_key};
use super::{App, KeyPair, Query, hex};

/// Verifies the signature of a request of `app`, and returns the pair of the app that signed it: the one that the
/// request's `auth_key` names.
///
/// `path` is the path as received on the request line, `body` the raw body, `now` seconds since the Unix epoch. Key,
/// version, timestamp, digest and signature are checked in this order, and a forged request costs at most one MD5 and
/// one HMAC (`threats.md` AUTH-08), or two HMACs where a part of the path may be unsigned.
///
/// # Errors
/// The first check that failed.
pub fn verify<'a, 'p, 'b>(
    app: &'a App,
    method: &str,
    path: impl Into<SignedPath<'p>>,
    query: &Query<'_>,
    body: impl Into<Body<'b>>,
    now: u64,
) -> Result<&'a KeyPair, SignatureError> {
    let request = ParsedRequest { method, path: path.into(), query, credentials: query.credentials() };
    authenticate(app, &request, body.into(), now)
}

/// A request whose query was split and decoded.
struct ParsedRequest<'r, 'q> {
    method: &'r str,
    path: SignedPath<'r>,
    query: &'r Query<'q>,
    credentials: Credentials<'r>,
}

impl SignedRequest for ParsedRequest<'_, '_> {
    fn key(&self) -> Result<&str, SignatureError> {
        only(self.credentials.key, "auth_key")?.ok_or(SignatureError::MissingKey)
    }

    fn version(&self) -> Result<&str, SignatureError> {
        only(self.credentials.version, "auth_version")?.ok_or(SignatureError::MissingVersion)
    }

    fn timestamp(&self) -> Result<u64, SignatureError> {
        let text = only(self.credentials.timestamp, "auth_timestamp")?.ok_or(SignatureError::MissingTimestamp)?;
        pattern::seconds(text).ok_or(SignatureError::MalformedTimestamp)
    }

    fn body_md5(&self) -> Result<Option<[u8; 16]>, SignatureError> {
        let text = only(self.credentials.body_md5, "body_md5")?;
        text.map(|text| hex::decode(text).ok_or(SignatureError::MalformedBodyMd5)).transpose()
    }

    fn signature(&self) -> Result<[u8; 32], SignatureError> {
        let text = only(self.credentials.signature, "auth_signature")?.ok_or(SignatureError::MissingSignature)?;
        hex::decode(text).ok_or(SignatureError::MalformedSignature)
    }

    fn is_signed_by(&self, pair: &KeyPair, signature: &[u8; 32]) -> bool {
        let mut paths = self.path.choices();
        paths.any(|path| authenticated(pair, self.method, path, self.query).verify_slice(signature).is_ok())
    }
}

/// The raw query with the `body_md5` and `auth_signature` of `body`; everything else stays as received. A missing
/// parameter is appended (`body_md5` only if there is a body). `pair`: the one that signed `query`. The signature covers the same part of the path as the
/// one in `query`, so that a server accepts the new one if it accepts that.
#[must_use]
pub fn resign<'p>(
    pair: &KeyPair,
    method: &str,
    path: impl Into<SignedPath<'p>>,
    query: &Query<'_>,
    body: &[u8],
) -> String {
    let path = path.into().signed_in(pair, method, query);
    let md5 = md5_hex(body);
    let with_md5 = replace_parameter(query.raw(), "body_md5", &md5, !body.is_empty());
    let signature = signature(pair, method, path, &Query::parse(&with_md5));
    replace_parameter(&with_md5, "auth_signature", &signature, true)
}

/// The signed query of a request that usher itself sends, by the app's first pair. `parameters`: those beside the authentication; `body`: `None`
/// if the request has none.
#[must_use]
pub fn sign_query(
    app: &App,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: Option<&[u8]>,
    timestamp: u64,
) -> String {
    let timestamp = timestamp.to_string();
    let mut own = vec![("auth_key", app.key()), ("auth_timestamp", &timestamp), ("auth_version", VERSION)];
    let md5 = body.map(md5_hex);
    own.extend(md5.as_deref().map(|md5| ("body_md5", md5)));
    let mut raw = String::new();
    for (key, value) in parameters.iter().chain(&own) {
        push_parameter(&mut raw, key, value);
    }
    let signature = signature(app.first(), method, path, &Query::parse(&raw));
    push_parameter(&mut raw, "auth_signature", &signature);
    raw
}

/// The text that the signature of such a request covers. It has no secret, but everything else of the request: not for
/// logs.
#[must_use]
pub fn signed_text(method: &str, path: &str, query: &Query<'_>) -> String {
    let mut text = String::with_capacity(method.len() + path.len() + query.raw().len() + 2);
    each_signed_piece(method, path, query, |piece| text.push_str(piece));
    text
}

/// Passes the text that is signed to `put`, piece by piece.
fn each_signed_piece(method: &str, path: &str, query: &Query<'_>, mut put: impl FnMut(&str)) {
    put(method);
    put("\n");
    put(path);
    put("\n");
    query.signed(put);
}

/// The HMAC-SHA256 of the text that is signed, without building that text in memory.
fn authenticated(pair: &KeyPair, method: &str, path: &str, query: &Query<'_>) -> Hmac<Sha256> {
    let mut mac = pair.secret().authenticate(b"");
    each_signed_piece(method, path, query, |piece| mac.update(piece.as_bytes()));
    mac
}

/// Whether the signature in `query` is that of this request.
fn matches(pair: &KeyPair, method: &str, path: &str, query: &Query<'_>) -> bool {
    let Occurrence::Once(signature) = query.credentials().signature else { return false };
    hex::decode::<32>(signature)
        .is_some_and(|signature| authenticated(pair, method, path, query).verify_slice(&signature).is_ok())
}

fn signature(pair: &KeyPair, method: &str, path: &str, query: &Query<'_>) -> String {
    HEXLOWER.encode(&authenticated(pair, method, path, query).finalize().into_bytes())
}

fn md5_hex(body: &[u8]) -> String {
    HEXLOWER.encode(&Body::from(body).md5())
}

/// The value of an authentication parameter, which may be given once only: two readers could pick different ones.
const fn only<'q>(given: Occurrence<'q>, parameter: &'static str) -> Result<Option<&'q str>, SignatureError> {
    match given {
        Occurrence::Absent => Ok(None),
        Occurrence::Once(value) => Ok(Some(value)),
        Occurrence::Repeated => Err(SignatureError::Repeated { parameter }),
    }
}

/// `raw` with the value of every parameter `key` replaced; the spelling of the key stays. If there is none and `append`
/// is set, the parameter is appended.
fn replace_parameter(raw: &str, key: &str, value: &str, append: bool) -> String {
    let mut replaced = String::with_capacity(raw.len() + key.len() + value.len() + 2);
    let mut found = false;
    for (index, segment) in raw.split('&').enumerate() {
        if index > 0 {
            replaced.push('&');
        }
        let spelt = segment.split_once('=').map_or(segment, |(spelt, _)| spelt);
        if decode_key(spelt) == key {
            found = true;
            replaced.push_str(spelt);
            replaced.push('=');
            replaced.push_str(value);
        } else {
            replaced.push_str(segment);
        }
    }
    if append && !found {
        push_parameter(&mut replaced, key, value);
    }
    replaced
}

fn push_parameter(raw: &mut String, key: &str, value: &str) {
    if !raw.is_empty() {
        raw.push('&');
    }
    encode_into(raw, key);
    raw.push('=');
    encode_into(raw, value);
}
