//! Channel names and what their prefixes mean.

/// What a channel's prefix says of it, as far as usher's rules care (`pusher-protocol.md` 1.4, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Public, private or presence: an event reaches those who listen now.
    Plain,
    /// `cache-`, `private-cache-`, `presence-cache-`: upstream replays the last event to later subscribers.
    Cache,
    /// `private-encrypted-` (also with `cache-`): `data` cannot be read without the channel's key.
    Encrypted,
}

impl Kind {
    /// The kind that `name`'s prefix announces.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let _ = name;
        todo!()
    }
}

/// Whether `name` is 1 to 200 characters of `A-Za-z0-9_-=@,.;` (one leading `#` allowed).
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let _ = name;
    todo!()
}
