//! The format of the file: a header of fixed length, the apps, the rules, the channels of each rule in the order of the
//! rules, and the SHA-256 of all that. Numbers are little-endian; a text is its length (32 bits) and its bytes; times
//! are milliseconds in 64 bits.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::boot::{BOOT_ID_LENGTH, Reading};
use super::unused::Unused;
use crate::assignment::{KeptApp, KeptChannel, KeptRule, Reach, Socket};
use crate::clock::{Moment, millis};

/// The version of the format, and of what its values mean. Another one is never read.
pub(super) const FORMAT: u32 = 2;

/// The bytes that a file begins with.
const MAGIC: [u8; 8] = *b"usherst\n";

/// The length of the header.
pub(super) const HEADER_LENGTH: usize = MAGIC.len() + 4 + BOOT_ID_LENGTH + 3 * 8 + 32;

/// The length of the checksum at the end.
pub(super) const CHECKSUM_LENGTH: usize = 32;

/// The longest text in a file: the values of a channel's context are 1 KiB at most, each.
const MAX_TEXT: usize = 16 << 20;

/// Bytes are written and read in pieces of this size.
pub(super) const PIECE: usize = 64 << 10;

/// Precedes each channel of a rule.
const CHANNEL: u8 = 1;
/// Ends the channels of a rule.
const END: u8 = 0;

/// Who has had the assignment of a channel: all.
const ALL: u8 = 0;
/// All but the connection whose two numbers follow.
const ALL_BUT: u8 = 1;
/// Somebody has subscribed since.
const NOT_ALL: u8 = 2;

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// When it was written.
    pub(super) reading: Reading,
    /// The same by the clock of the process that wrote it, whose moments the file contains.
    pub(super) moment: Moment,
    /// The SHA-256 of `upstream.url`: what guests of another server were shown is not known.
    pub(super) upstream: [u8; 32],
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { reading: Reading { boot, since_boot, wall }, moment, upstream } = self;
        let numbers = [millis(*since_boot), millis(*wall), moment.as_millis()].map(u64::to_le_bytes);
        [&MAGIC[..], &FORMAT.to_le_bytes(), boot, numbers.as_flattened(), upstream].concat()
    }

    /// Reads the header.
    ///
    /// # Errors
    /// If it is none, or of another format.
    pub(super) fn decode(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, Unused> {
        let mut rest = bytes.strip_prefix(&MAGIC).ok_or(Unused::NotState)?;
        let format = number32(&mut rest).map_err(Unused::Unreadable)?;
        if format != FORMAT {
            return Err(Unused::OtherFormat(format));
        }
        let mut fields = || -> io::Result<Self> {
            let boot = array(&mut rest)?;
            let (since_boot, wall) = (duration(&mut rest)?, duration(&mut rest)?);
            let moment = Moment::from_millis(number64(&mut rest)?);
            Ok(Self { reading: Reading { boot, since_boot, wall }, moment, upstream: array(&mut rest)? })
        };
        fields().map_err(Unused::Unreadable)
    }
}

