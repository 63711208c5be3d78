//! The pool of idle connections: which ones are reused and which ones are not (threats.md H1-18).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::pool::Connection;
use super::super::transport::ExchangePhase;
use super::{Failure, OK, Options, Payload, Peer, Remote, Server, fetch, options, post, received, remote, request};
use crate::clock::DeadlineTimer;
use crate::shutdown::Tasks;
use crate::upstream::Collected;

/// A request for `Remote::exchange`.
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

/// Runs the other tasks until the pool holds `idle` connections that can be used.
async fn settle(remote: &Remote, idle: usize) {
    while remote.idle_count() != idle {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for answer in [OK, chunked] {
        let server = Server::start(move |peer| peer.answer_all(answer)).await;
        let remote = server.remote();
        for _ in 0..3 {
            assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
        }
        assert_eq!((server.accepted(), remote.idle_count()), (1, 1));
    }
}

#[tokio::test]
async fn a_body_read_by_its_length_alone_gives_the_connection_back() {
    let server = Server::start(|peer| peer.answer_all(OK)).await;
    let remote = server.remote();
    for _ in 0..3 {
        let mut body = remote.send(post()).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert!(hyper::body::Body::is_end_stream(&body));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn servers_that_close_after_every_answer_are_served() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ];
    for answer in answers {
        let mut server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.write(answer).await;
        })
        .await;
        let remote = server.remote();
        for _ in 0..3 {
            assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
            assert_eq!(remote.idle_count(), 0);
        }
        assert_eq!((server.accepted(), server.rest()), (3, 3));
    }
}

#[tokio::test]
async fn a_connection_that_announced_its_end_is_closed_by_us_too() {
    let announced: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    ];
    for answer in announced {
        let (sender, gone) = oneshot::channel();
        let sender = std::sync::Mutex::new(Some(sender));
        let server = Server::start(move |mut peer| {
            let sender = sender.lock().unwrap().take().unwrap();
            async move {
                peer.request().await;
                peer.write(answer).await;
                peer.gone().await;
                sender.send(()).unwrap();
            }
        })
        .await;
        assert_eq!(fetch(&server.remote(), post()).await.unwrap(), "{}");
        gone.await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closes_causes_no_error() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(OK).await;
    })
    .await;
    let remote = server.remote();
    for round in 1..=3 {
        assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
        settle(&remote, 0).await;
        assert_eq!(server.accepted(), round);
    }
}

#[tokio::test]
async fn left_over_bytes_are_never_the_next_answer() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let before = [
        (Method::POST, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        (Method::POST, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        (Method::POST, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::POST, "HTTP/1.1 304 Not Modified\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
    ];
    for (method, good) in before {
        let bytes: &'static [u8] = String::leak(format!("{good}{evil}")).as_bytes();
        let mut server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.write(if peer.number == 0 { bytes } else { OK }).await;
            peer.answer_all(OK).await;
        })
        .await;
        let remote = server.remote();
        let first = fetch(&remote, request(method, "")).await.unwrap();
        assert!(first == "{}" || first.is_empty(), "{first}");
        assert_eq!(fetch(&remote, post()).await.unwrap(), "{}", "{good}");
        assert_eq!((server.accepted(), server.rest()), (2, 2), "{good}");
    }
}

#[tokio::test]
async fn bytes_on_an_idle_connection_end_it() {
    let (sender, go) = oneshot::channel();
    let go = std::sync::Mutex::new(Some(go));
    let server = Server::start(move |mut peer| {
        let go = go.lock().unwrap().take();
        async move {
            peer.request().await;
            peer.write(OK).await;
            if let Some(go) = go {
                go.await.unwrap();
                peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL").await;
            }
            peer.gone().await;
        }
    })
    .await;
    let remote = server.remote();
    fetch(&remote, post()).await.unwrap();
    assert_eq!(remote.idle_count(), 1);
    sender.send(()).unwrap();
    settle(&remote, 0).await;
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    assert_eq!(server.accepted(), 2);
}

/// A connection that looks idle, and closes before it accepts a request when the gate is opened.
async fn doomed() -> (Connection, oneshot::Sender<()>) {
    let (ours, theirs) = tokio::io::duplex(1024);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Payload>(TokioIo::new(ours)).await.unwrap();
    let (gate, opened) = oneshot::channel::<()>();
    let driver = Tasks::default().spawn(async move {
        {
            let mut connection = pin!(connection);
            poll_fn(|context| {
                assert!(connection.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            opened.await.unwrap();
        }
        drop(theirs);
    });
    sender.ready().await.unwrap();
    (Connection::new(sender, ExchangePhase::default(), driver), gate)
}

#[tokio::test]
async fn an_idle_connection_closed_before_the_first_byte_is_replaced_once() {
    let mut server = Server::start(|peer| peer.answer_all(OK)).await;
    let remote = server.remote();
    let (first, first_gate) = doomed().await;
    let (second, _second_gate) = doomed().await;
    remote.pool().put(second, Instant::now());
    remote.pool().put(first, Instant::now());
    let (body, ()) = tokio::join!(fetch(&remote, post()), async { first_gate.send(()).unwrap() });
    assert_eq!(body.unwrap(), "{}");
    // The second attempt uses a new connection, not the other idle one.
    assert_eq!((server.accepted(), server.rest(), remote.idle_count()), (1, 1, 2));
}

#[tokio::test]
async fn a_closed_idle_connection_and_no_new_one_means_that_nothing_was_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let remote = remote(options(&format!("http://127.0.0.1:{port}")));
    let (kept, gate) = doomed().await;
    remote.pool().put(kept, Instant::now());
    let (failure, ()) = tokio::join!(fetch(&remote, post()), async { gate.send(()).unwrap() });
    let failure = failure.unwrap_err();
    assert!(matches!(failure, Failure::Connect { .. }) && failure.nothing_sent(), "{failure:?}");
}

#[tokio::test]
async fn a_request_that_may_have_been_written_is_never_sent_again() {
    let mut server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.write(OK).await;
        peer.request().await;
        // Closed without an answer on a reused connection: the server may have applied the request.
    })
    .await;
    let remote = server.remote();
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    let failure = fetch(&remote, post()).await.unwrap_err();
    assert!(matches!(failure, Failure::ConnectionLost { .. }) && !failure.nothing_sent(), "{failure:?}");
    assert_eq!((server.accepted(), server.rest()), (1, 2));
}

