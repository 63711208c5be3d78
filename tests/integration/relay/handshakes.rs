//! Handshakes: which requests are handshakes, what is forwarded, and handshakes that upstream rejects.

use super::Scene;
use crate::harness::tls::{Identity, terminate};
use crate::harness::websocket::{End, Far, Frame, Handshake, KEY, PROOF, handshake};
use crate::harness::{Fake, Setup, Step, Usher};

#[test]
fn a_handshake_is_forwarded_with_its_end_to_end_headers() {
    let scene = Scene::start();
    let wish = handshake()
        .with("Connection", "Upgrade, X-Hop")
        .and("X-Hop", "1")
        .and("X-Own", "2")
        .and("Keep-Alive", "timeout=5");
    let mut client = scene.usher.client();
    client.send(&wish.bytes());
    let arrival = scene.far.next();
    assert_eq!(arrival.head.lines()[0], wish.line);
    let mut expected: Vec<(String, String)> = handshake().without("Sec-WebSocket-Extensions").and("X-Own", "2").headers;
    for (name, value) in &mut expected {
        match name.as_str() {
            "Host" => *value = scene.far.address().to_string(),
            "Connection" => *value = "Upgrade".to_owned(),
            _ => {}
        }
    }
    expected.push(("x-forwarded-for".to_owned(), "127.0.0.1".to_owned()));
    let sorted = |mut headers: Vec<(String, String)>| {
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        headers.sort();
        headers
    };
    assert_eq!(sorted(arrival.head.headers()), sorted(expected));
    arrival.accept_with("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\n");
    let response = client.response();
    assert_eq!(response.status, 101);
    let value = |name: &str| response.header(name).unwrap_or_default();
    assert_eq!(
        (value("sec-websocket-accept").as_str(), value("upgrade").as_str(), value("connection").as_str()),
        (PROOF, "websocket", "Upgrade")
    );
    assert_eq!(response.head.headers().iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).count(), 2);
    assert_eq!(response.header("keep-alive"), None);
    assert_eq!(scene.metric("usher_http_requests_total", "kind=\"websocket\""), 1.0);
}

#[test]
fn the_client_s_address_is_appended() {
    let scene = Scene::start();
    let wish = handshake().and("X-Forwarded-For", "203.0.113.9, 10.0.0.1").and("X-Forwarded-For", "10.0.0.2");
    scene.usher.client().send(&wish.bytes());
    let head = scene.far.next().head;
    let lines: Vec<_> = head
        .headers()
        .into_iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(lines, ["203.0.113.9, 10.0.0.1, 10.0.0.2, 127.0.0.1"]);
}

#[test]
fn a_subprotocol_is_agreed_upon_end_to_end() {
    let scene = Scene::start();
    let mut client = scene.usher.client();
    client.send(&handshake().and("Sec-WebSocket-Protocol", "one, two").bytes());
    let arrival = scene.far.next();
    assert_eq!(arrival.head.header("sec-websocket-protocol").as_deref(), Some("one, two"));
    arrival.accept_with("Sec-WebSocket-Protocol: two\r\n");
    assert_eq!(client.response().header("sec-websocket-protocol").as_deref(), Some("two"));
}

#[test]
fn without_a_websocket_url_the_http_upstream_is_dialled() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    fake.script([Step::answer(&format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {PROOF}\r\n\r\n\u{1}\u{0}"
    ))]);
    let mut client = usher.client();
    client.send(&handshake().bytes());
    assert_eq!(client.response().status, 101);
    assert_eq!(fake.next_request().header("host"), Some(fake.address().to_string()));
}

