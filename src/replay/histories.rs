//! Random histories of announcements, subscriptions and deliveries in one process's memory, before an upstream that
//! delivers before, between and after its answers, against a checker that knows only what upstream applied and what
//! clients were shown: never an older announcement behind a newer one, none to a connection that it left out, and none
//! missing where a repeat would be dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::tests::{Memory, claimed, held_by, rule_of};
use super::*;
use crate::assignment::{Assignment, Value};
use crate::clock::VirtualTime;

const CHANNELS: [&str; 2] = ["room-1", "room-2"];
const PEOPLE: usize = 2;
const DOUBT: Duration = Duration::from_secs(30);
const HISTORIES: usize = 1_000;
const STEPS: usize = 120;

/// A request that was sent to upstream.
struct Request {
    id: usize,
    channel: usize,
    /// `None`: an event that releases the channel.
    person: Option<usize>,
    left_out: Option<Socket>,
    is_applied: bool,
    /// What is settled with its outcome; `None`: it has an outcome.
    held: Option<(Candidates, Memory)>,
    /// If its outcome is ambiguous, upstream may apply it until then.
    until: Moment,
}

/// What upstream sends to a client.
enum Message {
    Confirmation,
    Delivery(usize),
}

struct Client {
    socket: Socket,
    channel: usize,
    /// What upstream has sent, and when, that is not passed on yet.
    queue: VecDeque<(Moment, Message)>,
    is_confirmed: bool,
    waits: Option<Settlement>,
    guard: Option<(u64, Moment)>,
    /// The requests whose events it was shown.
    shown: Vec<usize>,
}

