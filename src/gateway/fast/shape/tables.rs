//! Byte-string tables: requests on the left, what the reader of this module makes of them on the right.

use super::{HeadCache, MAX_BODY, Parsed, parse};
use crate::gateway::Limits;
use crate::gateway::fast::agreement::limits;
use crate::gateway::fast::lines::{MAX_HEAD, MAX_HEADERS};

/// A request line of a trigger. The signature is not verified here.
const LINE: &str = "POST /apps/3/events?auth_key=k&auth_timestamp=1700000000&auth_version=1.0&\
    body_md5=0123456789abcdef0123456789abcdef&\
    auth_signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef HTTP/1.1";

/// The lines that every trigger has, for a body of two bytes.
const LINES: [&str; 3] = ["Host: h", "Content-Type: application/json", "Content-Length: 2"];

/// What is made of a request, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// A trigger of so many bytes.
    Trigger(usize),
    PartialBody(usize),
    PartialHead,
    Other,
}

use Made::{Other, PartialBody, PartialHead, Trigger};

fn made_within(bytes: &[u8], limits: &Limits, known: &mut HeadCache) -> Made {
    match parse(bytes, limits, known) {
        Parsed::Trigger(trigger) => Trigger(trigger.length),
        Parsed::PartialBody(length) => PartialBody(length),
        Parsed::PartialHead => PartialHead,
        Parsed::OtherShape => Other,
    }
}

/// What is made of `bytes` on a connection that has sent nothing yet.
fn made(bytes: &[u8]) -> Made {
    made_within(bytes, &limits(), &mut HeadCache::default())
}

/// A request with this line, these header lines and a body of two bytes.
fn request(line: &str, lines: &[&str]) -> Vec<u8> {
    format!("{line}\r\n{}\r\n\r\n{{}}", lines.join("\r\n")).into_bytes()
}

/// Whether it is a trigger with `line` among the lines that every trigger has, at each place.
#[track_caller]
fn is_trigger_with(line: &str) -> bool {
    let is_trigger = |place: usize| {
        let mut lines = LINES.to_vec();
        lines.insert(place, line);
        let request = request(LINE, &lines);
        made(&request) == Trigger(request.len())
    };
    let places: Vec<bool> = (0..=LINES.len()).map(is_trigger).collect();
    assert!(places.iter().all(|is| *is == places[0]), "{line:?} depends on its place: {places:?}");
    places[0]
}

/// Whether it is a trigger with `line` instead of the line of that name.
#[track_caller]
fn is_trigger_by(line: &str) -> bool {
    let name = |line: &str| line.split(':').next().map(|name| name.trim().to_ascii_lowercase());
    let lines = LINES.map(|usual| if name(usual) == name(line) { line } else { usual });
    assert_ne!(lines, LINES, "{line:?} is the usual line, or of another name");
    let request = request(LINE, &lines);
    made(&request) == Trigger(request.len())
}

#[test]
fn a_trigger_is_unfinished_then_partly_there_then_whole() {
    let whole = request(LINE, &LINES);
    let head = whole.len() - 2;
    for end in 0..=whole.len() {
        let expected = match end {
            _ if end < head => PartialHead,
            _ if end < whole.len() => PartialBody(whole.len()),
            _ => Trigger(whole.len()),
        };
        assert_eq!(made(&whole[..end]), expected, "the first {end} bytes");
    }
    // What follows is the next request, which is not looked at.
    for next in [&b"\0"[..], b"\r\n\r\n", b"GET / HTTP/1.1\r\n", &whole] {
        assert_eq!(made(&[&whole, next].concat()), Trigger(whole.len()));
    }
}

#[test]
fn the_parts_of_a_trigger_stand_where_they_are_found() {
    let bytes = request(LINE, &["A: 1", "Connection: Keep-Alive", "Content-Length: 2", "HOST:x.example:80", LINES[1]]);
    let mut known = HeadCache::default();
    let limits = limits();
    let Parsed::Trigger(trigger) = parse(&bytes, &limits, &mut known) else { panic!("a trigger") };
    assert_eq!((trigger.app(), trigger.path(), trigger.body), ("3", "/apps/3/events", &b"{}"[..]));
    assert_eq!(format!("POST {} HTTP/1.1", trigger.target), LINE);
    assert_eq!(trigger.claim.query(), trigger.target.split_once('?').expect("a query").1);
    let spans = trigger.spans();
    assert_eq!(&trigger.lines[spans.host.clone()], b"x.example:80");
    assert_eq!(&trigger.lines[spans.content_length.clone()], b"2");
    // With its end of line: the line is left out as a whole.
    assert_eq!(&trigger.lines[spans.connection.clone().expect("it is there")], b"Connection: Keep-Alive\r\n");
}

