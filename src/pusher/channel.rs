//! Channel names and what their prefixes mean.

/// The longest channel name that any client library sends (`pusher-protocol.md` 1.4).
pub(crate) const MAX_NAME: usize = 200;

/// The kind of a channel, by its prefix, as far as rules depend on it (`pusher-protocol.md` 1.4, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// Public, private or presence: an event reaches the present subscribers.
    Standard,
    /// `cache-`, `private-cache-`, `presence-cache-`: upstream replays the last event to later subscribers.
    Cache,
    /// `private-encrypted-` (also with `cache-`): `data` cannot be read without the channel's key.
    Encrypted,
}

impl ChannelKind {
    /// The kind of the channel with this name.
    ///
    /// Case is ignored, as in the .NET library (`pusher-protocol.md` 3.2): triggers on both special kinds are never
    /// dropped, which is right for servers that ignore case and for those that do not.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // For nearly all names the first byte decides.
        match name.as_bytes().first() {
            Some(b'c' | b'C') if begins_with(name, "cache-") => Self::Cache,
            Some(b'p' | b'P') if begins_with(name, "private-encrypted-") => Self::Encrypted,
            Some(b'p' | b'P') if begins_with(name, "private-cache-") || begins_with(name, "presence-cache-") => {
                Self::Cache
            }
            _ => Self::Standard,
        }
    }
}

/// Whether a name may contain each byte.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < u8::MAX {
        table[byte as usize] = is_name_byte(byte);
        byte += 1;
    }
    table
};

/// Whether `name` is 1 to 200 characters of `A-Za-z0-9_-=@,.;` (one leading `#` allowed, as in `#server-to-user-7`; it
/// counts as a character).
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let characters = name.strip_prefix('#').unwrap_or(name);
    // Nearly all names are valid: every byte is checked, without a branch for each.
    !characters.is_empty()
        && name.len() <= MAX_NAME
        && characters.bytes().fold(true, |all, byte| all & NAME_BYTES[usize::from(byte)])
}

/// Whether a channel name may contain `byte` (`pusher-protocol.md` 1.4).
pub(crate) const fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'=' | b'@' | b',' | b'.' | b';')
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_prefix() {
        for (name, kind) in [
            ("hilton-room-12-chat", ChannelKind::Standard),
            ("private-room", ChannelKind::Standard),
            ("presence-room", ChannelKind::Standard),
            ("#server-to-user-7", ChannelKind::Standard),
            ("my-cache-room", ChannelKind::Standard),
            ("cache", ChannelKind::Standard),
            ("", ChannelKind::Standard),
            ("é", ChannelKind::Standard),
            ("cache-room", ChannelKind::Cache),
            ("private-cache-room", ChannelKind::Cache),
            ("presence-cache-room", ChannelKind::Cache),
            ("Presence-CACHE-room", ChannelKind::Cache),
            ("private-encrypted-room", ChannelKind::Encrypted),
            ("private-encrypted-cache-room", ChannelKind::Encrypted),
            ("Private-Encrypted-room", ChannelKind::Encrypted),
            ("private-encrypted", ChannelKind::Standard),
            ("CACHE-room", ChannelKind::Cache),
            ("PRIVATE-cache-", ChannelKind::Cache),
            ("presence-encrypted-room", ChannelKind::Standard),
        ] {
            assert_eq!(ChannelKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn the_table_says_what_the_set_says() {
        for byte in 0..=u8::MAX {
            assert_eq!(NAME_BYTES[usize::from(byte)], is_name_byte(byte), "{byte}");
            if byte.is_ascii() {
                assert_eq!(is_valid_name(&format!("a{}", char::from(byte))), is_name_byte(byte), "{byte}");
            }
        }
    }

    #[test]
    fn names_are_of_pushers_set() {
        let longest = "a".repeat(200);
        for name in ["c", "hilton-room-12-chat", "A-Za-z0-9_-=@,.;", "#server-to-user-7", "#a", longest.as_str()] {
            assert!(is_valid_name(name), "{name}");
        }
        let (long, long_hash) = ("a".repeat(201), format!("#{longest}"));
        for name in [
            "",
            "#",
            "##a",
            "a#",
            "a b",
            "a/b",
            "a:b",
            "a\0",
            "caf\u{e9}",
            "cafe\u{301}",
            "a\n",
            long.as_str(),
            long_hash.as_str(),
        ] {
            assert!(!is_valid_name(name), "{name:?}");
        }
    }
}
