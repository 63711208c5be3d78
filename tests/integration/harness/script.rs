//! The actions of the fake upstream on a request.

use std::sync::Arc;

use super::Monitor;

/// The state of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Kept for the next request.
    Keep,
    /// Closed in order (FIN).
    Close,
    /// Reset (RST).
    Reset,
}

/// One step of the script. Created by the functions below; only the fake uses the fields.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads the request, writes these bytes (possibly none), and then treats the connection like this.
    Answer(Vec<u8>, After),
    /// Resets the connection when the request's first byte has arrived, without reading. Only by
    /// [`super::Fake::script`].
    ResetUnread,
    /// Reads the request, waits for the gate, and continues with the other step.
    Hold(Gate, Box<Step>),
    /// Reads the request, writes the first bytes, waits for the gate, writes the second; the connection is kept.
    Parts(Vec<u8>, Gate, Vec<u8>),
    /// Reads the request and sends nothing until usher closes the connection.
    Silence,
}

impl Step {
    /// `200 {}`, as Pusher answers; the connection is kept.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A complete answer of this status with the body `{}`; the connection is kept.
    pub fn status(status: u16) -> Self {
        Self::answer(&format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ))
    }

    /// A complete answer of this status, with these header lines (each ended by CRLF) and this body; the connection is
    /// kept.
    pub fn says(status: u16, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status} Scripted\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        Self::Answer([head.as_bytes(), body].concat(), After::Keep)
    }

    /// These bytes; the connection is kept.
    pub fn answer(bytes: &str) -> Self {
        Self::Answer(bytes.as_bytes().to_vec(), After::Keep)
    }

    /// These bytes; then the connection is closed.
    pub fn answer_and_close(bytes: &str) -> Self {
        Self::Answer(bytes.as_bytes().to_vec(), After::Close)
    }

    /// `200 {}` whose body ends with the connection, without any length.
    pub fn close_delimited() -> Self {
        Self::answer_and_close("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
    }

    /// `200 {}` in two chunks; the connection is kept.
    pub fn chunked() -> Self {
        Self::answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    }

    /// `200 {}` as Reverb sends it: HTTP/1.0, closed.
    pub fn http10() -> Self {
        Self::answer_and_close("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
    }

    /// Reads the request, closes without a byte.
    pub fn close() -> Self {
        Self::Answer(Vec::new(), After::Close)
    }

    /// Reads the request (but for its last byte, which is recorded all the same), resets without a byte.
    pub fn reset() -> Self {
        Self::Answer(Vec::new(), After::Reset)
    }

    /// The first line of an answer and half a header, then a reset.
    pub fn reset_in_head() -> Self {
        Self::Answer(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), After::Reset)
    }

    /// A `200` whose body ends half-way.
    pub fn cut() -> Self {
        Self::answer_and_close("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"half\":")
    }

    /// A chunked `200` whose last chunk never comes.
    pub fn cut_chunked() -> Self {
        Self::answer_and_close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    }

    /// Waits for `gate`, then does `step`.
    pub fn hold(gate: &Gate, step: Self) -> Self {
        Self::Hold(gate.clone(), Box::new(step))
    }

    /// Never answers.
    pub fn silence() -> Self {
        Self::Silence
    }

    /// Whether the connection will be reset after the request: then its last byte has to stay unread, which is what
    /// makes the kernel send RST.
    pub fn resets(&self) -> bool {
        match self {
            Self::Answer(_, After::Reset) => true,
            Self::Hold(_, step) => step.resets(),
            Self::Answer(..) | Self::Parts(..) | Self::ResetUnread | Self::Silence => false,
        }
    }
}

/// Delays steps until the test opens it.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Monitor<bool>>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        self.0.change(|open| *open = true);
    }

    /// Waits until the gate is open, [`super::BOUND`] at most.
    pub fn wait(&self) {
        self.0.wait(|open| open.then_some(()));
    }
}
