//! The HTTP/1.1 parsing of the tests: heads as raw lines, and the three kinds of body framing.

use std::io::{self, Read};
use std::net::TcpStream;

/// A head as received, up to and including the empty line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head(pub Vec<u8>);

/// How the bytes after a head are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    None,
}

impl Head {
    /// Reads a head byte by byte, so that nothing after it is consumed. `None`: closed before the first byte.
    pub fn read(from: &mut impl Read, mut seen: impl FnMut(usize)) -> io::Result<Option<Self>> {
        let mut head = Vec::with_capacity(512);
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if from.read(&mut byte)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            seen(1);
            head.push(byte[0]);
        }
        Ok(Some(Self(head)))
    }

    /// The same in fewer reads, for a socket: looks at what has arrived, and reads no more than the head.
    pub fn peek(from: &mut TcpStream, mut seen: impl FnMut(usize)) -> io::Result<Option<Self>> {
        const END: &[u8] = b"\r\n\r\n";
        let mut head = Vec::with_capacity(512);
        let mut arrived = [0; 2048];
        loop {
            let count = from.peek(&mut arrived)?;
            if count == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let before = head.len();
            head.extend_from_slice(&arrived[..count]);
            let searched = before.saturating_sub(END.len() - 1);
            let end = head[searched..].windows(END.len()).position(|bytes| bytes == END);
            if let Some(at) = end {
                head.truncate(searched + at + END.len());
            }
            let taken = head.len() - before;
            from.read_exact(&mut arrived[..taken])?;
            seen(taken);
            if end.is_some() {
                return Ok(Some(Self(head)));
            }
        }
    }

    /// The lines without their ends; the first is the request or status line.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        text.trim_end_matches("\r\n").split("\r\n").map(str::to_owned).collect()
    }

    /// Names and values in their order and case.
    pub fn headers(&self) -> Vec<(String, String)> {
        let lines = self.lines();
        lines
            .iter()
            .skip(1)
            .map(|line| line.split_once(':').unwrap_or((line, "")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
            return Framing::Chunked;
        }
        self.header("content-length").and_then(|length| length.parse().ok()).map_or(Framing::None, Framing::Length)
    }
}

/// Reads a chunked body to its end and returns its contents.
pub fn read_chunked(from: &mut impl Read, mut seen: impl FnMut(usize)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(from, &mut seen)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(size, 16).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "chunk size"))?;
        if size == 0 {
            while !line(from, &mut seen)?.is_empty() {}
            return Ok(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(&mut body[start..])?;
        seen(size);
        line(from, &mut seen)?;
    }
}

fn line(from: &mut impl Read, seen: &mut impl FnMut(usize)) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        from.read_exact(&mut byte)?;
        seen(1);
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}
