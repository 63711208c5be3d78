//! Reads files: that of the configuration, and those of secrets, certificates and keys.

use std::fs::{self, File, Metadata};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use super::unit::format_size;

/// On which occasion a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ReadMode {
    /// For the first time.
    #[default]
    Start,
    /// While usher runs with an earlier configuration.
    Reload,
    /// For a command that queries a running usher. Certificates and keys are not read: the command does not need them,
    /// and they may be in the course of a renewal.
    Lookup,
    /// For a check without the files that the configuration names: no certificate, key, authority, token or secret is
    /// read.
    SkipFiles,
}

impl ReadMode {
    /// Whether certificates, keys and authorities are read.
    pub(super) fn reads_certificates(self) -> bool {
        matches!(self, Self::Start | Self::Reload)
    }
}

/// The content of the file, of `max` bytes at most, and its metadata. A file that is not regular (a pipe, say) can be
/// read only once: a second read would find it empty, or never end. So a reload refuses it.
///
/// # Errors
/// The system's error, or a sentence with the remedy.
pub(super) fn read(path: &Path, max: usize, read_mode: ReadMode) -> Result<(Vec<u8>, Metadata)> {
    if read_mode == ReadMode::Reload && !fs::metadata(path)?.is_file() {
        let message = "it is no regular file (but a pipe, say), which is read once, at the start; restart usher to have it read again";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut content = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {}", format_size(max))));
    }
    Ok((content, metadata))
}
