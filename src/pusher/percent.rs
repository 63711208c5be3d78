//! Percent-encoding (RFC 3986 2.1), and the `+` of query strings.

use std::borrow::Cow;

use data_encoding::HEXUPPER;

/// What a `+` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself, as in paths.
    IsPlus,
    /// A space, as in query strings.
    IsSpace,
}

/// `path` with its escapes decoded once. Bytes that are not UTF-8 then become U+FFFD, so the result is for looking at a
/// path, never for signing it.
#[must_use]
pub fn decode_path(path: &str) -> Cow<'_, str> {
    if path.contains('%') { lossy(path, Plus::IsPlus) } else { Cow::Borrowed(path) }
}

/// A key or a value of a query string, decoded: `+` is a space, `%xx` a byte. Bytes that are not UTF-8 then become
/// U+FFFD, so the result is never for signing.
#[must_use]
pub fn decode_query(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '+']) { lossy(text, Plus::IsSpace) } else { Cow::Borrowed(text) }
}

fn lossy(text: &str, plus: Plus) -> Cow<'_, str> {
    Cow::Owned(String::from_utf8_lossy(&decode(text.as_bytes(), plus)).into_owned())
}

/// `raw` with each `%xx` as the byte that it encodes. A per cent sign without two hexadecimal digits behind it stays.
pub(super) fn decode(raw: &[u8], plus: Plus) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) if plus == Plus::IsSpace => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                // Not an escape: a per cent sign that the sender did not encode.
                _ => b'%',
            },
            _ => *byte,
        });
    }
    decoded
}

/// The value of a hexadecimal digit of either case.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Appends `text` to `target` with everything but the unreserved characters of RFC 3986 percent-encoded.
pub(super) fn encode_into(target: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            target.push(char::from(byte));
        } else {
            target.push('%');
            HEXUPPER.encode_append(&[byte], target);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_and_queries_differ_in_the_plus_sign() {
        for (text, path, query) in [
            ("a", "a", "a"),
            ("a%20b+c", "a b+c", "a b c"),
            ("%C3%A9%c3%a9", "\u{e9}\u{e9}", "\u{e9}\u{e9}"),
            ("%", "%", "%"),
            ("%4", "%4", "%4"),
            ("%zz%41", "%zzA", "%zzA"),
            ("%2g%\u{e9}", "%2g%\u{e9}", "%2g%\u{e9}"),
            ("%ff%G1%+%", "\u{fffd}%G1%+%", "\u{fffd}%G1% %"),
            ("%2541", "%41", "%41"),
        ] {
            assert_eq!((&*decode_path(text), &*decode_query(text)), (path, query), "{text}");
        }
    }

    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        let mut encoded = String::from("k=");
        encode_into(&mut encoded, "aZ09-._~ +%/\u{e9}");
        assert_eq!(encoded, "k=aZ09-._~%20%2B%25%2F%C3%A9");
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(text in any::<String>()) {
            let mut encoded = String::new();
            encode_into(&mut encoded, &text);
            prop_assert_eq!(decode(encoded.as_bytes(), Plus::IsSpace), text.as_bytes());
            prop_assert_eq!(decode_path(&encoded), text);
        }
    }
}
