//! The load itself: one thread, many connections, one request at a time on each.
//!
//! Closed loop: a connection sends its next request as soon as it has an answer, and latency is that of the request.
//! Open loop: requests are due at a constant rate whatever the target does, and latency runs from the moment at which a
//! request was *due*: one that had to wait for a connection has waited.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rustls::ClientConfig;

use crate::answer::Answer;
use crate::errand::server_name;
use crate::mixes::Expected;
use crate::supply::Supply;
use crate::tally::Tally;
use crate::wire::{Received, Wire};

/// How long the answers in flight at the end may take, and a target may say nothing at all.
const BOUND: Duration = Duration::from_secs(10);

const TIMER: Token = Token(usize::MAX);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// One request in flight on each connection.
    Closed,
    /// This many requests a second.
    Open { rate: f64 },
}

/// One round of load on one target.
pub(crate) struct Load<'a> {
    /// Those of the target, at least one: the connections are divided among them.
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) tls: Option<&'a Arc<ClientConfig>>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Not counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) duration: Duration,
}

/// The counted part of a round begins or ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Begin,
    End,
}

impl Load<'_> {
    /// Runs until no request is in flight any more. `edge` is called at the begin and the end of the measured part.
    pub(crate) fn run(&self, supply: &mut Supply, mut edge: impl FnMut(Edge) -> Result<()>) -> Result<Tally> {
        let mut run = Run::start(self, supply)?;
        let begin = Instant::now() + self.warm_up;
        run.pass(begin)?;
        edge(Edge::Begin)?;
        // Read again: the time of `edge` counts for no part.
        let begin = Instant::now();
        run.window = Some((begin, begin + self.duration));
        let mut ended = run.pass(begin + self.duration);
        if ended.is_ok() {
            ended = edge(Edge::End);
        }
        ended?;
        run.tally.seconds = begin.elapsed().as_secs_f64();
        run.drain(Instant::now())?;
        Ok(run.tally)
    }
}

/// A connection and the request that is under way on it.
struct Line {
    wire: Wire,
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    /// When it was sent (closed loop) or due (open loop).
    due: Instant,
    expected: Expected,
}

struct Run<'a> {
    load: &'a Load<'a>,
    supply: &'a mut Supply,
    poll: Poll,
    lines: Vec<Line>,
    /// Lines without a request, by index (open loop): the one that has waited longest is first.
    idle: VecDeque<usize>,
    /// Wakes when the next request is due (open loop).
    timer: TimerFd,
    /// When the first request was due, and how many were sent.
    origin: Instant,
    sent: u64,
    /// The counted part, once it has begun.
    window: Option<(Instant, Instant)>,
    tally: Tally,
}

impl<'a> Run<'a> {
    fn start(load: &'a Load<'a>, supply: &'a mut Supply) -> Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).context("no timer")?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let lines = Vec::with_capacity(load.connections);
        let tally = Tally::new();
        let mut run = Self {
            load,
            supply,
            poll,
            lines,
            idle: VecDeque::new(),
            timer,
            origin: Instant::now(),
            sent: 0,
            window: None,
            tally,
        };
        for index in 0..load.connections {
            let line = run.connect(index)?;
            run.lines.push(line);
        }
        run.origin = Instant::now();
        match load.pace {
            Pace::Closed => (0..load.connections).try_for_each(|index| run.send(index, Instant::now()))?,
            Pace::Open { .. } => run.idle.extend(0..load.connections),
        }
        Ok(run)
    }

    /// A blocking connect, which waits if the backlog is full.
    fn connect(&self, index: usize) -> Result<Line> {
        let address = self.load.addresses[index % self.load.addresses.len()];
        let stream = std::net::TcpStream::connect_timeout(&address, BOUND)
            .with_context(|| format!("no connection to {address}"))?;
        stream.set_nonblocking(true)?;
        let mut wire = Wire::calling(TcpStream::from_std(stream), self.load.tls, &server_name(address.ip()))?;
        self.poll.registry().register(wire.source(), Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Line { wire, under_way: None })
    }

