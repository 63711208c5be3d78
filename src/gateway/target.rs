//! What a request's target says it is: a trigger of a known app, perhaps one in disguise, or something else.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::routing::{AppRoute, Routing};
use super::{Refusal, UnknownApps};
use crate::pusher::{Endpoint, Query, SignedPath, decode_path};

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Route {
    /// Through the six stages.
    Trigger(Target),
    /// A trigger for an app that is not configured, forwarded untouched.
    Unknown,
    /// Anything else, forwarded untouched.
    Other,
}

/// A request that may change what guests see, and the app it claims to be of.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) app: Arc<AppRoute>,
    pub(super) form: Form,
}

/// How exactly the target names a trigger endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Byte for byte: its body is read.
    Exact(Endpoint),
    /// The old endpoint, `POST /apps/{id}/channels/{channel}/events`: it touches this channel (pusher-protocol.md 1.2).
    Legacy {
        /// The channel in the path.
        channel: String,
    },
    /// It only becomes a trigger endpoint when the path is normalised, as some server may do (threats.md URI-02 to
    /// URI-04).
    Disguised,
}

/// Finds out what `head` asks for.
///
/// # Errors
/// A trigger for an app that is not configured.
pub(super) fn route(head: &Parts, routing: &Routing) -> Result<Route, Refusal> {
    // Some servers take methods in any case.
    if head.method != Method::POST && !head.method.as_str().eq_ignore_ascii_case("POST") {
        return Ok(Route::Other);
    }
    let path = head.uri.path();
    let (claimed, name, form) = match read(path) {
        Some((Some(id), form)) => (routing.app(id), id, form),
        Some((None, form)) => {
            let query = Query::parse(head.uri.query().unwrap_or_default());
            let keyed = query.only("auth_key").and_then(|key| routing.app_with_key(key));
            (keyed.or_else(|| routing.app(app_segment(path))), app_segment(path), form)
        }
        None => return Ok(Route::Other),
    };
    match (claimed, routing.unknown_apps) {
        (Some(app), _) => {
            let form = if head.method == Method::POST { form } else { Form::Disguised };
            Ok(Route::Trigger(Target { app: Arc::clone(app), form }))
        }
        (None, UnknownApps::Forward) => Ok(Route::Unknown),
        // Cut short, since anybody may write anything there.
        (None, UnknownApps::Reject) => Err(Refusal::UnknownApp { name: name.chars().take(64).collect() }),
    }
}

impl Target {
    /// Over what of its `path` it may be signed.
    pub(super) fn signed_path<'p>(&self, path: &'p str) -> SignedPath<'p> {
        match self.form {
            Form::Exact(_) | Form::Legacy { .. } => signed_path(path),
            // What others make of it is not known, nor what they would take for its beginning.
            Form::Disguised => path.into(),
        }
    }
}

/// Over what of the path of a trigger that is not disguised it may be signed.
pub(super) fn signed_path(path: &str) -> SignedPath<'_> {
    let base =
        exact(path).map(|exact| exact.base).or_else(|| legacy(path).map(|legacy| legacy.base)).unwrap_or_default();
    SignedPath::behind(base.len(), path)
}

/// A path that names a trigger endpoint byte for byte.
#[derive(Debug)]
pub(super) struct Exact<'p> {
    /// The path at which the server stands; usually empty.
    base: &'p str,
    /// The app's.
    pub(super) id: &'p str,
    pub(super) endpoint: Endpoint,
}

/// Reads `{base}/apps/{id}/events` and `{base}/apps/{id}/batch_events`.
pub(super) fn exact(path: &str) -> Option<Exact<'_>> {
    let (rest, endpoint) = path.rsplit_once('/')?;
    let endpoint = match endpoint {
        "events" => Endpoint::Events,
        "batch_events" => Endpoint::Batch,
        _ => return None,
    };
    let (base, id) = app(rest)?;
    Some(Exact { base, id, endpoint })
}

/// A path that names the old endpoint byte for byte.
struct Legacy<'p> {
    base: &'p str,
    id: &'p str,
    channel: &'p str,
}

/// Reads `{base}/apps/{id}/channels/{channel}/events`.
fn legacy(path: &str) -> Option<Legacy<'_>> {
    let (rest, channel) = path.strip_suffix("/events")?.rsplit_once('/')?;
    let (base, id) = app(rest.strip_suffix("/channels")?)?;
    is_segment(channel).then_some(Legacy { base, id, channel })
}

/// Takes `{base}/apps/{id}` apart.
fn app(path: &str) -> Option<(&str, &str)> {
    let (rest, id) = path.rsplit_once('/')?;
    let base = rest.strip_suffix("/apps")?;
    (is_segment(id) && is_base(base)).then_some((base, id))
}

/// Whether `base` means the same to everybody, and could not be taken for the beginning of the API itself.
fn is_base(base: &str) -> bool {
    let is_plain = |segment: &str| {
        is_segment(segment)
            && segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !segment.eq_ignore_ascii_case("apps")
    };
    base.is_empty() || base.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_plain))
}

/// The app id, where the path has it in its place, and the form of the endpoint. `None`: no trigger endpoint.
fn read(path: &str) -> Option<(Option<&str>, Form)> {
    if let Some(Exact { id, endpoint, .. }) = exact(path) {
        return Some((Some(id), Form::Exact(endpoint)));
    }
    if let Some(Legacy { id, channel, .. }) = legacy(path) {
        return Some((Some(id), Form::Legacy { channel: channel.to_owned() }));
    }
    is_disguised(path).then_some((None, Form::Disguised))
}

/// Whether a segment means the same to everybody.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains(['%', ';'])
}

/// Whether any usual normalising (decoding, case, parameters, empty and dot segments) makes a trigger endpoint of
/// `path`.
fn is_disguised(path: &str) -> bool {
    let mut plain = Cow::Borrowed(path);
    // Three rounds: nobody decodes more often; what is still encoded then is taken for a disguise.
    for _ in 0..3 {
        if !plain.contains('%') {
            break;
        }
        plain = Cow::Owned(decode_path(&plain).into_owned());
    }
    let lower = plain.to_ascii_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in lower.split(['/', '\\']) {
        // A `?` or `#` here was encoded: a server that decodes first would cut there.
        let segment = segment
            .split([';', '?', '#'])
            .next()
            .unwrap_or_default()
            .trim_matches(|c: char| c.is_control() || c == ' ');
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let last = segments.last().copied().unwrap_or_default();
    segments.contains(&"apps")
        && (matches!(last, "events" | "batch_events")
            || last.contains('%')
            || !last.is_ascii() && last.ends_with("events"))
}

/// What a path in disguise calls its app.
fn app_segment(path: &str) -> &str {
    path.strip_prefix("/apps/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}
