//! What a realtime connection costs: memory per idle connection, and CPU and latency per delivered message, of usher's embedded broker beside other
//! Pusher-compatible servers on the same machine.
//!
//! ```sh
//! cargo bench --bench fanout                                    # usher alone
//! SOCKUDO_BIN=…/sockudo SOKETI_RS_BIN=…/soketi-rs cargo bench --bench fanout
//! ```
//!
//! Each server runs as a process of its own; its CPU time and memory are the kernel's accounting. Figures of different servers are comparable only within
//! one run.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that measures: it fails by panicking and prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the tasks of the generator end with it")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use usher::pusher::{App, sign_query};

const IDLE: usize = 5_000;
const SUBSCRIBERS: usize = 1_000;
const EVENTS: usize = 100;
const DATA: usize = 200;
/// Between two events, so that latencies are those of one fan-out and not of a queue.
const PACE: Duration = Duration::from_millis(30);
const BOUND: Duration = Duration::from_secs(60);
const CHANNEL: &str = "bench";

/// A server under measurement; ended when dropped.
struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Server {
    fn usher() -> Self {
        let (port, admin) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--set", &format!("admin.listen=127.0.0.1:{admin}")]);
        Self::start("usher", command, port)
    }

    /// Another server, if the variable names its binary.
    fn other(name: &'static str, variable: &str) -> Option<Self> {
        let Some(binary) = std::env::var_os(variable) else {
            println!("{name}: left out, {variable} names no binary");
            return None;
        };
        let port = free_port();
        let mut command = Command::new(binary);
        for prefix in ["", "PUSHER_"] {
            command.env(format!("{prefix}PORT"), port.to_string()).env(format!("{prefix}HOST"), "127.0.0.1");
        }
        for prefix in ["SOCKUDO_DEFAULT_APP", "PUSHER_DEFAULT_APP"] {
            command.env(format!("{prefix}_ID"), "1001").env(format!("{prefix}_KEY"), "usher-key").env(format!("{prefix}_SECRET"), "usher-secret");
        }
        command.env("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "100000").env("RATE_LIMITER_ENABLED", "false").env("METRICS_ENABLED", "false");
        Some(Self::start(name, command, port))
    }

    fn start(name: &'static str, mut command: Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { name, child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// CPU seconds, user and system together, so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime are fields 14 and 15, in ticks of 1/100 s on every Linux that this runs on.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// Resident memory in bytes.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(address: SocketAddr) -> Socket {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0).max_write_buffer_size(64 * 1024);
    let url = format!("ws://{address}/app/usher-key?protocol=7&client=bench&version=1");
    let (mut socket, _) = client_async_with_config(url, tcp, Some(config)).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("connection_established"), "{first:?}");
    socket
}

async fn wait_until_it_serves(address: SocketAddr) {
    let until = Instant::now() + BOUND;
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < until, "the server does not listen on {address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes one event and waits for its answer.
async fn publish(address: SocketAddr, connection: &mut TcpStream, data: &str) {
    let app = App::new("1001", "usher-key", "usher-secret");
    let body = serde_json::json!({ "name": "tick", "channels": [CHANNEL], "data": data }).to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let query = sign_query(&app, "POST", "/apps/1001/events", &[], Some(body.as_bytes()), now);
    let head = format!(
        "POST /apps/1001/events?{query} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    let length = connection.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    if answer[..length].windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close")) {
        *connection = TcpStream::connect(address).await.unwrap();
    }
}

/// Subscribes and reports the latency of each event in microseconds.
async fn subscribe(address: SocketAddr, began: Instant, ready: Arc<AtomicUsize>, latencies: mpsc::UnboundedSender<u64>) {
    let mut socket = connect(address).await;
    let wish = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{CHANNEL}"}}}}"#);
    socket.send(Message::Text(Utf8Bytes::from(wish))).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.into_text() else { continue };
        if text.contains("subscription_succeeded") {
            ready.fetch_add(1, Ordering::Relaxed);
        } else if let Some((_, rest)) = text.split_once("sent=") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let now = u64::try_from(began.elapsed().as_micros()).unwrap();
            if latencies.send(now - digits.parse::<u64>().unwrap()).is_err() {
                return;
            }
        }
    }
}

async fn idle(server: &Server) -> f64 {
    let before = server.resident();
    let mut sockets = Vec::with_capacity(IDLE);
    for _ in 0..IDLE / 50 {
        sockets.extend(futures_util::future::join_all((0..50).map(|_| connect(server.address))).await);
    }
    (server.resident() - before) / IDLE as f64
}

struct FanOut {
    cpu_micros: f64,
    latencies: Vec<u64>,
}

async fn fan_out(server: &Server) -> FanOut {
    let (began, ready) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let (latencies, mut arrivals) = mpsc::unbounded_channel();
    for _ in 0..SUBSCRIBERS / 50 {
        let more = ready.load(Ordering::Relaxed) + 50;
        for _ in 0..50 {
            tokio::spawn(subscribe(server.address, began, Arc::clone(&ready), latencies.clone()));
        }
        timeout(BOUND, async {
            while ready.load(Ordering::Relaxed) < more {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let cpu = server.cpu();
    let mut pace = tokio::time::interval(PACE);
    for _ in 0..EVENTS {
        pace.tick().await;
        let stamp = format!("sent={} ", began.elapsed().as_micros());
        publish(server.address, &mut connection, &format!("{stamp:x<DATA$}")).await;
    }
    let mut all = Vec::with_capacity(SUBSCRIBERS * EVENTS);
    while all.len() < SUBSCRIBERS * EVENTS {
        all.push(timeout(BOUND, arrivals.recv()).await.unwrap().unwrap());
    }
    all.sort_unstable();
    FanOut { cpu_micros: (server.cpu() - cpu) * 1e6 / all.len() as f64, latencies: all }
}

async fn measure(server: Server) {
    wait_until_it_serves(server.address).await;
    drop(connect(server.address).await);
    let per_connection = idle(&server).await;
    let FanOut { cpu_micros, latencies } = fan_out(&server).await;
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{:<10} {:>8.1} KiB/idle connection   {cpu_micros:>6.2} µs CPU/delivery   latency p50 {} p99 {} p99.9 {} µs",
        server.name,
        per_connection / 1024.0,
        at(0.5),
        at(0.99),
        at(0.999),
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{IDLE} idle connections; {SUBSCRIBERS} subscribers × {EVENTS} events of {DATA} bytes");
    runtime.block_on(async {
        measure(Server::usher()).await;
        for (name, variable) in [("sockudo", "SOCKUDO_BIN"), ("soketi-rs", "SOKETI_RS_BIN")] {
            if let Some(server) = Server::other(name, variable) {
                measure(server).await;
            }
        }
    });
}
