//! What a realtime connection costs: memory per idle connection, and CPU and latency per delivered message, of usher's
//! embedded broker beside other Pusher-compatible servers on the same machine.
//!
//! ```sh
//! cargo bench --bench fanout                                       # usher alone
//! cargo bench --bench fanout -- /tmp/usher-before /tmp/usher-now   # other binaries of usher beside it
//! SOCKUDO_BIN=…/sockudo SOKETI_RS_BIN=…/soketi-rs cargo bench --bench fanout
//! ```
//!
//! Each server runs as a process of its own; its CPU time and memory are the kernel's accounting. Figures of different
//! servers are comparable only within one run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures: it fails by panicking and prints its figures"
)]
#![expect(clippy::disallowed_methods, reason = "the tasks of the generator end with it")]

mod bare;
mod server;

use std::net::SocketAddr;
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

use self::server::Server;

const IDLE: usize = 5_000;
const SUBSCRIBERS: usize = 1_000;
const EVENTS: usize = 100;
const DATA: usize = 200;
const ROUNDS: usize = 3;
/// Between two events that are paced.
const PAUSE: Duration = Duration::from_millis(30);
const BOUND: Duration = Duration::from_secs(60);
const CHANNEL: &str = "bench";
const BARE: &str = "bare writes";

type Socket = WebSocketStream<TcpStream>;

async fn connect(address: SocketAddr) -> Socket {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let config =
        WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0).max_write_buffer_size(64 * 1024);
    let url = format!("ws://{address}/app/usher-key?protocol=7&client=bench&version=1");
    let (mut socket, _) = client_async_with_config(url, tcp, Some(config)).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("connection_established"), "{first:?}");
    socket
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
async fn subscribe(
    address: SocketAddr,
    began: Instant,
    ready: Arc<AtomicUsize>,
    latencies: mpsc::UnboundedSender<u64>,
) {
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

/// How events follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// With a pause, so that latencies are those of one fan-out and not of a queue.
    Even,
    /// As fast as they are answered.
    Burst,
}

/// What one delivery took.
struct Delivery {
    /// CPU in user space and in the kernel, in microseconds.
    cpu: [f64; 2],
    /// Sorted, in microseconds.
    latencies: Vec<u64>,
}

impl Delivery {
    fn total(&self) -> f64 {
        self.cpu.iter().sum()
    }

    fn at(&self, share: f64) -> u64 {
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize]
    }
}

/// The subscribers of one channel of one server, and a backend that publishes to it.
struct Audience {
    began: Instant,
    backend: TcpStream,
    arrivals: mpsc::UnboundedReceiver<u64>,
}

impl Audience {
    async fn gather(address: SocketAddr) -> Self {
        let (began, ready) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let (latencies, arrivals) = mpsc::unbounded_channel();
        for _ in 0..SUBSCRIBERS / 50 {
            let more = ready.load(Ordering::Relaxed) + 50;
            for _ in 0..50 {
                tokio::spawn(subscribe(address, began, Arc::clone(&ready), latencies.clone()));
            }
            timeout(BOUND, async {
                while ready.load(Ordering::Relaxed) < more {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .unwrap();
        }
        Self { began, backend: TcpStream::connect(address).await.unwrap(), arrivals }
    }

    async fn hear(&mut self, server: &Server, pace: Pace) -> Delivery {
        let before = server.cpu();
        let mut pause = tokio::time::interval(PAUSE);
        for _ in 0..EVENTS {
            if pace == Pace::Even {
                pause.tick().await;
            }
            let stamp = format!("sent={} ", self.began.elapsed().as_micros());
            publish(server.address, &mut self.backend, &format!("{stamp:x<DATA$}")).await;
        }
        let mut latencies = Vec::with_capacity(SUBSCRIBERS * EVENTS);
        while latencies.len() < SUBSCRIBERS * EVENTS {
            latencies.push(timeout(BOUND, self.arrivals.recv()).await.unwrap().unwrap());
        }
        latencies.sort_unstable();
        let after = server.cpu();
        let cpu = [0, 1].map(|part| (after[part] - before[part]) * 1e6 / latencies.len() as f64);
        Delivery { cpu, latencies }
    }

    /// The median round of several.
    async fn hear_often(&mut self, server: &Server, pace: Pace) -> Delivery {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(self.hear(server, pace).await);
        }
        rounds.sort_by(|one, other| one.total().total_cmp(&other.total()));
        rounds.swap_remove(ROUNDS / 2)
    }
}

async fn measure(server: Server) {
    server.wait().await;
    drop(connect(server.address).await);
    // The memory of the bare server is not meaningful.
    let memory =
        if server.name == BARE { "        –".to_owned() } else { format!("{:>9.1}", idle(&server).await / 1024.0) };
    let mut audience = Audience::gather(server.address).await;
    let even = audience.hear_often(&server, Pace::Even).await;
    let burst = audience.hear_often(&server, Pace::Burst).await;
    println!(
        "{:<16} {memory}   {:>6.2} {:>6.2} {:>6.2}   {:>6} {:>6} {:>6}   {:>6.2} {:>6.2} {:>6.2}",
        server.name,
        even.total(),
        even.cpu[0],
        even.cpu[1],
        even.at(0.5),
        even.at(0.99),
        even.at(0.999),
        burst.total(),
        burst.cpu[0],
        burst.cpu[1],
    );
}

fn main() {
    if let Ok(port) = std::env::var(bare::PORT) {
        bare::run(port.parse().unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{IDLE} idle connections; {SUBSCRIBERS} subscribers × {EVENTS} events of {DATA} bytes, the median of {ROUNDS} rounds"
    );
    println!("                 KiB/idle   µs CPU/delivery, {PAUSE:?}   latency in µs          µs CPU/delivery, burst");
    println!("                 connection   all   user kernel      p50    p99  p99.9      all   user kernel");
    runtime.block_on(async {
        measure(Server::usher()).await;
        // `cargo bench` adds an option of its own.
        for binary in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
            measure(Server::usher_at(&binary)).await;
        }
        measure(Server::relay()).await;
        measure(Server::bare()).await;
        for (name, variable) in [("sockudo", "SOCKUDO_BIN"), ("soketi-rs", "SOKETI_RS_BIN")] {
            if let Some(server) = Server::other(name, variable) {
                measure(server).await;
            }
        }
    });
}
