//! The id of a trigger: in every answer to a trigger, in its record, in the log.

use std::fmt;
use std::str::FromStr;

/// The id of one trigger. Its text is `<process>-<number>`, e.g. `5f3a9c01-42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId {
    pub(super) process: Process,
    /// Triggers of a process are numbered from 1 on as they come.
    pub(super) number: u64,
}

/// Distinguishes one process from another: eight lower-case hexadecimal digits, as text, for they are written with every
/// answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process([u8; 8]);

impl Process {
    /// The process with this number, which is chosen at random when it starts.
    pub(super) fn new(number: u32) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let shift = |index| 28 - 4 * u32::try_from(index).unwrap_or_default();
        Self(std::array::from_fn(|index| DIGITS[(number >> shift(index) & 15) as usize]))
    }
}

impl TriggerId {
    /// The number within its process.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Appends the text to `to`.
    pub fn write(self, to: &mut Vec<u8>) {
        let [a, b, c, d, e, f, g, h] = self.process.0;
        to.extend_from_slice(&[a, b, c, d, e, f, g, h, b'-']);
        to.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process.0.escape_ascii(), self.number)
    }
}

/// The text is no id of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a trigger looks like 5f3a9c01-42")]
pub struct InvalidId;

impl FromStr for TriggerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (process, number) = text.split_once('-').filter(|(process, _)| process.len() == 8).ok_or(InvalidId)?;
        let process = u32::from_str_radix(process, 16).map_err(|_invalid| InvalidId)?;
        Ok(Self { process: Process::new(process), number: number.parse().map_err(|_invalid| InvalidId)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_text_are_the_same_and_are_read_back() {
        for (process, number, expected) in [
            (0, 1, "00000000-1"),
            (u32::MAX, u64::MAX, "ffffffff-18446744073709551615"),
            (0x5f3a_9c01, 42, "5f3a9c01-42"),
        ] {
            let id = TriggerId { process: Process::new(process), number };
            let mut text = Vec::new();
            id.write(&mut text);
            assert_eq!((&*text, &*id.to_string()), (expected.as_bytes(), expected));
            assert_eq!(expected.parse(), Ok(id));
        }
        for wrong in ["", "-", "5f3a9c01", "5f3a9c01-", "5f3a9c0-1", "5f3a9c01-x", "5f3a9c0x-1", "5f3a9c01--1"] {
            assert_eq!(wrong.parse::<TriggerId>(), Err(InvalidId), "{wrong}");
        }
    }
}
