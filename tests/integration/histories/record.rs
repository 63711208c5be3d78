//! What happened in a history, as callers and upstream saw it: all that the checker needs, and nothing that usher says
//! of itself but its answers.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::bodies::ANNOUNCEMENT;
use crate::harness::{Monitor, sign};

/// The event that ends an assignment.
pub const RELEASE: &str = "conversation-closed";

/// Nanoseconds since the history began.
pub type Nanos = u64;

/// What an event shows the guests of a channel: the staff member whom it announces, or `None` if it ends the assignment
/// or cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub channel: String,
    pub shows: Option<String>,
}

/// A call of a backend.
#[derive(Debug, Clone)]
pub struct Call {
    pub began: Nanos,
    /// Whether all but its last byte was sent, and a pause made before that.
    pub halved: bool,
    /// When its last byte was about to be sent: usher cannot have forwarded it before.
    pub complete: Nanos,
    /// When it was answered, or given up.
    pub ended: Nanos,
    pub wanted: Vec<Part>,
    pub answer: Option<Answer>,
}

/// How a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `usher-decision`, or nothing.
    pub decision: String,
}

/// A request at upstream.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The number of its call.
    pub call: usize,
    pub at: Nanos,
    pub parts: Vec<Part>,
    /// When how many of its parts were, or will be, applied.
    pub applied: Option<(Nanos, usize)>,
    /// Whether a whole 2xx answers it.
    pub acknowledged: bool,
    pub signed: bool,
    /// What upstream does with it, in words.
    pub action: String,
}

/// A whole history.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// By their numbers.
    pub calls: Vec<Call>,
    pub arrivals: Vec<Arrival>,
    /// What was done with the process.
    pub operations: Vec<(Nanos, String)>,
}

/// A record that is being written, by one clock.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    record: Monitor<Record>,
}

impl Recorder {
    pub fn start() -> Self {
        Self { began: Instant::now(), record: Monitor::default() }
    }

    pub fn now(&self) -> Nanos {
        nanos(self.began.elapsed())
    }

    /// A call begins; its number.
    pub fn begin(&self) -> usize {
        self.record.change(|record| {
            let now = self.now();
            record.calls.push(Call {
                began: now,
                halved: false,
                complete: Nanos::MAX,
                ended: Nanos::MAX,
                wanted: Vec::new(),
                answer: None,
            });
            record.calls.len() - 1
        })
    }

    /// What a call wants; its last byte is sent only after this.
    pub fn complete(&self, call: usize, wanted: &[Part]) {
        self.record.change(|record| {
            record.calls[call].complete = self.now();
            record.calls[call].wanted = wanted.to_vec();
        });
    }

    /// All of a call but its last byte is sent.
    pub fn halve(&self, call: usize) {
        self.record.change(|record| record.calls[call].halved = true);
    }

    pub fn end(&self, call: usize, answer: Option<Answer>) {
        self.record.change(|record| {
            record.calls[call].ended = self.now();
            record.calls[call].answer = answer;
        });
    }

    pub fn arrive(&self, call: usize, parts: &[Part], signed: bool) -> usize {
        self.record.change(|record| {
            let (at, parts) = (self.now(), parts.to_vec());
            record.arrivals.push(Arrival {
                call,
                at,
                parts,
                applied: None,
                acknowledged: false,
                signed,
                action: String::new(),
            });
            record.arrivals.len() - 1
        })
    }

    pub fn set_action(&self, arrival: usize, action: String) {
        self.record.change(|record| record.arrivals[arrival].action = action);
    }

    /// Applies the first `parts` of a request now, unless it is past `allowed` after its call was complete. Whether it
    /// did.
    pub fn apply(&self, arrival: usize, parts: usize, allowed: Duration) -> bool {
        self.record.change(|record| {
            let now = self.now();
            let in_time = now <= record.latest(arrival, allowed);
            if in_time {
                record.arrivals[arrival].applied = Some((now, parts));
            }
            in_time
        })
    }

    /// Has a request applied late, at `percent` of the time from now until `allowed` after its call was complete; not
    /// at all if that is over. Nothing waits for that moment: whoever asked has its answer, or none, already.
    pub fn apply_late(&self, arrival: usize, allowed: Duration, percent: u64) {
        self.record.change(|record| {
            let now = self.now();
            let left = record.latest(arrival, allowed).saturating_sub(now);
            let all = record.arrivals[arrival].parts.len();
            record.arrivals[arrival].applied = (left > 0).then_some((now + left / 100 * percent, all));
        });
    }

    /// Upstream is about to answer with a whole 2xx.
    pub fn acknowledge(&self, arrival: usize) {
        self.record.change(|record| record.arrivals[arrival].acknowledged = true);
    }

    pub fn operate(&self, what: impl Into<String>) {
        self.record.change(|record| {
            let at = self.now();
            record.operations.push((at, what.into()));
        });
    }

    /// Waits until upstream has got this call, or usher has half of it, or it is over.
    pub fn wait_call(&self, call: usize) {
        let known = |record: &mut Record| {
            let arrived = record.arrivals.iter().any(|arrival| arrival.call == call);
            (arrived || record.calls[call].halved || record.calls[call].ended < Nanos::MAX).then_some(())
        };
        assert!(self.record.wait(known).is_some(), "call {call} neither arrives nor ends");
    }

    /// The record up to now.
    pub fn read(&self) -> Record {
        self.record.lock().clone()
    }
}

impl Record {
    fn latest(&self, arrival: usize, allowed: Duration) -> Nanos {
        self.calls[self.arrivals[arrival].call].complete.saturating_add(nanos(allowed))
    }
}

/// A duration as the record counts.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// A trigger as a server reads it: the last of two equal keys counts, and what is in the query counts as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The call's number, which every event's data carries.
    pub call: usize,
    /// What it shows, in order.
    pub parts: Vec<Part>,
}

impl Reading {
    /// Reads a trigger in any of the forms that the callers send.
    pub fn of(target: &str, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: HashMap<String, String> = sign::parameters(query).into_iter().collect();
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut reading = Self { call: usize::MAX, parts: Vec::new() };
        let legacy = path.split('/').skip_while(|segment| *segment != "channels").nth(1);
        if let Some(channel) = legacy {
            reading.event(&query["name"], &[channel], &body, true);
            return reading;
        }
        let events = body["batch"].as_array().map_or_else(|| vec![&body], |items| items.iter().collect());
        for event in events {
            let name = query.get("name").map(String::as_str).or_else(|| event["name"].as_str()).unwrap();
            let channels = event["channels"]
                .as_array()
                .map_or_else(|| vec![&event["channel"]], |channels| channels.iter().collect());
            let channels: Vec<&str> = channels.into_iter().map(|channel| channel.as_str().unwrap()).collect();
            let data = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
            reading.event(name, &channels, &data, event["socket_id"].is_null());
        }
        reading
    }

    fn event(&mut self, name: &str, channels: &[&str], data: &Value, for_all: bool) {
        self.call = usize::try_from(data["call"].as_u64().unwrap()).unwrap();
        let shows = match name {
            ANNOUNCEMENT => data["staff_name"].as_str().filter(|_| for_all).map(str::to_owned),
            RELEASE => None,
            _ => return,
        };
        self.parts.extend(channels.iter().map(|channel| Part { channel: (*channel).to_owned(), shows: shows.clone() }));
    }
}
