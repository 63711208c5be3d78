//! Backends that announce at a steady rate while usher restarts, and what became of it.
//!
//! Each caller has a channel of its own and announces two staff members in turn, each [`RUN`] times: a *run*. Its number
//! is in a field that the rule does not compare, so upstream's record says which runs have arrived.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::bodies::{ANNOUNCEMENT, Library, staff_with_image};
use crate::harness::{BOUND, Fake, Request, Response};

/// Announcements of one staff member before the other takes over.
const RUN: usize = 5;

/// How the callers use connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each keeps one, as a pool does: one that was closed is replaced before the next trigger.
    Kept,
    /// One for each trigger.
    Fresh,
}

/// Callers that announce until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<thread::JoinHandle<Said>>,
}

/// What became of the announcements.
#[derive(Debug, Default)]
pub struct Outcome {
    pub sent: usize,
    /// What callers were answered, or the error, of each trigger that failed.
    pub failed: Vec<String>,
    /// Runs that callers were told were accepted, and of which nothing has arrived upstream.
    pub lost: usize,
    /// Announcements that arrived upstream although the same had arrived before.
    pub repeated: usize,
    /// The longest time without a suppressed announcement.
    pub unsuppressed: Duration,
}

/// What a caller has said, and was answered.
#[derive(Debug, Default)]
struct Said {
    channel: String,
    /// Whether one of a run was accepted.
    runs: Vec<bool>,
    sent: usize,
    failed: Vec<String>,
    suppressed: Vec<Instant>,
}

impl Load {
    /// `callers` callers, which announce `rate` times a second together.
    pub fn start(to: SocketAddr, connections: Connections, callers: usize, rate: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers_of = callers as u32;
        let interval = Duration::from_secs(1) * callers_of / u32::try_from(rate).unwrap();
        let start = |number: u32| {
            let stop = Arc::clone(&stop);
            let first = Instant::now() + interval * number / callers_of;
            thread::spawn(move || Caller { to, connections, kept: None }.run(number, (first, interval), &stop))
        };
        let callers = (0..callers_of).map(start).collect();
        Self { stop, callers }
    }

    /// Stops the callers and compares what they said with what has arrived at `fake`.
    pub fn stop(self, fake: &Fake) -> Outcome {
        self.stop.store(true, Ordering::Release);
        let said: Vec<Said> = self.callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let arrived = arrived(fake);
        let mut outcome = Outcome::default();
        let mut suppressed = Vec::new();
        for Said { channel, runs, sent, failed, suppressed: at } in said {
            outcome.sent += sent;
            outcome.failed.extend(failed);
            suppressed.extend(at);
            for (run, _) in runs.iter().enumerate().filter(|(_, accepted)| **accepted) {
                match arrived.get(&(channel.clone(), run)) {
                    None => outcome.lost += 1,
                    Some(times) => outcome.repeated += times - 1,
                }
            }
        }
        suppressed.sort_unstable();
        let gaps = suppressed.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        outcome.unsuppressed = gaps.max().unwrap_or(BOUND);
        outcome
    }
}

/// How often each run of each channel has arrived.
fn arrived(fake: &Fake) -> BTreeMap<(String, usize), usize> {
    let mut arrived = BTreeMap::new();
    for request in fake.requests() {
        let event = request.json();
        let data: serde_json::Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
        // Announcements of other callers, such as the libraries, have no run.
        let Some(image) = data["staff_profile_image"].as_str() else { continue };
        let run = image.rsplit_once("Signature=s").unwrap().1.parse().unwrap();
        *arrived.entry((event["channels"][0].as_str().unwrap().to_owned(), run)).or_default() += 1;
    }
    arrived
}

struct Caller {
    to: SocketAddr,
    connections: Connections,
    kept: Option<TcpStream>,
}

impl Caller {
    fn run(mut self, number: u32, (first, interval): (Instant, Duration), stop: &AtomicBool) -> Said {
        let mut said = Said { channel: format!("h-room-{number}-chat"), ..Said::default() };
        while !stop.load(Ordering::Acquire) || !said.sent.is_multiple_of(RUN) {
            // A caller that was kept waiting catches up: the rate is that of the backend, not of usher.
            let due = first + interval * u32::try_from(said.sent).unwrap();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let run = said.sent / RUN;
            let data = staff_with_image(["Anna", "Boris"][run % 2], run);
            let body = Library::Node.body(ANNOUNCEMENT, &[&said.channel], &data);
            said.sent += 1;
            said.runs.resize(run + 1, false);
            match self.call(&Request::events(&body)) {
                Ok(response) if response.status == 200 => {
                    said.runs[run] = true;
                    if response.decision() == "suppressed" {
                        said.suppressed.push(Instant::now());
                    }
                }
                Ok(response) => said.failed.push(format!("{} {}", response.status, response.text())),
                Err(error) => said.failed.push(error.to_string()),
            }
        }
        said
    }

    fn call(&mut self, request: &Request) -> io::Result<Response> {
        let mut stream = match self.kept.take().filter(is_open) {
            Some(kept) => kept,
            None => connect(self.to)?,
        };
        stream.write_all(&request.bytes())?;
        let response = Response::read(&mut stream)?;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if self.connections == Connections::Kept && !closes {
            self.kept = Some(stream);
        }
        Ok(response)
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, BOUND)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(BOUND))?;
    Ok(stream)
}

/// Whether the other side has not closed it: every pool looks before it uses a connection again.
fn is_open(stream: &TcpStream) -> bool {
    let peek = || -> io::Result<usize> {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
