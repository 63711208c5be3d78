//! The text of JSON strings.

use std::borrow::Cow;

use super::scan::quote_or_backslash;

/// The text of the JSON string that `token` is, borrowed where it holds no escape. `None` if it is another value or does not decode (lone surrogates).
/// `token` must be valid JSON.
pub(crate) fn string(token: &str) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    // A quote stands behind a backslash here.
    match quote_or_backslash(inner.as_bytes()) {
        None => Some(Cow::Borrowed(inner)),
        Some(first) => unescape(inner, first).or_else(|| decode(token)).map(Cow::Owned),
    }
}

/// `inner`, whose first escape is at `first`, without its escapes: in one buffer of the right size, which is what serde_json's general way lacks. `None`
/// where it has escapes of code points.
fn unescape(inner: &str, first: usize) -> Option<String> {
    let bytes = inner.as_bytes();
    let mut text = String::with_capacity(inner.len());
    let (mut copied, mut escape) = (0, first);
    loop {
        text.push_str(&inner[copied..escape]);
        let code = match bytes.get(escape + 1)? {
            // Stands for itself, and goes with what follows.
            b'"' | b'\\' | b'/' => None,
            b'n' => Some('\n'),
            b't' => Some('\t'),
            b'r' => Some('\r'),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            _ => return None,
        };
        copied = escape + 1;
        if let Some(code) = code {
            text.push(code);
            copied += 1;
        }
        let Some(length) = quote_or_backslash(&bytes[escape + 2..]) else { break };
        escape += 2 + length;
    }
    text.push_str(&inner[copied..]);
    Some(text)
}

/// The general way.
#[cold]
#[inline(never)]
fn decode(token: &str) -> Option<String> {
    serde_json::from_str(token).ok()
}
