//! The state directory: where the memory outlives a clean stop (`state.path`).
//!
//! At the end of a drain the process that holds the directory's lock writes its memory into a file. The next process
//! takes the file only if nothing speaks against it ([`Unused`]), and removes it durably before it serves, so that no
//! memory is used twice. In reading order: `boot` the clocks, `format` the file's content, `unused` what is found
//! instead of a usable file, `directory` lock and files, `found` a usable file.

mod boot;
mod directory;
mod format;
mod found;
#[cfg(test)]
mod tests;
mod unused;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use self::directory::{Directory, Mark, STATE, UNFINISHED};
use self::format::{Encoder, Header};
use crate::assignment::{Assignments, StillInFlight};
use crate::clock::Clock;

pub use boot::Reading;
pub use found::{Found, Restored};
pub use unused::Unused;

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory; `None`: nothing outlives the process.
    pub path: Option<PathBuf>,
    /// The age from which on a file is not used.
    pub max_age: Duration,
}

/// Keeps the directory for as long as the process runs: waits for its lock, and writes the memory in the end.
#[derive(Debug)]
pub struct Keeper {
    directory: Directory,
    upstream: [u8; 32],
    standing: Mutex<Standing>,
}

/// How this process stands to the directory.
#[derive(Debug)]
enum Standing {
    /// Another process has the lock. `None`: the mark could not be left yet.
    Waiting(Option<Mark>),
    /// This process has the lock; what earlier ones left could not be removed yet.
    Uncleared,
    /// This process has the lock, and no file is there to be used.
    Clear,
}

/// What another attempt has changed.
#[derive(Debug)]
pub struct Tended {
    /// Whether this attempt got the lock.
    pub locked: bool,
    /// Why the directory is not as it has to be; `None`: it is, or only the lock is missing.
    pub error: Option<io::Error>,
    /// Whether nothing is left to do.
    pub done: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Channels that are known or in doubt.
    pub channels: u64,
    /// The file's length.
    pub bytes: u64,
}

/// Why nothing was written. No file is left that could be used.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Another process has the lock.
    #[error("another process holds the state directory")]
    Locked,
    /// Another process serves or has served meanwhile.
    #[error("another process has served beside this one")]
    Beside,
    /// Files of earlier processes could not be removed.
    #[error("what an earlier process left in the state directory could not be removed")]
    Uncleared,
    /// A forwarded request is not settled.
    #[error(transparent)]
    InFlight(#[from] StillInFlight),
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A directory that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Keeps it; `None`: it cannot be used, and nothing is written in the end.
    pub keeper: Option<Keeper>,
    /// The memory of the process before.
    pub found: Result<Found, Unused>,
    /// What keeps the directory from being as it has to be, if `found` does not say it: [`Keeper::tend`] tries again.
    pub error: Option<io::Error>,
}

impl Keeper {
    /// Opens the directory `path` and takes what is in it. `upstream`: the server whose guests the memory is about.
    /// Called before anything is forwarded.
    #[must_use]
    pub fn open(path: &Path, max_age: Duration, upstream: &str, now: &io::Result<Reading>) -> Opened {
        let unusable = |error| Opened { keeper: None, found: Err(Unused::Directory(error)), error: None };
        let (directory, locked) =
            match Directory::open(path).and_then(|directory| Ok((directory.try_lock()?, directory))) {
                Ok((locked, directory)) => (directory, locked),
                Err(error) => return unusable(error),
            };
        let upstream = Sha256::digest(upstream).into();
        let (standing, found, error) = if locked {
            let (found, standing, error) = take(&directory, max_age, &upstream, now);
            (standing, found, error)
        } else {
            let (mark, error) = directory.mark().map_or_else(|error| (None, Some(error)), |mark| (Some(mark), None));
            (Standing::Waiting(mark), Err(Unused::Locked), error)
        };
        Opened { keeper: Some(Self { directory, upstream, standing: Mutex::new(standing) }), found, error }
    }

