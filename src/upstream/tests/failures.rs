//! The failures of requests, and whether anything was sent.

use std::error::Error as _;
use std::time::Duration;

use super::{Failure, Options, Payload, Remote, SHORT, Server, fetch, options, post, received, remote};
use crate::shutdown::Tasks;

#[tokio::test]
async fn a_refused_port_means_that_nothing_was_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        let failure = fetch(&remote(options(&format!("http://{host}:{port}"))), post()).await.unwrap_err();
        assert!(matches!(failure, Failure::Connect { .. }), "{failure:?}");
        assert!(failure.nothing_sent() && !failure.is_timeout() && failure.source().is_some());
        assert!(failure.to_string().contains(&format!("{host}:{port}")), "{failure}");
    }
}

#[tokio::test]
async fn an_unknown_name_means_that_nothing_was_sent() {
    // Longer than a label may be, so that no name server is queried.
    let host = "a".repeat(64);
    let failure = fetch(&remote(options(&format!("http://{host}:6001"))), post()).await.unwrap_err();
    assert!(matches!(failure, Failure::Resolve { .. }), "{failure:?}");
    assert!(failure.nothing_sent() && !failure.is_timeout() && failure.to_string().contains(&host));
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // localhost may be ::1 first; the server listens on 127.0.0.1 alone.
    let server = Server::start(|peer| peer.answer_all(super::OK)).await;
    let remote = remote(options(&format!("http://localhost:{}", server.address.port())));
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_after_the_timeout() {
    for half_answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Le"] {
        let mut server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.write(half_answer).await;
            let seen = peer.seen.clone();
            peer.gone().await;
            seen.send("gone".to_owned()).unwrap();
        })
        .await;
        let remote = remote(Options { timeout: SHORT, ..options(&format!("http://{}", server.address)) });
        let failure = fetch(&remote, post()).await.unwrap_err();
        assert!(matches!(failure, Failure::AnswerTimeout { .. }), "{failure:?}");
        assert!(failure.is_timeout() && !failure.nothing_sent());
        assert!(server.next().await.starts_with("POST"));
        assert_eq!(server.next().await, "gone");
        assert_eq!(remote.idle_count(), 0);
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_left_after_the_timeout_and_leaves_no_task() {
    let server = Server::start(|peer| async move {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let tasks = Tasks::default();
    let remote =
        Remote::new(&Options { timeout: SHORT, ..options(&format!("http://{}", server.address)) }, tasks.clone())
            .unwrap();
    // More than all buffers between client and server hold.
    let mut large = post();
    *large.body_mut() = Payload::Whole(vec![b'x'; 64 << 20].into());
    let failure = fetch(&remote, large).await.unwrap_err();
    assert!(matches!(failure, Failure::AnswerTimeout { .. }), "{failure:?}");
    assert_eq!(tasks.finish(super::LONG).await, 0);
}

#[tokio::test]
async fn a_connection_lost_after_the_first_byte_is_ambiguous() {
    for half_answer in [&b""[..], b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let mut server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.write(half_answer).await;
        })
        .await;
        let failure = fetch(&server.remote(), post()).await.unwrap_err();
        assert!(matches!(failure, Failure::ConnectionLost { .. }), "{}: {failure:?}", half_answer.escape_ascii());
        assert!(!failure.nothing_sent() && !failure.is_timeout());
        assert_eq!((server.accepted(), server.rest()), (1, 1));
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_is_ambiguous() {
    use tokio::io::AsyncReadExt;
    // Closed with bytes unread, which makes the kernel send a reset.
    let server = Server::start(|mut peer| async move {
        peer.stream.read_u8().await.unwrap();
    })
    .await;
    let failure = fetch(&server.remote(), post()).await.unwrap_err();
    assert!(matches!(failure, Failure::ConnectionLost { .. }), "{failure:?}");
    assert!(!failure.nothing_sent());
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_broken_request_body_is_a_failure_of_the_caller() {
    let server = Server::start(|mut peer| async move {
        // Waits for a body that is never complete.
        assert_eq!(peer.request().await, None);
    })
    .await;
    let (request, caller) = received("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhalf").await;
    drop(caller);
    let failure = fetch(&server.remote(), request.map(|body| Payload::stream(body).unwrap())).await.unwrap_err();
    assert!(matches!(failure, Failure::CallerBody { .. }), "{failure:?}");
    assert!(!failure.nothing_sent() && !failure.is_timeout());
}

#[tokio::test]
async fn connecting_takes_no_longer_than_allowed() {
    // The system accepts TCP connections for a listener that never accepts, but TLS gets no answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let remote = remote(Options { connect_timeout: Duration::from_millis(50), ..options(&url) });
    let failure = fetch(&remote, post()).await.unwrap_err();
    assert!(matches!(failure, Failure::ConnectTimeout { .. }), "{failure:?}");
    assert!(failure.nothing_sent() && failure.is_timeout());
    assert_eq!(failure.label(), "upstream_connect_timeout");
}
