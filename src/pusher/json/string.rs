//! The text of JSON strings, decoded.

use std::borrow::Cow;

use super::find::{BLOCK, escaped_quotes, has_backslash};

/// The text of the JSON string in `token`, borrowed where it has no escape. `None` if it is another value or does not
/// decode (lone surrogates). `token` must be valid JSON.
pub(crate) fn string(token: &str) -> Option<Cow<'_, str>> {
    let inner = inner(token)?;
    if !has_backslash(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
    let mut buffer = vec![0; inner.len() + BLOCK];
    match unescape(inner.as_bytes(), &mut buffer) {
        Some(length) => {
            buffer.truncate(length);
            String::from_utf8(buffer).ok()
        }
        None => decode(token),
    }
    .map(Cow::Owned)
}

/// The same as [`string`], decoded into `buffer` where it fits.
pub(crate) fn string_into<'t>(token: &'t str, buffer: &'t mut [u8]) -> Option<Cow<'t, str>> {
    let inner = inner(token)?;
    if !has_backslash(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
    match unescape(inner.as_bytes(), buffer) {
        Some(length) => str::from_utf8(&buffer[..length]).ok().map(Cow::Borrowed),
        None => string(token),
    }
}

/// The text between the quotes.
fn inner(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"')
}

/// Writes `text` to `buffer` with its escapes decoded, and returns the number of bytes. `None` where it has escapes of
/// code points, or `buffer` is too small: it needs a block more than the text.
fn unescape(text: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    // The last block is filled up with spaces, which are not counted.
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let (mut length, mut is_escaped) = (0, false);
    for block in blocks.iter().chain([&last]) {
        let buffer = buffer.get_mut(length..)?.first_chunk_mut()?;
        length += match escaped_quotes(block, is_escaped) {
            Some((backslashes, carry)) => {
                is_escaped = carry;
                drop_bytes(block, backslashes, buffer)
            }
            None => unescape_block(block, &mut is_escaped, buffer)?,
        };
    }
    length.checked_sub(BLOCK - rest.len())
}

/// Writes `block` to `buffer` without the marked bytes, and returns the number of bytes.
#[inline]
fn drop_bytes(block: &[u8; BLOCK], marks: u32, buffer: &mut [u8; BLOCK]) -> usize {
    let mut length = 0;
    for (index, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let (mut word, mut marks) = (u64::from_le_bytes(*word), marks >> (8 * index) & 0xff);
        let mut kept = 8;
        while marks != 0 {
            // The bytes after the first marked one move by one, and their marks with them.
            let before = (1 << (8 * marks.trailing_zeros())) - 1;
            word = word & before | word >> 8 & !before;
            marks = (marks & (marks - 1)) >> 1;
            kept -= 1;
        }
        buffer[length..length + 8].copy_from_slice(&word.to_le_bytes());
        length += kept;
    }
    length
}

/// Writes `block` to `buffer` with its escapes decoded, and returns the number of bytes. `is_escaped` says whether a
/// backslash precedes the block; afterwards, whether the block ends with one.
fn unescape_block(block: &[u8; BLOCK], is_escaped: &mut bool, buffer: &mut [u8; BLOCK]) -> Option<usize> {
    let mut length = 0;
    for byte in block {
        let is_kept = *is_escaped || *byte != b'\\';
        if is_kept {
            buffer[length] = if *is_escaped { escaped(*byte)? } else { *byte };
            length += 1;
        }
        *is_escaped = !is_kept;
    }
    Some(length)
}

/// The byte that a backslash and `byte` encode.
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

/// Decodes any string, by serde_json.
#[cold]
#[inline(never)]
fn decode(token: &str) -> Option<String> {
    serde_json::from_str(token).ok()
}
