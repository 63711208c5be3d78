//! Responses sent before a request was read completely: they reach a caller that is still sending, which would not see
//! them if usher reset the connection.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::harness::bodies::{announcement, message};
use crate::harness::message::Head;
use crate::harness::tls::{Identity, TlsClient};
use crate::harness::usher::Signal;
use crate::harness::{Client, Fake, Gate, Request, Response, Setup, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";
/// More than the system's socket buffers hold.
const MUCH: usize = 16 << 20;

/// A trigger of much more than `limits.max_body`. It is rejected before its signature is checked, so it has none.
fn large() -> Request {
    Request::new("POST", "/apps/3/events", &vec![b'x'; MUCH])
}

/// Sends a complete request, then reads the response, and checks that usher has not reset the connection.
fn send_all_then_read(mut client: Client, request: &Request) -> Response {
    let sent = client.try_send(&request.bytes());
    assert!(sent.is_ok(), "{sent:?} before all was sent: {} {}", request.method, request.target);
    let answer = client.response();
    client.read_to_orderly_close();
    answer
}

#[test]
fn an_answer_before_the_end_of_the_body_reaches_a_caller_that_is_still_sending() {
    let fake = Fake::start();
    for fast_path in [true, false] {
        let usher = Usher::start(&fake, |setup| setup.server += &format!("fast_path = {fast_path}\n"));
        let call = |request: &Request| send_all_then_read(usher.client(), request);
        call(&large()).assert_error(413, "body_too_large");
        call(&Request::new("PUT", "/other", &vec![b'x'; MUCH])).assert_error(413, "body_too_large");
        call(&large().header("Host", "other.test")).assert_error(400, "bad_request");
        call(&large().header("X-Large", &"x".repeat(20_000))).assert_status(431);
        call(&large().header("Content-Length", "1")).assert_status(400);
        let unknown = Request::new("POST", "/apps/99/events", &vec![b'x'; 1 << 20]);
        let answer = call(&unknown);
        answer.assert_error(404, "unknown_app");
        assert_eq!(answer.header("connection").as_deref(), Some("close"), "its body is not read");
        let mut chunked = large().header("Transfer-Encoding", "chunked");
        chunked.body = [format!("{MUCH:x}\r\n").into_bytes(), vec![b'x'; MUCH], b"\r\n0\r\n\r\n".to_vec()].concat();
        call(&chunked).assert_error(413, "body_too_large");
        chunked.body = [b"broken\r\n".to_vec(), vec![b'x'; MUCH]].concat();
        call(&chunked).assert_error(400, "body_broken");
    }
    assert_eq!(fake.bytes(), 0);
}

#[test]
fn upstreams_own_early_answer_reaches_a_caller_that_is_still_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::before_url(&format!("http://{}", listener.local_addr().unwrap()));
    setup.limits = "max_body = \"64MiB\"\nbody_timeout = \"60s\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let upstream = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _head = Head::read(&mut stream, |_| {}).unwrap();
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        // usher closes: the caller has its response.
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    send_all_then_read(usher.client(), &Request::new("PUT", "/upload", &vec![b'x'; MUCH])).assert_status(403);
    upstream.join().unwrap();
}

#[test]
fn an_overloaded_usher_says_so_to_a_caller_that_is_still_sending() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.limits = "max_requests = 1\n".to_owned());
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut held = usher.client();
    held.send(&Request::new("GET", "/held", b"").bytes());
    fake.next_request();
    send_all_then_read(usher.client(), &large()).assert_error(503, "overloaded");
    gate.open();
    assert_eq!(held.response().status, 200);
}

#[test]
fn an_early_answer_arrives_over_tls() {
    let fake = Fake::start();
    let identity = Identity::new();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = identity.write_to(directory.path());
    let usher = Usher::start(&fake, |setup| {
        setup.server += &format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n")
    });
    let mut client = TlsClient::connect(usher.gateway(), &identity).unwrap();
    client.call(&large()).assert_error(413, "body_too_large");
    client.read_to_orderly_close();
}

#[test]
fn garbage_behind_requests_does_not_take_their_answers_away() {
    let fake = Fake::start();
    for fast_path in [true, false] {
        let usher = Usher::start(&fake, |setup| setup.server += &format!("fast_path = {fast_path}\n"));
        let [first, second] = ["first", "second"].map(|text| Request::events(&message(CHANNEL, text)).bytes());
        let mut client = usher.client();
        let sent = client.try_send(&[first, second, b"garbage\r\n\r\n".repeat(MUCH / 11)].concat());
        assert!(sent.is_ok(), "{sent:?} before all was sent");
        client.response().assert_forwarded();
        client.response().assert_forwarded();
        assert_eq!(client.response().status, 400);
        client.read_to_orderly_close();
    }
}

#[test]
fn requests_behind_the_last_one_do_not_take_its_answer_away() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let last =
        String::from_utf8(Request::events(&announcement(CHANNEL, "A")).bytes()).unwrap().replace("keep-alive", "close");
    let mut client = usher.client();
    let sent =
        client.try_send(&[last.into_bytes(), Request::new("GET", "/never", b"").bytes().repeat(MUCH / 200)].concat());
    assert!(sent.is_ok(), "{sent:?} before all was sent");
    client.response().assert_forwarded();
    client.read_to_orderly_close();
    assert_eq!(fake.count(), 1);
}

#[test]
fn a_caller_that_never_stops_sending_is_disconnected() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.send(&large().head());
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..1024).take_while(|_| client.try_send(&chunk).is_ok()).count();
    assert!((64..512).contains(&sent), "{sent} MiB were taken");
    eventually("its place is given back", || (usher.admin().metric("usher_connections", &[]) == 0.0).then_some(()));
}

#[test]
fn a_drain_does_not_wait_for_connections_without_a_request() {
    let fake = Fake::start();
    for fast_path in [true, false] {
        // Closing a connection may take longer than this.
        let mut usher = Usher::start(&fake, |setup| {
            setup.server = setup.server.replace("10s", "2s") + &format!("fast_path = {fast_path}\n")
        });
        let mut idle: Vec<Client> = (0..4).map(|_| usher.client()).collect();
        for client in &mut idle[1..] {
            client.announce(CHANNEL, "A");
        }
        assert_eq!(idle[3].call(&Request::new("GET", "/x", b"")).status, 200);
        usher.signal(Signal::Term);
        assert_eq!(usher.wait_exit(), 0);
        assert!(usher.logs().contains("\"left\":0"), "{}", usher.logs());
    }
}
