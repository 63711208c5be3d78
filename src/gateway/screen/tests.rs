//! Byte-string tables: what a real connection of hyper's and the screen behind it make of requests.

use crate::gateway::agreement::Requests;

/// The target, behind the screen, of a request that begins with `line` and `lines`; or the sentence by which it is
/// refused. hyper's own refusals begin with `no request`.
fn screened(line: &str, lines: &[&str]) -> Result<String, String> {
    let head = [line].iter().chain(lines).map(|line| format!("{line}\r\n")).collect::<String>();
    let (head, _) = Requests::new().received(format!("{head}\r\n{{}}").as_bytes())?;
    assert!(head.uri.authority().is_none(), "the target is brought into origin form");
    Ok(head.uri.to_string())
}

#[track_caller]
fn expect(line: &str, lines: &[&str], expected: &Result<&str, &str>) {
    let screened = screened(line, lines);
    match (&screened, expected) {
        (Ok(target), Ok(expected)) => assert_eq!(target, expected, "{line} {lines:?}"),
        (Err(refusal), Err(expected)) => assert!(refusal.contains(expected), "{line} {lines:?}: {refusal}"),
        _ => panic!("{line} {lines:?}: {screened:?} instead of {expected:?}"),
    }
}

const MORE_THAN_ONE: Result<&str, &str> = Err("there is more than one Host header");
const NO_HOST: Result<&str, &str> = Err("HTTP/1.1 needs a Host header");
const BAD_HOST: Result<&str, &str> = Err("the Host header is not a host name or address, perhaps with a port");
const OTHER_HOST: Result<&str, &str> = Err("the request target names another host than the Host header");
const NO_TUNNEL: Result<&str, &str> = Err("usher is no tunnel");
const HYPER: Result<&str, &str> = Err("no request");

#[test]
fn there_is_one_valid_host() {
    // threats.md HDR-06.
    for (lines, expected) in [
        (&["Host: h"][..], Ok("/")),
        (&["Host: h:8080"], Ok("/")),
        (&["Host: 127.0.0.1"], Ok("/")),
        (&["Host: [::1]:80"], Ok("/")),
        // Empty, as RFC 9112 3.2 allows.
        (&["Host:"], Ok("/")),
        (&["Host: h:"], Ok("/")),
        (&[], NO_HOST),
        (&["Host: h", "Host: h"], MORE_THAN_ONE),
        (&["Host: h", "host:"], MORE_THAN_ONE),
        (&["Host: u@h"], BAD_HOST),
        (&["Host: a,b"], BAD_HOST),
        (&["Host: a b"], BAD_HOST),
        (&["Host: h/x"], BAD_HOST),
        (&["Host: h:x"], BAD_HOST),
        (&["Host: h?x"], BAD_HOST),
        (&["Host: \u{e9}"], BAD_HOST),
        (&["Host : h"], HYPER),
    ] {
        expect("GET / HTTP/1.1", lines, &expected);
    }
    // HTTP/1.0 knows no `Host` (threats.md H1-06).
    expect("GET / HTTP/1.0", &[], &Ok("/"));
    expect("GET / HTTP/1.0", &["Host: h", "Host: h"], &MORE_THAN_ONE);
}

