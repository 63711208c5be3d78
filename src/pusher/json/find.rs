//! Where a string ends. Sixteen bytes are looked at in one step, and the escape that is usual, for in JSON within a
//! string every quote has one, is no stop.

use wide::u8x16;

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

/// How a string is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    /// With an escape at least.
    Escaped,
}

/// The bytes of interest in a block: a bit for each place, the first one lowest.
struct Marks {
    quotes: u32,
    backslashes: u32,
    controls: u32,
}

/// The place of the quote that ends the string whose contents begin at `at`, and how it is spelt. `None` if it does not
/// end, holds a control character or an escape that there is not.
#[inline]
pub(super) fn string_end(text: &[u8], at: usize) -> Option<(usize, Spelling)> {
    // Most are plain and short.
    if let Some(block) = text.get(at..)?.first_chunk() {
        let Marks { quotes, backslashes, controls } = Marks::of(*block);
        let first = lowest(quotes | backslashes | controls);
        if first & quotes != 0 {
            return Some((at + first.trailing_zeros() as usize, Spelling::Plain));
        }
    }
    any_string_end(text, at)
}

/// The same for any string.
#[inline(never)]
fn any_string_end(text: &[u8], mut at: usize) -> Option<(usize, Spelling)> {
    // What was seen so far, and whether the last byte was a backslash: a bit each.
    let (mut escapes, mut carry) = (0, 0);
    loop {
        let Marks { quotes, backslashes, controls } = Marks::at(text, at)?;
        let behind = backslashes << 1 | carry;
        // A quote without a backslash before it, or a backslash without a quote behind it.
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

/// Whether a backslash stands in `bytes`.
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

/// The backslashes of `block` if a quote stands behind each of them and nowhere else, and whether that of the last one
/// is still to come.
#[inline]
pub(super) fn escaped_quotes(block: &[u8; BLOCK], is_escaped: bool) -> Option<(u32, bool)> {
    let Marks { quotes, backslashes, .. } = Marks::of(*block);
    let behind = backslashes << 1 | u32::from(is_escaped);
    (behind & 0xffff == quotes).then_some((backslashes, behind > 0xffff))
}

impl Marks {
    /// Those of the block at `at`, or of what there is of it; `None` where there is nothing.
    #[inline]
    fn at(text: &[u8], at: usize) -> Option<Self> {
        match text.get(at..).and_then(<[u8]>::first_chunk) {
            Some(block) => Some(Self::of(*block)),
            None => Self::before_end(text, at),
        }
    }

    /// Those of less than a block.
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

/// How much of `bytes` belongs to the backslash before it. That of a code point need not be one.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => bytes.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(5),
        _ => None,
    }
}
