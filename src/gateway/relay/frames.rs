//! The frames that one end of a WebSocket connection sends (RFC 6455 5), as they lie in memory. tungstenite reads their
//! headers; what its stream would check is checked here, since the frames go on as the bytes that came.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

/// Bytes that the frame headers of one message may have. With the message's own limit this bounds the number of its
/// fragments, even of empty ones (threats.md WS-08).
const OVERHEAD: usize = 16 * 1024;

/// Most bytes in the payload of a control frame (RFC 6455 5.5).
const MAX_CONTROL: u64 = 125;

/// Reads frames one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    /// Whether they come from a client: its frames are masked, a server's are not.
    masked: bool,
    /// Most bytes of a message.
    limit: usize,
    /// The message of which not all parts have come.
    fragments: Option<Box<Fragments>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A close was read.
    Closed,
    /// What follows cannot be read as frames.
    Faulty,
}

/// The parts of a fragmented message that have come.
#[derive(Debug)]
struct Fragments {
    is_text: bool,
    payload: Vec<u8>,
    /// How much of a text is known to be UTF-8.
    valid: usize,
    /// Bytes of its frames.
    on_the_wire: usize,
}

/// What is at the beginning of some bytes. `A`: what was answered to a whole message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<A> {
    /// No whole frame: it has at least this many bytes.
    Incomplete(usize),
    /// A frame of so many bytes.
    Frame(usize, Content<A>),
}

/// What a frame is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<A> {
    /// A whole message, or a ping or pong.
    Whole(A),
    /// A part of a fragmented message, but not the last. It is kept.
    Part,
    /// The last part of a message, and the whole of that.
    LastPart(Message, A),
    /// A close. Its code may be sent.
    Close(Option<CloseFrame>),
}

impl Frames {
    /// The frames of a client, if they are `masked`, or of a server, whose messages have up to `limit` bytes.
    pub(super) const fn new(masked: bool, limit: usize) -> Self {
        Self { masked, limit, fragments: None, state: State::Open }
    }

    /// Whether a close was read.
    pub(super) fn are_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether what follows cannot be read as frames.
    pub(super) fn are_faulty(&self) -> bool {
        self.state == State::Faulty
    }

    /// Reads the frame at the beginning of `bytes`. If it completes a message, `look` sees that; a text as such. `bytes`
    /// are the same afterwards.
    ///
    /// # Errors
    /// It violates the protocol or the limits ([`close_code`]).
    pub(super) fn read<A>(
        &mut self,
        bytes: &mut [u8],
        look: impl FnOnce(Option<&str>) -> A,
    ) -> Result<Found<A>, Error> {
        let found = self.read_frame(bytes, look);
        match &found {
            Ok(Found::Frame(_, Content::Close(_))) => self.state = State::Closed,
            Err(_) => self.state = State::Faulty,
            Ok(_) => {}
        }
        found
    }

    /// Reads the frames at the beginning of `bytes` and discards them. Returns how many bytes are left.
    pub(super) fn discard(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while self.state == State::Open {
            match self.read(&mut bytes[done..], |_message| ()) {
                Ok(Found::Frame(length, _)) => done += length,
                Ok(Found::Incomplete(_)) => return bytes.len() - done,
                Err(_faulty) => {}
            }
        }
        0
    }

    fn read_frame<A>(&mut self, bytes: &mut [u8], look: impl FnOnce(Option<&str>) -> A) -> Result<Found<A>, Error> {
        let mut cursor = Cursor::new(&*bytes);
        let Some((header, size)) = FrameHeader::parse(&mut cursor)? else {
            return Ok(Found::Incomplete(bytes.len() + 1));
        };
        let start = cursor.position() as usize;
        let length = start + self.check(&header, start, size)?;
        let Some(payload) = bytes.get_mut(start..length) else { return Ok(Found::Incomplete(length)) };
        let content = match header.opcode {
            OpCode::Control(Control::Close) => Content::Close(close_frame(&unmasked(payload, header.mask))?),
            OpCode::Data(Data::Text) if header.is_final => Content::Whole(look_at_text(payload, header.mask, look)?),
            OpCode::Data(kind) if kind == Data::Continue || !header.is_final => {
                let fragments = self.fragments.get_or_insert_with(|| Box::new(Fragments::new(kind)));
                fragments.add(&unmasked(payload, header.mask), length)?;
                match self.fragments.take_if(|_| header.is_final) {
                    None => Content::Part,
                    Some(fragments) => {
                        let message = fragments.join()?;
                        let answer = look(if let Message::Text(text) = &message { Some(text) } else { None });
                        Content::LastPart(message, answer)
                    }
                }
            }
            OpCode::Data(_) | OpCode::Control(_) => Content::Whole(look(None)),
        };
        Ok(Found::Frame(length, content))
    }

