//! `late_joiners = "replay"` at the front door: random schedules of callers that announce, refused and ambiguous answers,
//! guests that come, leave and come again, and reloads, of two apps with the same channels; before a server that delivers
//! before, between and after its answers ([`server`]), and before the embedded broker. The [`checker`] knows nothing of
//! usher's decisions.
//!
//! A seed determines the operations of a schedule, but not how threads and processes interleave. `tests/long` plays many.

mod checker;
mod examples;
mod guest;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use self::checker::{Applied, Channel, Client as Record, Dropped, Seen};
use self::guest::Guest;
use self::server::Server;
use crate::harness::{Client, Random, Request, Setup, Usher, sign};

/// `assignments.doubt_period`: far longer than anything takes here, also on a busy machine.
const DOUBT: Duration = Duration::from_millis(1_200);

const STAFF: [u64; 3] = [7, 8, 9];

/// The apps: id, key and secret.
const APPS: [(&str, &str, &str); 2] =
    [(sign::APP, sign::KEY, sign::SECRET), ("4", "5a1d2c3b4e5f60718293", "0f1e2d3c4b5a69788796")];

fn app_of_key(key: &str) -> &'static str {
    APPS.iter().find(|(_, its, _)| *its == key).map_or("unknown", |(id, ..)| id)
}

/// An usher, and what is behind it.
struct Stage {
    usher: Usher,
    /// `None`: the embedded broker.
    server: Option<Server>,
    ids: AtomicUsize,
}

impl Stage {
    fn start(seed: u64, is_local: bool) -> Self {
        let server = (!is_local).then(|| Server::start(seed));
        let usher = Usher::start_with(&configuration(server.as_ref(), "[\"/conversation_id\"]"));
        Self { usher, server, ids: AtomicUsize::new(1) }
    }

    /// Changes the rule of the second app, or nothing.
    fn reload(&self, random: &mut Random) {
        // A change puts the app in doubt for a while.
        let context =
            random.pick(&["[\"/conversation_id\"]", "[\"/conversation_id\"]", "[\"/conversation_id\"]", "[]"]);
        self.usher.reload(&configuration(self.server.as_ref(), context));
    }
}

fn configuration(server: Option<&Server>, context: &str) -> String {
    let mut setup = match server {
        Some(server) => Setup::before(&server.fake),
        None => Setup::before_url("local"),
    };
    if let Some(server) = server {
        setup.upstream += &server.websocket_url();
    }
    setup.timeout = "1s";
    setup.doubt_period = "1200ms";
    // Some are given up before a late guest comes.
    setup.assignments = "replay_bytes = \"32KiB\"\n".to_owned();
    setup.rule = "released_by = [\"conversation-closed\"]\nlate_joiners = \"replay\"\napps = [\"3\"]\n".to_owned();
    let (id, key, secret) = APPS[1];
    setup.more = format!(
        "[[rules]]\nname = \"second\"\nevent = \"staff-assigned\"\nchannel = \"{{h}}-room-{{n}}-chat\"\nidentity = [\"/staff_id\"]\n\
         context = {context}\nreleased_by = [\"conversation-closed\"]\nlate_joiners = \"replay\"\napps = [\"{id}\"]\n\
         [[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n"
    );
    setup.toml()
}

/// One channel of one app in one schedule, and everybody who has to do with it.
struct Place<'s> {
    stage: &'s Stage,
    app: (&'static str, &'static str, &'static str),
    channel: String,
    /// Who serves, as all backends know.
    serves: AtomicU64,
    /// The socket ids of those who came.
    sockets: Mutex<Vec<String>>,
    dropped: Mutex<Vec<Dropped>>,
    records: Mutex<Vec<Record>>,
}

