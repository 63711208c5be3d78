//! Tests of upstream on real sockets, with a scripted server that records raw bytes. This file has the server and the
//! requests of the tests.

mod answers;
mod both;
mod exchanges;
mod failures;
mod names;
mod pooling;
mod repeats;
mod requests;
mod secure;
mod unsolicited;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Failure, Options, Payload, Remote};
use crate::shutdown::Tasks;

pub(super) use self::names::Names;

/// An answer that keeps the connection.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Longer than any test takes: a test that waits for an event that never occurs fails instead of hanging.
const LONG: Duration = Duration::from_secs(20);
/// For tests of timeouts.
const SHORT: Duration = Duration::from_millis(50);

/// Both halves of a connection, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The server's end of one connection.
struct Peer {
    stream: Box<dyn Stream>,
    /// The number of the connection, counted from 0.
    number: usize,
    seen: mpsc::UnboundedSender<String>,
}

impl Peer {
    /// Reads one request, head and the body of its `Content-Length`, and records it. `None` if the client closed
    /// instead.
    async fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_ascii_lowercase();
        let length = text
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split_once("\r\n").unwrap().0.parse::<usize>().unwrap());
        while bytes.len() < head + length {
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let request = String::from_utf8(bytes).unwrap();
        self.seen.send(request.clone()).unwrap();
        Some(request)
    }

    /// Writes. An error means that the client has closed, which `gone` detects.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Answers requests with `answer` until the client closes.
    async fn answer_all(mut self, answer: &[u8]) {
        while self.request().await.is_some() {
            self.write(answer).await;
        }
    }

    /// Waits until the client closes.
    async fn gone(mut self) {
        while self.stream.read_u8().await.is_ok() {}
    }
}

/// A server that plays a script on each connection.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    seen: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_tls(None, script).await
    }

    async fn start_tls<F>(
        tls: Option<tokio_rustls::TlsAcceptor>,
        script: impl Fn(Peer) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let script = Arc::new(script);
        let tasks = Tasks::default();
        tasks.clone().spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (seen, script, tls) = (sender.clone(), Arc::clone(&script), tls.clone());
                tasks.spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(tcp),
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_refused) => return,
                        },
                    };
                    script(Peer { stream, number, seen }).await;
                });
            }
        });
        Self { address, accepted, seen }
    }

    fn remote(&self) -> Remote {
        remote(options(&format!("http://{}", self.address)))
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next request that arrived.
    async fn next(&mut self) -> String {
        self.seen.recv().await.unwrap()
    }

    /// The number of requests that arrived and were not taken yet.
    fn rest(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok()).count()
    }
}

fn options(url: &str) -> Options {
    Options {
        url: url.parse().unwrap(),
        websocket_url: None,
        timeout: LONG,
        connect_timeout: LONG,
        idle_timeout: LONG,
        max_connection_age: LONG,
        max_idle: 8,
        tls: crate::tls::Client::default(),
    }
}

fn remote(options: Options) -> Remote {
    Remote::new(&options, Tasks::default()).unwrap()
}

fn request(method: Method, body: &'static str) -> Request<Payload> {
    Request::builder()
        .method(method)
        .uri("/apps/3/events?auth_key=k")
        .body(Payload::Whole(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

fn post() -> Request<Payload> {
    request(Method::POST, "{}")
}

/// Sends and reads the whole answer, as text.
async fn fetch(remote: &Remote, request: Request<Payload>) -> Result<String, Failure> {
    let answer = remote.send(request).await?;
    Ok(text(answer).await.unwrap())
}

async fn text(answer: Response<Answer>) -> Result<String, hyper::Error> {
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// The answer to one request that is answered with `bytes`, after which the server closes.
async fn answered_with(bytes: &'static [u8]) -> Result<Response<Answer>, Failure> {
    let server = Server::start(move |mut peer| async move {
        peer.request().await;
        peer.write(bytes).await;
    })
    .await;
    server.remote().send(post()).await
}

/// A request as usher's listener receives it, and the caller's end of the connection, to continue the body.
async fn received(bytes: &str) -> (Request<Incoming>, DuplexStream) {
    let (mut caller, ours) = tokio::io::duplex(64 * 1024);
    caller.write_all(bytes.as_bytes()).await.unwrap();
    let (sender, receiver) = oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let sender = sender.lock().unwrap().take().unwrap();
        sender.send(request).unwrap();
        std::future::pending::<Result<Response<String>, std::convert::Infallible>>()
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.preserve_header_case(true).serve_connection(TokioIo::new(ours), service);
    Tasks::default().spawn(connection);
    (receiver.await.unwrap(), caller)
}
