//! The shape of the requests that go the fast way: what every Pusher library sends for a trigger. Anything else, and whatever could be read in two ways,
//! is of another shape, which is no fault: hyper reads it then.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::gateway::Limits;
use crate::gateway::target::exact;
use crate::gateway::trigger::is_json;
use crate::pusher::Endpoint;
use crate::upstream::is_hop_by_hop;

/// Most header lines; libraries send about ten.
const MAX_HEADERS: usize = 24;
/// Most bytes of header lines that are kept to be recognised.
const MAX_KNOWN: usize = 2 * 1024;
/// Most bytes of a body.
const MAX_BODY: usize = 32 * 1024;

/// What has come of a request.
#[derive(Debug)]
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
    /// Path and query.
    pub(super) target: &'b str,
    pub(super) path: &'b str,
    /// Without the question mark.
    pub(super) query: &'b str,
    pub(super) lines: Lines<'b>,
    pub(super) body: &'b [u8],
    /// Bytes of the whole request.
    pub(super) length: usize,
}

/// The header lines, each with its end of line, and the empty line behind them; and where in them stands what does not go on as it is.
#[derive(Debug)]
pub(super) struct Lines<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) marks: Marks,
}

/// Places in header lines, counted from the first one on.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    /// The value of `Host`: upstream has another name.
    pub(super) host: Range<usize>,
    /// The value of `Content-Length`.
    pub(super) content_length: Range<usize>,
    /// The line `Connection: keep-alive`, if there is one: it belongs to the connection.
    pub(super) connection: Option<Range<usize>>,
}

/// The header lines that a connection sent last. A caller sends the same ones with every request, but for the length of the body; so they are compared and
/// not read again.
#[derive(Debug, Default)]
pub(super) struct Known {
    bytes: Vec<u8>,
    marks: Option<Marks>,
}

/// Looks at what has come on a connection on which such header lines are `known`.
pub(super) fn see<'b>(bytes: &'b [u8], limits: &Limits, known: &mut Known) -> Seen<'b> {
    let Some(target) = target(bytes).filter(|target| target.len() <= limits.max_target) else { return Seen::Other };
    let (path, query) = match memchr::memchr(b'?', target.as_bytes()) {
        Some(place) => (&target[..place], &target[place + 1..]),
        None => (target, ""),
    };
    let Some((app, endpoint)) = exact(path) else { return Seen::Other };
    let start = METHOD.len() + target.len() + VERSION.len();
    let rest = &bytes[start..];
    let Some((lines, body)) = known.recognise(rest).or_else(|| known.read(rest, limits)) else { return Seen::Other };
    let head = start + lines.bytes.len();
    if head > limits.max_head || body > MAX_BODY.min(limits.max_body) {
        return Seen::Other;
    }
    let length = head + body;
    match bytes.get(head..length) {
        None => Seen::Partly(length),
        Some(body) => Seen::Trigger(Trigger { app, endpoint, target, path, query, lines, body, length }),
    }
}

const METHOD: &[u8] = b"POST ";
const VERSION: &[u8] = b" HTTP/1.1\r\n";

/// The target in the request line of a POST.
fn target(bytes: &[u8]) -> Option<&str> {
    let rest = bytes.strip_prefix(METHOD)?;
    let length = memchr::memchr(b' ', rest)?;
    let target = str::from_utf8(&rest[..length]).ok()?;
    (rest[length..].starts_with(VERSION) && is_plain(target)).then_some(target)
}

/// Whether every byte of a target means the same to everybody. All of them are looked at, so that the compiler can look at many at once.
fn is_plain(target: &str) -> bool {
    target.bytes().fold(true, |plain, byte| {
        plain
            & (byte.is_ascii_lowercase()
                | matches!(byte, b'+'..=b':')
                | matches!(byte, b'?'..=b'Z')
                | matches!(byte, b'%' | b'&' | b'=' | b'_' | b'~'))
    })
}

