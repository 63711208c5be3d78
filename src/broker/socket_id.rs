//! Socket ids: two numbers with a dot between them (`pusher-protocol.md` 4.1).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names one connection for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SocketId {
    first: u32,
    second: u32,
}

impl SocketId {
    /// The socket id in `text`; `None` if it is not in the form in which they are given out here, so that it names
    /// nobody.
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

/// Whether `text` has the form of any server's socket id, as every server library checks.
pub(super) fn is_socket_id(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(first, second)| digits(first) && digits(second))
}

/// Gives out socket ids. The first number counts, so that no two connections are alike; the second is not to be
/// guessed, and the count begins anywhere, so that an auth token of an earlier run of the process fits no new
/// connection.
#[derive(Debug)]
pub(super) struct SocketIds {
    next: AtomicU32,
    noise: RandomState,
}

impl SocketIds {
    pub(super) fn new() -> Self {
        let noise = RandomState::new();
        Self { next: AtomicU32::new(low_half(noise.hash_one("the first"))), noise }
    }

    pub(super) fn next(&self) -> SocketId {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        SocketId { first, second: low_half(self.noise.hash_one(first)) }
    }
}

const fn low_half(hash: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
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
    fn other_servers_ids_are_valid_and_name_nobody() {
        assert!(is_socket_id("123.99999999999999999"));
        for text in ["123.99999999999999999", "01.1", "1.+1"] {
            assert_eq!(SocketId::parse(text), None, "{text}");
        }
        for text in ["", ".", "1", "1.", ".1", "1.1.1", "1.a", " 1.1", "1.1\n", "-1.1"] {
            assert!(!is_socket_id(text), "{text}");
        }
    }
}
