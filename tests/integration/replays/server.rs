//! A Pusher server that delivers before, between and after its answers on purpose, and keeps a record of what it has
//! applied.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

use super::checker::Applied;
use super::{DOUBT, app_of_key};
use crate::harness::websocket::Frame;
use crate::harness::{Fake, Monitor, Random, Recorded, Step};

/// The longest time from when an event is applied until it is delivered.
const LATEST: usize = 25;

/// The server: its HTTP side is `fake`.
pub struct Server {
    pub fake: Fake,
    sockets: SocketAddr,
    state: Arc<Monitor<State>>,
    has_ended: Arc<AtomicBool>,
}

struct State {
    random: Random,
    last_socket: u64,
    connections: HashMap<String, TcpStream>,
    /// The socket ids of the subscribers, by app and channel.
    subscribers: HashMap<String, Vec<String>>,
    /// What is to be done when. Those of one channel that deliver are in the order in which they were applied.
    jobs: BTreeMap<(Instant, u64), Job>,
    last_job: u64,
    /// When the last delivery of each channel is due.
    due: HashMap<String, Instant>,
    applied: HashMap<String, Vec<Applied>>,
    /// Where everything is accepted from now on.
    calm: HashSet<String>,
}

#[derive(Debug, Clone)]
struct Event {
    /// The app and the channel.
    place: String,
    channel: String,
    name: String,
    data: String,
    left_out: Option<String>,
}

#[derive(Debug)]
enum Job {
    Apply(Event),
    Deliver(Event),
}

impl Server {
    pub fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(Monitor::new(State {
            random: Random(seed),
            last_socket: 0,
            connections: HashMap::new(),
            subscribers: HashMap::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            due: HashMap::new(),
            applied: HashMap::new(),
            calm: HashSet::new(),
        }));
        let server = Self {
            fake: Fake::start(),
            sockets: listener.local_addr().unwrap(),
            state: Arc::clone(&state),
            has_ended: Arc::default(),
        };
        let seen = Arc::clone(&state);
        server.fake.otherwise(move |request| trigger(&seen, request));
        let has_ended = Arc::clone(&server.has_ended);
        let jobs = Arc::clone(&state);
        thread::spawn(move || work(&jobs, &has_ended));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(&state, stream));
            }
        });
        server
    }

    /// The key of the configuration.
    pub fn websocket_url(&self) -> String {
        format!("websocket_url = \"ws://{}\"\n", self.sockets)
    }

    /// From now on everything is accepted on a channel of an app.
    pub fn calm(&self, place: &str) {
        self.state.change(|state| state.calm.insert(place.to_owned()));
    }

    /// What was applied on a channel of an app, once nothing is left to be done there.
    pub fn applied(&self, place: &str) -> Vec<Applied> {
        let at_rest = self.state.wait(|state| {
            let is_there = |job: &Job| matches!(job, Job::Apply(event) | Job::Deliver(event) if event.place == place);
            let rests = !state.jobs.values().any(is_there);
            rests.then(|| state.applied.get(place).cloned().unwrap_or_default())
        });
        at_rest.expect("everything is applied and delivered")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.state.change(|_| {});
    }
}

/// Decides what becomes of a trigger, and when it is answered.
fn trigger(state: &Monitor<State>, request: &Recorded) -> Step {
    let target = request.target();
    if request.method() != "POST" {
        return Step::ok();
    }
    let app = target.split('/').nth(2).unwrap().to_owned();
    let body = request.json();
    let channels = body["channels"].as_array().cloned().unwrap_or_else(|| vec![body["channel"].clone()]);
    let events: Vec<Event> = channels
        .iter()
        .map(|channel| {
            let channel = channel.as_str().unwrap().to_owned();
            Event {
                place: format!("{app}/{channel}"),
                channel,
                name: body["name"].as_str().unwrap().to_owned(),
                data: body["data"].as_str().unwrap().to_owned(),
                left_out: body["socket_id"].as_str().map(str::to_owned),
            }
        })
        .collect();
    let (pause, step) = state.change(|state| {
        let pause = state.random.millis(0, 12);
        let is_calm = events.iter().all(|event| state.calm.contains(&event.place));
        let step = match state.random.below(if is_calm { 88 } else { 100 }) {
            0..=87 => {
                events.into_iter().for_each(|event| state.apply(event));
                Step::ok()
            }
            88..=97 => Step::status(400),
            // The answer is lost or an error: applied, applied later, or never.
            fate => {
                match state.random.below(3) {
                    0 => events.into_iter().for_each(|event| state.apply(event)),
                    1 => {
                        let later = state.random.millis(0, usize::try_from(DOUBT.as_millis()).unwrap() / 4);
                        events.into_iter().for_each(|event| state.add(Instant::now() + later, Job::Apply(event)));
                    }
                    _ => {}
                }
                if fate < 99 { Step::status(500) } else { Step::close() }
            }
        };
        (pause, step)
    });
    thread::sleep(pause);
    step
}

