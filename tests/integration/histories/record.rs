//! The record of a history from the point of view of the callers and of upstream. Of usher itself, it contains only the
//! responses.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::bodies::ANNOUNCEMENT;
use crate::harness::{Monitor, sign};

/// The event that ends an assignment.
pub const RELEASE: &str = "conversation-closed";

/// The clients of every channel that are left out at times. There are others.
pub const SOCKETS: [&str; 2] = ["1.2", "3.4"];

/// Nanoseconds since the history began.
pub type Nanos = u64;

/// The effect of an event on a channel: the announced staff member, or `None` if the event ends the assignment or
/// cannot be compared; and the client that it does not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub channel: String,
    pub shows: Option<String>,
    pub left_out: Option<String>,
}

/// A call of a backend.
#[derive(Debug, Clone)]
pub struct Call {
    pub began: Nanos,
    /// Whether there was a pause before its last byte.
    pub halved: bool,
    /// The time before its last byte was sent: usher cannot have forwarded it earlier.
    pub complete: Nanos,
    /// The time of its response or failure.
    pub ended: Nanos,
    pub wanted: Vec<Part>,
    pub answer: Option<Answer>,
}

/// The response to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The value of `usher-decision`, or empty.
    pub decision: String,
}

/// A request that arrived upstream.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The number of its call.
    pub call: usize,
    pub at: Nanos,
    pub parts: Vec<Part>,
    /// The time at which parts of it were or will be applied, and the number of these parts.
    pub applied: Option<(Nanos, usize)>,
    /// Whether upstream answers it with a complete 2xx.
    pub acknowledged: bool,
    pub signed: bool,
    /// A description of upstream's action.
    pub action: String,
}

/// A complete history.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The calls, indexed by number.
    pub calls: Vec<Call>,
    pub arrivals: Vec<Arrival>,
    /// The operations on the process.
    pub operations: Vec<(Nanos, String)>,
    /// The starts of processes that suppress.
    pub starts: Vec<Start>,
}

/// The time after the start of a process until the next operation on it.
#[derive(Debug, Clone)]
pub struct Start {
    pub at: Nanos,
    pub until: Nanos,
    /// What was before, and what was taken over.
    pub kind: String,
}

/// Writes a record with a single clock.
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

    /// Records the begin of a call and returns its number.
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

    /// Records the announcements of a call; its last byte is sent only after this.
    pub fn complete(&self, call: usize, wanted: &[Part]) {
        self.record.change(|record| {
            record.calls[call].complete = self.now();
            record.calls[call].wanted = wanted.to_vec();
        });
    }

    /// Records that all of a call but its last byte was sent.
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

    /// Applies the first `parts` of a request now, unless more than `allowed` has passed since its call was complete.
    /// Returns whether it was applied.
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

    /// Applies a request late, at `percent` of the time from now until `allowed` after its call was complete; not at
    /// all if that time has passed. Nothing waits for that moment: the caller has its response, or none, already.
    pub fn apply_late(&self, arrival: usize, allowed: Duration, percent: u64) {
        self.record.change(|record| {
            let now = self.now();
            let left = record.latest(arrival, allowed).saturating_sub(now);
            let all = record.arrivals[arrival].parts.len();
            record.arrivals[arrival].applied = (left > 0).then_some((now + left / 100 * percent, all));
        });
    }

    /// Records that upstream is about to answer with a complete 2xx.
    pub fn acknowledge(&self, arrival: usize) {
        self.record.change(|record| record.arrivals[arrival].acknowledged = true);
    }

    pub fn operate(&self, what: impl Into<String>) {
        self.record.change(|record| {
            let at = self.now();
            record.operations.push((at, what.into()));
        });
    }

    /// Records the start of a process that suppresses.
    pub fn start_process(&self, kind: String) {
        self.record.change(|record| {
            let at = self.now();
            record.starts.push(Start { at, until: Nanos::MAX, kind });
        });
    }

    /// Ends the time after the last start.
    pub fn end_start(&self) {
        self.record.change(|record| {
            let now = self.now();
            record.starts.last_mut().into_iter().for_each(|start| start.until = start.until.min(now));
        });
    }

    /// Waits until the call has arrived upstream, was sent except for its last byte, or has ended.
    pub fn wait_call(&self, call: usize) {
        let known = |record: &mut Record| {
            let arrived = record.arrivals.iter().any(|arrival| arrival.call == call);
            (arrived || record.calls[call].halved || record.calls[call].ended < Nanos::MAX).then_some(())
        };
        assert!(self.record.wait(known).is_some(), "call {call} neither arrives nor ends");
    }

    /// The current record.
    pub fn read(&self) -> Record {
        self.record.lock().clone()
    }
}

impl Record {
    fn latest(&self, arrival: usize, allowed: Duration) -> Nanos {
        self.calls[self.arrivals[arrival].call].complete.saturating_add(nanos(allowed))
    }
}

/// A duration in the record's unit.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// A trigger as a server reads it: the last of duplicate keys counts, and parameters of the query count as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The call's number, which the data of every event contains.
    pub call: usize,
    /// Its effects, in order.
    pub parts: Vec<Part>,
}

impl Reading {
    /// Parses a trigger in any of the forms that the callers send.
    pub fn of(target: &str, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: HashMap<String, String> = sign::parameters(query).into_iter().collect();
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut reading = Self { call: usize::MAX, parts: Vec::new() };
        let legacy = path.split('/').skip_while(|segment| *segment != "channels").nth(1);
        if let Some(channel) = legacy {
            reading.event(&query["name"], &[channel], &body, None);
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
            reading.event(name, &channels, &data, event["socket_id"].as_str());
        }
        reading
    }

    fn event(&mut self, name: &str, channels: &[&str], data: &Value, left_out: Option<&str>) {
        self.call = usize::try_from(data["call"].as_u64().unwrap()).unwrap();
        let shows = match name {
            // Whom an id reaches that is not written as servers write it is not known.
            ANNOUNCEMENT => {
                let is_usual = left_out.is_none_or(|id| SOCKETS.contains(&id));
                data["staff_name"].as_str().filter(|_| is_usual).map(str::to_owned)
            }
            RELEASE => None,
            _ => return,
        };
        self.parts.extend(channels.iter().map(|channel| Part {
            channel: (*channel).to_owned(),
            shows: shows.clone(),
            left_out: left_out.map(str::to_owned),
        }));
    }
}
