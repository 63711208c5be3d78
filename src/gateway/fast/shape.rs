//! The shape of the requests that go the fast way: what every Pusher library sends for a trigger. Anything else, and whatever could be read in two ways,
//! is of another shape, which is no fault: hyper reads it then.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Request, Status};

use crate::gateway::Limits;
use crate::gateway::target::exact;
use crate::gateway::trigger::is_json;
use crate::pusher::Endpoint;
use crate::upstream::is_hop_by_hop;

/// Most header lines; libraries send about ten.
const MAX_HEADERS: usize = 24;
/// Most bytes of a body.
const MAX_BODY: usize = 32 * 1024;

/// What has come of a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is looked at where it is made, and never kept")]
pub(super) enum Seen<'b> {
    /// A trigger's head, and all of its body.
    Trigger(Trigger<'b>),
    /// A trigger's head. The whole request has so many bytes.
    Partly(usize),
    /// Something else, or too little to tell.
    Other,
}

/// A trigger as received.
#[derive(Debug)]
pub(super) struct Trigger<'b> {
    /// The id of the app in the path.
    pub(super) app: &'b str,
    pub(super) endpoint: Endpoint,
    pub(super) path: &'b str,
    /// Without the question mark.
    pub(super) query: &'b str,
    /// The header lines that go on.
    pub(super) headers: Headers<'b>,
    pub(super) body: &'b [u8],
    /// Bytes of the whole request.
    pub(super) length: usize,
}

/// Header lines in their order.
#[derive(Debug)]
pub(super) struct Headers<'b> {
    lines: [Line<'b>; MAX_HEADERS],
    count: usize,
}

/// A header line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line<'b> {
    pub(super) name: &'b str,
    pub(super) value: &'b [u8],
    pub(super) role: Role,
}

/// What a header line is to the way through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// It goes on as it is.
    #[default]
    Plain,
    /// It names the server: upstream has another name.
    Host,
    /// It tells the length of the body.
    Length,
    /// It tells the type of the body.
    Type,
    /// It belongs to the connection.
    Connection,
    /// It asks for something that is not of this shape.
    Other,
}

/// Looks at what has come.
pub(super) fn see<'b>(bytes: &'b [u8], limits: &Limits) -> Seen<'b> {
    let mut uninit = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = Request::new(&mut []);
    let Ok(Status::Complete(head)) = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, &mut uninit) else {
        return Seen::Other;
    };
    let (Some("POST"), Some(1), Some(target)) = (request.method, request.version, request.path) else { return Seen::Other };
    if head > limits.max_head || target.len() > limits.max_target || !target.bytes().all(is_plain) {
        return Seen::Other;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some((app, endpoint)) = exact(path) else { return Seen::Other };
    let Some((headers, body)) = Headers::read(request.headers) else { return Seen::Other };
    if body > MAX_BODY.min(limits.max_body) {
        return Seen::Other;
    }
    let length = head + body;
    match bytes.get(head..length) {
        None => Seen::Partly(length),
        Some(body) => Seen::Trigger(Trigger { app, endpoint, path, query, headers, body, length }),
    }
}

/// Whether a byte of a target means the same to everybody: looked up, since there are some 200 of them in each request.
const fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            plain[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'/' | b'?' | b'&' | b'=' | b'-' | b'.' | b'_' | b'~' | b'%' | b',' | b':' | b'@' | b'+');
            byte += 1;
        }
        plain
    };
    PLAIN[byte as usize]
}

impl<'b> Headers<'b> {
    /// The lines, and the length of the body that they tell; `None` if they are of another shape.
    fn read(headers: &[Header<'b>]) -> Option<(Self, usize)> {
        let mut read = Self { lines: [Line::default(); MAX_HEADERS], count: 0 };
        let (mut host, mut length, mut content) = (false, None, false);
        for &Header { name, value } in headers {
            if !value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) || read.lines().iter().any(|line| line.name.eq_ignore_ascii_case(name)) {
                return None;
            }
            let role = Role::of(name);
            match role {
                Role::Plain => {}
                Role::Host => host = is_host(value),
                Role::Length => length = Some(decimal(value)?),
                Role::Type => content = is_json(value),
                Role::Connection if value.eq_ignore_ascii_case(b"keep-alive") => {}
                Role::Connection | Role::Other => return None,
            }
            read.lines[read.count] = Line { name, value, role };
            read.count += 1;
        }
        (host && content).then_some((read, length?))
    }

    /// The lines in their order.
    pub(super) fn lines(&self) -> &[Line<'b>] {
        &self.lines[..self.count]
    }
}

impl Role {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Self::Host,
            10 if is("connection") => Self::Connection,
            12 if is("content-type") => Self::Type,
            14 if is("content-length") => Self::Length,
            16 if is("content-encoding") => Self::Other,
            _ if is_hop_by_hop(name) => Self::Other,
            _ => Self::Plain,
        }
    }
}

/// A name or an IPv4 address, perhaps with a port.
fn is_host(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b':');
    let name = parts.next().unwrap_or_default();
    let port = parts.next().is_none_or(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) && port && parts.next().is_none()
}

/// A length as it has to be written: digits without a leading zero, and not 0, for a trigger has a body.
fn decimal(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}
