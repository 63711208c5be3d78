//! Lower-case hexadecimal, in which signatures and body digests come (`pusher-protocol.md` 2.1), decoded.
//!
//! Every trigger has 96 such digits. The crate `data-encoding`, which encodes them, takes 45 ns longer to decode them.

/// The `N` bytes that `text` encodes in exactly `2 * N` lower-case hexadecimal digits; `N` is a multiple of 4.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    if words.len() * 4 != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    // Eight digits at a time, checked at the end: the digits of a digest are unpredictable, and so would be a branch
    // for each of them.
    let mut all_digits = true;
    for (four, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        let word = u64::from_le_bytes(*word);
        all_digits &= are_digits(word);
        *four = values(word);
    }
    all_digits.then_some(bytes)
}

/// The lowest bit of each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Whether each byte of `word` is a digit: `0` to `9`, `a` to `f`.
const fn are_digits(word: u64) -> bool {
    const HIGH: u64 = EACH << 7;
    // Sets the highest bit of each byte that is `least` or more, provided that no byte has its highest bit set before.
    const fn at_least(word: u64, least: u8) -> u64 {
        word + EACH * (0x80 - least as u64)
    }
    if word & HIGH != 0 {
        return false;
    }
    let decimal = at_least(word, b'0') & !at_least(word, b'9' + 1);
    let letter = at_least(word, b'a') & !at_least(word, b'f' + 1);
    (decimal | letter) & HIGH == HIGH
}

/// The four bytes that eight digits encode; the first digit is the lowest byte of `word`.
const fn values(word: u64) -> [u8; 4] {
    // A letter has bit 6 set, and its low half is its value less 9.
    let halves = (word & (EACH * 0xf)) + ((word >> 6) & EACH) * 9;
    let bytes = (halves << 4 | halves >> 8) & 0x00ff_00ff_00ff_00ff;
    let [first, _, second, _, third, _, fourth, _] = bytes.to_le_bytes();
    [first, second, third, fourth]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_every_byte() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = data_encoding::HEXLOWER.encode(&bytes);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"));
        assert_eq!(decode::<256>(&text).map(Vec::from), Some(bytes));
    }

    #[test]
    fn takes_lower_case_of_the_exact_length_only() {
        assert_eq!(decode::<4>("0aff9f00"), Some([0x0a, 0xff, 0x9f, 0]));
        for text in ["", "0af", "0aff9f0", "0aff9f000", "0aff9f000aff9f00", "é0aff90"] {
            assert_eq!(decode::<4>(text), None, "{text:?}");
        }
        let odd = (0..128).map(char::from).filter(|odd| !matches!(odd, '0'..='9' | 'a'..='f')).chain(['é']);
        for (odd, place) in odd.flat_map(|odd| (0..8).map(move |place| (odd, place))) {
            let mut text = String::from("0aff9f00");
            text.replace_range(place..(place + odd.len_utf8()).min(8), odd.encode_utf8(&mut [0; 4]));
            assert_eq!(decode::<4>(&text), None, "{text:?}");
        }
    }
}
