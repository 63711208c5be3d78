//! Kept connections: a caller sends the same header lines with every request, or nearly the same, and usher compares
//! them with the previous ones. Each request must still be parsed independently.

use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, message, staff};
use crate::harness::{Fake, Request, Usher};
use crate::story::assert_untouched;

const CHANNEL: &str = "h-room-1-chat";

/// A message with this number of letters.
fn letters(count: usize) -> Request {
    Request::events(&message(CHANNEL, &"x".repeat(count)))
}

/// With the value of one header replaced, or the header removed.
fn change(mut request: Request, name: &str, value: Option<&str>) -> Request {
    match value {
        Some(value) => {
            request.headers.iter_mut().filter(|(its, _)| its == name).for_each(|(_, old)| value.clone_into(old))
        }
        None => request.headers.retain(|(its, _)| its != name),
    }
    request
}

#[test]
fn requests_like_the_one_before_go_through_untouched() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let requests = [
        letters(10),
        letters(10),
        // lengths of other digits, and of another number of digits, and back
        letters(11),
        letters(2_000),
        letters(1),
        letters(900),
        // one more line, the same line with another value of the same length, twice the same line, and without
        letters(10).header("X-Trace", "aaaa"),
        letters(10).header("X-Trace", "bbbb"),
        letters(10).header("X-Trace", "bbbb").header("X-Trace", "cccc"),
        letters(10),
        letters(10).host("other.test"),
        letters(10).host("usher.test:80"),
        change(letters(10), "Connection", None),
        change(letters(10), "Connection", Some("Keep-Alive")),
        change(letters(10), "Content-Type", Some("application/json;charset=utf-8")),
        letters(10).header("X-Long", &"y".repeat(3_000)),
        letters(10).header("X-Long", &"z".repeat(3_000)),
        letters(10),
    ];
    for (index, request) in requests.iter().enumerate() {
        client.call(request).assert_forwarded();
        assert_untouched(request, &fake.requests()[index], &fake);
        assert_eq!(fake.requests()[index].header("connection"), None, "it belongs to the caller's connection");
    }
}

#[test]
fn a_request_that_only_looks_like_the_one_before_is_refused_or_read_for_itself() {
    for (name, value) in [
        ("Content-Type", "application/jsom"),
        ("Content-Type", "text/plain"),
        ("Accept", "a"),
        ("Connection", "keep-alivf"),
    ] {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |_| {});
        let mut client = usher.client();
        client.announce(CHANNEL, "Anna").assert_forwarded();
        client.announce(CHANNEL, "Anna").assert_suppressed();
        let answer = client.call(&change(Request::events(&announcement(CHANNEL, "Anna")), name, Some(value)));
        assert_eq!(answer.status, 200, "{name}: {value}");
        // A body whose content type is not JSON is not parsed as JSON, and so not dropped.
        let decision = if name == "Content-Type" { "forwarded" } else { "suppressed" };
        assert_eq!(answer.decision(), decision, "{name}: {value}");
    }
}

#[test]
fn an_invalid_length_is_refused_in_a_known_head() {
    for length in ["0x1", "+99", "1e2"] {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |_| {});
        let mut client = usher.client();
        let body = Library::Python.body(ANNOUNCEMENT, &[CHANNEL], &staff("Anna"));
        let request = Request::events(&body);
        client.call(&request).assert_forwarded();
        client.call(&request).assert_suppressed();
        let bytes = String::from_utf8(request.bytes()).unwrap();
        let odd = bytes.replace(&format!("Content-Length: {}", body.len()), &format!("Content-Length: {length}"));
        assert_ne!(odd, bytes);
        let answer = client.send(odd.as_bytes()).response();
        assert_eq!(answer.status, 400, "{length:?}: {answer:?}");
        assert_eq!(fake.count(), 1, "{length:?}: nothing more upstream");
    }
}

#[test]
fn a_connection_header_may_come_first() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let bytes = Request::events(&message("lobby", "hi")).bytes();
    let text = String::from_utf8(bytes).unwrap().replacen("\r\n", "\r\nConnection: keep-alive\r\n", 1);
    let mut client = usher.client();
    for _ in 0..2 {
        client.send(text.as_bytes()).response().assert_forwarded();
    }
    assert_eq!(fake.count(), 2);
}
