//! Files that are read: that of the configuration, and those of secrets, certificates and keys.

use std::fs::{self, File, Metadata};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use super::unit::format_size;

/// When a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ReadMode {
    /// For the first time.
    #[default]
    Start,
    /// While usher runs with what it read before.
    Reload,
    /// For a command that asks a running usher something. Certificates and keys are left alone: it has no use for them,
    /// and they may be about to be renewed.
    Lookup,
}

/// The content of the file, of `max` bytes at most, and what the system tells of it. What is no regular file (a pipe,
/// say) gives its content only once: a second reading would find it empty, or wait for it without end. So it is refused
/// at a reload.
///
/// # Errors
/// What the system said, or a sentence with the cure.
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