#[test]
fn request_lines_of_another_shape() {
    assert!(matches!(made(&request(&LINE.replace("/events?", "/batch_events?"), &LINES)), Trigger(_)));
    assert!(matches!(made(&request(&LINE.replace("/apps/", "/base/apps/"), &LINES)), Trigger(_)));
    // A value is signed as it is; a key in lower case (pusher-protocol.md 2.1).
    assert!(matches!(made(&request(&LINE.replace("auth_key=k", "auth_key=K"), &LINES)), Trigger(_)));
    assert!(matches!(made(&request(&LINE.replace("/3/", "/app-id_~.9:@Z/"), &LINES)), Trigger(_)));
    for (from, to) in [
        // Another method, or the same in another case (threats.md H1-15).
        ("POST ", "PUT "),
        ("POST ", "post "),
        ("POST ", " POST "),
        ("POST ", "\r\nPOST "),
        // Other blanks between the three parts.
        ("POST ", "POST  "),
        ("POST ", "POST\t"),
        (" HTTP/1.1", "  HTTP/1.1"),
        (" HTTP/1.1", "\tHTTP/1.1"),
        (" HTTP/1.1", " HTTP/1.1 "),
        // HTTP/1.0 ends its connection otherwise (threats.md H1-06).
        (" HTTP/1.1", " HTTP/1.0"),
        (" HTTP/1.1", " http/1.1"),
        (" HTTP/1.1", " HTTP/1.10"),
        (" HTTP/1.1", ""),
        // Absolute form (threats.md URI-01), fragments, escapes, and what a server may normalise (URI-02 to URI-05).
        ("/apps/3", "http://h/apps/3"),
        ("/apps/3", "//apps/3"),
        ("/apps/3", "/./apps/3"),
        ("/apps/3", "/x/../apps/3"),
        ("/apps/3", "/apps//3"),
        ("/apps/3", "/apps/%33"),
        ("/apps/3", "/apps/3;v=1"),
        ("/apps/3", "/Apps/3"),
        ("/apps/3", "/apps/apps/3"),
        ("/apps/3", "\\apps\\3"),
        ("/apps/3", "apps/3"),
        ("/apps/3", "/apps/\u{ff13}"),
        ("/events", "/events/"),
        ("/events", "/Events"),
        ("/events", "/events#x"),
        ("/events", "/channels"),
        // The old endpoint (threats.md URI-06).
        ("/events", "/channels/c/events"),
        // Without a query, or with one that is not just the authentication, in the usual spelling (threats.md AUTH-04).
        ("/events?", "/events&"),
        ("?auth_key", "?a=b&auth_key"),
        ("?auth_key", "?&auth_key"),
        ("auth_key=k", "auth_key=k&auth_key=k"),
        ("auth_key=k", "Auth_key=k"),
        ("auth_key=k", "auth_key=%6b"),
        ("auth_key=k", "auth_key=a+b"),
        ("auth_key=k&", ""),
        ("auth_version=1.0", "auth_version=1.00"),
        ("auth_version=1.0&", ""),
        ("timestamp=1700000000", "timestamp=+1700000000"),
        ("timestamp=1700000000", "timestamp="),
        ("timestamp=1700000000", "timestamp=99999999999999999999"),
        ("body_md5=01", "body_md5=0"),
        ("body_md5=01", "body_md5=012"),
        ("body_md5=01", "body_md5=0G"),
        ("signature=01", "signature=0A"),
        ("signature=01", "signature=01&signature=01"),
        // What a reader may take for the end of the target, or of the line.
        ("auth_key=k", "auth_key=k#"),
        ("auth_key=k", "auth_key=k\"<>"),
        ("auth_key=k", "auth_key=k k"),
        ("auth_key=k", "auth_key=k\rk"),
        ("auth_key=k", "auth_key=k\nk"),
        ("auth_key=k", "auth_key=k\0"),
        ("auth_key=k", "auth_key=k\u{7f}"),
        ("auth_key=k", "auth_key=k\u{e9}"),
    ] {
        let line = LINE.replacen(from, to, 1);
        assert_ne!(line, LINE, "{from:?}");
        assert_eq!(made(&request(&line, &LINES)), Other, "{to:?} for {from:?}");
    }
}