struct World {
    random: u64,
    time: VirtualTime,
    replays: Arc<Replays>,
    rule: Arc<RuleReplays>,
    requests: Vec<Request>,
    /// What upstream has applied, in its order, by channel.
    applied: [Vec<usize>; 2],
    clients: Vec<Client>,
    sockets: u64,
    faults: Vec<String>,
    replayed: usize,
    overtaken: usize,
    dropped: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let time = VirtualTime::at(Moment::from_millis(1_000));
        let (replays, rule) = rule_of(Clock::showing(time), DOUBT, usize::MAX);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            random,
            time,
            replays,
            rule,
            requests: Vec::new(),
            applied: Default::default(),
            clients: Vec::new(),
            sockets: 0,
            faults: Vec::new(),
            replayed: 0,
            overtaken: 0,
            dropped: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 20).unwrap() % bound.max(1)
    }

    fn step(&mut self) {
        match self.below(80) {
            0..=13 => self.announce(),
            14 => self.release(),
            15..=21 => self.subscribe(),
            22..=24 => self.leave(),
            25..=32 => self.apply(),
            33..=46 => self.settle(),
            47..=76 => self.pump(),
            77 => self.advance(),
            78 => self.give_up(),
            _ => self.wide(),
        }
        self.check_missing();
    }

    fn now(&self) -> Moment {
        self.time.now()
    }

    fn announce(&mut self) {
        let channel = self.below(2);
        let person = self.below(PEOPLE);
        let subscribed: Vec<Socket> =
            self.clients.iter().filter(|it| it.channel == channel).map(|it| it.socket).collect();
        let leaves_out = self.below(4) == 0 && !subscribed.is_empty();
        let left_out = leaves_out.then(|| subscribed[self.below(subscribed.len())]);
        let assignment = assignment(person);
        match claimed(&self.rule, CHANNELS[channel], &Value::One(assignment), left_out) {
            Some(memory) => self.send(channel, Some(person), left_out, memory),
            // Redundant, or it waits; then its caller gives up.
            None => self.dropped += 1,
        }
    }

    fn release(&mut self) {
        let channel = self.below(2);
        let memory = claimed(&self.rule, CHANNELS[channel], &Value::Opaque, None).expect("it always goes on");
        self.send(channel, None, None, memory);
    }

    fn send(&mut self, channel: usize, person: Option<usize>, left_out: Option<Socket>, memory: Memory) {
        let id = self.requests.len();
        let (event, data) = text(id, person);
        let token = serde_json::Value::from(data.as_str()).to_string();
        let assignment = person.map(assignment);
        let announcement =
            Announcement { event, token: &token, data: Some(&data), assignment: assignment.as_ref(), left_out };
        let mut candidates = Candidates::default();
        candidates.send(&self.rule, CHANNELS[channel], &announcement);
        let held = Some((candidates, memory));
        self.requests.push(Request {
            id,
            channel,
            person,
            left_out,
            is_applied: false,
            held,
            until: Moment::default(),
        });
    }

    fn subscribe(&mut self) {
        if self.clients.len() < 8 {
            self.sockets += 1;
            let (socket, channel, now) = (Socket::of((1, self.sockets)), self.below(2), self.now());
            let queue = VecDeque::from([(now, Message::Confirmation)]);
            let shown = Vec::new();
            self.clients.push(Client { socket, channel, queue, is_confirmed: false, waits: None, guard: None, shown });
        }
    }

    fn leave(&mut self) {
        if !self.clients.is_empty() {
            let which = self.below(self.clients.len());
            self.clients.remove(which);
        }
    }

    /// Upstream applies a request: everybody who is subscribed gets it behind what was sent before.
    fn apply(&mut self) {
        let now = self.now();
        let may_apply = |it: &&Request| !it.is_applied && (it.held.is_some() || it.until > now);
        let open: Vec<usize> = self.requests.iter().filter(may_apply).map(|it| it.id).collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.below(open.len())];
        self.apply_this(id);
    }

    fn apply_this(&mut self, id: usize) {
        let now = self.now();
        let request = &mut self.requests[id];
        request.is_applied = true;
        self.applied[request.channel].push(id);
        for client in self.clients.iter_mut().filter(|it| it.channel == request.channel) {
            if request.left_out != Some(client.socket) {
                client.queue.push_back((now, Message::Delivery(id)));
            }
        }
    }

    fn settle(&mut self) {
        let open: Vec<usize> = self.requests.iter().filter(|it| it.held.is_some()).map(|it| it.id).collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.below(open.len())];
        let outcome = match self.below(30) {
            0 => Outcome::Ambiguous,
            1 => Outcome::Partial,
            _ if self.requests[id].is_applied => Outcome::Accepted,
            2..=6 => Outcome::Refused,
            // It is applied first.
            _ => {
                self.apply_this(id);
                Outcome::Accepted
            }
        };
        self.settle_this(id, outcome);
    }

    fn settle_this(&mut self, id: usize, outcome: Outcome) {
        let now = self.now();
        let request = &mut self.requests[id];
        request.until = if outcome == Outcome::Ambiguous { now.after(DOUBT) } else { now };
        let (candidates, memory) = request.held.take().expect("it is open");
        held_by(candidates, memory, outcome);
    }

    /// A client gets what it waits for, or the next message that upstream has sent.
    fn pump(&mut self) {
        if !self.clients.is_empty() {
            let which = self.below(self.clients.len());
            if !self.wake(which) {
                self.pass_on(which);
            }
        }
    }

    fn wake(&mut self, which: usize) -> bool {
        let client = &mut self.clients[which];
        let Some(settlement) = &mut client.waits else { return false };
        let polled = Pin::new(settlement).poll(&mut Context::from_waker(Waker::noop()));
        if polled == Poll::Ready(()) {
            client.waits = None;
            self.look_up(which);
        }
        polled == Poll::Ready(())
    }

    fn pass_on(&mut self, which: usize) {
        let now = self.now();
        let client = &mut self.clients[which];
        let Some((_, message)) = client.queue.pop_front() else { return };
        match message {
            Message::Confirmation => {
                client.is_confirmed = true;
                self.look_up(which);
            }
            Message::Delivery(id) => {
                let (event, data) = text(id, self.requests[id].person);
                let channel = CHANNELS[client.channel];
                let delivery = serde_json::json!({ "channel": channel, "data": data, "event": event }).to_string();
                let guard = client.guard.filter(|(_, until)| *until > now);
                if guard.is_some_and(|(sequence, _)| self.rule.is_overtaken(channel, sequence, &delivery)) {
                    self.overtaken += 1;
                } else {
                    self.show(which, id);
                }
            }
        }
    }

    fn look_up(&mut self, which: usize) {
        let client = &mut self.clients[which];
        match self.rule.look_up(CHANNELS[client.channel], Some(client.socket)) {
            LookUp::Replay(Replayed { frame, sequence, guarded_until }) => {
                client.guard = guarded_until.map(|until| (sequence, until));
                let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
                let data: serde_json::Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                let id = usize::try_from(data["id"].as_u64().unwrap()).unwrap();
                if self.requests[id].left_out == Some(client.socket) {
                    self.faults.push(format!("{id} was replayed to {}, which it left out", client.socket));
                }
                self.replayed += 1;
                self.show(which, id);
            }
            LookUp::Wait(settlement) => client.waits = Some(settlement),
            LookUp::Nothing => {}
        }
    }

    fn show(&mut self, which: usize, id: usize) {
        let client = &self.clients[which];
        let newest = client.shown.iter().map(|shown| self.run(client.channel, *shown)).max();
        let run = self.run(client.channel, id);
        if newest.is_some_and(|newest| run < newest) {
            let fault = format!("{} was shown {id} behind {:?}: {:?}", client.socket, client.shown, self.applied);
            self.faults.push(fault);
        }
        self.clients[which].shown.push(id);
    }

    /// How often what the channel shows had changed when this was applied.
    fn run(&self, channel: usize, id: usize) -> usize {
        let people: Vec<Option<usize>> = self.applied[channel].iter().map(|id| self.requests[*id].person).collect();
        let position = self.applied[channel].iter().position(|applied| *applied == id).expect("it was applied");
        people[..=position].windows(2).filter(|pair| pair[0] != pair[1] || pair[0].is_none()).count()
    }

    /// Time passes. Upstream delivers nothing later than half the doubt period after it was applied.
    fn advance(&mut self) {
        let period = Duration::from_secs(u64::try_from(self.below(20)).unwrap());
        let end = self.now().after(period);
        for which in 0..self.clients.len() {
            while self.clients[which].queue.front().is_some_and(|(sent, _)| end.since(*sent) > DOUBT / 2) {
                self.pass_on(which);
            }
        }
        self.time.advance_to(end);
    }

    /// Some or all of what is held is given up.
    fn give_up(&mut self) {
        if self.below(4) == 0 {
            // More than what late deliveries are recognised by.
            let bytes = 6_000 + self.below(self.replays.held().bytes);
            let memory = &self.rule.memory;
            self.rule = self.replays.configure(&[memory], bytes).remove(0);
            let memory = &self.rule.memory;
            self.rule = self.replays.configure(&[memory], usize::MAX).remove(0);
        }
    }

    /// A request that may be an event on any channel is sent, and accepted or not, and changes nothing.
    fn wide(&mut self) {
        let app = self.rule.memory.app();
        let ticket = app.claim_all();
        let mut candidates = Candidates::default();
        candidates.send_any(&self.rule);
        let outcome = if self.below(4) > 0 { Outcome::Refused } else { Outcome::Partial };
        candidates.settle(outcome);
        ticket.settle(outcome);
    }

    /// Whoever has got everything that was sent to it, and waits for nothing, sees what a repeat would be dropped for.
    fn check_missing(&mut self) {
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            let Present::Known(known) = self.rule.memory.present(name) else { continue };
            let last = *self.applied[channel].last().expect("what is known was applied");
            if self.requests[last].person.map(assignment).as_ref() != Some(&known) {
                self.faults.push(format!("{known:?} is known of {:?}", self.applied));
            }
            if let Some(memory) = claimed(&self.rule, name, &Value::One(known), None) {
                // Somebody has missed it, so a repeat goes on.
                memory.settle(Outcome::Refused);
                continue;
            }
            let newest = self.run(channel, last);
            for client in
                self.clients.iter().filter(|it| it.channel == channel && it.is_confirmed && it.queue.is_empty())
            {
                let sees = client.shown.last().is_some_and(|id| self.run(channel, *id) == newest);
                let is_left_out = self.applied[channel]
                    .iter()
                    .any(|id| self.run(channel, *id) == newest && self.requests[*id].left_out == Some(client.socket));
                if client.waits.is_none() && !sees && !is_left_out {
                    let shown = &client.shown;
                    self.faults.push(format!("{} has {shown:?} and lacks {last} of {:?}", client.socket, self.applied));
                }
            }
        }
    }

    /// Everything in flight ends, and everybody gets everything.
    fn come_to_rest(&mut self) {
        for id in 0..self.requests.len() {
            if self.requests[id].held.is_some() {
                let outcome = if self.requests[id].is_applied { Outcome::Accepted } else { Outcome::Refused };
                self.settle_this(id, outcome);
            }
        }
        for which in 0..self.clients.len() {
            while !self.clients[which].queue.is_empty() {
                self.pass_on(which);
            }
            if !self.wake(which) && self.clients[which].waits.is_some() {
                self.faults.push("it waits for ever".to_owned());
            }
        }
        self.check_missing();
    }
}

