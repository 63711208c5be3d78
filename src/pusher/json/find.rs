//! Where the next byte of interest stands. In JSON within a string there is one every few bytes, and a call to a search that prepares itself for more
//! takes longer than these.

/// Bytes looked at in one step.
pub(super) const STEP: usize = 16;

/// The place of the first quote or backslash.
pub(super) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(place) = first_in(block, |word| equal_bytes(word, b'"') | equal_bytes(word, b'\\')) {
            return Some(at + place);
        }
        at += STEP;
    }
    bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|place| at + place)
}

/// The place of the first backslash in `block`.
#[inline]
pub(super) fn backslash(block: &[u8; STEP]) -> Option<usize> {
    first_in(block, |word| equal_bytes(word, b'\\'))
}

/// The place of the first byte in `block` that `hits` marks in its word as [`equal_bytes`] does.
#[inline]
fn first_in(block: &[u8; STEP], hits: impl Fn(u64) -> u64) -> Option<usize> {
    let ([low, high], _) = block.as_chunks::<8>() else { return None };
    let (low, high) = (hits(u64::from_le_bytes(*low)), hits(u64::from_le_bytes(*high)));
    if low | high == 0 {
        return None;
    }
    // Which half it is, nobody can foresee: no branch.
    let (word, before) = if low == 0 { (high, 8) } else { (low, 0) };
    Some(before + word.trailing_zeros() as usize / 8)
}

/// Has the highest bit of each byte of `word` that is `byte`, and perhaps others above them: the lowest bit is right.
const fn equal_bytes(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let different = word ^ (ONES * byte as u64);
    different.wrapping_sub(ONES) & !different & (ONES << 7)
}