    /// Loads until `end`.
    fn pass(&mut self, end: Instant) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if let Pace::Open { rate } = self.load.pace {
                self.send_what_is_due(rate, now, end)?;
            }
            self.turn(&mut events, end - now, true)?;
        }
    }

    /// Waits for what is in flight; `end`: when the load ended.
    fn drain(&mut self, end: Instant) -> Result<()> {
        if let Pace::Open { rate } = self.load.pace {
            // Due requests without a connection have waited until now.
            while self.due(rate) < self.window.map_or(end, |(_, end)| end) {
                self.tally.unsent(end - self.due(rate));
                self.sent += 1;
            }
        }
        let mut events = Events::with_capacity(1024);
        while self.lines.iter().any(|line| line.under_way.is_some()) {
            let left = (end + BOUND).saturating_duration_since(Instant::now());
            if left.is_zero() {
                let missing = self.lines.iter().filter(|line| line.under_way.is_some()).count();
                bail!("{missing} requests were not answered within {BOUND:?}");
            }
            self.turn(&mut events, left, false)?;
        }
        Ok(())
    }

    /// When the next request is due.
    fn due(&self, rate: f64) -> Instant {
        self.origin + Duration::from_secs_f64(self.sent as f64 / rate)
    }

    fn send_what_is_due(&mut self, rate: f64, now: Instant, end: Instant) -> Result<()> {
        let mut due = self.due(rate);
        while due <= now {
            let Some(index) = self.idle.pop_front() else { return Ok(()) };
            self.tally.late(now - due);
            self.send(index, due)?;
            due = self.due(rate);
        }
        let next = TimeSpec::from_duration(due.min(end) - now);
        self.timer.set(Expiration::OneShot(next), TimerSetTimeFlags::empty()).context("the timer cannot be set")
    }

    fn send(&mut self, index: usize, due: Instant) -> Result<()> {
        let (request, expected) = self.supply.take();
        let line = &mut self.lines[index];
        line.under_way = Some(UnderWay { due, expected });
        line.wire.send(request).context("a request is not taken")?;
        self.sent += 1;
        Ok(())
    }

    /// Waits for events for at most this time, and handles them.
    fn turn(&mut self, events: &mut Events, longest: Duration, more: bool) -> Result<()> {
        match self.poll.poll(events, Some(longest.min(BOUND))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &*events {
            match event.token() {
                TIMER => {
                    let _read = self.timer.wait();
                }
                Token(index) => self.attend(index, more)?,
            }
        }
        Ok(())
    }

    fn attend(&mut self, index: usize, more: bool) -> Result<()> {
        let line = &mut self.lines[index];
        let received = line.wire.flush().and_then(|()| line.wire.receive());
        let answer = Answer::read(&line.wire.inbox)?;
        if let (Some(answer), Some(under_way)) = (answer, line.under_way) {
            let now = Instant::now();
            line.wire.inbox.clear();
            line.under_way = None;
            self.count(&answer, under_way, now);
            if answer.closes {
                self.tally.reconnects += 1;
                self.lines[index] = self.connect(index)?;
            }
            match self.load.pace {
                Pace::Closed if more => self.send(index, now)?,
                Pace::Closed => {}
                Pace::Open { .. } => self.idle.push_back(index),
            }
            return Ok(());
        }
        match received {
            Ok(Received::Open) => Ok(()),
            Ok(Received::Closed) | Err(_) => self.replace(index, more),
        }
    }

    /// Replaces a closed connection; the request on it is lost.
    fn replace(&mut self, index: usize, more: bool) -> Result<()> {
        let lost = self.lines[index].under_way.is_some();
        self.lines[index] = self.connect(index)?;
        self.tally.reconnects += 1;
        if lost {
            self.tally.lost += 1;
            match self.load.pace {
                Pace::Closed if more => self.send(index, Instant::now())?,
                Pace::Closed => {}
                Pace::Open { .. } => self.idle.push_back(index),
            }
        }
        Ok(())
    }

    fn count(&mut self, answer: &Answer, under_way: UnderWay, now: Instant) {
        self.tally.answer(answer, under_way.expected);
        let Some((begin, end)) = self.window else { return };
        if now < end {
            self.tally.completed += 1;
        }
        let belongs = match self.load.pace {
            Pace::Closed => now < end,
            Pace::Open { .. } => (begin..end).contains(&under_way.due),
        };
        if belongs {
            self.tally.record(now - under_way.due);
        }
    }
}
