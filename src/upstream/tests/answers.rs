//! Forms of answers that are forwarded, and those that are refused (threats.md H1-19, pusher-protocol.md 7).

use http::{Method, StatusCode};

use super::{Failure, OK, Server, answered_with, fetch, post, request, text};

#[tokio::test]
async fn every_framing_is_read_to_its_end() {
    let accepted: [&[u8]; 8] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=1\r\nworld\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello world",
        b"HTTP/1.0 200 OK\r\n\r\nhello world",
        b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nhello world",
    ];
    for bytes in accepted {
        let answer = answered_with(bytes).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text(answer).await.unwrap(), "hello world", "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn answers_without_contents_end_at_their_head_and_keep_the_connection() {
    for (method, bytes) in [
        (Method::HEAD, &b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"[..]),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let server = Server::start(move |peer| peer.answer_all(bytes)).await;
        let remote = server.remote();
        for _ in 0..2 {
            // The body is not read.
            remote.send(request(method.clone(), "")).await.unwrap();
        }
        assert_eq!(server.accepted(), 1, "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn informational_answers_are_skipped() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        for _ in 0..500 {
            peer.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        peer.write(&b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000)).await;
        peer.write(OK).await;
        peer.answer_all(OK).await;
    })
    .await;
    let remote = server.remote();
    for _ in 0..2 {
        assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn endless_informational_answers_end() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        while peer.write(b"HTTP/1.1 100 Continue\r\n\r\n").await {}
    })
    .await;
    let failure = server.remote().send(post()).await.unwrap_err();
    assert!(matches!(failure, Failure::UnacceptableAnswer { .. }) && !failure.nothing_sent(), "{failure:?}");
}

#[tokio::test]
async fn a_length_goes_on_as_one_also_where_there_is_no_body() {
    let answers: [(Method, &[u8]); 4] = [
        (Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n"),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 7, 07\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7,7\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7, 7\r\n\r\n{ seven"),
    ];
    for (method, bytes) in answers {
        let server = Server::start(move |peer| peer.answer_all(bytes)).await;
        let answer = server.remote().send(request(method, "")).await.unwrap();
        assert_eq!(
            answer.headers().get_all("content-length").iter().collect::<Vec<_>>(),
            ["7"],
            "{}",
            bytes.escape_ascii()
        );
    }
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n"[..],
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let server = Server::start(move |peer| peer.answer_all(bytes)).await;
        let failure = server.remote().send(request(Method::HEAD, "")).await.unwrap_err();
        assert!(matches!(failure, Failure::MalformedAnswer { .. } | Failure::UnacceptableAnswer { .. }), "{failure:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let huge: &'static [u8] = Vec::leak(
        [b"HTTP/1.1 200 OK\r\nX-Huge: ".as_slice(), &vec![b'x'; 1 << 20], b"\r\nContent-Length: 0\r\n\r\n"].concat(),
    );
    let many: &'static [u8] =
        Vec::leak([b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a: b\r\n".repeat(101), b"\r\n"].concat());
    let refused: [&'static [u8]; 11] = [
        huge,
        many,
        b"<html>an HTTP/0.9 answer</html>\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for bytes in refused {
        let shown = bytes[..bytes.len().min(80)].escape_ascii();
        let failure = answered_with(bytes).await.err();
        assert!(
            failure.as_ref().is_some_and(|failure| matches!(failure, Failure::MalformedAnswer { .. })),
            "{shown}: {failure:?}"
        );
        assert!(!failure.is_some_and(|failure| failure.nothing_sent() || failure.is_timeout()), "{shown}");
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_refused() {
    for bytes in [
        &b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{}",
    ] {
        let failure = answered_with(bytes).await.unwrap_err();
        assert!(
            matches!(failure, Failure::UnacceptableAnswer { .. }) && !failure.nothing_sent(),
            "{}: {failure:?}",
            bytes.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_cut_body_ends_with_an_error() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nhello",
    ] {
        let answer = answered_with(bytes).await.unwrap();
        assert!(text(answer).await.is_err(), "{}", bytes.escape_ascii());
    }
}
