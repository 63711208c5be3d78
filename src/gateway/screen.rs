//! Checks of a request's head before anything else is done with it: those that hyper, which has parsed it, leaves to
//! its user.

#[cfg(test)]
mod tests;

use http::header::{EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::{Limits, Refusal, headers};

/// Checks the head and brings it into the form in which it is forwarded: origin-form target, end-to-end headers.
///
/// # Errors
/// The first check that failed.
pub(super) fn head(head: &mut Parts, body: &Incoming, limits: &Limits) -> Result<(), Refusal> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::MethodNotAllowed);
    }
    target(head, limits)?;
    framing(head)?;
    if body.size_hint().lower() > limits.max_body as u64 {
        return Err(Refusal::BodyTooLarge { limit: limits.max_body });
    }
    if head.headers.get_all(EXPECT).iter().any(|expected| !is_met(expected.as_bytes())) {
        return Err(Refusal::ExpectationFailed);
    }
    head.headers = headers::end_to_end(&head.headers)?;
    Ok(())
}

/// Whether usher meets every expectation in an `Expect` header. There may be none (RFC 9110 10.1.1, 5.6.1): Guzzle
/// sends an empty header to switch `100-continue` off.
fn is_met(expected: &[u8]) -> bool {
    let mut members = expected.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.all(|member| member.is_empty() || member.eq_ignore_ascii_case(b"100-continue"))
}

/// Checks that the target is in origin form, or in absolute form for the host that `Host` names, and that there is one
/// `Host`.
fn target(head: &mut Parts, limits: &Limits) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadRequest("there is more than one Host header"));
    }
    if host.is_none() && head.version == Version::HTTP_11 {
        return Err(Refusal::BadRequest("HTTP/1.1 needs a Host header"));
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(Refusal::BadRequest("the Host header is not a host name or address, perhaps with a port"));
    }
    let Some(path_and_query) = head.uri.path_and_query() else {
        return Err(Refusal::BadRequest("the request target is neither a path nor a URL"));
    };
    if path_and_query.as_str().len() > limits.max_target {
        return Err(Refusal::TargetTooLong { limit: limits.max_target });
    }
    if !path_and_query.path().starts_with('/') {
        return Err(Refusal::BadRequest("the request target has to begin with a slash"));
    }
    if let Some(authority) = head.uri.authority() {
        let same = host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
        if !same {
            return Err(Refusal::BadRequest("the request target names another host than the Host header"));
        }
        head.uri = Uri::from(path_and_query.clone());
    }
    Ok(())
}

/// Whether `value` is a valid `Host`: empty, or a host with at most a numeric port (RFC 9112 3.2; no user, no list, no
/// path).
fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else { return false };
    let port = &authority.as_str()[authority.host().len()..];
    let numeric =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    numeric && !authority.as_str().contains(['@', ','])
}

/// hyper accepts any list that ends in `chunked`; other servers read the codings before it differently (threats.md
/// H1-05).
fn framing(head: &Parts) -> Result<(), Refusal> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::BadRequest("the only Transfer-Encoding usher takes is `chunked`, once")),
    }
}