#[test]
fn targets_are_paths_or_urls_of_the_host() {
    for (line, expected) in [
        ("GET /a?b=c HTTP/1.1", Ok("/a?b=c")),
        ("GET //a HTTP/1.1", Ok("//a")),
        ("OPTIONS /a HTTP/1.1", Ok("/a")),
        // Absolute form (threats.md URI-01).
        ("GET http://h/a?b HTTP/1.1", Ok("/a?b")),
        ("GET http://H HTTP/1.1", Ok("/")),
        ("GET https://h/a HTTP/1.1", Ok("/a")),
        ("GET http://other/a HTTP/1.1", OTHER_HOST),
        ("GET http://h:80/a HTTP/1.1", OTHER_HOST),
        ("GET http://u@h/a HTTP/1.1", OTHER_HOST),
        // Other forms (threats.md H1-16).
        ("CONNECT h:80 HTTP/1.1", NO_TUNNEL),
        ("CONNECT /a HTTP/1.1", NO_TUNNEL),
        ("TRACE / HTTP/1.1", NO_TUNNEL),
        ("GET h:80 HTTP/1.1", Err("neither a path nor a URL")),
        ("OPTIONS * HTTP/1.1", Err("has to begin with a slash")),
        ("GET * HTTP/1.1", Err("has to begin with a slash")),
        // hyper's own (threats.md H1-15).
        ("GET a HTTP/1.1", Err("")),
        ("GET / HTTP/1.2", HYPER),
        ("GET / HTTP/2.0", HYPER),
        ("GET /\u{7f} HTTP/1.1", HYPER),
        ("GET / x HTTP/1.1", HYPER),
        ("GET /", HYPER),
    ] {
        expect(line, &["Host: h"], &expected);
    }
    let long = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length - 1));
    assert!(screened(&long(8 * 1024), &["Host: h"]).is_ok());
    expect(&long(8 * 1024 + 1), &["Host: h"], &Err("the request target is longer than 8192 bytes"));
}

#[test]
fn bodies_have_one_framing() {
    let other = Err("the only Transfer-Encoding usher takes is `chunked`, once");
    for (lines, expected) in [
        (&["Content-Length: 2"][..], Ok("/")),
        (&["Content-Length: 0"], Ok("/")),
        // threats.md H1-05.
        (&["Transfer-Encoding: gzip, chunked"], other),
        (&["Transfer-Encoding: chunked, chunked"], other),
        (&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], other),
        // hyper's own: H1-03 and H1-04.
        (&["Content-Length: 2", "Content-Length: 3"], HYPER),
        (&["Content-Length: +2"], HYPER),
        (&["Content-Length: 2, 3"], HYPER),
        (&["Transfer-Encoding: identity"], HYPER),
        (&["Content-Length: 1048577"], Err("the request body is larger than 1048576 bytes")),
    ] {
        expect("POST / HTTP/1.1", &[&["Host: h"], lines].concat(), &expected);
    }
}

#[test]
fn nothing_is_expected_but_100_continue() {
    // threats.md H1-17.
    for (value, is_met) in [
        ("100-continue", true),
        ("100-Continue", true),
        ("", true),
        (",", true),
        ("100-continue, ", true),
        (" , 100-CONTINUE,", true),
        ("100-continue, x", false),
        ("x", false),
        ("200-ok", false),
        ("100-continue=1", false),
        ("\"100-continue\"", false),
    ] {
        let expected = if is_met { Ok("/") } else { Err("the only expectation usher meets") };
        expect("POST / HTTP/1.1", &["Host: h", "Content-Length: 2", &format!("Expect: {value}")], &expected);
    }
    expect(
        "POST / HTTP/1.1",
        &["Host: h", "Content-Length: 2", "Expect: 100-continue", "Expect: x"],
        &Err("the only expectation usher meets"),
    );
}

#[test]
fn the_head_goes_on_end_to_end() {
    let lines =
        "Host: h\r\nA: 1\r\nConnection: close, x-gone\r\nX-Gone: 2\r\nTE: trailers\r\na: 3\r\nContent-Length: 2\r\n";
    let (head, body) =
        Requests::new().received(format!("POST / HTTP/1.1\r\n{lines}\r\n{{}}").as_bytes()).expect("it is a request");
    let headers: Vec<String> =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    assert_eq!(headers, ["host: h", "a: 1", "a: 3", "content-length: 2"]);
    assert_eq!(&*body, b"{}");
    let refused = Requests::new().received(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: host\r\n\r\n");
    assert!(refused.is_err_and(|refusal| refusal.contains("cannot take away")));
}
