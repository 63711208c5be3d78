//! The broker over real sockets, with a WebSocket library or raw bytes as the client.

mod frames;
mod life;
mod occurrences;
mod story;
mod subscribing;
mod watchlists;
pub(super) mod woken;

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Uri};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Handshake, Response as Switch};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config, client_async};

use super::*;
use crate::metrics::Sample;
use crate::pusher::{Grant, sign_query};
use crate::shutdown::{DrainPolicy, Tasks};

/// The target of a valid client.
const TARGET: &str = "/app/usher-key?protocol=7&client=js&version=8.6.0&flash=false";

/// The largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

fn app() -> App {
    App::new("1001", "usher-key", "usher-secret")
}

/// A listening broker.
struct Server {
    broker: Arc<Broker>,
    metrics: Arc<Metrics>,
    drain: Drain,
    tasks: Tasks,
    listener: TcpListener,
}

impl Server {
    async fn start(options: &Options) -> Self {
        Self::ending(options, DrainPolicy::default()).await
    }

    /// A server that will end by `policy`.
    async fn ending(options: &Options, policy: DrainPolicy) -> Self {
        let (metrics, drain) = (Metrics::new(), Drain::new(policy));
        let broker = Broker::new(options, Clock::start(), Arc::clone(&metrics), drain.clone());
        broker.configure(&[app()]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { broker, metrics, drain, tasks: Tasks::default(), listener }
    }

    /// A TCP connection that the broker serves after the handshake.
    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = self.listener.accept().await.unwrap();
        let broker = Arc::clone(&self.broker);
        let _served = self.tasks.spawn(async move {
            let mut target = Uri::default();
            #[expect(clippy::result_large_err, reason = "the library's type")]
            let look = |request: &Handshake, response: Switch| -> Result<Switch, ErrorResponse> {
                target = request.uri().clone();
                Ok(response)
            };
            let socket = accept_hdr_async_with_config(served, look, Some(socket_config(MAX_MESSAGE))).await.unwrap();
            broker.serve(socket, &target, None, &Arc::default()).await;
        });
        stream
    }

    /// A client connected to `target`.
    async fn visit(&self, target: &str) -> Client {
        let stream = self.connect().await;
        Client { socket: client_async(format!("ws://usher{target}"), stream).await.unwrap().0, id: String::new() }
    }

    /// A client that has received the first frame.
    async fn client(&self) -> Client {
        let mut client = self.visit(TARGET).await;
        let greeting = client.hear().await;
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        client.id = data["socket_id"].as_str().unwrap().to_owned();
        client
    }

    /// A signed call of the HTTP API.
    #[expect(clippy::unused_self, reason = "a call of this server")]
    fn request(&self, path: &str, body: &Value) -> Request<Bytes> {
        let (path, body) = (format!("/apps/1001/{path}"), body.to_string());
        let now = Clock::unix_now();
        let query = sign_query(&app(), "POST", &path, &[], Some(body.as_bytes()), now);
        Request::builder().method(Method::POST).uri(format!("{path}?{query}")).body(Bytes::from(body)).unwrap()
    }

    /// Calls the HTTP API.
    fn post(&self, path: &str, body: &Value) {
        let answer = api::answer(&self.broker, &self.request(path, body));
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
    }

    fn trigger(&self, channel: &str, name: &str, data: &str) {
        self.post("events", &json!({"name": name, "data": data, "channel": channel}));
    }

    /// The line of the metrics that begins with `series`, its value.
    fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.encode(&Sample::default());
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series))
            .unwrap_or_else(|| panic!("{series} is not in\n{text}"));
        line.trim().parse().unwrap()
    }

    /// Waits until there are no connections.
    async fn quiet(&self) {
        assert_eq!(self.tasks.finish(Duration::from_secs(60)).await, 0);
    }
}

/// A client of the protocol.
struct Client {
    socket: WebSocketStream<TcpStream>,
    id: String,
}

impl Client {
    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message.
    async fn hear(&mut self) -> Value {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message's event.
    async fn hear_event(&mut self) -> String {
        self.hear().await["event"].as_str().unwrap().to_owned()
    }

    /// All messages before the close, and the close code.
    async fn hear_close(&mut self) -> (Vec<Value>, u16) {
        let mut heard = Vec::new();
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => heard.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return (heard, frame.unwrap().code.into()),
                _ => {}
            }
        }
    }

    async fn subscribe(&mut self, name: &str, data: Option<&str>) {
        let auth = Grant::Channel { name, data }.token(&app(), &self.id);
        self.say(json!({"event": "pusher:subscribe", "data": {"channel": name, "auth": auth, "channel_data": data}}))
            .await;
        let told = self.hear().await;
        assert_eq!(
            (&told["event"], &told["channel"]),
            (&json!("pusher_internal:subscription_succeeded"), &json!(name))
        );
    }

    async fn sign_in(&mut self, data: &str) {
        let auth = Grant::User { data }.token(&app(), &self.id);
        self.say(json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}})).await;
        assert_eq!(self.hear_event().await, "pusher:signin_success");
    }
}

fn plain() -> Options {
    Options { subscription_counts: false, ..Options::default() }
}
