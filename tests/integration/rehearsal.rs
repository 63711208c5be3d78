//! Tests of the harness without usher: the fake upstream must follow its script.

use std::io;

use crate::harness::{Client, Fake, Gate, Request, Step, bodies};

#[test]
fn records_raw_bytes_and_answers_ok() {
    let fake = Fake::start();
    let request = Request::events(&bodies::announcement("h-room-1-chat", "Anna"));
    let mut client = Client::connect(fake.address());
    let response = client.call(&request);
    assert_eq!((response.status, response.text().as_str()), (200, "{}"));
    let again = client.call(&Request::new("GET", "/x", b""));
    assert_eq!(again.status, 200);
    let [first, second] = fake.requests().try_into().unwrap();
    assert_eq!([first.head.0.clone(), first.body.clone()].concat(), request.bytes());
    assert!(first.is_signed());
    assert_eq!((second.method(), second.target(), second.connection), ("GET".to_owned(), "/x".to_owned(), 0));
    assert_eq!(fake.bytes(), request.bytes().len() + second.head.0.len());
}

#[test]
fn plays_the_script_in_order() {
    let fake = Fake::start();
    fake.script([Step::status(503), Step::chunked(), Step::close_delimited(), Step::http10()]);
    let mut client = Client::connect(fake.address());
    assert_eq!(client.trigger("{}").status, 503);
    assert_eq!(client.trigger("{}").text(), "{}");
    assert_eq!(client.trigger("{}").text(), "{}");
    assert!(client.try_send(b"x").and_then(|()| client.try_response()).is_err());
    let http10 = Client::connect(fake.address()).trigger("{}");
    assert!(http10.head.lines()[0].starts_with("HTTP/1.0 200"));
    fake.otherwise(|request| Step::status(if request.text() == "{}" { 400 } else { 200 }));
    assert_eq!(Client::connect(fake.address()).trigger("{}").status, 400);
    assert_eq!(Client::connect(fake.address()).trigger("[]").status, 200);
}

#[test]
fn resets_are_resets_and_closes_are_closes() {
    for (step, recorded, kind) in [
        (Step::reset(), 1, io::ErrorKind::ConnectionReset),
        (Step::ResetUnread, 0, io::ErrorKind::ConnectionReset),
        (Step::close(), 1, io::ErrorKind::UnexpectedEof),
        (Step::cut(), 1, io::ErrorKind::UnexpectedEof),
        (Step::cut_chunked(), 1, io::ErrorKind::UnexpectedEof),
    ] {
        let fake = Fake::start();
        fake.script([step.clone()]);
        let mut client = Client::connect(fake.address());
        let request = Request::events("{}");
        let error = client.send(&request.bytes()).try_response().unwrap_err();
        assert_eq!(error.kind(), kind, "{step:?}");
        assert_eq!(fake.count(), recorded, "{step:?}");
        assert!(fake.requests().iter().all(|seen| seen.body == b"{}"), "{step:?}");
    }
}

#[test]
fn holds_until_released_and_refuses_on_request() {
    let fake = Fake::start();
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::status(201)), Step::silence()]);
    let mut held = Client::connect(fake.address());
    held.send(&Request::events("{}").bytes());
    fake.next_request();
    let mut silent = Client::connect(fake.address());
    silent.send(&Request::events("[]").bytes());
    assert_eq!(fake.next_request().text(), "[]");
    gate.open();
    assert_eq!(held.response().status, 201);
    silent.hang_up();
    fake.refuse();
    fake.wait_closed();
    assert!(std::net::TcpStream::connect(fake.address()).is_err());
    fake.accept_again();
    assert_eq!(Client::connect(fake.address()).trigger("{}").status, 200);
}

#[test]
fn libraries_write_the_bodies_of_the_protocol_notes() {
    use bodies::Library::{Go, Java, Node, Php, Python, Ruby};
    let data = r#"{"u":"é/<"}"#;
    for (library, expected) in [
        (Node, r#"{"name":"foo","data":"{\"u\":\"é/<\"}","channels":["project-3"]}"#),
        (Python, r#"{"name": "foo", "channels": ["project-3"], "data": "{\"u\":\"\u00e9/<\"}"}"#),
        (Php, r#"{"name":"foo","data":"{\"u\":\"\u00e9\/<\"}","channel":"project-3"}"#),
        (Go, r#"{"channels":["project-3"],"data":"{\"u\":\"é/\u003c\"}","name":"foo"}"#),
        (Ruby, r#"{"name":"foo","channels":["project-3"],"data":"{\"u\":\"é/<\"}"}"#),
        (Java, r#"{"channels":["project-3"],"name":"foo","data":"{\"u\":\"é/<\"}"}"#),
    ] {
        assert_eq!(library.body("foo", &["project-3"], data), expected, "{library:?}");
    }
}
