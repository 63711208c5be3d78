//! Exchanges of the client for triggers: the sent bytes, the collected answer, and the connection of the next exchange.

use tokio::time::Instant;

use super::{OK, Options, Peer, Remote, SHORT, Server, options, remote};
use crate::clock::DeadlineTimer;
use crate::upstream::{Collected, Failure};

const REQUEST: &[u8] = b"POST /apps/3/events?auth_key=k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

async fn exchange(remote: &Remote) -> Result<Collected, Failure> {
    let mut answer = Collected::default();
    remote.exchange(REQUEST, &mut answer, &mut DeadlineTimer::default(), Instant::now()).await.map(|_end| answer)
}

/// A server that answers its first request with `bytes`, all at once or one by one, and then closes.
async fn answering(bytes: &'static [u8], at_once: usize) -> Server {
    Server::start(move |mut peer| async move {
        peer.request().await;
        for part in bytes.chunks(at_once) {
            peer.write(part).await;
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn every_framing_is_collected_whole() {
    let framings: [&[u8]; 9] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Length: 11\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=1\r\nworld\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello world",
        b"HTTP/1.0 200 OK\r\n\r\nhello world",
        b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nhello world",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    ];
    for bytes in framings {
        for at_once in [bytes.len(), 1] {
            let mut server = answering(bytes, at_once).await;
            let answer = exchange(&server.remote()).await.unwrap();
            let shown = bytes.escape_ascii();
            assert_eq!(
                (answer.status, answer.body.escape_ascii().to_string().as_str()),
                (200, "hello world"),
                "{shown}"
            );
            assert_eq!(server.next().await.as_bytes(), REQUEST);
        }
    }
}

#[tokio::test]
async fn answers_without_contents_end_at_their_head() {
    for bytes in [
        &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::start(move |peer| peer.answer_all(bytes)).await;
        let remote = server.remote();
        for _ in 0..2 {
            assert!(exchange(&remote).await.unwrap().body.is_empty());
        }
        assert_eq!(server.accepted(), 1, "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn headers_go_on_as_they_came_without_those_of_the_hop() {
    let bytes = b"HTTP/1.1 403 Over Quota\r\nX-One: 1\r\nCONNECTION: X-Gone, keep-alive\r\nx-gone: 1\r\nSet-Cookie: a\r\nDate: now\r\nUsher-Decision: forged\r\n\
        Keep-Alive: timeout=5\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\n{}";
    let server = answering(bytes, bytes.len()).await;
    let answer = exchange(&server.remote()).await.unwrap();
    let head = String::from_utf8(answer.head).unwrap();
    assert_eq!(head, "HTTP/1.1 403 Over Quota\r\nX-One: 1\r\nSet-Cookie: a\r\nDate: now\r\nset-cookie: b\r\n");
    assert!(answer.is_dated);
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_no_answer() {
    let unfit: [&[u8]; 5] = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{}",
    ];
    for bytes in unfit {
        let interrupted = exchange(&answering(bytes, bytes.len()).await.remote()).await.unwrap_err();
        assert!(matches!(interrupted, Failure::UnacceptableAnswer { .. }), "{}: {interrupted:?}", bytes.escape_ascii());
    }
    let invalid: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n{}",
    ];
    for bytes in invalid {
        let interrupted = exchange(&answering(bytes, bytes.len()).await.remote()).await.unwrap_err();
        assert!(matches!(interrupted, Failure::MalformedAnswer { .. }), "{}: {interrupted:?}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_too_large_is_cut() {
    let cut: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n",
    ];
    for bytes in cut {
        let interrupted = exchange(&answering(bytes, bytes.len()).await.remote()).await.unwrap_err();
        assert!(matches!(interrupted, Failure::AnswerCut { status: 200 }), "{}: {interrupted:?}", bytes.escape_ascii());
    }
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while peer.write(&[b'x'; 64 * 1024]).await {}
    })
    .await;
    assert!(
        matches!(exchange(&server.remote()).await, Err(Failure::AnswerCut { status: 200 })),
        "an endless body ends"
    );
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.1 200 OK\r\n").await;
        while peer.write(b"X-Endless: 1\r\n").await {}
    })
    .await;
    assert!(matches!(exchange(&server.remote()).await, Err(Failure::MalformedAnswer { .. })), "an endless head ends");
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        while peer.write(b"HTTP/1.1 100 Continue\r\n\r\n").await {}
    })
    .await;
    assert!(
        matches!(exchange(&server.remote()).await, Err(Failure::UnacceptableAnswer { .. })),
        "endless interim answers end"
    );
}

#[tokio::test]
async fn time_runs_out_before_or_behind_the_head() {
    for (half, late) in [
        (&b""[..], false),
        (b"HTTP/1.1 200 OK\r\nContent-Le", false),
        (b"HTTP/1.1 201 OK\r\nContent-Length: 2\r\n\r\n{", true),
    ] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.write(half).await;
            peer.gone().await;
        })
        .await;
        let remote = remote(Options { timeout: SHORT, ..options(&format!("http://{}", server.address)) });
        match exchange(&remote).await.unwrap_err() {
            failure @ Failure::AnswerTimeout { .. } if !late => {
                assert!(!failure.nothing_sent() && failure.is_timeout())
            }
            failure @ Failure::AnswerTooSlow { status: 201, .. } if late => {
                assert!(!failure.nothing_sent() && failure.is_timeout())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_carries_exchanges_until_the_server_announces_its_close() {
    let server = Server::start(|peer| peer.answer_all(OK)).await;
    let remote = server.remote();
    for _ in 0..3 {
        exchange(&remote).await.unwrap();
    }
    assert_eq!((server.accepted(), remote.idle_count()), (1, 1));
    let server =
        Server::start(|peer| peer.answer_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}"))
            .await;
    let remote = server.remote();
    for _ in 0..3 {
        exchange(&remote).await.unwrap();
    }
    assert_eq!((server.accepted(), remote.idle_count()), (3, 0));
}

#[tokio::test]
async fn left_over_bytes_are_never_the_next_answer() {
    let server = Server::start(|peer| {
        peer.answer_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let remote = server.remote();
    for _ in 0..3 {
        assert_eq!(exchange(&remote).await.unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 3);
}

/// A server that closes its first connection after the first answer, without announcing it, and reports when it has.
async fn closing_behind_an_answer() -> (Server, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (closed, told) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut peer: Peer| {
        let closed = closed.clone();
        async move {
            if peer.number > 0 {
                return peer.answer_all(OK).await;
            }
            peer.request().await;
            peer.write(OK).await;
            drop(peer);
            closed.send(()).unwrap();
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_replaced() {
    let (server, mut closed) = closing_behind_an_answer().await;
    let remote = server.remote();
    exchange(&remote).await.unwrap();
    closed.recv().await.unwrap();
    exchange(&remote).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_request_that_may_have_been_written_is_never_sent_again() {
    let mut server = Server::start(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let interrupted = exchange(&server.remote()).await.unwrap_err();
    assert!(matches!(interrupted, Failure::ConnectionLost { .. }) && !interrupted.nothing_sent(), "{interrupted:?}");
    assert_eq!(server.rest(), 1);
}

#[tokio::test]
async fn nothing_is_sent_to_a_closed_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let interrupted = exchange(&remote(options(&format!("http://127.0.0.1:{port}")))).await.unwrap_err();
    assert!(interrupted.nothing_sent());
}
