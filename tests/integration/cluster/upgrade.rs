//! Makes of a usher one of the next version, whose records have another encoding: a TCP proxy between it and the store.
//! What the process writes carries the next version, and what it reads of that is given to it as its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use usher::cluster::VERSION;

use crate::harness::redis;

/// The version that is pretended.
pub const LATER: u8 = VERSION + 1;

/// The number of the scripts' arguments that all of them have; the last one is the version (`common.lua`).
const COMMON: usize = 10;

/// The number of those that `swap.lua` has besides, before those of the channels: four of each, the second one the value.
const SWAPPED: usize = 4;

/// The number of parts of an answer of `read.lua`; the last one is the channels.
const READ: usize = 11;

/// The proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Upgrade {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Upgrade {
    /// Listens on a free port, for connections to `target`.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_over) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        thread::spawn(move || {
            for near in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                near.and_then(|near| connect(near, target)).unwrap();
            }
        });
        Self { address, is_over }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, which ends. The connections end with the ushers.
        let _woken = TcpStream::connect(self.address);
    }
}

fn connect(near: TcpStream, target: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_end, far_end) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || pass(near, far_end, request));
    thread::spawn(move || pass(far, near_end, answer));
    Ok(())
}

/// Passes whole values on until their side ends, each with these changes.
fn pass(mut from: TcpStream, mut to: TcpStream, changes: fn(&[u8], &Value) -> Changes) {
    let (mut held, mut bytes) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        held.extend_from_slice(&bytes[..read]);
        let mut end = 0;
        while let Some((value, next)) = Value::read(&held, end) {
            for (at, byte) in changes(&held, &value) {
                held[at] = byte;
            }
            end = next;
        }
        if to.write_all(&held[..end]).is_err() {
            break;
        }
        held.drain(..end);
    }
    let _closed = to.shutdown(Shutdown::Both);
}

/// Places of bytes, and what they become.
type Changes = Vec<(usize, u8)>;

/// A value of Redis' protocol (RESP2), by where it is.
#[derive(Debug)]
enum Value {
    /// A string's bytes.
    Text(Range<usize>),
    List(Vec<Self>),
    Other,
}

impl Value {
    /// The value that begins at `at`, and its end; `None`: it has not come whole.
    fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
        let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let (head, next) = (std::str::from_utf8(&bytes[at..at + line]).unwrap(), at + line + 2);
        let count = || usize::try_from(head[1..].parse::<i64>().unwrap()).ok();
        match head.as_bytes()[0] {
            b'$' => {
                let Some(length) = count() else { return Some((Self::Other, next)) };
                (bytes.len() >= next + length + 2).then_some((Self::Text(next..next + length), next + length + 2))
            }
            b'*' => {
                let (mut values, mut end) = (Vec::new(), next);
                for _ in 0..count().unwrap_or_default() {
                    let (value, next) = Self::read(bytes, end)?;
                    values.push(value);
                    end = next;
                }
                Some((Self::List(values), end))
            }
            _ => Some((Self::Other, next)),
        }
    }

    fn text<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        if let Self::Text(range) = self { &bytes[range.clone()] } else { b"" }
    }

    /// Where its first byte is, if that is `byte`.
    fn first(&self, bytes: &[u8], byte: u8) -> Option<usize> {
        let Self::Text(range) = self else { return None };
        (self.text(bytes).first() == Some(&byte)).then_some(range.start)
    }
}

/// The version that the process writes, in a call of a script.
fn request(bytes: &[u8], value: &Value) -> Changes {
    let Value::List(words) = value else { return Vec::new() };
    if words.len() < 3 || !matches!(words[0].text(bytes), b"EVALSHA" | b"EVAL") {
        return Vec::new();
    }
    let keys: usize = std::str::from_utf8(words[2].text(bytes)).unwrap().parse().unwrap();
    let (channels, arguments) = (keys - 1, &words[3 + keys..]);
    let version = arguments[COMMON - 1].first(bytes, b'0' + VERSION).expect("the version");
    let mut places = vec![(version, b'0' + LATER)];
    if arguments.len() == COMMON + SWAPPED + 4 * channels {
        let values = (0..channels).map(|channel| &arguments[COMMON + SWAPPED + 4 * channel + 1]);
        places.extend(values.filter_map(|value| Some((value.first(bytes, VERSION)?, LATER))));
    }
    places
}

/// The version that the process reads, in the channels of an answer.
fn answer(bytes: &[u8], value: &Value) -> Changes {
    match value {
        Value::List(parts) if parts.len() == READ => match &parts[READ - 1] {
            Value::List(channels) => {
                channels.iter().filter_map(|channel| Some((channel.first(bytes, LATER)?, VERSION))).collect()
            }
            Value::Text(_) | Value::Other => Vec::new(),
        },
        Value::List(_) | Value::Text(_) | Value::Other => Vec::new(),
    }
}

/// Looks at the versions of all channels of a store again and again.
pub struct Versions {
    is_over: Arc<AtomicBool>,
    looking: thread::JoinHandle<(usize, Vec<String>)>,
}

impl Versions {
    pub fn watch(store: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let looking = thread::spawn(move || {
            let (mut later, mut replaced) = (std::collections::BTreeSet::new(), Vec::new());
            while !ends.load(Ordering::Relaxed) {
                let found = redis::call(store, &["EVAL", LOOK, "0"]).unwrap();
                for (key, version) in found.split_whitespace().filter_map(|word| word.rsplit_once('=')) {
                    if version == LATER.to_string() {
                        later.insert(key.to_owned());
                    } else if later.contains(key) {
                        replaced.push(format!("{key}: {version}"));
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
            (later.len(), replaced)
        });
        Self { is_over, looking }
    }

    /// How many channels were written in the later version, and which of them in an earlier one after that.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// The keys of all channels with their versions.
const LOOK: &str = "local found = {} for _, key in ipairs(redis.call('KEYS', '*}:c:*')) do \
     local value = redis.call('GET', key) \
     if value then found[#found + 1] = key .. '=' .. string.byte(value) end end \
     return table.concat(found, ' ') .. ' '";
