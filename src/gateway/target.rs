//! What a request's target says it is: a trigger of a known app, perhaps one in disguise, or something else.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::routing::{AppRoute, Routing};
use super::{Refusal, UnknownApps};
use crate::pusher::{Endpoint, Query, decode_path};

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
    /// It only becomes a trigger endpoint when the path is normalised, as some server may do (threats.md URI-02 to URI-04).
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
    let (claimed, form) = match read(head.uri.path()) {
        Some((Some(id), form)) => (routing.app(id), form),
        Some((None, form)) => {
            let query = Query::parse(head.uri.query().unwrap_or_default());
            let keyed = query.only("auth_key").and_then(|key| routing.app_with_key(key));
            (keyed.or_else(|| routing.app(&named(head.uri.path()))), form)
        }
        None => return Ok(Route::Other),
    };
    match (claimed, routing.unknown_apps) {
        (Some(app), _) => {
            let form = if head.method == Method::POST { form } else { Form::Disguised };
            Ok(Route::Trigger(Target { app: Arc::clone(app), form }))
        }
        (None, UnknownApps::Forward) => Ok(Route::Unknown),
        (None, UnknownApps::Reject) => Err(Refusal::UnknownApp { name: named(head.uri.path()) }),
    }
}

/// The app id and the endpoint of a path that names a trigger endpoint byte for byte.
pub(super) fn exact(path: &str) -> Option<(&str, Endpoint)> {
    let rest = path.strip_prefix("/apps/")?;
    let slash = rest.bytes().position(|byte| byte == b'/')?;
    let (id, endpoint) = (&rest[..slash], &rest[slash + 1..]);
    let endpoint = match endpoint {
        "events" => Endpoint::Events,
        "batch_events" => Endpoint::Batch,
        _ => return None,
    };
    (is_segment(id) && !id.bytes().any(|byte| matches!(byte, b'%' | b';'))).then_some((id, endpoint))
}

/// The app id, where the path has it in its place, and the form of the endpoint. `None`: no trigger endpoint.
fn read(path: &str) -> Option<(Option<&str>, Form)> {
    if let Some((id, endpoint)) = exact(path) {
        return Some((Some(id), Form::Exact(endpoint)));
    }
    if let Some(rest) = path.strip_prefix("/apps/")
        && !path.contains(['%', ';'])
    {
        let mut segments = rest.split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(id), Some("channels"), Some(channel), Some("events"), None) if is_segment(id) && is_segment(channel) => {
                return Some((Some(id), Form::Legacy { channel: channel.to_owned() }));
            }
            _ => {}
        }
    }
    is_disguised(path).then_some((None, Form::Disguised))
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

/// Whether any usual normalising (decoding, case, parameters, empty and dot segments) makes a trigger endpoint of `path`.
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
        let segment = segment.split([';', '?', '#']).next().unwrap_or_default().trim_matches(|c: char| c.is_control() || c == ' ');
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let last = segments.last().copied().unwrap_or_default();
    segments.contains(&"apps") && (matches!(last, "events" | "batch_events") || last.contains('%') || !last.is_ascii() && last.ends_with("events"))
}

/// What the path calls its app, for the error text: cut short, since anybody may write anything there.
fn named(path: &str) -> String {
    path.strip_prefix("/apps/").and_then(|rest| rest.split('/').next()).unwrap_or_default().chars().take(64).collect()
}
