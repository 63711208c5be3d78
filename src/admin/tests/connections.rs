//! Limits of connections.

use tokio::time::Instant;

use super::*;

/// Longer than every time limit of a connection. The clock is paused, so waiting for it takes no time.
const LONG: Duration = Duration::from_secs(3600);

/// One request on a connection that stays open.
async fn ask(stream: &mut TcpStream, target: &str) -> String {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"ok\n") {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_alive_for_the_next_request() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..3 {
        assert!(ask(&mut stream, "/livez").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let running = Running::start().await;
    let began = Instant::now();
    for beginning in ["", "GET /livez HTTP/1.1\r\nHost: loc"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(!rest.starts_with("HTTP/1.1 2"), "{rest}");
    }
    // It may not idle after an answer either.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    ask(&mut stream, "/livez").await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn silent_connections_keep_no_probe_out() {
    let running = Running::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let mut probe = TcpStream::connect(running.address).await.unwrap();
    assert!(ask(&mut probe, "/livez").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn beyond_the_keep_alive_connections_one_more_is_answered_once() {
    let running = Running::start().await;
    let mut kept = Vec::new();
    for _ in 0..56 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        ask(&mut stream, "/livez").await;
        kept.push(stream);
    }
    let mut probe = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut probe, "/livez").await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(probe.read(&mut [0; 1]).await.unwrap(), 0);
    for stream in &mut kept {
        ask(stream, "/livez").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_place() {
    let running = Running::start().await;
    for n in 0..20_000 {
        running.decided(&format!("{n:0250}"), None, EventDecision::SameAssignment);
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = "GET /triggers?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(8).as_bytes()).await.unwrap();
    // Only the listener is left in the end.
    assert_eq!(running.tasks.finish(LONG).await, 1);
    running.stop.enter(Phase::Draining);
    assert_eq!(running.tasks.finish(LONG).await, 0);
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let running = Running::start().await;
    let long = format!("X: {}", "y".repeat(17 * 1024));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{long}").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    let many: Vec<String> = (0..65).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(running.call_raw("GET /", &many).await.status, 431);
}

#[tokio::test]
async fn a_body_is_not_read() {
    let running = Running::start().await;
    // A large declared body that is never sent does not delay the answer.
    let answer = running.call("GET /livez", &["Content-Length: 1000000000"]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert_eq!(running.call("GET /livez", &["Transfer-Encoding: chunked"]).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_listener_and_its_idle_connections() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    ask(&mut stream, "/livez").await;
    let began = Instant::now();
    running.stop.enter(Phase::Draining);
    assert_eq!(running.tasks.finish(LONG).await, 0);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn draining_alone_does_not_end_it() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    ask(&mut stream, "/livez").await;
    running.admin.drain.enter(Phase::Leaving);
    ask(&mut stream, "/livez").await;
    assert_eq!(running.get("/metrics").await.status, 200);
}
