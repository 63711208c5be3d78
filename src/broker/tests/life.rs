//! The ends of connections: inactivity, slow readers, the end of the server.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_inactive_client_is_pinged_and_then_closed() {
    let server = Server::start(&plain()).await;
    let (near, far) = duplex(64 * 1024);
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
    let broker = Arc::clone(&server.broker);
    let _served =
        server.tasks.spawn(async move { broker.serve(served, &Uri::from_static(TARGET), None, &Arc::default()).await });
    let began = Instant::now();
    let mut heard = async || client.next().await.unwrap().unwrap();
    assert!(heard().await.to_text().unwrap().contains("connection_established"));
    assert!(heard().await.to_text().unwrap().contains("pusher:ping"));
    assert_eq!(began.elapsed().as_secs(), 120);
    let Message::Close(Some(frame)) = heard().await else { panic!() };
    assert_eq!((u16::from(frame.code), began.elapsed().as_secs()), (4201, 150));
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="silent"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn any_sign_of_life_counts() {
    let server = Server::start(&plain()).await;
    let (near, far) = duplex(64 * 1024);
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
    let broker = Arc::clone(&server.broker);
    let _served =
        server.tasks.spawn(async move { broker.serve(served, &Uri::from_static(TARGET), None, &Arc::default()).await });
    let _greeting = client.next().await;
    for sign in [
        Message::text(r#"{"event":"pusher:pong"}"#),
        Message::Ping("".into()),
        Message::Pong("".into()),
        Message::text("nonsense"),
    ] {
        let (began, is_ping) = (Instant::now(), sign.is_ping());
        client.send(sign).await.unwrap();
        loop {
            let heard = client.next().await.unwrap().unwrap();
            if heard.to_text().unwrap_or_default().contains("pusher:ping") {
                break;
            }
            assert!(is_ping || heard.to_text().unwrap().contains("pusher:error"), "{heard:?}");
        }
        assert_eq!(began.elapsed().as_secs(), 120);
    }
}

/// `threats.md` 2.6: a slow reader does not affect others, and is closed.
#[tokio::test]
async fn a_slow_reader_is_closed_and_the_others_hear_everything() {
    let server = Server::start(&Options { queue: 64, ..plain() }).await;
    let (mut slow, mut quick) = (server.client().await, server.client().await);
    slow.subscribe("c", None).await;
    quick.subscribe("c", None).await;
    let large = "x".repeat(10_000);
    let mut sent = 0;
    while server.metric(r#"usher_broker_slow_readers_total{app="1001"}"#) == 0 {
        server.trigger("c", &sent.to_string(), &large);
        assert_eq!(quick.hear().await["event"], sent.to_string());
        sent += 1;
        assert!(sent < 100_000, "a reader that does not read is never closed");
    }
    server.trigger("c", "last", "{}");
    assert_eq!(quick.hear_event().await, "last");
    assert_eq!(server.metric(r#"usher_ws_connections{app="1001"}"#), 1);
    // Unread events are lost, but there is no gap in those that were read.
    let mut next = 0;
    while let Some(Ok(message)) = slow.socket.next().await {
        match message {
            Message::Text(text) => {
                let heard: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(heard["event"], next.to_string());
                next += 1;
            }
            Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 4100),
            other => panic!("{other:?}"),
        }
    }
    assert!(next < sent);
}

/// A batch of events of ten.
fn batch(number: usize) -> Value {
    let events: Vec<_> =
        (0..10).map(|event| json!({"name": (number * 10 + event).to_string(), "channel": "c", "data": "{}"})).collect();
    json!({ "batch": events })
}

/// A thousand batches without a pause: a client that reads at full speed is not closed because of its worker's queue.
#[tokio::test]
async fn a_client_that_reads_is_not_too_slow_for_a_burst() {
    let server = Server::start(&plain()).await;
    let mut client = server.client().await;
    client.subscribe("c", None).await;
    let publishing = async {
        for number in 0..1_000 {
            let answer = server.broker.answer(&server.request("batch_events", &batch(number))).await;
            assert_eq!(answer.status(), 200);
        }
    };
    let hearing = async {
        for number in 0..10_000 {
            assert_eq!(client.hear_event().await, number.to_string());
        }
    };
    tokio::join!(publishing, hearing);
    assert_eq!(server.metric(r#"usher_broker_slow_readers_total{app="1001"}"#), 0);
}

/// A client that does not read does not delay publishers: the paused clock advances only while all tasks wait, so no
/// publisher has waited.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_costs_publishers_nothing() {
    let server = Server::start(&plain()).await;
    let (near, far) = duplex(1024);
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
    let broker = Arc::clone(&server.broker);
    let _served =
        server.tasks.spawn(async move { broker.serve(served, &Uri::from_static(TARGET), None, &Arc::default()).await });
    let _greeting = client.next().await;
    client
        .send(Message::text(json!({"event": "pusher:subscribe", "data": {"channel": "c"}}).to_string()))
        .await
        .unwrap();
    let _subscribed = client.next().await;
    let began = Instant::now();
    for number in 0..300 {
        let _answer = server.broker.answer(&server.request("batch_events", &batch(number))).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    while let Some(Ok(_heard)) = client.next().await {}
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_broker_slow_readers_total{app="1001"}"#), 1);
}

/// Authorized connections: a client with only the app's key is closed after the timeout.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_sign_in_in_time_is_closed() {
    let server = Server::start(&Options { sign_in_timeout: Duration::from_secs(5), ..plain() }).await;
    for (target, told) in [(TARGET, 0), ("/app/usher-key?protocol=5", 1)] {
        let (near, far) = duplex(64 * 1024);
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
        let broker = Arc::clone(&server.broker);
        let _served = server
            .tasks
            .spawn(async move { broker.serve(served, &Uri::from_static(target), None, &Arc::default()).await });
        let began = Instant::now();
        let _greeting = client.next().await;
        for _ in 0..told {
            let event: Value = serde_json::from_str(client.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
            assert_eq!((&event["event"], &event["data"]["code"]), (&json!("pusher:error"), &json!(4009)));
        }
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("{target}") };
        assert_eq!((u16::from(frame.code), began.elapsed().as_secs()), (4009, 5), "{target}");
    }
}

/// `threats.md` WS-09: a client that pings and never reads is closed.
#[tokio::test]
async fn pings_without_reading_come_to_an_end() {
    let server = Server::start(&plain()).await;
    let mut stream = server.connect().await;
    frames::handshake(&mut stream).await;
    let pings = frames::masked(0x89, &[0; 125]).repeat(100);
    // The server closes the connection.
    for _ in 0..1_000_000 / 100 {
        if stream.write_all(&pings).await.is_err() {
            break;
        }
    }
    drop(stream);
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="slow_reader"}"#), 1);
}

#[tokio::test]
async fn a_client_that_breaks_off_is_forgotten() {
    let server = Server::start(&plain()).await;
    let mut client = server.client().await;
    client.subscribe("c", None).await;
    assert_eq!(server.metric(r#"usher_broker_channels{app="1001"}"#), 1);
    drop(client);
    server.quiet().await;
    for series in [r#"usher_ws_connections{app="1001"}"#, r#"usher_broker_channels{app="1001"}"#] {
        assert_eq!(server.metric(series), 0);
    }
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="lost"}"#), 1);
    assert_eq!(server.metric(r#"usher_ws_messages_total{app="1001",direction="in"}"#), 1);
    assert_eq!(server.metric(r#"usher_ws_messages_total{app="1001",direction="out"}"#), 2);
}

#[tokio::test]
async fn draining_closes_all_connections_and_admits_none() {
    let server = Server::start(&plain()).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(server.client().await);
    }
    let broker = Arc::clone(&server.broker);
    let running = server.tasks.spawn(async move { broker.run().await });
    server.drain.enter(Phase::Closed);
    for client in &mut clients {
        assert_eq!(client.hear_close().await, (vec![], 4100));
    }
    running.await.unwrap();
    assert_eq!(server.visit(TARGET).await.hear_close().await.1, 4100);
    drop(clients);
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="reconnect"}"#), 301);
}

/// Connections beyond the first wave are closed later.
#[tokio::test(start_paused = true)]
async fn draining_goes_in_waves() {
    let server = Server::start(&plain()).await;
    let connections: Vec<_> = (0..WAVE_SIZE * 3)
        .map(|_| server.broker.establish(&Uri::from_static(TARGET), &Arc::default()).unwrap())
        .collect();
    let broker = Arc::clone(&server.broker);
    let _running = server.tasks.spawn(async move { broker.run().await });
    let ending = || connections.iter().filter(|connection| connection.mailbox().is_ending()).count();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(ending(), 0);
    server.drain.enter(Phase::Closed);
    let mut seen = Vec::new();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(333)).await;
        seen.push(ending());
    }
    assert_eq!(seen, [WAVE_SIZE, WAVE_SIZE * 2, WAVE_SIZE * 3], "over a quarter of the drain period");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_during_the_delay_is_told_again_at_its_end() {
    let [delay, period] = [5, 4].map(Duration::from_secs);
    let server = Server::ending(&plain(), DrainPolicy { delay, period, keeps_memory: false }).await;
    let connect = || server.broker.establish(&Uri::from_static(TARGET), &Arc::default());
    let before: Vec<_> = (0..=WAVE_SIZE).map(|_| connect().unwrap()).collect();
    let broker = Arc::clone(&server.broker);
    let mut running = pin!(server.tasks.spawn(async move { broker.run().await }));
    let ending = |connections: &[Connection]| connections.iter().filter(|its| its.mailbox().is_ending()).count();
    server.drain.enter(Phase::Leaving);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(ending(&before), WAVE_SIZE, "the first wave");
    let back = [connect().unwrap()];
    tokio::time::sleep(delay / 2).await;
    assert_eq!((ending(&before), ending(&back)), (WAVE_SIZE + 1, 0));
    tokio::time::sleep(delay / 2).await;
    assert_eq!(ending(&back), 0, "it is served until the listeners are closed");
    assert!((&mut running).now_or_never().is_none());
    server.drain.enter(Phase::Closed);
    running.await.unwrap();
    assert_eq!(ending(&back), 1);
    assert_eq!(connect().unwrap_err(), ErrorCode::Reconnect);
}

#[tokio::test]
async fn messages_after_a_close_are_ignored() {
    let server = Server::start(&plain()).await;
    let mut stream = server.connect().await;
    frames::handshake(&mut stream).await;
    let message = frames::masked(0x81, br#"{"event":"pusher:ping"}"#);
    stream.write_all(&[frames::masked(0x88, &1000_u16.to_be_bytes()), message].concat()).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&[0x88, 2, 3, 232]), "{rest:?}");
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_messages_total{app="1001",direction="in"}"#), 0);
}

/// The memory of an idle connection without its buffers.
#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let server = Server::start(&plain()).await;
    let (_near, far) = duplex(64);
    let served = WebSocketStream::from_raw_socket(far, Role::Server, Some(socket_config(MAX_MESSAGE))).await;
    let target = Uri::from_static(TARGET);
    let size = size_of_val(&server.broker.serve(served, &target, None, &Arc::default()));
    assert!(size <= 1536, "{size} bytes");
}
