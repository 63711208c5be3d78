//! The codes of WebSocket closes and of `pusher:error` (`pusher-protocol.md` 4.6). Their hundreds tell a client what to
//! do: 4000 to 4099 never to come back, 4100 to 4199 after a pause, 4200 to 4299 at once. All three mean that the
//! connection is being closed, so that a refused message on a connection that stays open has a [`Warning`] for its
//! code, or none (docs/broker.md).

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
    /// A protocol version that is not spoken here.
    UnsupportedVersion,
    /// No `protocol` is given.
    NoVersion,
    /// The backend ended the user's connections, or the client did not sign in in time.
    Unauthorized,
    /// Too many connections, or a connection that does not read fast enough.
    OverCapacity,
    /// The server goes away; another one takes over. After a pause, since that may be the same one, started again:
    /// pusher-js that came back at once, to a port where nobody listens yet, would stay away for 15 seconds.
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

/// What a client may be told by a code on a connection that stays open: "any other type of error" (4300 to 4399).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    /// More than ten client events a second.
    ClientEventRate,
    /// A user wants to watch too many others: the first ones are taken.
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
