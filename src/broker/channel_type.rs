//! The type of a channel, which its name determines (`pusher-protocol.md` 4.3, 6): who may join, whether it has
//! members, and whether its last event is cached.

use crate::pusher::is_valid_name;

/// The prefix of the channels that reach the connections of one signed-in user (`pusher-protocol.md` 1.2, 4.5).
const USER: &str = "#server-to-user-";

/// The longest user id in bytes, as in the server libraries.
const MAX_USER_ID: usize = 200;

/// The type of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelType {
    /// Who may join.
    pub(super) access: Access,
    /// Whether its last event of the backend is cached for later subscribers.
    pub(super) cached: bool,
}

/// Who may join a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Any client.
    Public,
    /// Clients with a token.
    Private,
    /// Clients with a token. The events are encrypted end to end and forwarded unread.
    Encrypted,
    /// Clients with a token that names the user. Subscribers see the members.
    Presence,
    /// The connections of one signed-in user. Clients do not subscribe to it.
    User,
}

impl Access {
    /// Whether a client must show a token to join.
    pub(super) const fn needs_token(self) -> bool {
        match self {
            Self::Private | Self::Encrypted | Self::Presence => true,
            Self::Public | Self::User => false,
        }
    }
}

impl ChannelType {
    /// The type of the channel `name`; `None` if the name is invalid.
    pub(super) fn of(name: &str) -> Option<Self> {
        if let Some(user) = name.strip_prefix('#') {
            // Unlike channel names, user ids may contain any character except control characters.
            let is_user = user
                .strip_prefix(&USER[1..])
                .is_some_and(|id| (1..=MAX_USER_ID).contains(&id.len()) && !id.contains(char::is_control));
            return is_user.then_some(Self { access: Access::User, cached: false });
        }
        if !is_valid_name(name) {
            return None;
        }
        let (access, rest) = if let Some(rest) = name.strip_prefix("private-encrypted-") {
            (Access::Encrypted, rest)
        } else if let Some(rest) = name.strip_prefix("private-") {
            (Access::Private, rest)
        } else if let Some(rest) = name.strip_prefix("presence-") {
            (Access::Presence, rest)
        } else {
            (Access::Public, name)
        };
        Some(Self { access, cached: rest.starts_with("cache-") })
    }

    /// Whether its subscribers are members with an identity.
    pub(super) const fn is_presence(self) -> bool {
        matches!(self.access, Access::Presence)
    }
}

/// The channel of the user `id`; `None` if the id is invalid.
pub(super) fn user_channel(id: &str) -> Option<String> {
    Some(format!("{USER}{id}")).filter(|name| ChannelType::of(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_determine_access_and_caching() {
        use Access::*;
        for (name, access, cached) in [
            ("hilton-room-12-chat", Public, false),
            ("cache-room", Public, true),
            ("private-room", Private, false),
            ("private-cache-room", Private, true),
            ("private-encrypted-room", Encrypted, false),
            ("private-encrypted-cache-room", Encrypted, true),
            ("presence-room", Presence, false),
            ("presence-cache-room", Presence, true),
            ("my-private-room", Public, false),
            ("privateroom", Public, false),
            ("#server-to-user-7", User, false),
            ("#server-to-user-auth0|é", User, false),
        ] {
            assert_eq!(ChannelType::of(name), Some(ChannelType { access, cached }), "{name}");
        }
        for name in ["", "a b", "#room", "#server-to-user-", "private-é", &"c".repeat(201)] {
            assert_eq!(ChannelType::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_user_has_a_channel() {
        assert_eq!(user_channel("7"), Some("#server-to-user-7".to_owned()));
        for id in ["", "a\n", &"7".repeat(201)] {
            assert_eq!(user_channel(id), None, "{id:?}");
        }
    }
}
