//! Concurrent backends, each with its own connection to the current address of usher.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::record::{Answer, RELEASE, Reading, Recorder, SOCKETS};
use super::setup::{CHANNELS, GUEST_APP};
use crate::harness::bodies::{ANNOUNCEMENT, LIBRARIES, batch, item};
use crate::harness::{Client, Random, Request, sign};

pub const STAFF: [&str; 3] = ["Anna", "Ben", "Cleo"];

/// The minimum and maximum pause between two calls, in milliseconds.
const PAUSE: (usize, usize) = (4, 28);

/// Pauses are so many times longer while nothing fails.
const CALM: u32 = 2;

/// The state that all callers of a history share.
#[derive(Debug)]
pub struct SharedState {
    pub recorder: Arc<Recorder>,
    /// The current addresses of usher; of several, each call uses any.
    addresses: Mutex<Vec<SocketAddr>>,
    over: AtomicBool,
    /// Whether callers take their time, since nothing fails now.
    calm: AtomicBool,
    /// Held by each call while it is made.
    calling: RwLock<()>,
    /// How often kept connections were given up.
    moves: AtomicU64,
    /// The staff member assigned to each channel, from the backends' point of view.
    assigned: Mutex<HashMap<&'static str, &'static str>>,
}

/// A backend.
#[derive(Debug)]
pub struct Caller {
    shared: Arc<SharedState>,
    random: Random,
    /// With the number of moves before it was made, and its address.
    connection: Option<(u64, SocketAddr, Client)>,
    /// Whether it goes on while the others pause.
    is_restless: bool,
}

