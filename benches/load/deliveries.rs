//! What relayed WebSocket connections cost: the stub sends the same messages on connections through every target, in a
//! burst and one after the other.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::accounting::{Tree, Usage};
use crate::arguments::{Arguments, Named};
use crate::errand::{Errand, server_name};
use crate::mixes::Mix;
use crate::report::Spread;
use crate::session::{Session, tell};
use crate::stub::{BEFORE_NUMBER, DELIVER, DIGITS, LANE, MESSAGE};
use crate::supply::APP;
use crate::targets::{Kind, Part, Target};
use crate::wire::{Received, Wire};

/// Connections through each target.
const CONNECTIONS: usize = 500;
/// Messages of a burst, on each connection.
const BURST: usize = 100;
/// Messages that come one after the other, and the time from one to the next.
const PACED: usize = 50;
const PAUSE: Duration = Duration::from_millis(30);
/// Messages of the clients, from each connection at once.
const UP: usize = 20;
/// How long a target's memory has to stay as it is before it is read.
const STEADY: Duration = Duration::from_millis(200);
/// For all that has to come.
const BOUND: Duration = Duration::from_secs(10);
/// The bytes of a frame: two of them hold the length of its text.
const FRAME: usize = 4 + MESSAGE;

const CONTROL: Token = Token(usize::MAX);

/// One target with its connections.
struct Lane {
    target: usize,
    clients: Clients,
    /// Resident memory for each connection, in bytes: once all are open, and at the end.
    memory: [f64; 2],
    before: u64,
    bursts: Vec<Phase>,
    paced: Vec<Phase>,
    /// From the clients.
    up: Vec<Phase>,
}

/// What messages of one kind cost in a round.
struct Phase {
    /// CPU time for each delivery, in microseconds: of the target, the generator and the stub.
    cpu: [f64; 3],
    /// The latency of each delivery since its request, in microseconds, sorted.
    latencies: Vec<f64>,
    /// Of the whole.
    seconds: f64,
}

/// The clients of one target, and a connection to the stub that orders messages.
struct Clients {
    /// The name by which the stub distinguishes them.
    lane: usize,
    poll: Poll,
    wires: Vec<Wire>,
    control: Wire,
    /// Asks the stub what it has received.
    counts: Errand,
    /// The time at which each message was requested, by its number.
    ordered: Vec<Instant>,
    latencies: Vec<f64>,
}

/// Measures all targets and prints a line for each.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut session = Session::open(arguments, CONNECTIONS)?;
    let mut lanes: Vec<Lane> = Vec::new();
    for named in targets(arguments)? {
        if let Some(index) = session.start(&named)? {
            lanes.push(Lane::open(index, &session)?);
        }
    }
    ensure!(!lanes.is_empty(), "none of the targets is installed");
    let count = lanes.len();
    // The first round is discarded.
    for round in 0..=arguments.rounds.max(1) {
        for place in 0..count {
            let lane = &mut lanes[(round + place) % count];
            let target = &session.targets[lane.target];
            tell(&format!("deliveries {round}/{} {}", arguments.rounds.max(1), target.name));
            let (burst, paced, up) =
                lane.measure(target, &session.stub).with_context(|| format!("{} failed", target.name))?;
            if round > 0 {
                lane.bursts.push(burst);
                lane.paced.push(paced);
                lane.up.push(up);
            }
        }
    }
    tell("");
    for lane in &mut lanes {
        lane.memory[1] = lane.per_connection(&session.targets[lane.target])?;
    }
    print(&lanes, &session);
    Ok(())
}

/// Those that relay WebSocket connections.
fn targets(arguments: &Arguments) -> Result<Vec<Named>> {
    let mut targets = arguments.targets(Mix::Passthrough)?;
    targets.retain(|target| !matches!(target.kind, Kind::NginxReturn | Kind::Limit(Part::Responder)));
    Ok(targets)
}

impl Lane {
    fn open(index: usize, session: &Session) -> Result<Self> {
        let target = &session.targets[index];
        let before = steady(target)?;
        let clients = Clients::connect(index, target, &session.stub, session.tls.as_ref())
            .with_context(|| format!("{} relays no WebSocket connections", target.name))?;
        let mut lane = Self {
            target: index,
            clients,
            memory: [0.0; 2],
            before,
            bursts: Vec::new(),
            paced: Vec::new(),
            up: Vec::new(),
        };
        lane.memory[0] = lane.per_connection(target)?;
        Ok(lane)
    }

    fn per_connection(&self, target: &Target) -> Result<f64> {
        Ok((steady(target)? as f64 - self.before as f64) / CONNECTIONS as f64)
    }