impl State {
    fn add(&mut self, due: Instant, job: Job) {
        self.last_job += 1;
        self.jobs.insert((due, self.last_job), job);
    }

    /// Applies an event now, and delivers it some time later: before, between or after the answers.
    fn apply(&mut self, event: Event) {
        let now = Instant::now();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        let id = usize::try_from(data["id"].as_u64().unwrap()).unwrap();
        let applied = Applied { at: now, id, person: data["staff_id"].as_u64(), left_out: event.left_out.clone() };
        self.applied.entry(event.place.clone()).or_default().push(applied);
        let pause = if self.random.chance(40) { Duration::ZERO } else { self.random.millis(0, LATEST) };
        let last = self.due.entry(event.place.clone()).or_insert(now);
        *last = (*last).max(now + pause);
        let due = *last;
        self.add(due, Job::Deliver(event));
    }

    fn deliver(&self, event: &Event) {
        let Event { place, channel, name, data, left_out } = event;
        let frame = json!({ "event": name, "channel": channel, "data": data }).to_string();
        for socket in self.subscribers.get(place).into_iter().flatten() {
            if left_out.as_ref() != Some(socket) {
                self.send(socket, &frame);
            }
        }
    }

    fn send(&self, socket: &str, text: &str) {
        if let Some(mut stream) = self.connections.get(socket) {
            // An error means that the client is gone, which its reader sees.
            let _gone = stream.write_all(&Frame::text(text).bytes());
        }
    }
}

/// Does what is due.
fn work(state: &Monitor<State>, has_ended: &AtomicBool) {
    while !has_ended.load(Ordering::Relaxed) {
        let pause = state.change(|state| {
            while let Some(entry) = state.jobs.first_entry().filter(|entry| entry.key().0 <= Instant::now()) {
                match entry.remove() {
                    Job::Apply(event) => state.apply(event),
                    Job::Deliver(event) => state.deliver(&event),
                }
            }
            let next = state.jobs.first_key_value().map(|((due, _), _)| *due - Instant::now());
            next.unwrap_or(Duration::from_millis(1)).min(Duration::from_millis(1))
        });
        thread::sleep(pause);
    }
}

#[expect(clippy::result_large_err, reason = "the library's own type of callback")]
fn serve(state: &Monitor<State>, stream: TcpStream) {
    let writer = stream.try_clone().unwrap();
    let mut path = String::new();
    let note = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr(stream, note) else { return };
    let app = app_of_key(path.rsplit('/').next().unwrap());
    let id = state.change(|state| {
        state.last_socket += 1;
        let id = format!("{}.{}", state.last_socket, state.last_socket * 7);
        state.connections.insert(id.clone(), writer);
        let data = json!({ "socket_id": id, "activity_timeout": 120 }).to_string();
        state.send(&id, &json!({ "event": "pusher:connection_established", "data": data }).to_string());
        id
    });
    read(state, &mut socket, app, &id);
    state.change(|state| {
        state.connections.remove(&id);
        state.subscribers.values_mut().for_each(|subscribers| subscribers.retain(|subscriber| *subscriber != id));
    });
}

fn read(state: &Monitor<State>, socket: &mut WebSocket<TcpStream>, app: &str, id: &str) {
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let Some(channel) = frame["data"]["channel"].as_str() else { continue };
        let place = format!("{app}/{channel}");
        state.change(|state| {
            let subscribers = state.subscribers.entry(place).or_default();
            subscribers.retain(|subscriber| subscriber != id);
            if frame["event"] == "pusher:subscribe" {
                subscribers.push(id.to_owned());
                let confirmation =
                    json!({ "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}" });
                state.send(id, &confirmation.to_string());
            }
        });
    }
}