    /// Checks a header of `start` bytes, before the payload of `size` bytes is there. Returns the size.
    fn check(&self, header: &FrameHeader, start: usize, size: u64) -> Result<usize, Error> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        within(size, self.limit)?;
        if header.mask.is_some() != self.masked {
            let [unmasked, masked] = [ProtocolError::UnmaskedFrameFromClient, ProtocolError::MaskedFrameFromServer];
            return Err(if self.masked { unmasked } else { masked }.into());
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        match (header.opcode, &self.fragments) {
            (OpCode::Control(_), _) if !header.is_final => Err(ProtocolError::FragmentedControlFrame.into()),
            (OpCode::Control(_), _) if size as u64 > MAX_CONTROL => Err(ProtocolError::ControlFrameTooBig.into()),
            (OpCode::Data(Data::Continue), None) => Err(ProtocolError::UnexpectedContinueFrame.into()),
            (OpCode::Data(Data::Continue), Some(fragments)) => {
                within(fragments.payload.len() + size, self.limit)?;
                within(fragments.on_the_wire + start + size, self.limit + OVERHEAD)?;
                Ok(size)
            }
            (OpCode::Data(kind), Some(_)) => Err(ProtocolError::ExpectedFragment(kind).into()),
            (OpCode::Control(_) | OpCode::Data(_), _) => Ok(size),
        }
    }
}

impl Fragments {
    fn new(kind: Data) -> Self {
        Self { is_text: kind == Data::Text, payload: Vec::new(), valid: 0, on_the_wire: 0 }
    }

    /// Adds the payload of a frame of `length` bytes. A text that cannot become UTF-8 any more is refused at once.
    fn add(&mut self, payload: &[u8], length: usize) -> Result<(), Error> {
        self.payload.extend_from_slice(payload);
        self.on_the_wire += length;
        if self.is_text {
            match std::str::from_utf8(&self.payload[self.valid..]) {
                Ok(_) => self.valid = self.payload.len(),
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(error) => return Err(Error::Utf8(error.to_string())),
            }
        }
        Ok(())
    }

    fn join(self) -> Result<Message, Error> {
        if self.is_text {
            text(self.payload.into()).map(Message::Text)
        } else {
            Ok(Message::Binary(self.payload.into()))
        }
    }
}

/// The code with which an end is closed that has sent something at which `error` occurred.
pub(super) const fn close_code(error: &Error) -> CloseCode {
    match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    }
}

/// What a close says, with a code that may be sent.
fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, Error> {
    match *payload {
        [] => Ok(None),
        [_] => Err(ProtocolError::InvalidCloseSequence.into()),
        [high, low, ref reason @ ..] => {
            let (code, reason) =
                (CloseCode::from(u16::from_be_bytes([high, low])), text(Bytes::copy_from_slice(reason))?);
            Ok(Some(if code.is_allowed() {
                CloseFrame { code, reason }
            } else {
                CloseFrame { code: CloseCode::Protocol, reason: Utf8Bytes::from_static("Protocol violation") }
            }))
        }
    }
}

fn text(bytes: Bytes) -> Result<Utf8Bytes, Error> {
    Utf8Bytes::try_from(bytes).map_err(|error| Error::Utf8(error.to_string()))
}

/// Has `look` see the text that `payload` is, which is masked again afterwards.
fn look_at_text<A>(
    payload: &mut [u8],
    mask: Option<[u8; 4]>,
    look: impl FnOnce(Option<&str>) -> A,
) -> Result<A, Error> {
    apply(mask, payload);
    let answer = match std::str::from_utf8(payload) {
        Ok(text) => Ok(look(Some(text))),
        Err(error) => Err(Error::Utf8(error.to_string())),
    };
    apply(mask, payload);
    answer
}

fn unmasked(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut copy = payload.to_vec();
    apply(mask, &mut copy);
    copy
}

