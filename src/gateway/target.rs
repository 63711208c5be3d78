//! Routing a request by its target: a trigger of a known app, perhaps under a non-canonical path, or something else.

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
    /// A trigger of a configured app.
    Trigger(Target),
    /// A trigger for an app that is not configured, forwarded unchanged.
    Unknown,
    /// Anything else, forwarded unchanged.
    Other,
}

/// A request that may be a trigger, and the app that it names.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) app: Arc<AppRoute>,
    pub(super) form: TargetForm,
}

/// How the target names a trigger endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetForm {
    /// Byte for byte: the body is read.
    Exact(Endpoint),
    /// Byte for byte, and it is the old endpoint, `POST /apps/{id}/channels/{channel}/events`: the request touches this
    /// channel (pusher-protocol.md 1.2).
    Legacy {
        /// The channel in the path.
        channel: String,
    },
    /// Only if the path is normalised, as some server may do (threats.md URI-02 to URI-04).
    NonCanonical,
}

/// Routes a request by its `head`.
///
/// # Errors
/// A trigger for an app that is not configured.
pub(super) fn route(head: &Parts, routing: &Routing) -> Result<Route, Refusal> {
    // Some servers accept methods in upper and lower case.
    if head.method != Method::POST && !head.method.as_str().eq_ignore_ascii_case("POST") {
        return Ok(Route::Other);
    }
    let path = head.uri.path();
    let (claimed, name, form) = match TriggerPath::read(path) {
        Some(TriggerPath { id: Some(id), form }) => (routing.app(id), id, form),
        Some(TriggerPath { id: None, form }) => {
            let query = Query::parse(head.uri.query().unwrap_or_default());
            let keyed = query.only("auth_key").and_then(|key| routing.app_with_key(key));
            (keyed.or_else(|| routing.app(app_segment(path))), app_segment(path), form)
        }
        None => return Ok(Route::Other),
    };
    match (claimed, routing.unknown_apps) {
        (Some(app), _) => {
            let form = if head.method == Method::POST { form } else { TargetForm::NonCanonical };
            Ok(Route::Trigger(Target { app: Arc::clone(app), form }))
        }
        (None, UnknownApps::Forward) => Ok(Route::Unknown),
        // Cut short, since the caller chooses it.
        (None, UnknownApps::Reject) => Err(Refusal::UnknownApp { name: name.chars().take(64).collect() }),
    }
}

/// How `path` names a trigger endpoint; `None`: it names none.
pub(super) fn form(path: &str) -> Option<TargetForm> {
    TriggerPath::read(path).map(|path| path.form)
}

/// The app that a request names, if its path looks like a trigger's.
pub(super) fn trigger_app(head: &Parts) -> Option<&str> {
    let path = head.uri.path();
    if !path.ends_with("events") || !head.method.as_str().eq_ignore_ascii_case("POST") {
        return None;
    }
    let id = exact(path).map(|exact| exact.id).or_else(|| legacy(path).map(|legacy| legacy.id));
    Some(id.unwrap_or_else(|| app_segment(path)))
}

impl Target {
    /// The parts of `path` over which the request may be signed.
    pub(super) fn signed_path<'p>(&self, path: &'p str) -> SignedPath<'p> {
        match self.form {
            TargetForm::Exact(_) | TargetForm::Legacy { .. } => signed_path(path),
            // How a server normalises it is not known, nor what it would take for its beginning.
            TargetForm::NonCanonical => path.into(),
        }
    }
}

/// The parts of an exact or old path over which a trigger may be signed.
pub(super) fn signed_path(path: &str) -> SignedPath<'_> {
    let base =
        exact(path).map(|exact| exact.base).or_else(|| legacy(path).map(|legacy| legacy.base)).unwrap_or_default();
    SignedPath::behind(base.len(), path)
}

/// A path that names a trigger endpoint byte for byte.
#[derive(Debug)]
pub(super) struct ExactPath<'p> {
    /// The path prefix of the server; usually empty.
    base: &'p str,
    /// The app's id.
    pub(super) id: &'p str,
    pub(super) endpoint: Endpoint,
}

/// Reads `{base}/apps/{id}/events` and `{base}/apps/{id}/batch_events`.
pub(super) fn exact(path: &str) -> Option<ExactPath<'_>> {
    let (rest, endpoint) = path.rsplit_once('/')?;
    let endpoint = match endpoint {
        "events" => Endpoint::Events,
        "batch_events" => Endpoint::Batch,
        _ => return None,
    };
    let (base, id) = app(rest)?;
    Some(ExactPath { base, id, endpoint })
}

/// A path that names the old endpoint byte for byte.
struct LegacyPath<'p> {
    base: &'p str,
    id: &'p str,
    channel: &'p str,
}

/// Reads `{base}/apps/{id}/channels/{channel}/events`.
fn legacy(path: &str) -> Option<LegacyPath<'_>> {
    let (rest, channel) = path.strip_suffix("/events")?.rsplit_once('/')?;
    let (base, id) = app(rest.strip_suffix("/channels")?)?;
    is_segment(channel).then_some(LegacyPath { base, id, channel })
}

/// Splits `{base}/apps/{id}`.
fn app(path: &str) -> Option<(&str, &str)> {
    let (rest, id) = path.rsplit_once('/')?;
    let base = rest.strip_suffix("/apps")?;
    (is_segment(id) && is_base(base)).then_some((base, id))
}

/// Whether every server reads `base` in the same way, and none could take it for the beginning of the API itself.
fn is_base(base: &str) -> bool {
    let is_plain = |segment: &str| {
        is_segment(segment)
            && segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !segment.eq_ignore_ascii_case("apps")
    };
    base.is_empty() || base.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_plain))
}

/// A path of a trigger endpoint, exact or not.
struct TriggerPath<'p> {
    /// The app's id, if the path is exact.
    id: Option<&'p str>,
    form: TargetForm,
}

impl<'p> TriggerPath<'p> {
    /// `None`: no trigger endpoint.
    fn read(path: &'p str) -> Option<Self> {
        if let Some(ExactPath { id, endpoint, .. }) = exact(path) {
            return Some(Self { id: Some(id), form: TargetForm::Exact(endpoint) });
        }
        if let Some(LegacyPath { id, channel, .. }) = legacy(path) {
            return Some(Self { id: Some(id), form: TargetForm::Legacy { channel: channel.to_owned() } });
        }
        may_become_trigger(path).then_some(Self { id: None, form: TargetForm::NonCanonical })
    }
}

/// Whether every server reads a segment in the same way.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains(['%', ';'])
}

/// Whether any usual normalisation (decoding, case, parameters, empty and dot segments) turns `path` into a trigger
/// endpoint.
fn may_become_trigger(path: &str) -> bool {
    let mut plain = Cow::Borrowed(path);
    // Three rounds: no server decodes more often; a last segment that is still encoded then counts as one.
    for _ in 0..3 {
        if !plain.contains('%') {
            break;
        }
        plain = Cow::Owned(decode_path(&plain).into_owned());
    }
    let lower = plain.to_ascii_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in lower.split(['/', '\\']) {
        // A `?` or `#` here was encoded: a server that decodes first would cut the path there.
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

/// The app's id in a non-canonical path.
pub(super) fn app_segment(path: &str) -> &str {
    path.strip_prefix("/apps/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}
