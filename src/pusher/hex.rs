//! Lower-case hexadecimal, as signatures and body digests are spelt on the wire (`pusher-protocol.md` 2.1).

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `bytes` in lower-case hexadecimal.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [char::from(DIGITS[usize::from(byte >> 4)]), char::from(DIGITS[usize::from(byte & 15)])]).collect()
}

/// The `N` bytes that `text` spells in exactly `2 * N` lower-case hexadecimal digits.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    // Looked up and judged at the end: nobody can foresee the digits of a digest, and a branch for each would be taken wrongly half of the time.
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen < 16).then_some(bytes)
}

/// The value of each digit; 255 for whatever is none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode(&bytes);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"));
        assert_eq!(decode::<256>(&text).map(Vec::from), Some(bytes));
    }

    #[test]
    fn takes_lower_case_of_the_exact_length_only() {
        assert_eq!(decode::<2>("0aff"), Some([0x0a, 0xff]));
        for text in ["", "0af", "0aff0", "0aff00", "0AFF", "0afg", "0a f", " 0aff", "0aff\0", "é00"] {
            assert_eq!(decode::<2>(text), None, "{text:?}");
        }
    }
}