fn assignment(person: usize) -> Assignment {
    Assignment::new(0, &person.to_string(), [])
}

/// The event and the data of a request; no two are the same.
fn text(id: usize, person: Option<usize>) -> (&'static str, String) {
    match person {
        Some(person) => ("staff-assigned", format!(r#"{{"staff":{person},"id":{id},"more":"{}"}}"#, "x".repeat(1_000))),
        None => ("closed", format!(r#"{{"id":{id}}}"#)),
    }
}

#[test]
fn nothing_older_and_nothing_missing_in_random_histories() {
    let (mut replayed, mut overtaken, mut dropped) = (0, 0, 0);
    for seed in 1..=HISTORIES {
        let mut world = World::new(u64::try_from(seed).unwrap());
        for step in 0..STEPS {
            world.step();
            assert!(world.faults.is_empty(), "seed {seed}, step {step}: {:?}", world.faults);
        }
        world.come_to_rest();
        assert!(world.faults.is_empty(), "seed {seed}, at rest: {:?}", world.faults);
        replayed += world.replayed;
        overtaken += world.overtaken;
        dropped += world.dropped;
    }
    let counts = (replayed, overtaken, dropped);
    assert!(replayed > HISTORIES && overtaken > HISTORIES / 20 && dropped > HISTORIES, "{counts:?}");
}
