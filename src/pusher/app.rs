//! An app: its id, its key and its secret.

use std::fmt;

/// The credentials of one Pusher app.
#[derive(Debug, Clone)]
pub struct App {
    id: Box<str>,
    key: Box<str>,
    secret: Secret,
}

impl App {
    /// An app with these credentials.
    #[must_use]
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self { id: id.into(), key: key.into(), secret: Secret(secret.into()) }
    }

    /// The app id as it stands in paths.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key (`auth_key`).
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The secret.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// An app's secret. Its `Debug` masks it.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}
