//! A Pusher server without usher: the embedded broker on a listener of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use usher::broker::{Broker, Options, socket_config};
use usher::clock::Clock;
use usher::descriptors::Acceptor;
use usher::metrics::Metrics;
use usher::pusher::App;
use usher::shutdown::{Drain, Phase, Tasks};

/// Largest body of a request, and largest message of a guest, in bytes: many times what the demo sends.
const MAX_BODY: usize = 64 * 1024;

/// How long connections may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
#[derive(Debug)]
pub(super) struct StandaloneBroker {
    address: SocketAddr,
    drain: Drain,
    tasks: Tasks,
}

impl StandaloneBroker {
    /// Serves `app` on a free port of this machine.
    ///
    /// # Errors
    /// If no port can be bound.
    pub(super) async fn start(app: &App) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port can be listened on")?;
        let address = listener.local_addr().context("no port can be listened on")?;
        let (drain, tasks) = (Drain::default(), Tasks::default());
        let broker = Broker::new(&Options::default(), Clock::start(), Metrics::new(), drain.clone());
        broker.configure(std::slice::from_ref(app));
        let handler = ConnectionHandler { broker: Arc::clone(&broker), drain: drain.clone(), tasks: tasks.clone() };
        let _accepting = tasks.spawn(handler.accept(listener));
        let _running = tasks.spawn(async move { broker.run().await });
        Ok(Self { address, drain, tasks })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and ends.
    pub(super) async fn stop(self) {
        self.drain.enter(Phase::Draining);
        self.tasks.finish(STOP_TIMEOUT).await;
    }
}

/// Accepts and serves connections.
#[derive(Debug, Clone)]
struct ConnectionHandler {
    broker: Arc<Broker>,
    drain: Drain,
    tasks: Tasks,
}

impl ConnectionHandler {
    async fn accept(self, listener: TcpListener) {
        let mut acceptor = Acceptor::new(listener, "demo");
        loop {
            let (stream, _peer) = tokio::select! {
                () = self.drain.reached(Phase::Draining) => return,
                accepted = acceptor.accept() => accepted,
            };
            let _detached = self.tasks.spawn(self.clone().serve(stream));
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await.map(Full::new)) });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::select! {
            // An error means that the client disconnected.
            _ended = connection => {}
            () = self.drain.reached(Phase::Draining) => {}
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Bytes> {
        if request.headers().contains_key(UPGRADE) {
            return self.switch(&mut request).unwrap_or_else(|_invalid| status(StatusCode::BAD_REQUEST));
        }
        let (head, body) = request.into_parts();
        match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => self.broker.answer(&Request::from_parts(head, body.to_bytes())).await,
            Err(_too_large_or_cut) => status(StatusCode::PAYLOAD_TOO_LARGE),
        }
    }

    /// Accepts a WebSocket handshake, and serves the connection once the answer is sent.
    fn switch(&self, request: &mut Request<Incoming>) -> anyhow::Result<Response<Bytes>> {
        let response = create_response_with_body(request, Bytes::new)?;
        let uri = request.uri().clone();
        let switched = hyper::upgrade::on(request);
        let broker = Arc::clone(&self.broker);
        let _detached = self.tasks.spawn(async move {
            if let Ok(stream) = switched.await {
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(socket_config(MAX_BODY)))
                        .await;
                broker.serve(socket, &uri, None, &Arc::default()).await;
            }
        });
        Ok(response)
    }
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