    /// Whether another process has the lock.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(*self.standing.lock(), Standing::Waiting(_))
    }

    /// Tries again what has failed: to get the lock, to leave a mark, to remove what is left. To be repeated until
    /// nothing is left to do. It may block for as long as the disk does.
    pub fn tend(&self) -> Tended {
        let mut standing = self.standing.lock();
        let mut locked = false;
        let error = match &mut *standing {
            Standing::Clear => None,
            Standing::Uncleared => self.directory.clear().err(),
            Standing::Waiting(mark) => match self.directory.try_lock() {
                Ok(true) => {
                    locked = true;
                    // Its own mark is one without an owner then.
                    *standing = Standing::Uncleared;
                    self.directory.clear().err()
                }
                Ok(false) if mark.is_none() => self.directory.mark().map(|made| *mark = Some(made)).err(),
                Ok(false) => None,
                Err(error) => Some(error),
            },
        };
        if error.is_none() && matches!(*standing, Standing::Uncleared) {
            *standing = Standing::Clear;
        }
        Tended { locked, error, done: matches!(*standing, Standing::Clear) }
    }

    /// Writes the memory, once every request is settled and no other can come. `clock`: that of the memory.
    ///
    /// # Errors
    /// Why nothing is written.
    pub fn write(&self, assignments: &Assignments, clock: &Clock) -> Result<Written, NotWritten> {
        let standing = self.standing.lock();
        match &*standing {
            Standing::Waiting(_) => return Err(NotWritten::Locked),
            Standing::Uncleared => return Err(NotWritten::Uncleared),
            Standing::Clear if !self.directory.marks()?.is_empty() => return Err(NotWritten::Beside),
            Standing::Clear => {}
        }
        // In this order: the file appears older than it is rather than younger.
        let reading = Reading::now()?;
        let header = Header { reading, moment: clock.now(), upstream: self.upstream };
        let written = self.write_unfinished(assignments, &header).and_then(|written| {
            std::fs::rename(self.directory.file(UNFINISHED), self.directory.file(STATE))?;
            self.directory.sync()?;
            Ok(written)
        });
        if written.is_err() {
            // What is left cannot be used, or could not be written either.
            if let Err(error) = self.directory.remove_state() {
                tracing::debug!(%error, "an unfinished state file was not removed");
            }
        }
        written
    }

    fn write_unfinished(&self, assignments: &Assignments, header: &Header) -> Result<Written, NotWritten> {
        let kept = assignments.keep(header.moment)?;
        let mut encoder = Encoder::new(self.directory.create(UNFINISHED)?);
        encoder.begin(header, &kept.apps, kept.rules.iter().map(|(rule, _)| rule))?;
        let mut channels = 0;
        for (_, memory) in &kept.rules {
            channels += memory.keep(header.moment, |channel| encoder.channel(channel).map_err(NotWritten::from))?;
            encoder.end_rule()?;
        }
        let (file, bytes) = encoder.finish()?;
        file.sync_all()?;
        Ok(Written { channels, bytes })
    }
}

/// Takes the file of the process before, under the lock: whatever it is, it is removed, and what is found is used only
/// if that succeeds. Returns also what could not be removed otherwise.
fn take(
    directory: &Directory,
    max_age: Duration,
    upstream: &[u8; 32],
    now: &io::Result<Reading>,
) -> (Result<Found, Unused>, Standing, Option<io::Error>) {
    let found = look(directory, max_age, upstream, now);
    match (found, directory.clear()) {
        (found, Ok(())) => (found, Standing::Clear, None),
        (Ok(_), Err(error)) => (Err(Unused::NotRemoved(error)), Standing::Uncleared, None),
        (Err(unused), Err(error)) => (Err(unused), Standing::Uncleared, Some(error)),
    }
}

/// Opens the file of the process before and checks it.
fn look(
    directory: &Directory,
    max_age: Duration,
    upstream: &[u8; 32],
    now: &io::Result<Reading>,
) -> Result<Found, Unused> {
    if !directory.marks().map_err(Unused::Directory)?.is_empty() {
        return Err(Unused::Beside);
    }
    let path = directory.file(STATE);
    let metadata = match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Unused::NoFile),
        metadata => metadata.map_err(Unused::Unreadable)?,
    };
    // To open a pipe would block.
    if !metadata.is_file() {
        return Err(Unused::NotState);
    }
    let file = File::open(&path).map_err(Unused::Unreadable)?;
    let now = now.as_ref().map_err(|error| Unused::BootUnknown(io::Error::new(error.kind(), error.to_string())))?;
    Found::check(file, now, upstream, max_age)
}

/// Checks that this user may use `path` as a state directory, without changing anything.
///
/// # Errors
/// If it does not exist, is no directory, or cannot be read and written to.
pub fn check_directory(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    if !std::fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Ok(access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}
