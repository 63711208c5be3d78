//! Decisions without a listener: `usher explain`, `usher test` and `usher replay`, each like a running usher.

mod agreement;
mod explaining;
mod replaying;
mod testing;

use std::path::{Path, PathBuf};

use crate::harness::actor::project;
use crate::harness::cli::{Cli, Finished};

/// A folder for the files of a test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file; returns its path.
    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// `config/hotel.toml`.
fn hotel() -> String {
    let path: &Path = &project("config/hotel.toml");
    path.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Finished {
    Cli::new(arguments).run()
}

/// A body of an announcement on a channel.
fn staff(channel: &str, data: &str) -> String {
    serde_json::json!({ "name": "staff-assigned", "channel": channel, "data": data }).to_string()
}
