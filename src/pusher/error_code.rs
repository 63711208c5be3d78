//! The codes of WebSocket closes and of `pusher:error` (`pusher-protocol.md` 4.6). Their hundreds tell a client what to do: 4000 to 4099 never to come
//! back, 4100 to 4199 after a pause, 4200 to 4299 at once.

/// Why a connection is closed, or a message of a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No app has this key.
    UnknownApp,
    /// The app was taken out of service.
    AppDisabled,
    /// A quota of the app is used up: the members of a presence channel.
    OverQuota,
    /// No app can be reached by this path.
    PathNotFound,
    /// `protocol` is no number.
    BadVersion,
    /// A protocol version that is not spoken here.
    UnsupportedVersion,
    /// No `protocol` is given.
    NoVersion,
    /// Bad credentials, or the backend ended the user's connections.
    Unauthorized,
    /// Too many connections, or a connection that does not read fast enough.
    OverCapacity,
    /// The server goes away; another one takes over. After a pause, since that may be the same one, started again: pusher-js that came back at once, to
    /// a port where nobody listens yet, would stay away for 15 seconds.
    Reconnect,
    /// No sign of life in time.
    PongTimeout,
    /// More than ten client events a second.
    ClientEventRate,
    /// A user wants to watch too many others.
    WatchlistLimit,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::UnknownApp => 4001,
            Self::AppDisabled => 4003,
            Self::OverQuota => 4004,
            Self::PathNotFound => 4005,
            Self::BadVersion => 4006,
            Self::UnsupportedVersion => 4007,
            Self::NoVersion => 4008,
            Self::Unauthorized => 4009,
            Self::OverCapacity | Self::Reconnect => 4100,
            Self::PongTimeout => 4201,
            Self::ClientEventRate => 4301,
            Self::WatchlistLimit => 4302,
        }
    }

    /// The close reason: short enough for a close frame (123 bytes).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownApp => "App key not in this server's configuration. Did you forget to specify the host or the cluster?",
            Self::AppDisabled => "Application disabled",
            Self::OverQuota => "Over quota",
            Self::PathNotFound => "Path not found",
            Self::BadVersion => "Invalid version string format",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::NoVersion => "No protocol version supplied",
            Self::Unauthorized => "Connection is unauthorized",
            Self::OverCapacity => "Over capacity",
            Self::Reconnect => "Closed by the server, please reconnect",
            Self::PongTimeout => "Pong reply not received in time",
            Self::ClientEventRate => "Client event rejected due to rate limit",
            Self::WatchlistLimit => "Watchlist limit exceeded",
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
            OverQuota,
            PathNotFound,
            BadVersion,
            UnsupportedVersion,
            NoVersion,
            Unauthorized,
            OverCapacity,
            Reconnect,
            PongTimeout,
            ClientEventRate,
            WatchlistLimit,
        ];
        for (code, next) in all.iter().zip(&all[1..]) {
            assert!(code.number() <= next.number());
        }
        assert!(all.iter().all(|code| !code.reason().is_empty() && code.reason().len() <= 123));
    }
}
