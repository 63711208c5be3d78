//! The exchange on the wire: writes the case's bytes in one of two styles, and reads every response.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use crate::harness::BOUND;
use crate::harness::message::{Framing, Head, read_chunked};

use super::expect::Ending;

/// The style in which the bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// All bytes between two waits in one write.
    Whole,
    /// Byte by byte; in 2,048 pieces if it is longer than that.
    Pieces,
}

/// A step on the connection, expanded.
#[derive(Debug, Clone)]
pub enum Act {
    Write(Vec<u8>),
    Await(u16),
    HalfClose,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

/// How the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// usher closed it, with FIN or RST.
    Closed,
    /// usher answered another request on it.
    Served,
}

/// Everything that was received.
#[derive(Debug)]
pub struct Exchange {
    /// The final responses, in order.
    pub answers: Vec<Answer>,
    pub end: End,
}

/// The target of the request which shows that a connection is still served.
pub const FOLLOW_UP: &str = "/corpus/follow-up";

/// One connection to usher.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    from: BufReader<TcpStream>,
    /// The methods of the requests, since the framing of their responses depends on them.
    methods: Vec<String>,
    answers: Vec<Answer>,
    /// usher accepts no more bytes.
    refused: bool,
}

impl Wire {
    pub fn connect(address: SocketAddr, methods: Vec<String>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        stream.set_nodelay(true)?;
        Ok(Self { from: BufReader::new(stream.try_clone()?), stream, methods, answers: Vec::new(), refused: false })
    }

    /// Performs all steps, then reads `count` responses and the end of the connection.
    pub fn run(mut self, acts: &[Act], style: Style, count: usize, ending: Ending) -> Result<Exchange, String> {
        for act in acts {
            match act {
                Act::Write(bytes) => self.write(bytes, style),
                Act::HalfClose => self.half_close(),
                Act::Await(status) => match self.read_any()? {
                    Some(answer) if answer.status == *status => {}
                    other => return Err(format!("awaited {status}, got {other:?}")),
                },
            }
        }
        while self.answers.len() < count {
            match self.read_final()? {
                Some(answer) => self.answers.push(answer),
                None => return Ok(Exchange { answers: self.answers, end: End::Closed }),
            }
        }
        match ending {
            Ending::Closes => {}
            Ending::Either => self.half_close(),
            Ending::Stays => return self.follow_up(),
        }
        match self.read_final()? {
            None => Ok(Exchange { answers: self.answers, end: End::Closed }),
            Some(extra) => Err(format!("an answer too many: {extra:?}")),
        }
    }

    /// Writes as far as usher reads: after a refusal, usher need not read the remainder.
    fn write(&mut self, bytes: &[u8], style: Style) {
        let piece = match style {
            Style::Whole => bytes.len().max(1),
            Style::Pieces => bytes.len().div_ceil(2048).max(1),
        };
        for part in bytes.chunks(piece) {
            if self.refused || self.stream.write_all(part).is_err() {
                self.refused = true;
                return;
            }
            thread::yield_now();
        }
    }

    /// A closed connection has no half to close.
    fn half_close(&self) {
        let _gone = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends one more request, whose response must be the next one.
    fn follow_up(mut self) -> Result<Exchange, String> {
        self.write(format!("GET {FOLLOW_UP} HTTP/1.1\r\nHost: usher.test\r\n\r\n").as_bytes(), Style::Whole);
        match self.read_final()? {
            Some(answer) if answer.status == 200 => Ok(Exchange { answers: self.answers, end: End::Served }),
            Some(other) => Err(format!("the next request on the connection was answered by {other:?}")),
            None => Ok(Exchange { answers: self.answers, end: End::Closed }),
        }
    }

    /// The next final response; `None` at the end of the connection.
    fn read_final(&mut self) -> Result<Option<Answer>, String> {
        loop {
            match self.read_any()? {
                Some(interim) if interim.status == 100 => {}
                other => return Ok(other),
            }
        }
    }

    fn read_any(&mut self) -> Result<Option<Answer>, String> {
        let answered = self.answers.len();
        let is_head = self.methods.get(answered).is_some_and(|method| method == "HEAD");
        match read_answer(&mut self.from, is_head) {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(format!("after {answered} answers: {error}")),
        }
    }
}

fn read_answer(from: &mut BufReader<TcpStream>, is_head: bool) -> io::Result<Option<Answer>> {
    let Some(head) = Head::read(from, |_| {})? else { return Ok(None) };
    let line = head.lines().swap_remove(0);
    let status =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status: u16 =
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not a status line: {line}")))?;
    let mut body = Vec::new();
    match head.framing() {
        _ if is_head || status < 200 || status == 204 || status == 304 => {}
        Framing::Length(length) => {
            from.take(length as u64).read_to_end(&mut body)?;
            if body.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Framing::Chunked => body = read_chunked(from, |_| {})?,
        Framing::None => {
            from.read_to_end(&mut body)?;
        }
    }
    Ok(Some(Answer { status, head, body }))
}
