//! Secrets: from the file, a variable or a file of their own, never from a flag, and never in a message.

use std::fs::File;
use std::io::Read;

use super::problem::{Origin, variable};
use super::section::{Refused, Section};

/// A secret is a line; what is longer is another file.
const MAX_SECRET: u64 = 4096;

impl Section<'_> {
    /// Takes the secret `key`, or the content of the file that `file_key` names, without the white space around it; and says which of the two.
    ///
    /// # Errors
    /// If it is given and cannot be used.
    pub(super) fn secret(&mut self, key: &'static str, file_key: &'static str) -> Result<Option<(&'static str, String)>, Refused> {
        let given = self.either(key, file_key)?;
        // Refused even where the variable or another flag wins: it has been seen by now.
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
            self.problem(given, "The secret has a line break or another control character in it. Write it as one line.");
            return Err(Refused);
        }
        Ok(Some((given, secret)))
    }

    fn read_secret(&mut self, key: &str, path: &str) -> Result<String, Refused> {
        let (content, exposed) = match read(path) {
            Ok(read) => read,
            Err(error) => {
                self.problem(key, format!("The file \"{}\" cannot be read as a secret: {error}.", path.escape_debug()));
                return Err(Refused);
            }
        };
        if exposed {
            let warning = format!("`{}`: every user of this machine can read \"{}\"; run `chmod o-rwx` on it.", self.key(key), path.escape_debug());
            self.report.warnings.push(warning);
        }
        let secret = content.trim();
        if secret.is_empty() {
            self.problem(key, format!("The file \"{}\" is empty. Write the secret into it.", path.escape_debug()));
            return Err(Refused);
        }
        Ok(secret.to_owned())
    }
}

/// The content of the file, and whether everybody may read it.
fn read(path: &str) -> std::io::Result<(String, bool)> {
    let file = File::open(path)?;
    let exposed = is_world_readable(&file.metadata()?);
    let mut content = String::new();
    // Not UTF-8 is an error whose text does not hold the content.
    file.take(MAX_SECRET + 1).read_to_string(&mut content)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than 4KiB"));
    }
    Ok((content, exposed))
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