    /// A burst, paced messages, and messages of the clients.
    fn measure(&mut self, target: &Target, stub: &Target) -> Result<(Phase, Phase, Phase)> {
        let burst = self.clients.phase(target, stub, BURST, |clients| {
            clients.order(BURST)?;
            clients.receive_all(BURST)
        })?;
        let paced = self.clients.phase(target, stub, PACED, |clients| {
            let began = Instant::now();
            for number in 0..PACED {
                let due = began + PAUSE * u32::try_from(number)?;
                clients.receive_until(due)?;
                clients.order(1)?;
            }
            clients.receive_all(PACED)
        })?;
        let up = self.clients.phase(target, stub, UP, Clients::send_all)?;
        Ok((burst, paced, up))
    }
}

/// A target's resident memory, once it stays as it is.
fn steady(target: &Target) -> Result<u64> {
    let mut before = 0;
    loop {
        let now = target.tree()?.resident()?;
        if now == before {
            return Ok(now);
        }
        before = now;
        sleep(STEADY);
    }
}

impl Clients {
    fn connect(lane: usize, target: &Target, stub: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let poll = Poll::new()?;
        let open = |address, token| -> Result<Wire> {
            let stream = std::net::TcpStream::connect_timeout(&address, BOUND)?;
            stream.set_nonblocking(true)?;
            let mut wire = Wire::calling(TcpStream::from_std(stream), tls, &server_name(address.ip()))?;
            poll.registry().register(wire.source(), token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(wire)
        };
        let control = open(stub.address(), CONTROL)?;
        let counts = Errand::connect(stub.address(), tls)?;
        let mut wires = Vec::with_capacity(CONNECTIONS);
        let handshake = format!(
            "GET /app/{}?protocol=7&{LANE}{lane}&version=1 HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            APP[1],
            target.address()
        );
        for index in 0..CONNECTIONS {
            let mut wire = open(target.address(), Token(index))?;
            wire.send(handshake.as_bytes())?;
            switch(&mut wire)?;
            wires.push(wire);
        }
        Ok(Self { lane, poll, wires, control, counts, ordered: Vec::new(), latencies: Vec::new() })
    }

    /// Runs an operation with so many messages on each connection, and returns its cost.
    fn phase(
        &mut self,
        target: &Target,
        stub: &Target,
        messages: usize,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Phase> {
        let trees = [target.tree()?, Tree::own(), stub.tree()?];
        let usage = || trees.iter().map(Tree::usage).collect::<Result<Vec<Usage>>>();
        self.latencies.clear();
        self.ordered.clear();
        let (before, began) = (usage()?, Instant::now());
        act(self)?;
        let (after, seconds) = (usage()?, began.elapsed().as_secs_f64());
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_by(f64::total_cmp);
        let each = |index: usize| (after[index] - before[index]).seconds() * 1e6 / (messages * CONNECTIONS) as f64;
        Ok(Phase { cpu: [each(0), each(1), each(2)], latencies, seconds })
    }

    /// Makes the stub send this many messages on each connection.
    fn order(&mut self, count: usize) -> Result<()> {
        let first = self.ordered.len();
        self.ordered.resize(first + count, Instant::now());
        Ok(self
            .control
            .send(format!("GET {DELIVER}{}/{first}/{count} HTTP/1.1\r\nHost: stub\r\n\r\n", self.lane).as_bytes())?)
    }

    /// Sends [`UP`] messages on each connection, and waits until the stub has them.
    fn send_all(&mut self) -> Result<()> {
        let frame = client_event();
        let wanted = self.counts.received(self.lane)? + (UP * CONNECTIONS * frame.len()) as u64;
        for _ in 0..UP {
            for wire in &mut self.wires {
                wire.send(&frame)?;
            }
        }
        let end = Instant::now() + BOUND;
        loop {
            self.wires.iter_mut().try_for_each(Wire::flush)?;
            let received = self.counts.received(self.lane)?;
            if received == wanted {
                return Ok(());
            }
            ensure!(received < wanted && Instant::now() < end, "{received} instead of {wanted} bytes came in all");
            sleep(Duration::from_millis(1));
        }
    }

    fn receive_until(&mut self, end: Instant) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.receive(&mut events, left)?;
        }
        Ok(())
    }

