//! The id of a trigger: in every answer to a trigger, in its record, in the log.

use std::fmt;
use std::str::FromStr;

/// The id of one trigger. Its text is `<process>-<number>`, e.g. `5f3a9c01-42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId {
    /// Distinguishes one process from another; chosen at random when it starts.
    pub(super) process: u32,
    /// Triggers of a process are numbered from 1 on as they come.
    pub(super) number: u64,
}

impl TriggerId {
    /// The number within its process.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Appends the text to `to`.
    pub fn write(self, to: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        to.extend(
            self.process
                .to_be_bytes()
                .iter()
                .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        );
        to.push(b'-');
        to.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.process, self.number)
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
        Ok(Self { process, number: number.parse().map_err(|_invalid| InvalidId)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_text_are_the_same_and_are_read_back() {
        for id in [TriggerId { process: 0, number: 1 }, TriggerId { process: u32::MAX, number: u64::MAX }] {
            let mut text = Vec::new();
            id.write(&mut text);
            assert_eq!(text, id.to_string().as_bytes());
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "-", "5f3a9c01", "5f3a9c01-", "5f3a9c0-1", "5f3a9c01-x", "5f3a9c0x-1", "5f3a9c01--1"] {
            assert_eq!(wrong.parse::<TriggerId>(), Err(InvalidId), "{wrong}");
        }
    }
}
