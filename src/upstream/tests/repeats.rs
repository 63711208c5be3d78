//! Which requests are sent a second time when a connection was lost before the answer (RFC 9110 9.2.2).

use http::Method;

use super::{Failure, OK, Options, Peer, SHORT, Server, fetch, options, remote, request};

/// A server that answers the first request on each connection and closes that at the second one.
async fn closing_at_the_second() -> Server {
    Server::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.write(OK).await;
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn a_safe_request_is_repeated_once_on_a_new_connection() {
    for method in [Method::GET, Method::HEAD] {
        let mut server = closing_at_the_second().await;
        let remote = server.remote();
        let mut asks = request(method.clone(), "");
        asks.headers_mut().insert("x-mark", "1".parse().unwrap());
        fetch(&remote, request(Method::GET, "")).await.unwrap();
        let answer = remote.send(asks).await.unwrap();
        assert_eq!((answer.status(), server.accepted()), (200.try_into().unwrap(), 2), "{method}");
        let seen = [server.next().await, server.next().await, server.next().await];
        assert_eq!(seen[1], seen[2], "the same again");
        assert!(seen[2].contains("x-mark: 1"), "{}", seen[2]);
    }
}

#[tokio::test]
async fn what_may_change_something_or_has_a_body_is_not() {
    for (method, body) in [
        (Method::POST, "{}"),
        (Method::POST, ""),
        (Method::PUT, ""),
        (Method::DELETE, ""),
        (Method::OPTIONS, ""),
        (Method::GET, "{}"),
    ] {
        let mut server = closing_at_the_second().await;
        let remote = server.remote();
        fetch(&remote, request(Method::GET, "")).await.unwrap();
        let failure = fetch(&remote, request(method.clone(), body)).await.unwrap_err();
        assert!(matches!(failure, Failure::ConnectionLost { .. }) && !failure.nothing_sent(), "{method}: {failure:?}");
        assert_eq!((server.accepted(), server.rest()), (1, 2), "{method}");
    }
}

#[tokio::test]
async fn nothing_is_sent_three_times_nor_after_the_timeout_nor_after_a_malformed_answer() {
    // The new connection is lost, too.
    let mut server = Server::start(|mut peer: Peer| async move {
        peer.request().await;
        if peer.number == 0 {
            peer.write(OK).await;
            peer.request().await;
        }
    })
    .await;
    let remote_one = server.remote();
    fetch(&remote_one, request(Method::GET, "")).await.unwrap();
    let failure = fetch(&remote_one, request(Method::GET, "")).await.unwrap_err();
    assert!(matches!(failure, Failure::ConnectionLost { .. }), "{failure:?}");
    assert_eq!((server.accepted(), server.rest()), (2, 3));

    for (second, is_timeout) in [(&b""[..], true), (b"nonsense\r\n\r\n", false)] {
        let mut server = Server::start(move |mut peer: Peer| async move {
            peer.request().await;
            peer.write(OK).await;
            peer.request().await;
            peer.write(second).await;
            peer.gone().await;
        })
        .await;
        let remote = remote(Options { timeout: SHORT, ..options(&format!("http://{}", server.address)) });
        fetch(&remote, request(Method::GET, "")).await.unwrap();
        let failure = fetch(&remote, request(Method::GET, "")).await.unwrap_err();
        assert_eq!(failure.is_timeout(), is_timeout, "{failure:?}");
        assert_eq!((server.accepted(), server.rest()), (1, 2));
    }
}
