//! The text of JSON strings.

use std::borrow::Cow;

use super::find::{BLOCK, before_backslash, has_backslash};

/// The text of the JSON string that `token` is, borrowed where it holds no escape. `None` if it is another value or does not decode (lone surrogates).
/// `token` must be valid JSON.
pub(crate) fn string(token: &str) -> Option<Cow<'_, str>> {
    let inner = inner(token)?;
    if !has_backslash(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
    // The last step writes more than it means to.
    let mut room = vec![0; inner.len() + BLOCK];
    match unescape(inner.as_bytes(), &mut room) {
        Some(length) => {
            room.truncate(length);
            String::from_utf8(room).ok()
        }
        None => decode(token),
    }
    .map(Cow::Owned)
}

/// The same, decoded into `room` if it is of use.
pub(crate) fn string_in<'t>(token: &'t str, room: &'t mut [u8]) -> Option<Cow<'t, str>> {
    let inner = inner(token)?;
    if !has_backslash(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
    match unescape(inner.as_bytes(), room) {
        Some(length) => str::from_utf8(&room[..length]).ok().map(Cow::Borrowed),
        None => string(token),
    }
}

/// What stands between the quotes.
fn inner(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"')
}

/// Writes `text` to `room` without its escapes; how many bytes that are. `None` where it has escapes of code points, or `room` is too small.
fn unescape(text: &[u8], room: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    loop {
        let rest = text.get(from..)?;
        let length = if let Some(block) = rest.first_chunk() {
            *room.get_mut(to..)?.first_chunk_mut::<BLOCK>()? = *block;
            before_backslash(*block)
        } else {
            let length = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
            room.get_mut(to..to + length)?.copy_from_slice(&rest[..length]);
            length
        };
        (from, to) = (from + length, to + length);
        match text.get(from) {
            Some(b'\\') => {
                *room.get_mut(to)? = escaped(*text.get(from + 1)?)?;
                (from, to) = (from + 2, to + 1);
            }
            Some(_) => {}
            None => return Some(to),
        }
    }
}

/// What `byte` stands for behind a backslash.
const fn escaped(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => b'\x08',
        b'f' => b'\x0c',
        _ => return None,
    })
}

/// The general way.
#[cold]
#[inline(never)]
fn decode(token: &str) -> Option<String> {
    serde_json::from_str(token).ok()
}
