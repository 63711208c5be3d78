//! The directory: its lock, its files, and the marks of processes that serve without the lock.
//!
//! A process that finds the lock taken serves all the same, in doubt. What it forwards is news to the process that holds
//! the lock, so that one's memory must not be used later, even if the process without the lock has ended by then,
//! however it ended. Hence the mark: a file that it leaves before it serves, and keeps locked for as long as it runs. No
//! state file is written or used while there is a mark; the process that has the lock removes those whose owners are
//! gone, after the state file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::boot::Reading;

/// The file of a memory.
pub(super) const STATE: &str = "usher.state";
/// The file that becomes it once it is whole.
pub(super) const UNFINISHED: &str = "usher.state.new";
/// What the name of a mark begins with.
const MARK: &str = "usher.beside.";
/// The same of one that is not locked yet.
const UNFINISHED_MARK: &str = "usher.mark.";

/// A state directory that is open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock, if this process has it, and syncs what is created and removed.
    handle: File,
}

/// The mark of this process. Locked until it is dropped.
#[derive(Debug)]
pub(super) struct Mark {
    _locked: File,
}

impl Directory {
    /// Opens it.
    ///
    /// # Errors
    /// The system's, e.g. that it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = File::open(path)?;
        if !handle.metadata()?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Takes the exclusive lock, which lasts until the directory is dropped. Returns whether no other process has it.
    ///
    /// # Errors
    /// If it cannot be locked.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        try_lock(&self.handle)
    }

    /// The path of one of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a new, empty file for writing, which only its owner may read: it has names of people.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.file(name))
    }

    /// Makes what was created, renamed and removed durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Removes the state file, finished or not. Once it returns, that is durable. One that cannot be removed is emptied,
    /// if it can be written to.
    ///
    /// # Errors
    /// If it is still there.
    pub(super) fn remove_state(&self) -> io::Result<()> {
        let mut removed = false;
        for path in [STATE, UNFINISHED].map(|name| self.file(name)) {
            // Looked for first: on a read-only disk removing nothing is an error as well.
            let found = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found?,
            };
            if let Err(error) = std::fs::remove_file(&path) {
                if found.is_file() && found.len() > 0 {
                    empty(&path);
                }
                return Err(error);
            }
            removed = true;
        }
        if removed { self.sync() } else { Ok(()) }
    }

    /// Removes the state file, and after that the marks of processes that are gone.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.remove_state()?;
        let mut removed = false;
        // Those that are not finished go as well: their owners make new ones.
        for mark in [self.named(MARK)?, self.named(UNFINISHED_MARK)?].concat() {
            let owner = match File::open(&mark) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if try_lock(&owner)? {
                std::fs::remove_file(&mark)?;
                removed = true;
            }
        }
        if removed { self.sync() } else { Ok(()) }
    }

    /// Leaves the mark of a process that serves without the lock. Its name appears once it is locked, so that nobody
    /// takes its owner for gone.
    pub(super) fn mark(&self) -> io::Result<Mark> {
        let moment = Reading::now().map_or(0, |reading| reading.since_boot.as_nanos());
        // Two containers may have the same process ids.
        let id = format!("{}.{moment}", std::process::id());
        let unfinished = format!("{UNFINISHED_MARK}{id}");
        let file = self.create(&unfinished)?;
        if !try_lock(&file)? {
            return Err(ErrorKind::ResourceBusy.into());
        }
        std::fs::rename(self.file(&unfinished), self.file(&format!("{MARK}{id}")))?;
        self.sync()?;
        Ok(Mark { _locked: file })
    }

    /// The marks of other processes, and of those that are gone.
    pub(super) fn marks(&self) -> io::Result<Vec<PathBuf>> {
        self.named(MARK)
    }

    fn named(&self, beginning: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(beginning) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }
}

/// Empties a file that cannot be removed, so that no later start uses it. Durable when it returns, if it can be written
/// to; on a read-only disk it cannot.
fn empty(path: &Path) {
    let emptied = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(0)?;
        file.sync_all()
    });
    if let Err(error) = emptied {
        tracing::debug!(%error, "a state file that cannot be removed cannot be emptied either");
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