#[tokio::test]
async fn the_pool_keeps_the_newest_up_to_its_bound() {
    let server = Server::start(|peer| peer.answer_all(OK)).await;
    let remote = remote(Options { max_idle: 2, ..options(&format!("http://{}", server.address)) });
    let (a, b, c) = tokio::join!(remote.send(post()), remote.send(post()), remote.send(post()));
    for answer in [a, b, c] {
        super::text(answer.unwrap()).await.unwrap();
    }
    assert_eq!((server.accepted(), remote.idle_count()), (3, 2));
    remote.retire();
    assert_eq!(remote.idle_count(), 0);
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    assert_eq!((server.accepted(), remote.idle_count()), (4, 0));
}

#[tokio::test]
async fn a_connection_idle_for_too_long_is_not_used() {
    let server = Server::start(|peer| peer.answer_all(OK)).await;
    let remote = remote(Options { idle_timeout: Duration::ZERO, ..options(&format!("http://{}", server.address)) });
    for _ in 0..2 {
        assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    }
    assert_eq!((server.accepted(), remote.idle_count()), (2, 0));
}

#[tokio::test]
async fn a_connection_that_is_too_old_is_not_used() {
    for (max_connection_age, opened) in [(Duration::ZERO, 3), (super::LONG, 1)] {
        let server = Server::start(|peer| peer.answer_all(OK)).await;
        let remote = remote(Options { max_connection_age, ..options(&format!("http://{}", server.address)) });
        for _ in 0..3 {
            assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
        }
        assert_eq!((server.accepted(), remote.idle_count()), (opened, usize::from(opened == 1)));
        let mut answer = Collected::default();
        for _ in 0..3 {
            remote.exchange(POST, &mut answer, &mut DeadlineTimer::default(), Instant::now()).await.unwrap();
        }
        assert_eq!((server.accepted(), remote.idle_count()), (2 * opened, 2 * usize::from(opened == 1)));
    }
}

#[tokio::test]
async fn what_is_idle_for_too_long_or_too_old_is_closed_without_another_request() {
    let url = |server: &Server| format!("http://{}", server.address);
    for (idle_timeout, max_connection_age) in [(super::SHORT, super::LONG), (super::LONG, super::SHORT)] {
        for by_wire in [false, true] {
            let (server, gone) = watched(|mut peer| async move {
                peer.request().await;
                peer.write(OK).await;
                peer
            })
            .await;
            let remote = remote(Options { idle_timeout, max_connection_age, ..options(&url(&server)) });
            if by_wire {
                remote
                    .exchange(POST, &mut Collected::default(), &mut DeadlineTimer::default(), Instant::now())
                    .await
                    .unwrap();
            } else {
                fetch(&remote, post()).await.unwrap();
            }
            tokio::select! {
                () = remote.run() => unreachable!("it attends for ever"),
                gone = gone => gone.unwrap(),
            }
        }
    }
}

/// Runs `script`, then waits for the client to close; the receiver reports when it has.
async fn watched<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> (Server, oneshot::Receiver<()>)
where
    F: Future<Output = Peer> + Send + 'static,
{
    let (sender, gone) = oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let server = Server::start(move |peer| {
        let sender = sender.lock().unwrap().take();
        let played = script(peer);
        async move {
            let peer = played.await;
            peer.gone().await;
            sender.into_iter().for_each(|sender| sender.send(()).unwrap());
        }
    })
    .await;
    (server, gone)
}

#[tokio::test]
async fn what_is_dropped_early_is_closed() {
    // An answer.
    let (server, gone) = watched(|mut peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello").await;
        peer
    })
    .await;
    let remote = server.remote();
    drop(remote.send(post()).await.unwrap());
    gone.await.unwrap();
    assert_eq!(remote.idle_count(), 0);

    // The sending.
    let (mut server, gone) = watched(|mut peer| async move {
        peer.request().await;
        peer
    })
    .await;
    let remote = server.remote();
    tokio::select! {
        answer = remote.send(post()) => panic!("{answer:?}"),
        _ = server.next() => {}
    }
    gone.await.unwrap();

    // The pool itself.
    let (server, gone) = watched(|mut peer| async move {
        peer.request().await;
        peer.write(OK).await;
        peer
    })
    .await;
    let remote = server.remote();
    fetch(&remote, post()).await.unwrap();
    assert_eq!(remote.idle_count(), 1);
    drop(remote);
    gone.await.unwrap();
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_is_passed_on_and_ends_the_connection() {
    let (server, gone) = watched(|mut peer| async move {
        peer.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\r\n{}").await;
        peer
    })
    .await;
    let (request, _caller) = received("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning").await;
    let remote = server.remote();
    let answer = remote.send(request.map(|body| Payload::stream(body).unwrap())).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(super::text(answer).await.unwrap(), "{}");
    // The caller never continues; the connection must not wait for it.
    gone.await.unwrap();
    assert_eq!(remote.idle_count(), 0);
}
