//! Tables of headers, and which of them go on.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{end_to_end, strip_answer};

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
        })
        .collect()
}

/// `Connection` with these values, beside some other headers: the names of those that go on, or the sentence by which
/// they are refused.
fn connection(values: &[&str]) -> Result<String, String> {
    let mut lines = vec![("a", "1"), ("x-one", "2"), ("b", "3"), ("x-two", "4"), ("x-one", "5")];
    lines.extend(values.iter().map(|value| ("connection", *value)));
    let kept = end_to_end(&map(&lines)).map_err(|refusal| refusal.to_string())?;
    Ok(kept
        .iter()
        .map(|(name, value)| format!("{name}{}", value.to_str().expect("text")))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn what_connection_nominates_stays_here() {
    // threats.md HDR-01. Those of one name come together.
    let all = "a1 x-one2 x-one5 b3 x-two4";
    for (values, expected) in [
        (&[][..], all),
        (&[""], all),
        (&["keep-alive"], all),
        (&["close"], all),
        (&["Close, KEEP-ALIVE"], all),
        (&["x-none"], all),
        (&["x-one"], "a1 b3 x-two4"),
        (&["X-ONE"], "a1 b3 x-two4"),
        (&["close, x-one ,\tX-Two"], "a1 b3"),
        (&[", ,x-one,,"], "a1 b3 x-two4"),
        (&["x-one", "a, b", "x-two"], ""),
        // It may nominate itself, and what stays here anyway.
        (&["connection, upgrade, te"], all),
    ] {
        assert_eq!(connection(values).as_deref(), Ok(expected), "{values:?}");
    }
}

#[test]
fn what_connection_must_not_take_away() {
    let protected = "the Connection header nominates a header that a caller cannot take away";
    for name in [
        "host",
        "Content-Length",
        "content-type",
        "content-encoding",
        "authorization",
        "forwarded",
        "x-real-ip",
        "x-forwarded-for",
        "X-Forwarded-Anything",
        "usher-decision",
    ] {
        for value in [name.to_owned(), format!("close, {name}"), format!("x-one,,{name} ")] {
            assert_eq!(connection(&[&value]), Err(protected.to_owned()), "{value}");
        }
        assert_eq!(connection(&["x-one", name]), Err(protected.to_owned()), "{name} on a second line");
    }
    let no_list = "the Connection header is no list of header names";
    for value in ["\"x-one\"", "x-one;q=1", "x one", ":path", "x-one=1", "\u{e9}"] {
        assert_eq!(connection(&[value]), Err(no_list.to_owned()), "{value}");
    }
}

#[test]
fn connection_nominates_ten_headers_at_most() {
    let names = |count: usize| (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>().join(",");
    assert!(connection(&[&names(10)]).is_ok());
    // The plain options, and empty members, are none.
    assert!(connection(&[&format!("close,,{},keep-alive", names(10))]).is_ok());
    let too_many = "the Connection header nominates more than 10 headers";
    assert_eq!(connection(&[&names(11)]), Err(too_many.to_owned()));
    assert_eq!(connection(&[&names(6), &names(5)]), Err(too_many.to_owned()));
}

/// Every hop-by-hop header, and some that look like one (threats.md HDR-02).
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
];
const END_TO_END: [&str; 8] =
    ["host", "content-length", "content-type", "accept", "tea", "x-te", "www-authenticate", "usher-error"];

#[test]
fn hop_by_hop_headers_stay_here_both_ways() {
    let lines: Vec<(&str, &str)> = HOP_BY_HOP
        .iter()
        .zip(END_TO_END.iter().cycle())
        .flat_map(|(hop, end)| [(*hop, "close"), (*end, "x")])
        .collect();
    let mut answer = map(&lines);
    let kept = end_to_end(&answer).expect("nothing is nominated");
    strip_answer(&mut answer);
    for headers in [&kept, &answer] {
        assert!(HOP_BY_HOP.iter().all(|name| !headers.contains_key(*name)), "{headers:?}");
        assert!(END_TO_END.iter().all(|name| headers.contains_key(*name)), "{headers:?}");
        // Values of one name stay as many as they were.
        assert_eq!(headers.len(), HOP_BY_HOP.len());
    }
}

#[test]
fn an_answer_is_stripped_and_never_refused() {
    for (connection, expected) in [
        ("x-one", "date content-length"),
        // What a caller must not take away, upstream may.
        ("date, content-length", "x-one"),
        // What is no name names nothing.
        ("\"x-one\", :path, date", "x-one content-length"),
        ("close", "x-one date content-length"),
    ] {
        let mut headers =
            map(&[("connection", connection), ("x-one", "1"), ("date", "d"), ("x-one", "2"), ("content-length", "2")]);
        strip_answer(&mut headers);
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.join(" "), expected, "{connection}");
        let ones: Vec<&HeaderValue> = headers.get_all("x-one").iter().collect();
        assert!(ones.is_empty() || ones == ["1", "2"], "in their order: {ones:?}");
    }
}
