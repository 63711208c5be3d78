//! The credentials with which a command signs: an app's key, and its secret from a file or the environment, never from
//! an argument.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

/// The demo app, which usher serves without a configuration file (config/usher.toml). Its secret is public.
pub(super) const DEMO_ID: &str = "1001";
pub(super) const DEMO_KEY: &str = "usher-key";
pub(super) const DEMO_SECRET: &str = "usher-secret";

/// The variable with the secret for `usher trigger` and `usher subscribe`.
const SECRET_VARIABLE: &str = "USHER_SECRET";

/// The largest file of a secret, in bytes: a secret is one line.
const MAX_SECRET: u64 = 4096;

/// An app's key, and where its secret is.
#[derive(Debug, Args)]
pub(super) struct Credentials {
    /// The app's key.
    #[arg(long, value_name = "KEY", default_value = DEMO_KEY)]
    pub(super) key: String,
    /// A file with the app's secret; else it is taken from the variable USHER_SECRET; that of the demo app is known.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Credentials {
    /// The secret: of the file, else of the variable, else the demo app's for the demo app's key.
    ///
    /// # Errors
    /// If one was given and cannot be used.
    pub(super) fn secret(&self) -> anyhow::Result<Option<String>> {
        let given = match (&self.secret_file, std::env::var_os(SECRET_VARIABLE)) {
            (Some(path), _) => {
                Some(read_secret(path).with_context(|| format!("the secret cannot be read from {}", path.display()))?)
            }
            (None, Some(secret)) => match secret.into_string() {
                Ok(secret) => Some(secret),
                Err(_) => bail!("{SECRET_VARIABLE} is not UTF-8"),
            },
            (None, None) => None,
        };
        let given = given.map(|secret| secret.trim().to_owned()).filter(|secret| !secret.is_empty());
        ensure!(given.is_some() || self.secret_file.is_none(), "the file of the secret is empty");
        Ok(given.or_else(|| (self.key == DEMO_KEY).then(|| DEMO_SECRET.to_owned())))
    }

    /// The same as [`secret`](Self::secret), for an action that needs one.
    ///
    /// # Errors
    /// Also if there is none.
    pub(super) fn needed_secret(&self, what_for: &str) -> anyhow::Result<String> {
        let secret = self.secret()?;
        secret.with_context(|| {
            format!("{what_for} needs the secret of the app: set {SECRET_VARIABLE}, or name a file with --secret-file")
        })
    }
}

/// The content of a secret's file.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut content = String::new();
    File::open(path)?.take(MAX_SECRET + 1).read_to_string(&mut content)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than 4KiB"));
    }
    Ok(content)
}
