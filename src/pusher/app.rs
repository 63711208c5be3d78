//! An app: its id, and its pairs of a key and a secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The credentials of one Pusher app: one pair or, while they are rotated, several. Each of them is valid.
#[derive(Debug, Clone)]
pub struct App {
    id: Box<str>,
    first: KeyPair,
    others: Box<[KeyPair]>,
}

impl App {
    /// An app with one pair.
    #[must_use]
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self { id: id.into(), first: KeyPair::new(key, secret), others: Box::default() }
    }

    /// The same app with these pairs in addition.
    #[must_use]
    pub fn with_pairs(self, others: Vec<KeyPair>) -> Self {
        Self { others: others.into(), ..self }
    }

    /// The app id, as it is in paths.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first pair: usher's own clients sign with it.
    #[must_use]
    pub const fn first(&self) -> &KeyPair {
        &self.first
    }

    /// The public key of the first pair.
    #[must_use]
    pub fn key(&self) -> &str {
        self.first.key()
    }

    /// All pairs, the first one first.
    pub fn pairs(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The pair with exactly this key. A key is public: this comparison need not take constant time.
    #[must_use]
    #[inline]
    pub fn pair(&self, key: &str) -> Option<&KeyPair> {
        if *self.first.key == *key { Some(&self.first) } else { self.others.iter().find(|pair| *pair.key == *key) }
    }
}

/// A key and its secret.
#[derive(Debug, Clone)]
pub struct KeyPair {
    key: Box<str>,
    secret: Secret,
}

impl KeyPair {
    /// The pair of this key and this secret.
    #[must_use]
    pub fn new(key: &str, secret: &str) -> Self {
        Self { key: key.into(), secret: Secret::new(secret) }
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

/// An app's secret, kept only as the state of an HMAC-SHA256 with this key: each signature takes two hash blocks less,
/// and the text itself is not in memory. `Debug` masks it.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any size"))
    }

    /// Whether this is `text`. Compared in constant time.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.authenticate(b"").verify_slice(&Self::new(text).authenticate(b"").finalize().into_bytes()).is_ok()
    }

    /// A key for another purpose than signatures: the same for all who know the secret, and says nothing of it.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> [u8; 16] {
        let mac = self.authenticate(purpose.as_bytes()).finalize().into_bytes();
        *mac.first_chunk().expect("an HMAC-SHA256 has 32 bytes")
    }

    /// The HMAC-SHA256 of `message`, not finished yet: the caller compares it by `verify_slice` (constant time) or
    /// takes its bytes.
    pub(super) fn authenticate(&self, message: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(message)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_masks_the_secret() {
        let app = App::new("1001", "usher-key", "usher-secret").with_pairs(vec![KeyPair::new("next", "usher-secret")]);
        let shown = format!("{app:?} {app:#?}");
        assert!(shown.contains("MASKED"));
        assert!(shown.contains("usher-key"));
        assert!(!shown.contains("usher-secret"));
    }

    #[test]
    fn a_pair_is_found_by_its_exact_key() {
        let app = App::new("1", "old", "a").with_pairs(vec![KeyPair::new("new", "b"), KeyPair::new("newer", "c")]);
        let found = |key| app.pair(key).map(KeyPair::key);
        assert_eq!(
            ["old", "new", "newer", "ol", "", "NEW"].map(found),
            [Some("old"), Some("new"), Some("newer"), None, None, None]
        );
        assert_eq!((app.key(), app.pairs().count()), ("old", 3));
    }

    #[test]
    fn a_secret_is_its_text_alone() {
        let secret = Secret::new("usher-secret");
        assert!(secret.is("usher-secret"));
        assert!(!secret.is("usher-secret2") && !secret.is(""));
    }

    /// `pusher-protocol.md` 8.5, from pusher-http-go.
    #[test]
    fn authenticates_the_published_message() {
        let mac = Secret::new("supersecret").authenticate(b"Hello!").finalize().into_bytes();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&mac),
            "64e3f44166575febbc5de88c9476325ea7d4b3684752158d9fdb31fce34b980d"
        );
    }

    #[test]
    fn takes_a_secret_of_any_length() {
        for length in [0, 1, 64, 65, 1000] {
            let secret = "s".repeat(length);
            let mac = Secret::new(&secret).authenticate(b"m").finalize().into_bytes();
            assert_eq!(mac.len(), 32);
        }
    }
}
