//! GET requests in the usual form, which the fast path passes on: every framing of an answer, one request after the other
//! on one connection, between triggers.

use crate::harness::client::Request;
use crate::harness::script::{After, Gate, Step};
use crate::harness::{Fake, Usher};

const CHANNEL: &str = "h-room-1-chat";

fn question() -> Request {
    Request::signed("GET", "/apps/3/channels", "info=user_count", b"")
}

/// Any bytes, each part another one.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect()
}

fn chunked(parts: &[&[u8]]) -> Step {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n".to_vec();
    for part in parts {
        bytes.extend(format!("{:x};x=y\r\n", part.len()).bytes());
        bytes.extend_from_slice(part);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\nX-Trailer: 1\r\n\r\n");
    Step::Answer(bytes, After::Keep)
}

#[test]
fn answers_of_every_size_and_framing_come_whole_on_one_connection() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for length in [0, 1, 1024, 4 * 1024 - 1, 64 * 1024, 1024 * 1024, 3 * 1024 * 1024] {
        let body = body(length);
        let (first, second) = body.split_at(length / 3);
        let parts: Vec<&[u8]> = [first, second].into_iter().filter(|part| !part.is_empty()).collect();
        for step in [Step::says(200, "X-Kept: 1\r\n", &body), chunked(&parts)] {
            fake.script([step]);
            let answer = client.call(&question());
            assert_eq!((answer.status, answer.header("x-kept").as_deref()), (200, Some("1")), "{length}");
            assert_eq!(answer.header("content-length").is_some(), answer.header("transfer-encoding").is_none());
            assert!(answer.body == body, "{length} bytes came as {}", answer.body.len());
        }
        client.announce(CHANNEL, &format!("staff {length}")).assert_forwarded();
    }
    assert_eq!(fake.connections(), 1, "each answer leaves the connection to the next request");
}

#[test]
fn what_has_come_of_an_answer_is_passed_on_at_once() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    let first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
    fake.script([Step::Parts(first, gate.clone(), b"6\r\nsecond\r\n0\r\n\r\n".to_vec())]);
    let mut client = usher.client();
    client.send(&question().bytes()).read_head().unwrap();
    assert_eq!(client.read_some(10), b"5\r\nfirst\r\n");
    gate.open();
    assert_eq!(client.read_some(16), b"6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.call(&question()).status, 200);
}

#[test]
fn an_answer_that_breaks_off_ends_the_callers_connection_and_no_other() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for step in [Step::cut(), Step::cut_chunked()] {
        let told = format!("{step:?}");
        fake.script([step]);
        let mut client = usher.client();
        client.send(&question().bytes());
        assert_eq!(client.read_head().unwrap().lines()[0], "HTTP/1.1 200 OK", "{told}");
        let rest = String::from_utf8(client.read_to_close()).unwrap();
        assert!(!rest.contains("0\r\n\r\n"), "{told}: the answer seems whole: {rest:?}");
        assert_eq!(usher.client().call(&question()).status, 200, "{told}");
    }
}

#[test]
fn an_answer_that_is_malformed_from_the_start_is_refused() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    fake.script([Step::answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nno size\r\n")]);
    let mut client = usher.client();
    client.call(&question()).assert_error(502, "upstream_failed");
    assert_eq!(client.call(&question()).status, 200);
}

#[test]
fn an_answer_without_content_has_the_head_that_upstream_gave_it() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let heads = [
        ("204 No Content", "", None),
        ("304 Not Modified", "Content-Length: 17\r\n", Some("17")),
        ("304 Not Modified", "ETag: \"a\"\r\n", None),
    ];
    for (status, line, length) in heads {
        fake.script([Step::answer(&format!("HTTP/1.1 {status}\r\n{line}\r\n"))]);
        let head = client.send(&question().bytes()).read_head().unwrap();
        assert_eq!(head.lines()[0], format!("HTTP/1.1 {status}"));
        assert_eq!((head.header("content-length").as_deref(), head.header("transfer-encoding")), (length, None));
        // Nothing of a body follows: the next answer does.
        assert_eq!(client.call(&question()).status, 200, "{status} {line}");
    }
    assert_eq!(fake.connections(), 1);
}

#[test]
fn upstream_receives_the_request_as_it_came_with_a_body_and_behind_another() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let with_body = Request::new("GET", "/apps/3/channels?a=%2F&b=1", b"{\"a\":1}").header("X-Mark", "1");
    let mut client = usher.client();
    // Both at once.
    client.send(&[with_body.bytes(), question().bytes()].concat());
    assert_eq!((client.response().status, client.response().status), (200, 200));
    let [first, second] = &fake.requests()[..] else { panic!("two requests") };
    assert_eq!(first.head.lines()[0], "GET /apps/3/channels?a=%2F&b=1 HTTP/1.1");
    assert_eq!((first.head.header("x-mark").as_deref(), first.body.as_slice()), (Some("1"), &b"{\"a\":1}"[..]));
    assert_eq!(first.head.header("host"), Some(fake.address().to_string()));
    assert_eq!((first.head.header("connection"), second.head.header("connection")), (None, None));
    assert!(second.body.is_empty());
    // Sent once: what it would do twice is not known.
    fake.script([Step::close()]);
    let before = fake.count();
    assert_eq!(client.call(&with_body).status, 502);
    assert_eq!(fake.count(), before + 1);
}

#[test]
fn requests_and_answers_are_counted() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.call(&question());
    fake.script([Step::close(), Step::close()]);
    let refused = client.call(&question());
    refused.assert_error(502, "upstream_failed");
    assert_eq!((refused.header("usher-trigger"), refused.header("usher-reason")), (None, None));
    for class in ["2xx", "5xx"] {
        let labels = ["kind=\"passthrough\"", &format!("code_class=\"{class}\"")];
        assert_eq!(usher.admin().metric("usher_http_requests_total", &labels), 1.0, "{class}");
    }
}
