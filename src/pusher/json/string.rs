//! The text of JSON strings.

use std::borrow::Cow;

use super::find::{BLOCK, escaped_quotes, has_backslash};

/// The text of the JSON string that `token` is, borrowed where it holds no escape. `None` if it is another value or
/// does not decode (lone surrogates). `token` must be valid JSON.
pub(crate) fn string(token: &str) -> Option<Cow<'_, str>> {
    let inner = inner(token)?;
    if !has_backslash(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
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

/// Writes `text` to `room` without its escapes; how many bytes that are. `None` where it has escapes of code points, or
/// `room` is too small: it takes a block more than the text.
fn unescape(text: &[u8], room: &mut [u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    // The last block is filled up, and what fills it is not counted.
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let (mut length, mut is_escaped) = (0, false);
    for block in blocks.iter().chain([&last]) {
        let room = room.get_mut(length..)?.first_chunk_mut()?;
        length += match escaped_quotes(block, is_escaped) {
            Some((backslashes, carry)) => {
                is_escaped = carry;
                drop_bytes(block, backslashes, room)
            }
            None => unescape_block(block, &mut is_escaped, room)?,
        };
    }
    length.checked_sub(BLOCK - rest.len())
}

/// Writes `block` to `room` without the bytes that are marked; how many bytes stay.
#[inline]
fn drop_bytes(block: &[u8; BLOCK], marks: u32, room: &mut [u8; BLOCK]) -> usize {
    let mut length = 0;
    for (index, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let (mut word, mut marks) = (u64::from_le_bytes(*word), marks >> (8 * index) & 0xff);
        let mut kept = 8;
        while marks != 0 {
            // The bytes behind the first that is marked move into its place, and so do their marks.
            let before = (1 << (8 * marks.trailing_zeros())) - 1;
            word = word & before | word >> 8 & !before;
            marks = (marks & (marks - 1)) >> 1;
            kept -= 1;
        }
        room[length..length + 8].copy_from_slice(&word.to_le_bytes());
        length += kept;
    }
    length
}

/// Writes `block` to `room` without its escapes; how many bytes that are. `is_escaped`: whether a backslash stands
/// before them, and then, whether they end with one.
fn unescape_block(block: &[u8; BLOCK], is_escaped: &mut bool, room: &mut [u8; BLOCK]) -> Option<usize> {
    let mut length = 0;
    for byte in block {
        let is_kept = *is_escaped || *byte != b'\\';
        if is_kept {
            room[length] = if *is_escaped { escaped(*byte)? } else { *byte };
            length += 1;
        }
        *is_escaped = !is_kept;
    }
    Some(length)
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
