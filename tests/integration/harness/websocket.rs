//! WebSocket on raw sockets: the test controls both ends of a relayed connection, frame by frame. Independent of
//! usher's code.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::message::Head;
use super::{BOUND, Client, Monitor, Usher};

/// The key of RFC 6455 1.3, and the proof that belongs to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's handshake for the app of the tests, as a browser sends it.
pub fn handshake() -> Handshake {
    let headers = [
        ("Host", "usher.test"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Origin", "https://hotel.example"),
        ("User-Agent", "Browser/1.0"),
        ("Cookie", "guest=1"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let target = "/app/278d425bdf160c739803?protocol=7&client=js&version=8.6.0&flash=false".to_owned();
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Handshake { line: format!("GET {target} HTTP/1.1"), headers }
}

/// A handshake to be written.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Handshake {
    /// With this header instead of all headers of its name.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// With one more header.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}\r\n", self.line).into_bytes()
    }
}

/// A frame. `rsv1` is the bit that compression would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub last: bool,
    pub rsv1: bool,
    pub opcode: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message, or a control frame.
    pub fn new(opcode: u8, payload: &[u8]) -> Self {
        Self { last: true, rsv1: false, opcode, masked: false, payload: payload.to_vec() }
    }

    pub fn text(text: &str) -> Self {
        Self::new(TEXT, text.as_bytes())
    }

    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// To be followed by a continuation.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.last = false;
        self
    }

    /// The bytes as a client has to send them.
    #[must_use]
    pub fn masked(mut self) -> Self {
        self.masked = true;
        self
    }

    /// The code of a close frame.
    pub fn code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().copied().map(u16::from_be_bytes);
        code.filter(|_| self.opcode == CLOSE)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.last) << 7 | u8::from(self.rsv1) << 6 | self.opcode];
        let mask_bit = u8::from(self.masked) << 7;
        match self.payload.len() {
            length @ 0..=125 => bytes.push(mask_bit | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if self.masked {
            let mask = [0x37, 0xfa, 0x21, 0x3d];
            bytes.extend(mask);
            bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// Reads one frame.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut start = [0; 2];
        from.read_exact(&mut start)?;
        let masked = start[1] & 0x80 != 0;
        let length = match start[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(read_array(from)?)),
            127 => u64::from_be_bytes(read_array(from)?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = if masked { read_array(from)? } else { [0; 4] };
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        from.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Self { last: start[0] & 0x80 != 0, rsv1: start[0] & 0x40 != 0, opcode: start[0] & 0xf, masked, payload })
    }
}

fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// One end of a WebSocket connection.
#[derive(Debug)]
pub struct End {
    pub stream: TcpStream,
    /// Whether our frames are masked.
    client: bool,
}

impl End {
    /// The client's end of a connection that usher has just switched: reads the 101.
    pub fn switched(mut client: Client) -> Self {
        let response = client.response();
        assert_eq!(response.status, 101, "{response:?}");
        Self::of(client)
    }

    /// The same once the 101 was read.
    pub fn of(client: Client) -> Self {
        Self { stream: client.into_stream(), client: true }
    }

    /// Writes a frame as this end has to.
    pub fn send(&mut self, frame: &Frame) -> &mut Self {
        self.try_send(frame).unwrap();
        self
    }

    /// The same to a peer that may have closed.
    pub fn try_send(&mut self, frame: &Frame) -> io::Result<()> {
        let frame = if self.client { frame.clone().masked() } else { frame.clone() };
        self.stream.write_all(&frame.bytes())
    }

    /// Writes bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.stream.write_all(bytes).unwrap();
        self
    }

    /// The next frame, which has to be masked as required of its sender; it is returned unmasked.
    pub fn read(&mut self) -> Frame {
        self.try_read().unwrap_or_else(|error| panic!("no frame: {error}"))
    }

    pub fn try_read(&mut self) -> io::Result<Frame> {
        let frame = Frame::read(&mut self.stream)?;
        assert_eq!(frame.masked, !self.client, "{frame:?}");
        Ok(Frame { masked: false, ..frame })
    }

    /// Whether unread bytes have arrived.
    pub fn has_unread(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        peeked.is_ok()
    }

    /// Waits until something has arrived, and resets the connection without having read it.
    pub fn reset(self) {
        self.stream.peek(&mut [0]).unwrap();
    }

    /// Reads until the peer closes the connection; what comes before is dropped.
    pub fn wait_closed(&mut self) {
        while self.try_read().is_ok() {}
        assert!(matches!(self.stream.read(&mut [0]), Ok(0) | Err(_)));
    }

    /// Ends the TCP connection without a close frame.
    pub fn hang_up(self) {
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}

/// A handshake that arrived at the fake upstream. The test answers it.
#[derive(Debug)]
pub struct Arrival {
    pub head: Head,
    pub stream: TcpStream,
}

impl Arrival {
    pub fn accept(self) -> End {
        self.accept_with("")
    }

    /// Accepts the handshake, with more header lines (each ending in CRLF).
    pub fn accept_with(self, more: &str) -> End {
        let agreed = self.agreement(more);
        self.answer(&agreed)
    }

    /// Accepts the handshake and sends a frame in the same write.
    pub fn accept_and(self, frame: &Frame) -> End {
        let agreed = [self.agreement(""), frame.bytes()].concat();
        self.answer(&agreed)
    }

    /// Answers with these bytes.
    pub fn answer(mut self, bytes: &[u8]) -> End {
        self.stream.write_all(bytes).unwrap();
        End { stream: self.stream, client: false }
    }

    fn agreement(&self, more: &str) -> Vec<u8> {
        let key = self.head.header("sec-websocket-key").unwrap();
        let proof = derive_accept_key(key.as_bytes());
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        format!("{head}{proof}\r\n{more}\r\n").into_bytes()
    }
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Arrival>,
    count: usize,
    ended: bool,
}

/// A fake WebSocket upstream: records handshakes and hands each connection to the test. Ends with its handle.
#[derive(Debug)]
pub struct Far {
    address: SocketAddr,
    state: Arc<Monitor<State>>,
}

impl Far {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&far.state);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if state.lock().ended {
                    return;
                }
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    stream.set_read_timeout(Some(BOUND)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    if let Ok(Some(head)) = Head::read(&mut stream, |_| {}) {
                        state.change(|state| {
                            state.count += 1;
                            state.arrivals.push(Arrival { head, stream });
                        });
                    }
                });
            }
        });
        far
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Both ends of a connection that `usher` relays here after this handshake: the client's and this server's.
    pub fn relayed(&self, usher: &Usher, handshake: &Handshake) -> (End, End) {
        let mut client = usher.client();
        client.send(&handshake.bytes());
        let upstream = self.next().accept();
        (End::switched(client), upstream)
    }

    /// The configuration of `[upstream]` that forwards WebSocket connections here.
    pub fn key(&self) -> String {
        format!("websocket_url = \"ws://{}\"\n", self.address)
    }

    /// The next handshake; waits for it.
    pub fn next(&self) -> Arrival {
        let next =
            self.state.wait(|state| if state.arrivals.is_empty() { None } else { Some(state.arrivals.remove(0)) });
        next.unwrap_or_else(|| panic!("no handshake arrived"))
    }

    /// Handshakes so far.
    pub fn count(&self) -> usize {
        self.state.lock().count
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.state.change(|state| state.ended = true);
        let _woken = TcpStream::connect(self.address);
    }
}
