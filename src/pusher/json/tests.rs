//! What is read, and what is wrong with the rest.

mod properties;

use std::borrow::Cow;

use super::*;

fn fault(text: &str) -> Option<Fault> {
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
            assert_eq!(string_in(token, &mut vec![b'x'; size]).map(Cow::into_owned), expected, "{token} in {size}");
        }
    }
    assert_eq!((string("7"), string_in("7", &mut [0; 9])), (None, None));
}

#[test]
fn the_first_quote_or_backslash_is_found_wherever_it_stands() {
    // bytes that differ from them in one bit or by one stand around them
    let filling: Vec<u8> = b"#!][\x02\xa2\xdc\x1c\xff\0".iter().copied().cycle().take(60).collect();
    assert_eq!(find::quote_or_backslash(&filling), None);
    for length in 0..filling.len() {
        for place in 0..length {
            for (first, second) in [(b'"', b'\\'), (b'\\', b'"')] {
                let mut bytes = filling[..length].to_vec();
                bytes[length - 1] = second;
                bytes[place] = first;
                assert_eq!(find::quote_or_backslash(&bytes), Some(place), "{length}");
            }
        }
    }
}

#[test]
fn faults_are_told_apart() {
    for (text, expected) in [
        ("", Fault::NotJson),
        ("{", Fault::NotJson),
        ("{\"a\":07}", Fault::NotJson),
        ("{\"a\":NaN}", Fault::NotJson),
        ("{'a':1}", Fault::NotJson),
        ("{\"a\":1,}", Fault::NotJson),
        ("{\"a\":1 /*c*/}", Fault::NotJson),
        ("{\"a\":\"\n\"}", Fault::NotJson),
        ("{\"\\ud800\":1}", Fault::NotJson),
        ("\u{feff}{}", Fault::NotJson),
        ("[]", Fault::NotAnObject),
        ("1", Fault::NotAnObject),
        ("null", Fault::NotAnObject),
        ("{}{}", Fault::TrailingBytes),
        ("{},", Fault::TrailingBytes),
        ("{}\0", Fault::TrailingBytes),
        ("{\"a\":1,\"a\":1}", Fault::DuplicateKey),
        ("{\"\\u0061\":1}", Fault::EscapedKey),
        ("{\"a\\/b\":1}", Fault::EscapedKey),
    ] {
        assert_eq!(fault(text), Some(expected), "{text}");
    }
    assert_eq!(fault("{}"), None);
}

#[test]
fn depth_is_counted_from_the_outermost_level() {
    assert_eq!(fault(&format!("{{\"a\":{}}}", nested(126))), None);
    assert_eq!(fault(&format!("{{\"a\":{}}}", nested(127))), Some(Fault::TooDeep));
    assert_eq!(fault(&format!("{{\"a\":{}}}", nested(10_000))), Some(Fault::TooDeep));
    // brackets in strings are no levels, whatever is escaped there
    assert_eq!(fault(&format!("{{\"a\":[\"\\\\\\\"{}\"]}}", "[".repeat(300))), None);
    // what serde_json itself takes for too deep
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
        assert!(!any_twice(some.iter().copied()), "{length}");
        if let Some(last) = some.last().copied() {
            some.insert(0, last);
            assert!(any_twice(some.iter().copied()), "{length}");
        }
    }
}

#[test]
fn a_hundred_thousand_keys_are_read() {
    let text = format!("{{{}\"x\":0}}", (0..100_000).map(|number| format!("\"{number}\":0,")).collect::<String>());
    assert_eq!(fault(&text), None);
    assert_eq!(fault(&text.replace("\"x\"", "\"99999\"")), Some(Fault::DuplicateKey));
}