    /// Receives until this many messages have arrived on each connection.
    fn receive_all(&mut self, count: usize) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let end = Instant::now() + BOUND;
        while self.latencies.len() < count * CONNECTIONS {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                bail!("{} of {} messages came within {BOUND:?}", self.latencies.len(), count * CONNECTIONS);
            };
            self.receive(&mut events, left)?;
        }
        Ok(())
    }

    fn receive(&mut self, events: &mut Events, longest: Duration) -> Result<()> {
        match self.poll.poll(events, Some(longest)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &*events {
            let wire = match event.token() {
                CONTROL => &mut self.control,
                Token(index) => &mut self.wires[index],
            };
            wire.flush()?;
            let received = wire.receive()?;
            ensure!(received == Received::Open, "a connection was closed");
            if event.token() == CONTROL {
                wire.inbox.clear();
                continue;
            }
            let now = Instant::now();
            let whole = wire.inbox.len() / FRAME * FRAME;
            for frame in wire.inbox[..whole].chunks(FRAME) {
                let ordered = self.ordered.get(number(frame)?).context("a message came that was not ordered")?;
                self.latencies.push((now - *ordered).as_secs_f64() * 1e6);
            }
            wire.inbox.drain(..whole);
        }
        Ok(())
    }
}

/// Waits for the answer to a handshake, which has to be 101.
fn switch(wire: &mut Wire) -> Result<()> {
    let end = Instant::now() + BOUND;
    loop {
        wire.flush()?;
        let received = wire.receive()?;
        if let Some(head) = wire.inbox.windows(4).position(|window| window == b"\r\n\r\n") {
            ensure!(wire.inbox.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&wire.inbox));
            wire.inbox.drain(..head + 4);
            return Ok(());
        }
        ensure!(received == Received::Open && Instant::now() < end, "a handshake has no answer");
        sleep(Duration::from_micros(100));
    }
}

/// A client event of [`MESSAGE`] bytes in the frame of a client (RFC 6455 5.2), with a mask of zeros.
fn client_event() -> Vec<u8> {
    let (begin, end) = (r#"{"event":"client-typing","channel":"private-load","data":""#, "\"}");
    let text = format!("{begin}{}{end}", "x".repeat(MESSAGE - begin.len() - end.len()));
    [&[0x81, 0x80 | 126, 0, MESSAGE as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// The number of the message in a frame.
fn number(frame: &[u8]) -> Result<usize> {
    let text = &frame[4..];
    ensure!(frame.starts_with(&[0x81, 126]) && text.starts_with(BEFORE_NUMBER.as_bytes()), "another message came");
    Ok(std::str::from_utf8(&text[BEFORE_NUMBER.len()..][..DIGITS])?.parse()?)
}

fn print(lanes: &[Lane], session: &Session) {
    println!(
        "relayed WebSocket messages of {MESSAGE} bytes: {CONNECTIONS} connections through each target; {} rounds of {BURST} messages at once and of \
         {PACED} every {PAUSE:?}, interleaved",
        lanes[0].bursts.len()
    );
    println!(
        "{:14} {:>10} {:>10}  {:>20} {:>9} {:>8}  {:>20} {:>9} {:>8} {:>8}  {:>20} {:>9}  {:>6} {:>7}",
        "target",
        "B/conn",
        "at the end",
        "burst CPU µs/message",
        "÷ first",
        "msg/s",
        "paced CPU µs/message",
        "÷ first",
        "p50 µs",
        "p99 µs",
        "up CPU µs/message",
        "÷ first",
        "gen µs",
        "stub µs"
    );
    for lane in lanes {
        let cpu = |phases: &[Phase], index: usize| Spread::of(phases.iter().map(|phase| phase.cpu[index]));
        let shown = |Spread { median, low, high }: Spread| format!("{median:.2} ({low:.2}–{high:.2})");
        let paired = |own: &[Phase], first: &[Phase]| {
            Spread::of(own.iter().zip(first).map(|(own, first)| own.cpu[0] / first.cpu[0])).median
        };
        let rate = Spread::of(lane.bursts.iter().map(|phase| phase.latencies.len() as f64 / phase.seconds)).median;
        let latency = |share: f64| {
            let at = |phase: &Phase| phase.latencies[((phase.latencies.len() - 1) as f64 * share) as usize];
            Spread::of(lane.paced.iter().map(at)).median
        };
        println!(
            "{:14} {:>10.0} {:>10.0}  {:>20} {:>9.2} {rate:>8.0}  {:>20} {:>9.2} {:>8.0} {:>8.0}  {:>20} {:>9.2}  {:>6.2} {:>7.2}",
            session.targets[lane.target].name,
            lane.memory[0],
            lane.memory[1],
            shown(cpu(&lane.bursts, 0)),
            paired(&lane.bursts, &lanes[0].bursts),
            shown(cpu(&lane.paced, 0)),
            paired(&lane.paced, &lanes[0].paced),
            latency(0.5),
            latency(0.99),
            shown(cpu(&lane.up, 0)),
            paired(&lane.up, &lanes[0].up),
            cpu(&lane.bursts, 1).median,
            cpu(&lane.bursts, 2).median,
        );
    }
}
