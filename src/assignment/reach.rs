//! Whom announcements of an assignment have reached: an announcement may leave one connection out (`socket_id`).

use std::fmt;

use super::Renewal;

/// The length of [`Socket::to_bytes`].
pub(super) const SOCKET_LENGTH: usize = 16;

/// A connection to upstream, by its socket id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    first: u64,
    second: u64,
}

impl Socket {
    /// It in so many bytes.
    pub(super) fn to_bytes(self) -> [u8; SOCKET_LENGTH] {
        let mut bytes = [0; SOCKET_LENGTH];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..].copy_from_slice(&self.second.to_le_bytes());
        bytes
    }

    /// The connection with these [bytes](Self::to_bytes).
    pub(super) fn from_bytes(bytes: [u8; SOCKET_LENGTH]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { first: number(&bytes[..8]), second: number(&bytes[8..]) }
    }

    /// Its two numbers.
    #[must_use]
    pub const fn numbers(self) -> (u64, u64) {
        (self.first, self.second)
    }

    /// The connection whose [numbers](Self::numbers) these are.
    #[must_use]
    pub const fn of((first, second): (u64, u64)) -> Self {
        Self { first, second }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.first, self.second)
    }
}

/// Which of a channel's clients have had the last announcement of its assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Reach {
    /// All of them.
    #[default]
    All,
    /// All but this one, if it is subscribed.
    AllBut(Socket),
    /// Somebody has subscribed since, who may have had none.
    NotAll,
}

impl Reach {
    /// Whom an announcement reaches that leaves this connection out, or nobody.
    #[must_use]
    pub const fn without(left_out: Option<Socket>) -> Self {
        match left_out {
            None => Self::All,
            Some(socket) => Self::AllBut(socket),
        }
    }

    /// Whether all whom an announcement would reach that leaves `left_out` out have had it.
    #[must_use]
    pub fn covers(self, left_out: Option<Socket>) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(socket) => left_out == Some(socket),
            Self::NotAll => false,
        }
    }

    /// Why an announcement of the same assignment that leaves `left_out` out goes on; `None`: it is redundant. `is_due`:
    /// whether the last one is so old that it is announced again.
    #[must_use]
    pub fn renewal(self, left_out: Option<Socket>, is_due: bool) -> Option<Renewal> {
        match self {
            Self::NotAll => Some(Renewal::LateJoiner),
            _ if !self.covers(left_out) => Some(Renewal::LeftOut),
            _ => is_due.then_some(Renewal::Refresh),
        }
    }

    /// Whom two announcements of the same assignment have reached together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            // Who has come since may be the connection that the other one left out.
            (Self::NotAll, reach) | (reach, Self::NotAll) => reach,
            (Self::AllBut(one), Self::AllBut(other)) if one == other => Self::AllBut(one),
            _ => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn socket(second: u64) -> Socket {
        Socket::of((1, second))
    }

    #[test]
    fn a_connection_comes_back() {
        for numbers in [(0, 0), (1, 2), (u64::MAX, 7), (7, u64::MAX)] {
            let socket = Socket::of(numbers);
            assert_eq!((Socket::from_bytes(socket.to_bytes()), socket.numbers()), (socket, numbers));
            assert_eq!(socket.to_string(), format!("{}.{}", numbers.0, numbers.1));
        }
    }

    #[test]
    fn two_that_left_out_different_connections_have_reached_all() {
        let (one, other) = (Reach::AllBut(socket(1)), Reach::AllBut(socket(2)));
        assert_eq!([one.and(other), one.and(one), one.and(Reach::All)], [Reach::All, one, Reach::All]);
        assert_eq!(
            [Reach::NotAll.and(one), one.and(Reach::NotAll), Reach::NotAll.and(Reach::NotAll)],
            [one, one, Reach::NotAll]
        );
        let covers = |reach: Reach| [None, Some(socket(1)), Some(socket(2))].map(|left_out| reach.covers(left_out));
        assert_eq!(covers(Reach::All), [true; 3]);
        assert_eq!(covers(one), [false, true, false]);
        assert_eq!(covers(Reach::NotAll), [false; 3]);
    }

    proptest! {
        /// What two have reached together is what each of them has reached, and no more: nobody is counted whom both left
        /// out.
        #[test]
        fn what_is_reached_together_is_a_union(one in reach(), other in reach(), left_out in 0..4_u64) {
            let left_out = Some(left_out).filter(|number| *number > 0).map(socket);
            let both = one.and(other);
            prop_assert_eq!(both, other.and(one));
            prop_assert!(!one.covers(left_out) || both.covers(left_out));
            prop_assert!(both != Reach::All || one == Reach::All || other == Reach::All || one != other);
        }
    }

    fn reach() -> impl Strategy<Value = Reach> {
        prop_oneof![Just(Reach::All), Just(Reach::NotAll), (1..4_u64).prop_map(|number| Reach::AllBut(socket(number)))]
    }
}