#[test]
fn every_header_has_its_role() {
    for line in [
        "A: b",
        "a:b",
        "A:",
        "A: ",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Authorization: Basic x",
        "User-Agent: pusher-http-php/7.2.7",
        "X-Pusher-Library: pusher-http-node 5.2.0",
        "X-Forwarded-For: 1.2.3.4",
        "Date: x",
        "Cookie: a=b; c=d",
        "Forwarded: for=x",
        // Names that begin or end like those that matter.
        "X-Host: x",
        "Hosts: x",
        "Content-Lengths: 3",
        "Content-Type-2: x",
        "Connections: close",
        "Idempotency-Key: x",
        "X-Content-Encoding: gzip",
        "Connection: keep-alive",
        "connection:KEEP-ALIVE",
        // A value may have blanks and colons within.
        "A: b  c:\td",
    ] {
        assert!(is_trigger_with(line), "{line:?}");
    }
    for line in [
        // Once only (threats.md H1-03, HDR-06).
        "Host: h",
        "host: other",
        "Content-Length: 2",
        "content-length: 3",
        "Content-Type: application/json",
        // Framing and other matters of the connection (threats.md H1-01, H1-05, H1-17, HDR-01, HDR-02).
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: identity",
        "Connection: close",
        "Connection: upgrade",
        "Connection: keep-alive, x",
        "Connection: host",
        "Connection:",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: x",
        "Proxy-Authenticate: x",
        "HTTP2-Settings: x",
        "TE: trailers",
        "Trailer: x",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Expect:",
        // What makes the body mean something else (threats.md JSON-20), or the trigger (docs/servers.md).
        "Content-Encoding: gzip",
        "Content-Encoding: identity",
        "X-Idempotency-Key: x",
        "x-idempotency-key:",
    ] {
        assert!(!is_trigger_with(line), "{line:?}");
    }
    // One `Connection` at most.
    let twice = [LINES[0], LINES[1], LINES[2], "Connection: keep-alive", "Connection: keep-alive"];
    assert_eq!(made(&request(LINE, &twice)), Other);
    for missing in 0..LINES.len() {
        let mut lines = LINES.to_vec();
        let line = lines.remove(missing);
        assert_eq!(made(&request(LINE, &lines)), Other, "without {line}");
    }
}

#[test]
fn header_lines_are_plainly_written() {
    for line in [
        // Blanks but one (threats.md H1-12, HDR-07): what is behind may read them otherwise.
        "A:  b",
        "A: \tb",
        "A:\tb",
        "A: b ",
        "A: b\t",
        "A:  ",
        "A : b",
        " A: b",
        "\tA: b",
        "A: b\r\n c",
        "A: b\r\n\tc",
        // Line ends but CR LF (threats.md H1-11).
        "A: b\nB: c",
        "A: b\n",
        "A: b\rB: c",
        "\rA: b",
        // Bytes that belong in no header (threats.md H1-12).
        "A: b\0",
        "A: b\u{7f}",
        "A: \u{1b}[0m",
        "A: \u{e9}",
        "\u{e9}: b",
        "A(: b",
        "A\0: b",
        ": b",
        "A",
    ] {
        assert!(!is_trigger_with(line), "{line:?}");
    }
    // An empty line ends the head; what follows is the body.
    let ended = request(LINE, &[LINES[0], LINES[1], LINES[2], "", "A: b"]);
    assert_eq!(made(&ended), Trigger(ended.len() - "A: b\r\n\r\n{}".len() + 2));
    let bare = String::from_utf8(request(LINE, &LINES)).expect("it is text");
    assert_eq!(made(bare.replace("\r\n", "\n").as_bytes()), Other);
    assert_eq!(made(bare.replace("\r\n\r\n", "\r\n\n").as_bytes()), Other);
    assert_eq!(made(bare.replace("\r\n\r\n", "\n\r\n").as_bytes()), Other);
}

