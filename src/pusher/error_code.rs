//! The codes of WebSocket closes and of `pusher:error` (`pusher-protocol.md` 4.6). A code's hundreds determine when the
//! client connects again: with 4000 to 4099 never, with 4100 to 4199 after a pause, with 4200 to 4299 at once. All
//! three close the connection. A refused message on a connection that stays open has a [`Warning`] as its code, or none
//! (docs/broker.md).

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No app has this key.
    UnknownApp,
    /// The app was taken out of service.
    AppDisabled,
    /// No app can be reached by this path.
    PathNotFound,
    /// `protocol` is no number.
    BadVersion,
    /// A protocol version that usher does not support.
    UnsupportedVersion,
    /// No `protocol` is given.
    NoVersion,
    /// The backend ended the user's connections, or the client did not sign in in time.
    Unauthorized,
    /// Too many connections, or a connection that does not read fast enough.
    OverCapacity,
    /// The server ends, and another one takes over. The client connects again after a pause, since the other server may
    /// be the same one, restarted: pusher-js that connects at once, to a port on which nothing listens yet, retries
    /// only after 15 seconds.
    Reconnect,
    /// No sign of life in time.
    PongTimeout,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::UnknownApp => 4001,
            Self::AppDisabled => 4003,
            Self::PathNotFound => 4005,
            Self::BadVersion => 4006,
            Self::UnsupportedVersion => 4007,
            Self::NoVersion => 4008,
            Self::Unauthorized => 4009,
            Self::OverCapacity | Self::Reconnect => 4100,
            Self::PongTimeout => 4201,
        }
    }

    /// The close reason: short enough for a close frame (123 bytes).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownApp => {
                "App key not in this server's configuration. Did you forget to specify the host or the cluster?"
            }
            Self::AppDisabled => "Application disabled",
            Self::PathNotFound => "Path not found",
            Self::BadVersion => "Invalid version string format",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::NoVersion => "No protocol version supplied",
            Self::Unauthorized => "Connection is unauthorized",
            Self::OverCapacity => "Over capacity",
            Self::Reconnect => "Closed by the server, please reconnect",
            Self::PongTimeout => "Pong reply not received in time",
        }
    }
}

/// The errors that are reported on a connection that stays open: "any other type of error" (4300 to 4399).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    /// More than ten client events a second.
    ClientEventRate,
    /// A user's watchlist is too long: its first entries are used.
    WatchlistLimit,
}

impl Warning {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::ClientEventRate => 4301,
            Self::WatchlistLimit => 4302,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_into_a_close_frame() {
        use ErrorCode::*;
        let all = [
            UnknownApp,
            AppDisabled,
            PathNotFound,
            BadVersion,
            UnsupportedVersion,
            NoVersion,
            Unauthorized,
            OverCapacity,
            Reconnect,
            PongTimeout,
        ];
        for (code, next) in all.iter().zip(&all[1..]) {
            assert!(code.number() <= next.number());
        }
        assert!(all.iter().all(|code| !code.reason().is_empty() && code.reason().len() <= 123));
    }
}
