//! Finds the end of a string. Sixteen bytes are examined in one step. An escaped quote does not end the step: in JSON
//! that is encoded in a string, every quote is escaped.

use wide::u8x16;

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

/// Whether a string has escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    /// It has at least one escape.
    Escaped,
}

/// The special bytes of a block: a bit for each byte, the first one lowest.
struct Marks {
    quotes: u32,
    backslashes: u32,
    controls: u32,
}

/// The index of the quote that ends the string whose contents begin at `at`, and the string's spelling. `None` if it
/// does not end, or has a control character or an invalid escape.
#[inline]
pub(super) fn string_end(text: &[u8], at: usize) -> Option<(usize, Spelling)> {
    // Most strings are plain and short.
    if let Some(block) = text.get(at..)?.first_chunk() {
        let Marks { quotes, backslashes, controls } = Marks::of(*block);
        let first = lowest(quotes | backslashes | controls);
        if first & quotes != 0 {
            return Some((at + first.trailing_zeros() as usize, Spelling::Plain));
        }
    }
    any_string_end(text, at)
}

/// The same as [`string_end`], for a string of any length and spelling.
#[inline(never)]
fn any_string_end(text: &[u8], mut at: usize) -> Option<(usize, Spelling)> {
    // The backslashes so far (any bit), and whether the last byte was a backslash (the lowest bit).
    let (mut escapes, mut carry) = (0, 0);
    loop {
        let Marks { quotes, backslashes, controls } = Marks::at(text, at)?;
        let behind = backslashes << 1 | carry;
        // A quote without a backslash before it, or a backslash without a quote after it.
        let stops = (quotes ^ behind) & 0xffff | controls;
        if stops == 0 {
            escapes |= backslashes;
            carry = backslashes >> (BLOCK - 1);
            at += BLOCK;
            continue;
        }
        let first = lowest(stops);
        at += first.trailing_zeros() as usize;
        if first & behind != 0 {
            at += escape(text.get(at..)?)?;
            (escapes, carry) = (1, 0);
        } else if first & quotes != 0 {
            escapes |= backslashes & (first - 1);
            return Some((at, if escapes == 0 { Spelling::Plain } else { Spelling::Escaped }));
        } else {
            return None;
        }
    }
}

/// The lowest bit of `marks`.
const fn lowest(marks: u32) -> u32 {
    marks & marks.wrapping_neg()
}

/// Whether `bytes` contain a backslash.
pub(super) fn has_backslash(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(marks) = Marks::at(bytes, at) {
        if marks.backslashes != 0 {
            return true;
        }
        at += BLOCK;
    }
    false
}

/// The backslashes of `block`, if a quote follows each of them and there is no other quote; and whether the quote of
/// the last backslash is the first byte of the next block.
#[inline]
pub(super) fn escaped_quotes(block: &[u8; BLOCK], is_escaped: bool) -> Option<(u32, bool)> {
    let Marks { quotes, backslashes, .. } = Marks::of(*block);
    let behind = backslashes << 1 | u32::from(is_escaped);
    (behind & 0xffff == quotes).then_some((backslashes, behind > 0xffff))
}

impl Marks {
    /// The marks of the block at `at`, which may be cut short by the end of `text`; `None` at the end.
    #[inline]
    fn at(text: &[u8], at: usize) -> Option<Self> {
        match text.get(at..).and_then(<[u8]>::first_chunk) {
            Some(block) => Some(Self::of(*block)),
            None => Self::before_end(text, at),
        }
    }

    /// The marks of a block that is cut short.
    #[inline]
    fn before_end(text: &[u8], at: usize) -> Option<Self> {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let Some(last) = text.last_chunk() else {
            let mut block = [b' '; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            return Some(Self::of(block));
        };
        let Self { quotes, backslashes, controls } = Self::of(*last);
        let before = BLOCK - rest.len();
        Some(Self { quotes: quotes >> before, backslashes: backslashes >> before, controls: controls >> before })
    }

    #[inline]
    fn of(block: [u8; BLOCK]) -> Self {
        let block = u8x16::new(block);
        let equal = |other: u8x16| block.simd_eq(other).to_bitmask();
        Self {
            quotes: equal(u8x16::splat(b'"')),
            backslashes: equal(u8x16::splat(b'\\')),
            controls: equal(block.min(u8x16::splat(b' ' - 1))),
        }
    }
}

/// The number of `bytes` that belong to the escape whose backslash precedes them. The code point of a `\u` is not
/// checked.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => bytes.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(5),
        _ => None,
    }
}