#[test]
fn values_that_matter_have_one_form() {
    for line in [
        "Host: 127.0.0.1",
        "Host: example.org:8080",
        "Host: a-b.C.9",
        "Host:x",
        "content-type:APPLICATION/JSON",
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: application/json;charset=\"UTF-8\"",
        "CONTENT-LENGTH:2",
    ] {
        assert!(is_trigger_by(line), "{line:?}");
    }
    for line in [
        // threats.md HDR-06.
        "Host:",
        "Host: h:",
        "Host: h:x",
        "Host: h:80:80",
        "Host: u@h",
        "Host: a,b",
        "Host: a b",
        "Host: h/",
        "Host: [::1]",
        "Host: a_b",
        "Host: %68",
        "Host: :80",
        // threats.md JSON-20.
        "Content-Type: text/plain",
        "Content-Type:",
        "Content-Type: application/json; charset=latin-1",
        "Content-Type: application/json, text/plain",
        "Content-Type: application/vnd.api+json",
        "Content-Type: application/json;",
        // threats.md H1-04.
        "Content-Length:",
        "Content-Length: 0",
        "Content-Length: 02",
        "Content-Length: +2",
        "Content-Length: -2",
        "Content-Length: 2, 2",
        "Content-Length: 2 2",
        "Content-Length: 0x2",
        "Content-Length: 2.0",
        "Content-Length: 18446744073709551618",
    ] {
        assert!(!is_trigger_by(line), "{line:?}");
    }
}

/// `LINE` with other values where a known head may differ.
fn varied(seed: u8) -> String {
    let digit = char::from(b'0' + seed % 10);
    LINE.replace("1700000000", &format!("170000000{digit}"))
        .replace("0123456789abcdef", &format!("{digit}123456789abcdef"))
}

