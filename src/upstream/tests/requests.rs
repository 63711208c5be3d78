//! Requests as upstream receives them.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Version};
use tokio::io::AsyncWriteExt;

use super::{OK, Payload, Server, fetch, received, remote, request};

/// Sends one request and returns what arrived, with the port of the server replaced by PORT.
async fn arrived(request: Request<Payload>) -> String {
    let mut server = Server::start(|peer| peer.answer_all(OK)).await;
    assert_eq!(fetch(&server.remote(), request).await.unwrap(), "{}");
    server.next().await.replace(&server.address.port().to_string(), "PORT")
}

#[tokio::test]
async fn the_length_is_declared_where_it_means_something() {
    let line = |method| format!("{method} /apps/3/events?auth_key=k HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n");
    assert_eq!(arrived(request(Method::POST, "{}")).await, line("POST") + "content-length: 2\r\n\r\n{}");
    assert_eq!(arrived(request(Method::POST, "")).await, line("POST") + "content-length: 0\r\n\r\n");
    assert_eq!(arrived(request(Method::PUT, "")).await, line("PUT") + "content-length: 0\r\n\r\n");
    assert_eq!(arrived(request(Method::GET, "")).await, line("GET") + "\r\n");
    assert_eq!(arrived(request(Method::DELETE, "")).await, line("DELETE") + "\r\n");
    assert_eq!(arrived(request(Method::GET, "{}")).await, line("GET") + "content-length: 2\r\n\r\n{}");
}

#[tokio::test]
async fn framing_and_version_are_this_hops_own() {
    for wrong in [&["7"][..], &["02"], &["2", "2"], &["+2"], &["2, 2"], &[""]] {
        let mut odd = request(Method::POST, "{}");
        for value in wrong {
            odd.headers_mut().append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        odd.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        odd.headers_mut().append(HOST, HeaderValue::from_static("evil"));
        odd.headers_mut().append(HOST, HeaderValue::from_static("evil.too"));
        *odd.version_mut() = Version::HTTP_09;
        let seen = arrived(odd).await;
        assert_eq!(
            seen, "POST /apps/3/events?auth_key=k HTTP/1.1\r\ncontent-length: 2\r\nhost: 127.0.0.1:PORT\r\n\r\n{}",
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn headers_keep_case_order_and_repetition_and_a_stream_keeps_its_length() {
    let head = "POST /a?b=%2f&&c HTTP/1.1\r\nX-First: 1\r\nhOST: caller.example\r\nX-Pusher-Library: pusher-http-python 3.3.3\r\naccept: */*\r\n\
                ACCEPT: text/x\r\nContent-LENGTH: 11\r\nx-last: \u{e9}\r\n\r\n";
    let (request, mut caller) = received(head).await;
    let request = request.map(|body| Payload::stream(body).unwrap());
    assert_eq!(request.body().length(), 11);
    let (seen, ()) = tokio::join!(arrived(request), async {
        caller.write_all(b"hello ").await.unwrap();
        tokio::task::yield_now().await;
        caller.write_all(b"world").await.unwrap();
    });
    assert_eq!(seen, head.replace("caller.example", "127.0.0.1:PORT") + "hello world");
}

#[tokio::test]
async fn a_stream_without_a_declared_length_is_refused_and_given_back() {
    use http_body_util::BodyExt;
    let (request, _caller) =
        received("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").await;
    let body = Payload::stream(request.into_body()).unwrap_err();
    assert_eq!(body.collect().await.unwrap().to_bytes(), Bytes::from_static(b"{}"));
}

#[tokio::test]
async fn the_default_port_is_not_in_the_host_header() {
    use crate::tls::TlsError;
    for (url, authority) in [
        ("http://api.example", "api.example"),
        ("http://api.example:80", "api.example"),
        ("http://api.example:443", "api.example:443"),
        ("https://api.example:443", "api.example"),
        ("http://[::1]:6002", "[::1]:6002"),
    ] {
        assert_eq!(remote(super::options(url)).host(), authority);
    }
    for url in ["api.example", "ftp://api.example", "/path", "https://-.example"] {
        let refused = super::Remote::new(&super::options(url), crate::shutdown::Tasks::default());
        assert!(matches!(refused, Err(TlsError::Url { .. })), "{url}");
    }
}
