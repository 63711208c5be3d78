//! A client that subscribes, and keeps a record of what it was sent.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, client};

use super::checker::Seen;
use crate::harness::websocket::Frame;
use crate::harness::{BOUND, Monitor};

/// A connected client.
#[derive(Debug)]
pub struct Guest {
    pub id: String,
    writer: TcpStream,
    record: Arc<Monitor<Vec<(Instant, Record)>>>,
}

#[derive(Debug, Clone)]
enum Record {
    Frame(Value),
    /// It asked to leave this channel.
    Left(String),
    Ended,
}

impl Guest {
    /// Connects to usher with the key of an app.
    pub fn connect(usher: SocketAddr, key: &str) -> Self {
        let stream = TcpStream::connect(usher).unwrap();
        let writer = stream.try_clone().unwrap();
        let url = format!("ws://{usher}/app/{key}?protocol=7&client=test&version=1");
        let (mut socket, _) = client(url, stream).unwrap();
        let record: Arc<Monitor<Vec<(Instant, Record)>>> = Arc::default();
        let seen = Arc::clone(&record);
        thread::spawn(move || {
            while let Ok(message) = socket.read() {
                if let Message::Text(text) = message {
                    let frame = serde_json::from_str(&text).unwrap();
                    seen.change(|record| record.push((Instant::now(), Record::Frame(frame))));
                }
            }
            seen.change(|record| record.push((Instant::now(), Record::Ended)));
        });
        let id = record.wait(|record| {
            record.iter().find_map(|(_, record)| match record {
                Record::Frame(frame) if frame["event"] == "pusher:connection_established" => {
                    let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                    Some(data["socket_id"].as_str().unwrap().to_owned())
                }
                _ => None,
            })
        });
        Self { id: id.expect("a connection is established"), writer, record }
    }

    /// Subscribes, and waits until that is confirmed.
    pub fn subscribe(&mut self, channel: &str) {
        let confirmations = self.confirmations(channel);
        self.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel } }));
        let confirmed = self.record.wait(|record| (count(record, channel) > confirmations).then_some(()));
        assert!(confirmed.is_some(), "{channel} is not confirmed to {}", self.id);
    }

    /// Unsubscribes.
    pub fn leave(&mut self, channel: &str) {
        self.record.change(|record| record.push((Instant::now(), Record::Left(channel.to_owned()))));
        self.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } }));
    }

    /// Hangs up.
    pub fn hang_up(&self) {
        self.record.change(|record| record.push((Instant::now(), Record::Ended)));
        let _gone = self.writer.shutdown(Shutdown::Both);
    }

    /// What it has seen of a channel so far.
    pub fn seen(&self, channel: &str) -> Vec<(Instant, Seen)> {
        let of = |record: &Record| match record {
            Record::Frame(frame) if frame["channel"] == channel => match frame["event"].as_str().unwrap() {
                "pusher_internal:subscription_succeeded" => Some(Seen::Confirmed),
                "staff-assigned" | "conversation-closed" => {
                    let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                    Some(Seen::Event(usize::try_from(data["id"].as_u64().unwrap()).unwrap()))
                }
                _ => None,
            },
            Record::Left(left) if left == channel => Some(Seen::Left),
            Record::Ended => Some(Seen::Left),
            Record::Frame(_) | Record::Left(_) => None,
        };
        self.record.lock().iter().filter_map(|(at, record)| Some((*at, of(record)?))).collect()
    }

    /// The person of each event that it has seen of a channel, and whom that left out.
    pub fn contents(&self, channel: &str) -> HashMap<usize, (Option<u64>, Option<String>)> {
        let contents = |record: &Record| {
            let Record::Frame(frame) = record else { return None };
            let data: Value = serde_json::from_str(frame["data"].as_str()?).ok()?;
            let id = usize::try_from(data["id"].as_u64()?).unwrap();
            let of = (data["staff_id"].as_u64(), data["except"].as_str().map(str::to_owned));
            (frame["channel"] == channel).then_some((id, of))
        };
        self.record.lock().iter().filter_map(|(_, record)| contents(record)).collect()
    }

    /// Waits until it has seen what `fits`.
    pub fn wait(&self, channel: &str, fits: impl Fn(&[(Instant, Seen)]) -> bool) -> bool {
        self.wait_within(BOUND, channel, fits)
    }

    /// The same for so long at most.
    pub fn wait_within(&self, bound: Duration, channel: &str, fits: impl Fn(&[(Instant, Seen)]) -> bool) -> bool {
        let deadline = Instant::now() + bound;
        while Instant::now() < deadline {
            if fits(&self.seen(channel)) {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }

    fn confirmations(&self, channel: &str) -> usize {
        count(&self.record.lock(), channel)
    }

    fn send(&mut self, frame: &Value) {
        // An error means that usher is gone, which the record shows.
        let _gone = self.writer.write_all(&Frame::text(&frame.to_string()).masked().bytes());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn count(record: &[(Instant, Record)], channel: &str) -> usize {
    let is_confirmation = |record: &Record| {
        matches!(record, Record::Frame(frame)
            if frame["channel"] == channel && frame["event"] == "pusher_internal:subscription_succeeded")
    };
    record.iter().filter(|(_, record)| is_confirmation(record)).count()
}