#[test]
fn a_tls_upstream_is_reached_by_wss() {
    let (fake, far, identity) = (Fake::start(), Far::start(), Identity::new());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, &identity.certificate).unwrap();
    let secure = terminate(far.address(), &identity);
    let usher = Usher::start(&fake, |setup| {
        setup.upstream +=
            &format!("websocket_url = \"wss://localhost:{}\"\nca_file = \"{}\"\n", secure.port(), file.display());
    });
    let mut client = usher.client();
    client.send(&handshake().bytes());
    let arrival = far.next();
    assert_eq!(arrival.head.header("host"), Some(format!("localhost:{}", secure.port())));
    let (mut upstream, mut client) = (arrival.accept(), End::switched(client));
    assert_eq!(client.send(&Frame::text("up")).stream.peer_addr().unwrap(), usher.gateway());
    assert_eq!(upstream.read(), Frame::text("up"));
    upstream.send(&Frame::text("down"));
    assert_eq!(client.read(), Frame::text("down"));
}

#[test]
fn a_request_without_a_websocket_upgrade_is_an_ordinary_request() {
    let scene = Scene::start();
    let ordinary: [Handshake; 6] = [
        handshake()
            .with("Upgrade", "h2c")
            .with("Connection", "Upgrade, HTTP2-Settings")
            .and("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        handshake().with("Upgrade", "websocket, h2c"),
        handshake().with("Upgrade", "foo"),
        handshake().and("Upgrade", "h2c"),
        handshake().with("Connection", "keep-alive"),
        handshake().line("HEAD /app/x HTTP/1.1"),
    ];
    for wish in ordinary {
        let mut client = scene.usher.client();
        client.send(&wish.bytes()).read_head().unwrap();
        let request = scene.fake.next_request();
        for name in ["upgrade", "connection", "http2-settings", "keep-alive"] {
            assert_eq!(request.header(name), None, "{name} of {wish:?}");
        }
    }
    let mut old = scene.usher.client();
    old.send(&handshake().line("GET /app/x HTTP/1.0").bytes());
    assert_eq!(old.response().status, 200, "HTTP/1.0 knows no Upgrade");
    assert_eq!(scene.far.count(), 0);
}

#[test]
fn a_handshake_that_breaks_the_rules_is_refused() {
    let scene = Scene::start();
    let broken = [
        handshake().without("Sec-WebSocket-Key"),
        handshake().with("Sec-WebSocket-Key", ""),
        handshake().with("Sec-WebSocket-Key", "c2hvcnQ="),
        handshake().with("Sec-WebSocket-Key", "not base64 but long==="),
        handshake().with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTE="),
        handshake().and("Sec-WebSocket-Key", KEY),
        handshake().and("Content-Length", "3"),
        handshake().and("Transfer-Encoding", "chunked"),
    ];
    for wish in broken {
        let mut client = scene.usher.client();
        client.send(&wish.bytes());
        client.response().assert_error(400, "bad_request");
        assert!(client.read_to_close().is_empty());
    }
    for version in [
        handshake().with("Sec-WebSocket-Version", "12"),
        handshake().without("Sec-WebSocket-Version"),
        handshake().and("Sec-WebSocket-Version", "8"),
    ] {
        let mut client = scene.usher.client();
        client.send(&version.bytes());
        let response = client.response();
        response.assert_error(426, "websocket_version");
        assert_eq!(
            (response.header("sec-websocket-version").as_deref(), response.header("upgrade").as_deref()),
            (Some("13"), Some("websocket"))
        );
        assert!(client.read_to_close().is_empty());
    }
    assert_eq!((scene.far.count(), scene.fake.bytes()), (0, 0));
}

#[test]
fn nothing_sent_early_is_taken_for_http() {
    let scene = Scene::start();
    let mut client = scene.usher.client();
    client.send(&[handshake().bytes(), b"GET /apps/3/events HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat());
    let mut upstream = scene.far.next().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    let response = client.response();
    assert_eq!(
        (response.status, response.text().as_str(), response.header("connection").as_deref()),
        (200, "no", Some("close"))
    );
    assert!(client.read_to_close().is_empty());
    upstream.wait_closed();
    assert_eq!((scene.far.count(), scene.fake.bytes()), (1, 0));
}

#[test]
fn frames_sent_early_wait_for_the_101_of_upstream() {
    let scene = Scene::start();
    let mut client = scene.usher.client();
    client.send(&[handshake().bytes(), Frame::text("early").masked().bytes()].concat());
    let arrival = scene.far.next();
    arrival.stream.set_nonblocking(true).unwrap();
    assert!(arrival.stream.peek(&mut [0]).is_err(), "nothing but the handshake is sent before the 101");
    arrival.stream.set_nonblocking(false).unwrap();
    let mut upstream = arrival.accept_and(&Frame::text("hello"));
    assert_eq!(upstream.read(), Frame::text("early"));
    assert_eq!(End::switched(client).read(), Frame::text("hello"));
}

#[test]
fn a_response_that_does_not_switch_is_forwarded_completely() {
    let scene = Scene::start();
    let large = "x".repeat(300_000);
    let answers = [
        (
            426,
            "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n".to_owned(),
            String::new(),
        ),
        (403, format!("HTTP/1.1 403 Forbidden\r\nX-Why: key\r\nContent-Length: {}\r\n\r\n{large}", large.len()), large),
        (200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(), "ok".to_owned()),
    ];
    for (status, bytes, body) in answers {
        let mut client = scene.usher.client();
        client.send(&handshake().bytes());
        let _end = scene.far.next().answer(bytes.as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.text()), (status, body));
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        assert!(client.read_to_close().is_empty());
    }
}

#[test]
fn a_wrong_101_is_502() {
    let scene = Scene::start();
    let answer = |upgrade: &str, connection: &str, proof: &str, more: &str| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: {connection}\r\nSec-WebSocket-Accept: {proof}\r\n{more}\r\n"
        )
    };
    let wrong = [
        answer("websocket", "Upgrade", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""),
        answer("websocket", "Upgrade", "", ""),
        answer("websocket", "Upgrade", PROOF, &format!("Sec-WebSocket-Accept: {PROOF}\r\n")),
        answer("h2c", "Upgrade", PROOF, ""),
        answer("websocket", "keep-alive", PROOF, ""),
        answer("websocket", "Upgrade", PROOF, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        answer("websocket", "Upgrade", PROOF, "Sec-WebSocket-Protocol: unasked\r\n"),
    ];
    for bytes in wrong {
        let mut client = scene.usher.client();
        client.send(&handshake().bytes());
        let mut upstream = scene.far.next().answer(bytes.as_bytes());
        client.response().assert_error(502, "upstream_failed");
        assert!(client.read_to_close().is_empty());
        upstream.wait_closed();
    }
    let mut client = scene.usher.client();
    client.send(&handshake().bytes());
    let _end = scene.far.next().answer(answer("WebSocket", "keep-alive, upgrade", PROOF, "").as_bytes());
    assert_eq!(client.response().status, 101, "names are of any case");
}

#[test]
fn an_unreachable_or_silent_upstream_is_reported() {
    let fake = Fake::start();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let usher = Usher::start(&fake, |setup| setup.upstream += &format!("websocket_url = \"ws://{nobody}\"\n"));
    let mut client = usher.client();
    client.send(&handshake().bytes());
    client.response().assert_error(502, "upstream_unreachable");
    client.read_to_close();

    let scene = Scene::with(|setup: &mut Setup| setup.timeout = "300ms");
    let mut client = scene.usher.client();
    client.send(&handshake().bytes());
    let arrival = scene.far.next();
    client.response().assert_error(504, "upstream_timeout");
    client.read_to_close();
    assert_eq!(
        std::io::Read::read(&mut &arrival.stream, &mut [0]).unwrap(),
        0,
        "the connection to upstream is closed, too"
    );
}

#[test]
fn a_long_or_slow_handshake_is_cut_off() {
    let scene = Scene::limited("head_timeout = \"300ms\"");
    let mut client = scene.usher.client();
    let _refused_early = client.try_send(&handshake().and("X-Long", &"x".repeat(100_000)).bytes());
    assert_eq!(client.response().status, 431);
    client.read_to_close();
    let mut slow = scene.usher.client();
    slow.send(&handshake().bytes()[..100]);
    slow.read_to_close();
    assert_eq!(scene.far.count(), 0);
}
