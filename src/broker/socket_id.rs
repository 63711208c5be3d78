//! Socket ids: two numbers with a dot between them (`pusher-protocol.md` 4.1).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// The id of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SocketId {
    first: u32,
    second: u32,
}

impl SocketId {
    /// Parses a socket id; `None` if this server never generates such an id, so that it names no connection.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('.')?;
        let number = |digits: &str| digits.parse().ok().filter(|number: &u32| number.to_string() == digits);
        Some(Self { first: number(first)?, second: number(second)? })
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.first, self.second)
    }
}

/// Whether `text` has the form of a socket id of any server. The server libraries make the same check.
pub(super) fn is_socket_id(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(first, second)| digits(first) && digits(second))
}

/// Generates socket ids. The first number is a counter, so that ids are unique; the second is unpredictable, and the
/// counter begins at a random number, so that an auth token of an earlier run of the process is valid for no new
/// connection.
#[derive(Debug)]
pub(super) struct SocketIds {
    next: AtomicU32,
    random: RandomState,
}

impl SocketIds {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self { next: AtomicU32::new(low_half(random.hash_one("the first"))), random }
    }

    pub(super) fn next(&self) -> SocketId {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        SocketId { first, second: low_half(self.random.hash_one(first)) }
    }
}

const fn low_half(hash: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the result")]
    {
        hash as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_the_form_and_differ() {
        let (ids, others) = (SocketIds::new(), SocketIds::new());
        let (first, second) = (ids.next(), ids.next());
        assert_ne!(first, second);
        assert_ne!((first.first, first.second), (others.next().first, others.next().second));
        for id in [first, second] {
            assert!(is_socket_id(&id.to_string()));
            assert_eq!(SocketId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn ids_of_other_servers_are_valid_and_name_no_connection() {
        assert!(is_socket_id("123.99999999999999999"));
        for text in ["123.99999999999999999", "01.1", "1.+1"] {
            assert_eq!(SocketId::parse(text), None, "{text}");
        }
        for text in ["", ".", "1", "1.", ".1", "1.1.1", "1.a", " 1.1", "1.1\n", "-1.1"] {
            assert!(!is_socket_id(text), "{text}");
        }
    }
}
