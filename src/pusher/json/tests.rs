//! Which texts are read, and the reason for refusing any other.

mod properties;

use std::borrow::Cow;

use super::*;

fn error(text: &str) -> Option<ObjectError> {
    Members::parse(text).err()
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn members_keep_their_tokens() {
    let members = Members::parse(" {\"a\" : 1.0 , \"é\":\" x\" ,\"\":[ 1 ]} \n").unwrap();
    let found: Vec<_> = members.iter().collect();
    assert_eq!(found, [("a", "1.0"), ("é", "\" x\""), ("", "[ 1 ]")]);
    assert_eq!(members.get("a"), Some("1.0"));
    assert!(members.get("b").is_none());
}

#[test]
fn strings_decode_as_serde_json_decodes_them() {
    for token in [
        r#""""#,
        r#""plain""#,
        r#""{\"staff_name\":\"Zo\u00eb\"}""#,
        r#""\"""#,
        r#""\\\\n""#,
        r#""a\/b\n\t\r\b\fc""#,
        r#""é\"é""#,
        r#""\ud83d\ude00\"""#,
        r#""\ud83d""#,
        r#""\\u0041""#,
    ] {
        let expected: Option<String> = serde_json::from_str(token).ok();
        assert_eq!(string(token).map(Cow::into_owned), expected, "{token}");
        for size in 0..64 {
            assert_eq!(string_into(token, &mut vec![b'x'; size]).map(Cow::into_owned), expected, "{token} in {size}");
        }
    }
    assert_eq!((string("7"), string_into("7", &mut [0; 9])), (None, None));
}

/// The index of the quote that ends a string, and its spelling, byte by byte.
fn string_end(text: &[u8], start: usize) -> Option<(usize, find::Spelling)> {
    let (mut at, mut spelling) = (start, find::Spelling::Plain);
    loop {
        at += match text.get(at)? {
            b'"' => return Some((at, spelling)),
            b'\\' => {
                spelling = find::Spelling::Escaped;
                match text.get(at + 1)? {
                    b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                    byte if b"\"\\/bfnrt".contains(byte) => 2,
                    _ => return None,
                }
            }
            0..b' ' => return None,
            _ => 1,
        }
    }
}

#[test]
fn strings_end_where_they_do_wherever_they_stand() {
    // Bytes that differ from special ones in one bit or by one.
    let filling: Vec<u8> = b"#!][\xa2\xdc\x7f\xff \x80".iter().copied().cycle().take(60).collect();
    for length in 0..filling.len() {
        assert_eq!(find::string_end(&filling[..length], 0), None);
        for piece in [&b"\""[..], b"\\\"", b"\\\\", b"\\\\\"", b"\\n\"", b"\\u00e9", b"\\uwxyz", b"\\x", b"\x1f", b"\0"]
        {
            for place in 0..length {
                let text = [&filling[..place], piece, &filling[place..length], b"\"\\x"].concat();
                for start in 0..=place {
                    assert_eq!(
                        find::string_end(&text, start),
                        string_end(&text, start),
                        "{:?} from {start}",
                        text.escape_ascii().to_string()
                    );
                }
                assert_eq!(find::has_backslash(&text[..text.len() - 2]), piece.contains(&b'\\'));
            }
        }
    }
}

#[test]
fn faults_are_told_apart() {
    for (text, expected) in [
        ("", ObjectError::NotJson),
        ("{", ObjectError::NotJson),
        ("{\"a\":07}", ObjectError::NotJson),
        ("{\"a\":NaN}", ObjectError::NotJson),
        ("{'a':1}", ObjectError::NotJson),
        ("{\"a\":1,}", ObjectError::NotJson),
        ("{\"a\":1 /*c*/}", ObjectError::NotJson),
        ("{\"a\":\"\n\"}", ObjectError::NotJson),
        ("{\"\\ud800\":1}", ObjectError::NotJson),
        ("\u{feff}{}", ObjectError::NotJson),
        ("[]", ObjectError::NotAnObject),
        ("1", ObjectError::NotAnObject),
        ("null", ObjectError::NotAnObject),
        ("{}{}", ObjectError::TrailingBytes),
        ("{},", ObjectError::TrailingBytes),
        ("{}\0", ObjectError::TrailingBytes),
        ("{\"a\":1,\"a\":1}", ObjectError::DuplicateKey),
        ("{\"\\u0061\":1}", ObjectError::EscapedKey),
        ("{\"a\\/b\":1}", ObjectError::EscapedKey),
    ] {
        assert_eq!(error(text), Some(expected), "{text}");
    }
    assert_eq!(error("{}"), None);
}

#[test]
fn depth_is_counted_from_the_outermost_level() {
    assert_eq!(error(&format!("{{\"a\":{}}}", nested(126))), None);
    assert_eq!(error(&format!("{{\"a\":{}}}", nested(127))), Some(ObjectError::TooDeep));
    assert_eq!(error(&format!("{{\"a\":{}}}", nested(10_000))), Some(ObjectError::TooDeep));
    // Brackets in strings are no levels, whatever is escaped there.
    assert_eq!(error(&format!("{{\"a\":[\"\\\\\\\"{}\"]}}", "[".repeat(300))), None);
    // Too deep for serde_json.
    assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH)).is_ok());
    assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH + 1)).is_err());
}

#[test]
fn strings_are_borrowed_unless_escaped() {
    assert!(matches!(string("\"é/<\""), Some(Cow::Borrowed("é/<"))));
    assert_eq!(string("\"a\\u00e9\\/\"").as_deref(), Some("aé/"));
    assert_eq!(string("\"\"").as_deref(), Some(""));
    for token in ["1", "null", "[\"a\"]", "{}", "\"\\ud800\""] {
        assert_eq!(string(token), None, "{token}");
    }
}

#[test]
fn twins_are_found_in_short_and_long_lists() {
    let texts: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    for length in [0, 1, 2, 15, 16, 17, 1000] {
        let mut some: Vec<&str> = texts[..length].iter().map(String::as_str).collect();
        assert!(!has_duplicates(some.iter().copied()), "{length}");
        if let Some(last) = some.last().copied() {
            some.insert(0, last);
            assert!(has_duplicates(some.iter().copied()), "{length}");
        }
    }
}

#[test]
fn a_hundred_thousand_keys_are_read() {
    let text = format!("{{{}\"x\":0}}", (0..100_000).map(|number| format!("\"{number}\":0,")).collect::<String>());
    assert_eq!(error(&text), None);
    assert_eq!(error(&text.replace("\"x\"", "\"99999\"")), Some(ObjectError::DuplicateKey));
}