/// Masks or unmasks (RFC 6455 5.3).
fn apply(mask: Option<[u8; 4]>, payload: &mut [u8]) {
    let Some([a, b, c, d]) = mask else { return };
    let mask = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(mask);
    let (words, rest) = payload.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

fn within(size: usize, max_size: usize) -> Result<(), Error> {
    if size > max_size { Err(CapacityError::MessageTooLong { size, max_size }.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;

    const LIMIT: usize = 4096;
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn header(opcode: OpCode, is_final: bool, masked: bool) -> FrameHeader {
        FrameHeader { is_final, opcode, mask: masked.then_some(MASK), ..FrameHeader::default() }
    }

    /// As tungstenite writes it.
    fn bytes(header: FrameHeader, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame::from_payload(header, Bytes::copy_from_slice(payload)).format(&mut bytes).unwrap();
        bytes
    }

    fn frame(opcode: impl Into<OpCode>, payload: &[u8], masked: bool) -> Vec<u8> {
        bytes(header(opcode.into(), true, masked), payload)
    }

    fn part(kind: Data, payload: &[u8], masked: bool) -> Vec<u8> {
        bytes(header(OpCode::Data(kind), false, masked), payload)
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const CONTINUE: OpCode = OpCode::Data(Data::Continue);
    const BINARY: OpCode = OpCode::Data(Data::Binary);
    const PING: OpCode = OpCode::Control(Control::Ping);
    const CLOSE: OpCode = OpCode::Control(Control::Close);

    /// Reads all frames of `pieces`, which come one after the other. Returns what was found, and the bytes of frames that
    /// go on as they came.
    fn read_all(frames: &mut Frames, pieces: &[&[u8]]) -> Result<(Vec<String>, Vec<u8>), Error> {
        let (mut carried, mut found, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            carried.extend_from_slice(piece);
            loop {
                let before = carried.clone();
                let read = frames.read(&mut carried, |text| text.map(ToOwned::to_owned))?;
                assert_eq!(before, carried, "the bytes stay as they came");
                let (length, content) = match read {
                    Found::Incomplete(needed) => {
                        assert!(needed > carried.len());
                        break;
                    }
                    Found::Frame(length, content) => (length, content),
                };
                let frame: Vec<u8> = carried.drain(..length).collect();
                found.push(match content {
                    Content::Whole(text) => {
                        passed.extend(frame);
                        text.unwrap_or_else(|| "other".to_owned())
                    }
                    Content::Part => continue,
                    Content::LastPart(message, text) => {
                        assert_eq!(text.as_deref(), message.is_text().then(|| message.to_text().unwrap()));
                        format!("joined {message}")
                    }
                    Content::Close(close) => format!("close {close:?}"),
                });
            }
        }
        assert!(carried.is_empty());
        Ok((found, passed))
    }

    #[test]
    fn messages_are_the_same_wherever_they_are_cut() {
        for masked in [false, true] {
            let whole = [
                frame(TEXT, "Grüße 😀".as_bytes(), masked),
                frame(TEXT, b"", masked),
                frame(BINARY, &[0xff; 130], masked),
                part(Data::Text, "a😀".as_bytes().split_at(3).0, masked),
                frame(PING, b"p", masked),
                part(Data::Continue, "a😀".as_bytes().split_at(3).1, masked),
                frame(CONTINUE, b"", masked),
                part(Data::Binary, &[0xff], masked),
                frame(CONTINUE, &[0xfe], masked),
                frame(CLOSE, b"\x03\xe8bye", masked),
            ];
            let passed: Vec<u8> = [0, 1, 2, 4].iter().flat_map(|at| whole[*at].clone()).collect();
            let stream = whole.concat();
            let expected = ["Grüße 😀", "", "other", "other", "joined a😀", "joined Binary Data<length=2>"];
            for at in 0..=stream.len() {
                let (before, after) = stream.split_at(at);
                let mut frames = Frames::new(masked, LIMIT);
                let (found, as_they_came) = read_all(&mut frames, &[before, after]).unwrap();
                assert_eq!(found[..6], expected, "cut at {at}");
                assert!(found[6].starts_with("close") && found[6].contains("bye"), "{}", found[6]);
                assert_eq!(as_they_came, passed);
                assert!(frames.are_closed() && frames.fragments.is_none());
            }
            let each: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(read_all(&mut Frames::new(masked, LIMIT), &each).unwrap().0[..6], expected);
        }
    }

    #[test]
    fn every_violation_has_its_code() {
        let reserved = |bit: u8| {
            let mut bytes = frame(TEXT, b"x", true);
            bytes[0] |= bit;
            bytes
        };
        let parts = |parts: &[Vec<u8>]| parts.concat();
        let huge = |size: u64| [&[0x81, 0xff][..], &size.to_be_bytes(), &MASK].concat();
        let wrong = [
            (CloseCode::Protocol, frame(TEXT, b"unmasked", false)),
            (CloseCode::Protocol, reserved(0x40)),
            (CloseCode::Protocol, reserved(0x20)),
            (CloseCode::Protocol, reserved(0x10)),
            (CloseCode::Protocol, frame(3_u8, b"", true)),
            (CloseCode::Protocol, frame(11_u8, b"", true)),
            (CloseCode::Protocol, bytes(header(PING, false, true), b"half")),
            (CloseCode::Protocol, frame(PING, &[0; 126], true)),
            (CloseCode::Protocol, frame(CONTINUE, b"of nothing", true)),
            (CloseCode::Protocol, parts(&[part(Data::Text, b"a", true), frame(TEXT, b"b", true)])),
            (CloseCode::Protocol, frame(CLOSE, b"1", true)),
            (CloseCode::Invalid, frame(CLOSE, b"\x03\xe8\xff", true)),
            (CloseCode::Invalid, frame(TEXT, &[0xff], true)),
            (CloseCode::Invalid, frame(TEXT, &"😀".as_bytes()[..2], true)),
            (CloseCode::Invalid, part(Data::Text, b"a\xff", true)),
            (CloseCode::Invalid, parts(&[part(Data::Text, &[0xf0], true), part(Data::Continue, b"a", true)])),
            (CloseCode::Invalid, parts(&[part(Data::Text, &[0xf0], true), frame(CONTINUE, b"", true)])),
            (CloseCode::Size, huge(LIMIT as u64 + 1)),
            (CloseCode::Size, huge(u64::MAX)),
            (CloseCode::Size, parts(&[part(Data::Binary, &[0; LIMIT], true), part(Data::Continue, b"x", true)])),
            (CloseCode::Size, parts(&vec![part(Data::Continue, b"", true); (LIMIT + OVERHEAD) / 6 + 1])),
        ];
        for (number, (code, mut bytes)) in wrong.into_iter().enumerate() {
            if bytes.len() > LIMIT + OVERHEAD {
                bytes.splice(0..0, part(Data::Text, b"", true));
            }
            let mut frames = Frames::new(true, LIMIT);
            let error = read_all(&mut frames, &[&bytes]).unwrap_err();
            assert_eq!(close_code(&error), code, "{number}: {error}");
            assert!(frames.are_faulty());
        }
        let masked = read_all(&mut Frames::new(false, LIMIT), &[&frame(TEXT, b"masked", true)]).unwrap_err();
        assert_eq!(close_code(&masked), CloseCode::Protocol);
    }

    #[test]
    fn a_close_has_a_code_that_may_be_sent() {
        let read = |payload: &[u8]| match Frames::new(true, LIMIT).read(&mut frame(CLOSE, payload, true), |_| ()) {
            Ok(Found::Frame(_, Content::Close(close))) => close.map(|it| (u16::from(it.code), it.reason.to_string())),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\x10\x68again"), Some((4200, "again".to_owned())));
        assert_eq!(read(b"\x03\xed"), Some((1002, "Protocol violation".to_owned())), "1005 is never sent");
    }

    #[test]
    fn a_message_of_the_limit_passes_whole_or_in_parts() {
        let whole = frame(TEXT, &[b'x'; LIMIT], true);
        let half = [b'x'; LIMIT / 2];
        let halves = [part(Data::Text, &half, true), frame(CONTINUE, &half, true)].concat();
        for bytes in [whole, halves] {
            assert_eq!(read_all(&mut Frames::new(true, LIMIT), &[&bytes]).unwrap().0.len(), 1);
        }
    }

    #[test]
    fn frames_are_discarded_up_to_a_close_or_a_fault() {
        let mut frames = Frames::new(true, LIMIT);
        let mut bytes = [frame(TEXT, b"x", true), frame(PING, b"", true), vec![0x81]].concat();
        assert_eq!((frames.discard(&mut bytes), frames.are_closed()), (1, false));
        assert_eq!((frames.discard(&mut frame(CLOSE, b"", true)), frames.are_closed()), (0, true));
        let mut frames = Frames::new(true, LIMIT);
        assert_eq!((frames.discard(&mut [0x83, 0x80, 0, 0, 0, 0, 7]), frames.are_faulty()), (0, true));
    }
}
