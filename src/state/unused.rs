//! What is found at the start instead of a memory that can be used.

use std::io;
use std::time::Duration;

/// Why the memory of the process before is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unused {
    /// The directory has no file.
    #[error("there is no state file: the process before did not end cleanly, or there was none")]
    NoFile,
    /// Another process holds the directory.
    #[error("another process holds the state directory")]
    Locked,
    /// A process has served without the lock since the file was begun.
    #[error("another process has served beside the one that wrote the state file")]
    Beside,
    /// The directory cannot be opened or locked.
    #[error("the state directory cannot be opened and locked: {0}")]
    Directory(#[source] io::Error),
    /// The file cannot be read.
    #[error("the state file cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file cannot be removed, so that it could be used twice.
    #[error("the state file cannot be removed, so it might be used twice: {0}")]
    NotRemoved(#[source] io::Error),
    /// The file does not begin as a state file does.
    #[error("the state file is cut, or no state file of usher")]
    NotState,
    /// The file has another format.
    #[error("the state file has format {0}, and this usher reads another one")]
    OtherFormat(u32),
    /// The checksum does not match.
    #[error("the state file is damaged: its checksum does not match")]
    Damaged,
    /// The present boot is not known.
    #[error("the id of this boot cannot be read, so the state file's age is not known: {0}")]
    BootUnknown(#[source] io::Error),
    /// The file is from before the machine's last boot.
    #[error("the state file is from before this boot of the machine")]
    OtherBoot,
    /// The file is older than `state.max_age`.
    #[error("the state file is {} s old, and state.max_age is {} s", age.as_secs(), max_age.as_secs())]
    TooOld {
        /// Its age by the clock that says more.
        age: Duration,
        /// `state.max_age`.
        max_age: Duration,
    },
    /// The file is newer than now.
    #[error("the state file is from the future: a clock was set back")]
    FromTheFuture,
    /// The file is about another server.
    #[error("the state file is of another upstream.url")]
    OtherUpstream,
}

impl Unused {
    /// The same in one word, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoFile => "no_file",
            Self::Locked => "locked",
            Self::Beside => "beside",
            Self::Directory(_) => "directory",
            Self::Unreadable(_) => "unreadable",
            Self::NotRemoved(_) => "not_removed",
            Self::NotState => "no_state_file",
            Self::OtherFormat(_) => "other_format",
            Self::Damaged => "damaged",
            Self::BootUnknown(_) => "boot_unknown",
            Self::OtherBoot => "other_boot",
            Self::TooOld { .. } => "too_old",
            Self::FromTheFuture => "from_the_future",
            Self::OtherUpstream => "other_upstream",
        }
    }
}