#[test]
fn known_heads_change_nothing_but_the_work() {
    let limits = limits();
    let mut known = HeadCache::default();
    let lines = |length: &str| vec![LINES[0].to_owned(), LINES[1].to_owned(), format!("Content-Length: {length}")];
    let request = |line: &str, length: &str| {
        let lines = lines(length);
        request(line, &lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let batch = |line: &str| line.replace("/events", "/batch_events");
    let other_app = LINE.replace("/apps/3/", "/apps/4/");
    let bytes = [
        request(LINE, "2"),
        request(&varied(1), "1"),
        // Two heads by turns, then a third and a fourth, then the first again.
        request(&batch(LINE), "2"),
        request(&varied(2), "2"),
        request(&batch(&varied(3)), "2"),
        request(&other_app, "2"),
        request(LINE, "12"),
        request(&varied(4), "2"),
        // HeadCache, but for values that such a head never has.
        request(&LINE.replace("1700000000", "17000000x0"), "2"),
        request(&LINE.replace("1700000000", "17000000 0"), "2"),
        request(&LINE.replace("body_md5=0", "body_md5=G"), "2"),
        request(&LINE.replace("signature=0", "signature=A"), "2"),
        request(LINE, "0"),
        request(LINE, "x"),
        request(LINE, " "),
        request(LINE, "\r"),
        // HeadCache, but for one byte anywhere else.
        request(&LINE.replace("auth_key=k", "auth_key=j"), "2"),
        request(&LINE.replace("auth_version=1.0", "auth_version=1.1"), "2"),
        request(&LINE.replace("HTTP/1.1", "HTTP/1.0"), "2"),
        request(LINE, "2\r\nA: b"),
        request(LINE, "2"),
    ];
    for (index, bytes) in bytes.iter().enumerate() {
        for end in 0..=bytes.len() {
            let fresh = made(&bytes[..end]);
            assert_eq!(made_within(&bytes[..end], &limits, &mut known), fresh, "the first {end} bytes of {index}");
        }
    }
    // The values are those of the request at hand, not of the head that was remembered.
    let bytes = request(&varied(7), "2");
    let Parsed::Trigger(trigger) = parse(&bytes, &limits, &mut known) else { panic!("a trigger") };
    assert_eq!(format!("POST {} HTTP/1.1", trigger.target), varied(7));
    assert_eq!(&trigger.lines[trigger.spans().content_length.clone()], b"2");
}

#[test]
fn a_length_of_another_form_is_another_head() {
    let (mut known, limits) = (HeadCache::default(), limits());
    // The last ones have as many bytes as the one before, with and without a space.
    for line in ["9", "10", "99", "100", "9"].map(|length| format!("Content-Length: {length}")).into_iter().chain(
        ["Content-Length:185", "Content-Length: 85", "Content-Length:185", "Content-Length:9", "Content-Length:12"]
            .map(str::to_owned),
    ) {
        let length = line.trim_start_matches("Content-Length:").trim().parse().expect("a number");
        let head = format!("{LINE}\r\n{}\r\n\r\n", [LINES[0], LINES[1], &line].join("\r\n"));
        assert_eq!(made_within(head.as_bytes(), &limits, &mut known), PartialBody(head.len() + length), "{line}");
        let whole = [head.as_bytes(), &vec![b'x'; length]].concat();
        assert_eq!(made_within(&whole, &limits, &mut known), Trigger(whole.len()), "{line}");
        assert_eq!(made_within(&whole[..whole.len() - 1], &limits, &mut known), PartialBody(whole.len()), "{line}");
    }
}

#[test]
fn sizes_are_bounded_to_the_byte() {
    let with_head_of = |size: usize| {
        let bare = request(LINE, &[LINES[0], LINES[1], LINES[2], "A: "]).len() - 2;
        request(LINE, &[LINES[0], LINES[1], LINES[2], &format!("A: {}", "x".repeat(size - bare))])
    };
    let bytes = with_head_of(MAX_HEAD);
    assert_eq!(made(&bytes), Trigger(MAX_HEAD + 2));
    assert_eq!(made(&with_head_of(MAX_HEAD + 1)), Other);
    // Until it has ended, its length is not known.
    assert_eq!(made(&with_head_of(MAX_HEAD + 1)[..MAX_HEAD]), PartialHead);

    let with_headers = |count: usize| {
        let lines = [&LINES[..], &vec!["A: b"; count - LINES.len()]].concat();
        made(&request(LINE, &lines))
    };
    assert!(matches!(with_headers(MAX_HEADERS), Trigger(_)));
    assert_eq!(with_headers(MAX_HEADERS + 1), Other);

    let with_body_of = |length: usize| {
        let head = format!("{LINE}\r\n{}\r\n{}\r\nContent-Length: {length}\r\n\r\n", LINES[0], LINES[1]);
        (made(head.as_bytes()), head.len())
    };
    let (made_of_largest, head) = with_body_of(MAX_BODY);
    assert_eq!(made_of_largest, PartialBody(head + MAX_BODY));
    assert_eq!(with_body_of(MAX_BODY + 1).0, Other);
}

#[test]
fn configured_limits_are_kept_to_the_byte_for_known_heads_too() {
    let bytes = request(LINE, &LINES);
    let (target, head) = (LINE.len() - "POST  HTTP/1.1".len(), bytes.len() - 2);
    let mut known = HeadCache::default();
    assert_eq!(made_within(&bytes, &limits(), &mut known), Trigger(bytes.len()));
    let cases: [(&str, Limits, Limits); 3] = [
        ("target", Limits { max_target: target, ..limits() }, Limits { max_target: target - 1, ..limits() }),
        ("head", Limits { max_head: head, ..limits() }, Limits { max_head: head - 1, ..limits() }),
        ("body", Limits { max_body: 2, ..limits() }, Limits { max_body: 1, ..limits() }),
    ];
    for (of, enough, less) in cases {
        for known in [&mut known, &mut HeadCache::default()] {
            assert_eq!(made_within(&bytes, &enough, known), Trigger(bytes.len()), "{of}");
            assert_eq!(made_within(&bytes, &less, known), Other, "{of}");
        }
    }
    let headers = |count| made_within(&bytes, &Limits { max_headers: count, ..limits() }, &mut HeadCache::default());
    assert_eq!((headers(3), headers(2)), (Trigger(bytes.len()), Other));
}
