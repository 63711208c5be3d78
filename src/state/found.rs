//! A state file that is whole and can be used, and its restoration.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::boot::Reading;
use super::format::{CHECKSUM_LENGTH, Decoder, HEADER_LENGTH, Header, PIECE};
use super::unused::Unused;
use crate::assignment::{Assignments, KeptChannel};
use crate::clock::Moment;

/// The memory of an earlier process: whole, recent, and used by nobody else, since its file is removed.
#[derive(Debug)]
pub struct Found {
    file: File,
    /// The length of the content before the checksum.
    length: u64,
    header: Header,
    age: Duration,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Channels that are known or in doubt.
    pub channels: u64,
    /// Those of them that are in doubt.
    pub in_doubt: u64,
    /// Channels left out for want of room (`assignments.max_channels`).
    pub without_room: u64,
    /// Rules whose channels are left out, since no rule of the same name means the same now.
    pub rules_left_out: usize,
    /// Apps with a rule that is new or changed: they start in doubt.
    pub apps_in_doubt: usize,
}

impl Found {
    /// Checks a file against the present time and upstream, then its checksum.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn check(mut file: File, now: &Reading, upstream: &[u8; 32], max_age: Duration) -> Result<Self, Unused> {
        let mut header = [0; HEADER_LENGTH];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Unused::NotState,
            _ => Unused::Unreadable(error),
        })?;
        let header = Header::decode(&header)?;
        let then = &header.reading;
        if then.boot != now.boot {
            return Err(Unused::OtherBoot);
        }
        let age = |now: Duration, then: Duration| now.checked_sub(then).ok_or(Unused::FromTheFuture);
        // The file has whole milliseconds, rounded down.
        let age = age(now.since_boot, then.since_boot)?.max(age(now.wall, then.wall)?);
        if age >= max_age {
            return Err(Unused::TooOld { age, max_age });
        }
        if header.upstream != *upstream {
            return Err(Unused::OtherUpstream);
        }
        let length = file.metadata().map_err(Unused::Unreadable)?.len();
        let length = length.checked_sub(CHECKSUM_LENGTH as u64).ok_or(Unused::Damaged)?;
        if !has_checksum(&mut file, length).map_err(Unused::Unreadable)? {
            return Err(Unused::Damaged);
        }
        Ok(Self { file, length, age, header })
    }

    /// The present moment of the clock that the file's moments are of: [`crate::clock::Clock::resume`] continues it.
    #[must_use]
    pub fn moment(&self, now: &Reading) -> Moment {
        // A millisecond more, since the file's time was rounded down: a channel never appears younger than it is.
        let passed = now.since_boot.saturating_sub(self.header.reading.since_boot);
        self.header.moment.after(passed).after(Duration::from_millis(1))
    }

    /// How old the file was when it was found.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// Puts the channels into the configured memories. Called before anything is claimed.
    ///
    /// # Errors
    /// If reading fails. Then nothing is known, and the doubt after the start is about every app.
    pub fn restore(self, assignments: &Assignments) -> io::Result<Restored> {
        let restored = self.read(assignments);
        if restored.is_err() {
            assignments.forget_all();
        }
        restored
    }

    fn read(mut self, assignments: &Assignments) -> io::Result<Restored> {
        self.file.seek(SeekFrom::Start(HEADER_LENGTH as u64))?;
        let content = self.file.take(self.length.saturating_sub(HEADER_LENGTH as u64));
        let mut decoder = Decoder::new(BufReader::with_capacity(PIECE, content));
        let (apps, rules) = decoder.begin()?;
        let mut restored = Restored::default();
        for memory in assignments.successors(&rules) {
            restored.rules_left_out += usize::from(memory.is_none());
            while let Some(channel) = decoder.channel()? {
                let Some(memory) = &memory else { continue };
                let seen = channel.seen.min(self.header.moment);
                if memory.restore(KeptChannel { seen, ..channel }) {
                    restored.channels += 1;
                    restored.in_doubt += u64::from(!channel.doubt_left.is_zero());
                } else {
                    restored.without_room += 1;
                }
            }
        }
        restored.apps_in_doubt = assignments.continue_from(&apps, &rules);
        Ok(restored)
    }
}

/// Whether the first `length` bytes of the file have the checksum that follows them, and nothing follows that.
fn has_checksum(file: &mut File, length: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut checksum = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        file.read_exact(&mut piece[..wanted])?;
        checksum.update(&piece[..wanted]);
        left -= wanted as u64;
    }
    let mut written = [0; CHECKSUM_LENGTH];
    file.read_exact(&mut written)?;
    let computed: [u8; CHECKSUM_LENGTH] = checksum.finalize().into();
    Ok(computed == written)
}