impl SharedState {
    pub fn new(recorder: &Arc<Recorder>, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            recorder: Arc::clone(recorder),
            addresses: Mutex::new(vec![address]),
            over: AtomicBool::default(),
            calm: AtomicBool::default(),
            calling: RwLock::default(),
            moves: AtomicU64::default(),
            assigned: Mutex::default(),
        })
    }

    /// Sets the address of further connections.
    pub fn switch_to(&self, address: SocketAddr) {
        self.spread_over(&[address]);
    }

    /// Sets the addresses of several processes: each further call goes to any of them.
    pub fn spread_over(&self, addresses: &[SocketAddr]) {
        *self.addresses.lock().unwrap() = addresses.to_vec();
    }

    /// The address of a call, and whether it has to go there: a kept connection to the only process is used until it is
    /// closed, even if that process is draining.
    fn address(&self, random: &mut Random) -> (SocketAddr, bool) {
        match self.addresses.lock().unwrap().as_slice() {
            [address] => (*address, false),
            addresses => (random.pick(addresses), true),
        }
    }

    /// Waits until no call is made any more, and lets none begin until the guard is dropped.
    pub fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.calling.write().unwrap()
    }

    /// Sets the address of all further calls, also of callers with a connection. Only in a pause.
    pub fn move_to(&self, address: SocketAddr) {
        self.switch_to(address);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Sets whether callers take their time: each process has its share of the machine, which is needed where something
    /// fails.
    pub fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Ends all callers after their current call.
    pub fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Assigns `staff` to `channel`.
    pub fn assign(&self, channel: &'static str, staff: &'static str) {
        self.assigned.lock().unwrap().insert(channel, staff);
    }

    /// The staff member to announce on `channel`: usually the assigned one, sometimes another one who takes over.
    fn staff(&self, channel: &'static str, random: &mut Random) -> &'static str {
        let mut assigned = self.assigned.lock().unwrap();
        let serving = assigned.entry(channel).or_insert(STAFF[0]);
        if random.chance(8) {
            let other = random.pick(&STAFF);
            if random.chance(60) {
                *serving = other;
            }
            return other;
        }
        serving
    }
}

impl Caller {
    pub fn new(shared: &Arc<SharedState>, random: Random) -> Self {
        Self { shared: Arc::clone(shared), random, connection: None, is_restless: false }
    }

    /// One that goes on while the others pause.
    pub fn restless(shared: &Arc<SharedState>, random: Random) -> Self {
        Self { is_restless: true, ..Self::new(shared, random) }
    }

    /// Makes calls until the history ends.
    pub fn run(mut self) {
        while !self.shared.over.load(Ordering::Relaxed) {
            let (app, channels) = if self.random.chance(75) { CHANNELS[0] } else { CHANNELS[1] };
            let call = self.shared.recorder.begin();
            let request = self.request(call, app, channels);
            let pause = self.random.chance(3).then(|| self.random.millis(10, 700));
            self.call(call, &request, pause);
            let pause = self.random.millis(PAUSE.0, PAUSE.1);
            thread::sleep(if self.shared.calm.load(Ordering::Relaxed) { pause * CALM } else { pause });
        }
    }

    /// Announces `staff` on `channel` with a call that has begun, with an optional pause before its last byte, and
    /// returns the response.
    pub fn announce(
        &mut self,
        call: usize,
        (app, channel): (&str, &str),
        staff: &str,
        pause: Option<Duration>,
    ) -> Option<Answer> {
        let request = signed(app, "events", "", &LIBRARIES[0].body(ANNOUNCEMENT, &[channel], &data(call, staff)));
        self.call(call, &request, pause)
    }

    /// Any trigger of a backend.
    fn request(&mut self, call: usize, app: &str, channels: &'static [&'static str]) -> Request {
        let random = &mut self.random;
        let library = random.pick(&LIBRARIES);
        let channel = random.pick(channels);
        let announced = data(call, self.shared.staff(channel, random));
        let single = library.body(ANNOUNCEMENT, &[channel], &announced);
        let with = |more: &str| signed(app, "events", "", &single.replacen('{', &format!("{{{more},"), 1));
        let of_call = json!({ "call": call }).to_string();
        match random.below(100) {
            0..=9 => signed(app, "events", "", &library.body(ANNOUNCEMENT, &some(channels, random), &announced)),
            10..=21 => {
                let count = 1 + random.below(4);
                let items: Vec<String> = (0..count).map(|_| self.item(call, channels)).collect();
                signed(app, "batch_events", "", &batch(&items))
            }
            22..=25 => signed(app, "events", "", &library.body("new-staff-message", &[channel], &of_call)),
            26 => signed(app, "events", "", &library.body(RELEASE, &[channel], &of_call)),
            27 => signed(app, "events", "", &library.body(ANNOUNCEMENT, &[channel], &of_call)),
            28 => with(r#""socket_id":"01.2""#),
            35..=46 => with(&format!(r#""socket_id":"{}""#, random.pick(&SOCKETS))),
            29 => with(r#""surprise":[1]"#),
            30 => with(r#""name":"new-message""#),
            31 => with(r#""info":"subscription_count""#),
            32 => signed(app, "events", "name=staff-assigned", &single),
            33 => signed(app, "%65vents", "", &single),
            34 => signed(app, &format!("channels/{channel}/events"), "name=staff-assigned", &announced),
            _ => signed(app, "events", "", &single),
        }
    }

    fn item(&mut self, call: usize, channels: &'static [&'static str]) -> String {
        let channel = self.random.pick(channels);
        let staff = self.shared.staff(channel, &mut self.random);
        match self.random.below(12) {
            0 => item("new-staff-message", channel, &json!({ "call": call }).to_string()),
            1 => item(RELEASE, channel, &json!({ "call": call }).to_string()),
            2 | 3 => {
                let socket = format!(r#"{{"socket_id":"{}","#, self.random.pick(&SOCKETS));
                item(ANNOUNCEMENT, channel, &data(call, staff)).replacen('{', &socket, 1)
            }
            _ => item(ANNOUNCEMENT, channel, &data(call, staff)),
        }
    }

    /// Makes one call, with an optional pause before its last byte, and records it.
    fn call(&mut self, call: usize, request: &Request, pause: Option<Duration>) -> Option<Answer> {
        let answer = self.exchange(call, request, pause).ok();
        self.shared.recorder.end(call, answer.clone());
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    fn exchange(&mut self, call: usize, request: &Request, pause: Option<Duration>) -> io::Result<Answer> {
        let shared = Arc::clone(&self.shared);
        let _calling = (!self.is_restless).then(|| shared.calling.read().unwrap());
        let ((address, is_fixed), moves) = (shared.address(&mut self.random), shared.moves.load(Ordering::Acquire));
        let (address, mut client) = match self.connection.take() {
            Some((made, to, client)) if made == moves && (to == address || !is_fixed) => (to, client),
            _ => (address, Client::try_connect(address)?),
        };
        let wanted = Reading::of(&request.target, &request.body).parts;
        let bytes = request.bytes();
        let (first, last) = bytes.split_at(pause.map_or(0, |_| bytes.len() - 1));
        if let Some(pause) = pause {
            client.try_send(first)?;
            self.shared.recorder.halve(call);
            thread::sleep(pause);
        }
        self.shared.recorder.complete(call, &wanted);
        client.try_send(last)?;
        let response = client.try_response()?;
        if response.header("connection").is_none_or(|connection| connection != "close") {
            self.connection = Some((moves, address, client));
        }
        Ok(Answer { status: response.status, decision: response.decision() })
    }
}

/// Some of these channels, in any order.
fn some(channels: &'static [&'static str], random: &mut Random) -> Vec<&'static str> {
    let start = random.below(channels.len());
    let count = 1 + random.below(channels.len());
    channels.iter().cycle().skip(start).take(count).copied().collect()
}

/// The data of an announcement; no rule compares the call's number in it.
fn data(call: usize, staff: &str) -> String {
    json!({ "staff_id": staff.as_bytes()[0], "staff_name": staff, "conversation_id": 7, "call": call }).to_string()
}

fn signed(app: &str, endpoint: &str, extra: &str, body: &str) -> Request {
    let path = format!("/apps/{app}/{endpoint}");
    if app == sign::APP {
        return Request::signed("POST", &path, extra, body.as_bytes());
    }
    let (_, key, secret) = GUEST_APP;
    let query = sign::query_of("POST", &path, extra, body.as_bytes(), key, secret, sign::now());
    Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
}
