//! Secrets: read from the configuration file, a variable or a file of their own, never from a flag; no message contains
//! one.

use std::io::{Error, ErrorKind, Result as Read};
use std::path::Path;

use super::file::{self, ReadMode};
use super::problem::{Origin, code, variable};
use super::section::{Refused, Section};

/// The largest file of a secret: a secret is one line.
const MAX_SECRET: usize = 4096;

/// What is taken for the content of a file that is not read: long enough that nothing is said of its length.
const STAND_IN: &str = "the-content-of-a-file-that-is-not-read";

impl Section<'_> {
    /// Masks the recorded value of the secret `key`, if it has one.
    fn mask(&mut self, key: &str) {
        let key = self.key(key);
        self.report.mask_value(&key);
    }

    /// Takes the secret `key`, or the content of the file that `file_key` names, without the white space around it.
    /// Returns the key that is given, and the secret.
    ///
    /// # Errors
    /// If it is given and cannot be used.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
    ) -> Result<Option<(&'static str, String)>, Refused> {
        let given = self.either(key, file_key);
        self.mask(key);
        let given = given?;
        // Refused even where a variable or another flag takes precedence: process lists have shown the secret already.
        if let Origin::Flag(_) = self.report.origin(&self.key(key)) {
            let message = format!(
                "A secret is not taken from a flag, where every process list shows it. Set `{}`, or name a file in `{}`.",
                variable(&self.key(key)),
                self.key(file_key)
            );
            self.problem(key, message);
            return Err(Refused);
        }
        let Some((given, text)) = given else { return Ok(None) };
        let secret = if given == file_key { self.read_secret(file_key, &text)? } else { text };
        if secret.chars().any(char::is_control) {
            self.problem(
                given,
                "The secret has a line break or another control character in it. Write it as one line.",
            );
            return Err(Refused);
        }
        Ok(Some((given, secret)))
    }

    /// The secret in a file. Where files are skipped, a stand-in for it: such a configuration is checked and shown, and
    /// serves nobody.
    fn read_secret(&mut self, key: &str, path: &str) -> Result<String, Refused> {
        if self.report.read_mode == ReadMode::SkipFiles {
            return Ok(STAND_IN.to_owned());
        }
        let (content, exposed) = match read(path, self.report.read_mode) {
            Ok(read) => read,
            Err(error) => {
                let message = format!("The file \"{}\" cannot be read as a secret: {error}.", path.escape_debug());
                self.problem_coded(key, code::FILE, message);
                return Err(Refused);
            }
        };
        if exposed {
            let message =
                format!("`{}`: every user of this machine can read \"{}\".", self.key(key), path.escape_debug());
            self.warn(key, "readable_secret", message, "Run `chmod o-rwx` on it.");
        }
        let secret = content.trim();
        if secret.is_empty() {
            let message = format!("The file \"{}\" is empty. Write the secret into it.", path.escape_debug());
            self.problem_coded(key, code::FILE, message);
            return Err(Refused);
        }
        Ok(secret.to_owned())
    }
}

/// The content of the file, and whether every user of the machine may read it.
fn read(path: &str, read_mode: ReadMode) -> Read<(String, bool)> {
    let (content, metadata) = file::read(Path::new(path), MAX_SECRET, read_mode)?;
    // The error's value contains the content, though its text does not.
    let content = String::from_utf8(content).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok((content, is_world_readable(&metadata)))
}

#[cfg(unix)]
fn is_world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
const fn is_world_readable(_metadata: &std::fs::Metadata) -> bool {
    false
}