/// What a header line is to the way through.
enum Role {
    /// It goes on as it is.
    Plain,
    Host,
    ContentLength,
    ContentType,
    Connection,
    /// It asks for something that is not of this shape.
    Other,
}

impl Known {
    /// The lines at the beginning of `bytes` and the length of the body that they tell, if these are the known ones, but for that length.
    fn recognise<'b>(&self, bytes: &'b [u8]) -> Option<(Lines<'b>, usize)> {
        let marks = self.marks.as_ref()?;
        let Range { start, end } = marks.content_length;
        let bytes = bytes.get(..self.bytes.len())?;
        if bytes[..start] != self.bytes[..start] || bytes[end..] != self.bytes[end..] {
            return None;
        }
        Some((Lines { bytes, marks: marks.clone() }, decimal(&bytes[start..end])?))
    }

    /// Reads the lines at the beginning of `bytes`, and knows them from here on; `None` if they are of another shape.
    #[cold]
    #[inline(never)]
    fn read<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Option<(Lines<'b>, usize)> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let Ok(Status::Complete((length, headers))) = httparse::parse_headers(bytes, &mut headers) else { return None };
        if headers.len() > limits.max_headers {
            return None;
        }
        let bytes = &bytes[..length];
        let (marks, body) = Marks::read(bytes, headers)?;
        // Longer ones are read each time: no connection keeps more than this.
        if length <= MAX_KNOWN {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.marks = Some(marks.clone());
        }
        Some((Lines { bytes, marks }, body))
    }
}

impl Marks {
    /// The marks of `lines`, which end with an empty one, and the length of the body that they tell; `None` if they are of another shape.
    fn read(lines: &[u8], headers: &[Header<'_>]) -> Option<(Self, usize)> {
        let (mut host, mut content_length, mut connection, mut is_typed) = (None, None, None, false);
        // Taken by a lenient reader, or text that is no ASCII: not of this shape.
        let mut is_odd = !lines.is_ascii() || !lines.ends_with(b"\r\n\r\n");
        let mut next = headers.iter().skip(1);
        for Header { name, value } in headers {
            let line = place_of(lines, name.as_bytes());
            is_odd |= line > 0 && lines.get(line.wrapping_sub(2)..line) != Some(b"\r\n");
            let following = next.next();
            let place = || {
                let start = place_of(lines, value);
                start..start + value.len()
            };
            match Role::of(name) {
                Role::Plain => {}
                Role::Host if host.is_none() && is_host(value) => host = Some(place()),
                Role::ContentLength if content_length.is_none() => content_length = Some((place(), decimal(value)?)),
                Role::ContentType if !is_typed && is_json(value) => is_typed = true,
                Role::Connection if connection.is_none() && value.eq_ignore_ascii_case(b"keep-alive") => {
                    let end = following.map_or(lines.len() - 2, |next| place_of(lines, next.name.as_bytes()));
                    connection = Some(line..end);
                }
                Role::Host | Role::ContentLength | Role::ContentType | Role::Connection | Role::Other => return None,
            }
        }
        let (host, (content_length, body)) = (host?, content_length?);
        (is_typed && !is_odd).then_some((Self { host, content_length, connection }, body))
    }
}

/// Where `part` begins in `whole`, of which it was lent.
fn place_of(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

impl Role {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Self::Host,
            10 if is("connection") => Self::Connection,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") => Self::ContentLength,
            16 if is("content-encoding") => Self::Other,
            _ if is_hop_by_hop(name) => Self::Other,
            _ => Self::Plain,
        }
    }
}

/// A name or an IPv4 address, perhaps with a port.
fn is_host(value: &[u8]) -> bool {
    let colon = value.iter().position(|byte| *byte == b':');
    let (name, port) = colon.map_or((value, &b"80"[..]), |colon| (&value[..colon], &value[colon + 1..]));
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && !port.is_empty()
        && port.iter().all(u8::is_ascii_digit)
}

/// A length as it has to be written: digits without a leading zero, and not 0, for a trigger has a body.
fn decimal(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}
