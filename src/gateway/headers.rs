//! End-to-end headers. The others belong to one connection and are not passed on (RFC 9110 7.6.1).

#[cfg(test)]
mod tests;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use super::Refusal;
use crate::upstream::is_hop_by_hop;

/// Most headers that `Connection` may nominate.
const MOST_NOMINATIONS: usize = 10;

/// The headers of `from` that are passed on: all but the hop-by-hop ones and those that `Connection` nominates, in
/// their order.
///
/// # Errors
/// `Connection` nominates a header that must be passed on, or too many, or is no list of names.
pub(super) fn end_to_end(from: &HeaderMap) -> Result<HeaderMap, Refusal> {
    let nominated = nominations(from)?;
    let mut kept = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        if !is_hop_by_hop(name.as_str()) && !nominated.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    Ok(kept)
}

/// Removes the hop-by-hop headers from upstream's answer, and those that its `Connection` nominates, whichever they
/// are.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = names(headers).filter_map(Result::ok).collect();
    let kept = std::mem::take(headers);
    headers.reserve(kept.len());
    let mut current = None;
    for (name, value) in kept {
        if name.is_some() {
            current = name;
        }
        let Some(name) = &current else { continue };
        if !is_hop_by_hop(name.as_str()) && !nominated.contains(name) {
            headers.append(name.clone(), value);
        }
    }
}

fn nominations(headers: &HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    let mut nominated = Vec::new();
    for (count, name) in names(headers).enumerate() {
        if count == MOST_NOMINATIONS {
            return Err(Refusal::BadRequest("the Connection header nominates more than 10 headers"));
        }
        let name = name?;
        if is_protected(&name) {
            return Err(Refusal::BadRequest("the Connection header nominates a header that a caller cannot take away"));
        }
        nominated.push(name);
    }
    Ok(nominated)
}

/// The names that `Connection` lists, without `keep-alive` and `close`.
fn names(headers: &HeaderMap) -> impl Iterator<Item = Result<HeaderName, Refusal>> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value: &HeaderValue| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| {
            !name.is_empty() && !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close")
        })
        .map(|name| {
            HeaderName::from_bytes(name)
                .map_err(|_| Refusal::BadRequest("the Connection header is no list of header names"))
        })
}

/// Headers that decide what a request means, or that usher itself sets (threats.md HDR-01).
fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "host" | "content-length" | "content-type" | "content-encoding" | "authorization" | "forwarded" | "x-real-ip"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("usher-")
}