impl Place<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.app.0, self.channel)
    }

    fn usher(&self) -> SocketAddr {
        self.stage.usher.gateway()
    }

    /// Triggers an event. Returns the decision.
    fn trigger(&self, client: &mut Client, event: &str, person: u64, left_out: Option<&str>) -> String {
        let id = self.stage.ids.fetch_add(1, Ordering::Relaxed);
        let data = match event {
            "staff-assigned" => json!({ "staff_id": person, "conversation_id": 1, "id": id, "except": left_out }),
            _ => json!({ "id": id, "except": left_out }),
        };
        let mut body = json!({ "name": event, "channel": self.channel, "data": data.to_string() });
        if let Some(socket) = left_out {
            body["socket_id"] = socket.into();
        }
        let (body, sent) = (body.to_string(), Instant::now());
        let (app, key, secret) = self.app;
        let path = format!("/apps/{app}/events");
        let query = sign::query_of("POST", &path, "", body.as_bytes(), key, secret, sign::now());
        let request = Request::new("POST", &format!("{path}?{query}"), body.as_bytes());
        let decision = client.call(&request).decision();
        if decision == "suppressed" {
            self.dropped.lock().unwrap().push(Dropped { sent, answered: Instant::now(), person });
        }
        decision
    }

    /// A backend that announces now and then.
    fn announce(&self, mut random: Random) {
        let mut client = self.stage.usher.client();
        for _ in 0..10 {
            thread::sleep(random.millis(0, 14));
            if random.chance(15) {
                self.serves.store(random.pick(&STAFF), Ordering::Relaxed);
            }
            let person = self.serves.load(Ordering::Relaxed);
            let sockets = self.sockets.lock().unwrap().clone();
            let left_out = (random.chance(10) && !sockets.is_empty()).then(|| random.pick(&sockets));
            let event = if random.chance(3) { "conversation-closed" } else { "staff-assigned" };
            self.trigger(&mut client, event, person, left_out.as_deref());
        }
    }

    /// A guest who comes, leaves, comes again with the same connection or another one, and stays.
    fn visit(&self, mut random: Random) -> Guest {
        let mut guest = self.arrive();
        for _ in 0..3 {
            thread::sleep(random.millis(0, 25));
            guest.subscribe(&self.channel);
            thread::sleep(random.millis(5, 40));
            if random.chance(50) {
                guest.leave(&self.channel);
            } else {
                guest.hang_up();
                self.keep(&guest);
                guest = self.arrive();
            }
        }
        guest.subscribe(&self.channel);
        guest
    }

    fn arrive(&self) -> Guest {
        let guest = Guest::connect(self.usher(), self.app.1);
        self.sockets.lock().unwrap().push(guest.id.clone());
        guest
    }

    fn keep(&self, guest: &Guest) {
        let record = Record { socket: guest.id.clone(), seen: guest.seen(&self.channel) };
        self.records.lock().unwrap().push(record);
    }

    /// Once all is known, whoever comes is handed the last one without an announcement, or gets the next.
    fn come_to_rest(&self, random: &mut Random, staying: &[Guest]) -> Vec<String> {
        self.stage.server.iter().for_each(|server| server.calm(&self.name()));
        thread::sleep(DOUBT);
        let mut client = self.stage.usher.client();
        let person = random.pick(&STAFF);
        let mut faults = Vec::new();
        let known = (0..2_000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            self.trigger(&mut client, "staff-assigned", person, None) == "suppressed"
        });
        if !known {
            faults.push(format!("{} never becomes known", self.name()));
        }
        let mut last = self.arrive();
        last.subscribe(&self.channel);
        self.trigger(&mut client, "staff-assigned", person, None);
        self.trigger(&mut client, "staff-assigned", person, None);
        let is_event = |seen: &[(Instant, Seen)]| seen.iter().any(|(_, seen)| matches!(seen, Seen::Event(_)));
        if !last.wait(&self.channel, is_event) {
            faults.push(format!("the last guest of {} sees nothing", self.name()));
        }
        self.let_arrive(staying);
        self.keep(&last);
        staying.iter().for_each(|guest| self.keep(guest));
        faults
    }

    /// Lets what upstream applied last arrive at these guests. Who was left out, or was handed something newer, waits in
    /// vain: what is missing, the checker says.
    fn let_arrive(&self, staying: &[Guest]) {
        let last =
            self.stage.server.as_ref().and_then(|server| server.applied(&self.name()).last().map(|last| last.id));
        let has_it =
            |seen: &[(Instant, Seen)]| last.is_some_and(|last| seen.iter().any(|(_, it)| *it == Seen::Event(last)));
        for guest in staying {
            let _in_vain = guest.wait_within(Duration::from_secs(1), &self.channel, has_it);
        }
    }

    /// The record of the channel. `witness`: who was subscribed before anything was announced.
    fn record(&self, witness: Option<&Guest>) -> Channel {
        let applied = match (&self.stage.server, witness) {
            (Some(server), _) => server.applied(&self.name()),
            (None, Some(witness)) => self.witnessed(witness),
            (None, None) => Vec::new(),
        };
        Channel {
            place: self.name(),
            applied,
            dropped: self.dropped.lock().unwrap().clone(),
            clients: self.records.lock().unwrap().clone(),
            slack: if witness.is_some() { Duration::from_millis(500) } else { Duration::ZERO },
        }
    }

    /// What the embedded broker has published, as somebody saw it whom nothing left out.
    fn witnessed(&self, witness: &Guest) -> Vec<Applied> {
        let records = self.records.lock().unwrap();
        let ids: Vec<Seen> = records.iter().flat_map(|record| &record.seen).map(|(_, seen)| *seen).collect();
        let events = ids.iter().filter(|seen| matches!(seen, Seen::Event(_)));
        let has_all = |seen: &[(Instant, Seen)]| events.clone().all(|event| seen.iter().any(|(_, seen)| seen == event));
        assert!(witness.wait(&self.channel, has_all), "the witness misses something");
        let people: HashMap<usize, (Option<u64>, Option<String>)> = witness.contents(&self.channel);
        let seen = witness.seen(&self.channel);
        let events = seen.iter().filter_map(|(at, seen)| match seen {
            Seen::Event(id) => Some((*at, *id)),
            Seen::Confirmed | Seen::Left => None,
        });
        events
            .map(|(at, id)| {
                let (person, left_out) = people[&id].clone();
                Applied { at, id, person, left_out }
            })
            .collect()
    }
}