/// Writes a file's content in pieces, and computes its checksum.
pub(super) struct Encoder<W> {
    to: W,
    piece: Vec<u8>,
    checksum: Sha256,
    written: u64,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, piece: Vec::with_capacity(PIECE), checksum: Sha256::new(), written: 0 }
    }

    /// Writes header, apps and rules.
    pub(super) fn begin<'r>(
        &mut self,
        header: &Header,
        apps: &[KeptApp],
        rules: impl ExactSizeIterator<Item = &'r KeptRule>,
    ) -> io::Result<()> {
        self.put(&header.encode())?;
        self.count(apps.len())?;
        for KeptApp { id, doubt_left } in apps {
            self.text(id)?;
            self.put(&rounded_up(*doubt_left).to_le_bytes())?;
        }
        self.count(rules.len())?;
        for KeptRule { app, rule, definition } in rules {
            self.text(app)?;
            self.text(rule)?;
            self.put(definition)?;
        }
        Ok(())
    }

    /// Writes one channel of the present rule.
    pub(super) fn channel(&mut self, channel: KeptChannel<'_>) -> io::Result<()> {
        let KeptChannel { name, shown, reach, since, seen, announced, suppressed, doubt_left } = channel;
        self.put(&[CHANNEL])?;
        self.text(name)?;
        self.text(shown)?;
        match reach {
            Reach::All => self.put(&[ALL])?,
            Reach::AllBut(socket) => {
                let (first, second) = socket.numbers();
                self.put(&[ALL_BUT])?;
                self.put([first, second].map(u64::to_le_bytes).as_flattened())?;
            }
            Reach::NotAll => self.put(&[NOT_ALL])?,
        }
        self.put([since.as_millis(), seen.as_millis()].map(u64::to_le_bytes).as_flattened())?;
        self.put([announced, suppressed].map(u32::to_le_bytes).as_flattened())?;
        self.put(&rounded_up(doubt_left).to_le_bytes())
    }

    /// Ends the present rule's channels.
    pub(super) fn end_rule(&mut self) -> io::Result<()> {
        self.put(&[END])
    }

    /// Writes the checksum. Returns where it was written to, and the number of bytes.
    pub(super) fn finish(mut self) -> io::Result<(W, u64)> {
        self.flush()?;
        let checksum: [u8; CHECKSUM_LENGTH] = self.checksum.finalize().into();
        self.to.write_all(&checksum)?;
        Ok((self.to, self.written + checksum.len() as u64))
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        let count = u32::try_from(count).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
        self.put(&count.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        if text.len() > MAX_TEXT {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.count(text.len())?;
        self.put(text.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.piece.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksum.update(&self.piece);
        self.to.write_all(&self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

/// Reads a file's content behind the header. The checksum is right, so that an error is one of reading.
pub(super) struct Decoder<R> {
    from: R,
    name: Vec<u8>,
    shown: Vec<u8>,
}

impl<R: Read> Decoder<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, name: Vec::new(), shown: Vec::new() }
    }

    /// Reads apps and rules.
    pub(super) fn begin(&mut self) -> io::Result<(Vec<KeptApp>, Vec<KeptRule>)> {
        let (mut apps, mut rules) = (Vec::new(), Vec::new());
        for _ in 0..number32(&mut self.from)? {
            let id = self.short_text()?.into();
            apps.push(KeptApp { id, doubt_left: duration(&mut self.from)? });
        }
        for _ in 0..number32(&mut self.from)? {
            let (app, rule) = (self.short_text()?.into(), self.short_text()?.into());
            rules.push(KeptRule { app, rule, definition: array(&mut self.from)? });
        }
        Ok((apps, rules))
    }

    /// Reads the next channel of the present rule; `None`: that was the last one.
    pub(super) fn channel(&mut self) -> io::Result<Option<KeptChannel<'_>>> {
        let Self { from, name, shown } = self;
        match array(from)? {
            [CHANNEL] => {}
            [END] => return Ok(None),
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        let (name, shown) = (text(from, name)?, text(from, shown)?);
        let reach = match array(from)? {
            [ALL] => Reach::All,
            [ALL_BUT] => Reach::AllBut(Socket::of((number64(from)?, number64(from)?))),
            [NOT_ALL] => Reach::NotAll,
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        let (since, seen) = (Moment::from_millis(number64(from)?), Moment::from_millis(number64(from)?));
        let (announced, suppressed) = (number32(from)?, number32(from)?);
        Ok(Some(KeptChannel { name, shown, reach, since, seen, announced, suppressed, doubt_left: duration(from)? }))
    }

    fn short_text(&mut self) -> io::Result<&str> {
        text(&mut self.from, &mut self.name)
    }
}

fn text<'b>(from: &mut impl Read, buffer: &'b mut Vec<u8>) -> io::Result<&'b str> {
    let length = usize::try_from(number32(from)?).unwrap_or(usize::MAX);
    if length > MAX_TEXT {
        return Err(ErrorKind::InvalidData.into());
    }
    buffer.resize(length, 0);
    from.read_exact(buffer)?;
    std::str::from_utf8(buffer).map_err(|_| ErrorKind::InvalidData.into())
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number32(from: &mut impl Read) -> io::Result<u32> {
    array(from).map(u32::from_le_bytes)
}

fn number64(from: &mut impl Read) -> io::Result<u64> {
    array(from).map(u64::from_le_bytes)
}

fn duration(from: &mut impl Read) -> io::Result<Duration> {
    number64(from).map(Duration::from_millis)
}

/// Whole milliseconds, so that no doubt becomes shorter.
fn rounded_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