/// Plays one schedule. Returns what is wrong, and how many announcements were dropped.
fn play(stage: &Stage, seed: u64) -> (Vec<String>, usize) {
    let mut random = Random(seed);
    let places: Vec<Place<'_>> = APPS
        .into_iter()
        .map(|app| Place {
            stage,
            app,
            channel: format!("s{seed}-room-1-chat"),
            serves: AtomicU64::new(STAFF[0]),
            sockets: Mutex::default(),
            dropped: Mutex::default(),
            records: Mutex::default(),
        })
        .collect();
    let mut faults = Vec::new();
    let mut dropped = 0;
    thread::scope(|scope| {
        let played: Vec<_> = places
            .iter()
            .map(|place| {
                let mut random = Random(random.next());
                scope.spawn(move || play_at(place, &mut random))
            })
            .collect();
        for played in played {
            let record = played.join().unwrap();
            dropped += record.1;
            faults.extend(record.0);
        }
    });
    (faults, dropped)
}

fn play_at(place: &Place<'_>, random: &mut Random) -> (Vec<String>, usize) {
    let witness = place.stage.server.is_none().then(|| {
        let mut witness = Guest::connect(place.usher(), place.app.1);
        witness.subscribe(&place.channel);
        witness
    });
    let staying: Vec<Guest> = thread::scope(|scope| {
        for _ in 0..2 {
            let random = Random(random.next());
            scope.spawn(move || place.announce(random));
        }
        let guests: Vec<_> = (0..3)
            .map(|_| {
                let random = Random(random.next());
                scope.spawn(move || place.visit(random))
            })
            .collect();
        guests.into_iter().map(|guest| guest.join().unwrap()).collect()
    });
    let mut faults = place.come_to_rest(random, &staying);
    let record = place.record(witness.as_ref());
    faults.extend(record.faults());
    (faults, record.dropped.len())
}

/// Plays these schedules, a number of them at once, before a server or the embedded broker.
fn play_all(is_local: bool, seeds: std::ops::Range<u64>, at_once: usize) {
    let stage = Stage::start(seeds.start, is_local);
    let (next, dropped) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let (faults, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        let operator = scope.spawn(|| {
            let mut random = Random(seeds.start);
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(random.millis(300, 1_500));
                stage.reload(&mut random);
            }
        });
        let players: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || !faults.lock().unwrap().is_empty() {
                            return;
                        }
                        let (wrong, count) = play(&stage, seed);
                        dropped.fetch_add(count, Ordering::Relaxed);
                        faults.lock().unwrap().extend(wrong.into_iter().map(|fault| format!("seed {seed}: {fault}")));
                    }
                })
            })
            .collect();
        players.into_iter().for_each(|player| player.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        operator.join().unwrap();
    });
    let faults = faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "{} faults; SEED=… tests/long 1 replays\n{}",
        faults.len(),
        faults[..faults.len().min(2)].join("\n")
    );
    let schedules = usize::try_from(seeds.end - seeds.start).unwrap();
    let replayed = stage.usher.admin().metric("usher_replayed_total", &[]);
    let dropped = dropped.load(Ordering::Relaxed);
    eprintln!("{schedules} schedules: {dropped} dropped, {replayed} replayed");
    assert!(dropped > 2 * schedules && replayed > schedules as f64, "{dropped} dropped, {replayed} replayed");
}

#[test]
fn nothing_older_and_nothing_missing_through_the_relay() {
    play_all(false, 1..41, 10);
}

#[test]
fn nothing_older_and_nothing_missing_from_the_broker() {
    play_all(true, 1..31, 10);
}

/// Run by `tests/long`.
#[test]
#[ignore = "long: run by tests/long"]
fn nothing_older_and_nothing_missing_in_many_schedules() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let (first, schedules) = (number("SEED", 1_000), number("REPLAYS", 500));
    for is_local in [false, true] {
        play_all(is_local, first..first + schedules, usize::try_from(number("AT_ONCE", 12)).unwrap());
    }
}
