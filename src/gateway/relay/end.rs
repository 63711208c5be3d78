//! How a relay ends, and what its two ends are told then.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::Side;
use super::endpoint::CloseAction;
use super::frames::close_code;
use crate::metrics::WebSocketEnd;

/// "Reconnect at once" (pusher-protocol.md 4.6).
const RECONNECT: u16 = 4200;
/// "Reconnect after a second or more" (pusher-protocol.md 4.6).
pub(super) const BACK_OFF: u16 = 4100;

/// Why a relay, or one direction of it, ended.
#[derive(Debug)]
pub(super) enum RelayEnd {
    /// A side closed, and the close was passed on.
    Closed { by: Side, with: Option<CloseFrame>, answered: bool },
    /// A side's connection was lost without a close.
    Lost(Side),
    /// A side violated the protocol or the limits.
    Faulty(Side, CloseCode),
    /// No message was relayed for too long.
    Idle,
    /// usher is about to end.
    Drained,
}

impl RelayEnd {
    /// `side` has sent something at which `error` occurred.
    pub(super) fn faulty(side: Side, error: &Error) -> Self {
        match side {
            Side::Client => {
                tracing::debug!(%error, "a client's WebSocket connection broke the rules or limits.max_websocket_message")
            }
            Side::Upstream => {
                tracing::warn!(%error, "upstream's WebSocket connection broke the rules or limits.max_websocket_message")
            }
        }
        Self::Faulty(side, close_code(error))
    }

    /// For the metrics.
    pub(super) const fn kind(&self) -> WebSocketEnd {
        match self {
            Self::Closed { by: Side::Client, .. } => WebSocketEnd::ClientClosed,
            Self::Closed { by: Side::Upstream, .. } => WebSocketEnd::UpstreamClosed,
            Self::Lost(Side::Client) => WebSocketEnd::ClientLost,
            Self::Lost(Side::Upstream) => WebSocketEnd::UpstreamLost,
            Self::Faulty(Side::Client, _) => WebSocketEnd::ClientFaulty,
            Self::Faulty(Side::Upstream, _) => WebSocketEnd::UpstreamFaulty,
            Self::Idle => WebSocketEnd::Idle,
            Self::Drained => WebSocketEnd::Drained,
        }
    }

    /// What `side` still has to be sent. usher itself never sends a client one of Pusher's final codes (40xx).
    pub(super) fn close_action(&self, side: Side, leaving: bool) -> CloseAction {
        match (self, side) {
            (Self::Closed { by, with, answered: false }, _) if *by == side => CloseAction::Send(with.clone()),
            (Self::Closed { .. }, _) => CloseAction::Nothing,
            (Self::Lost(lost), _) if *lost == side => CloseAction::Nothing,
            (Self::Faulty(faulty, code), Side::Upstream) if *faulty == side => {
                CloseAction::Send(Some(close(*code, "")))
            }
            (_, Side::Upstream) => CloseAction::Send(Some(close(CloseCode::Away, ""))),
            (Self::Faulty(Side::Client, code), Side::Client) => CloseAction::Send(Some(close(*code, ""))),
            // The end is usually a restart: if pusher-js reconnected at once, to a port where nothing listens yet, it
            // would then wait for 15 seconds.
            (Self::Lost(_) | Self::Faulty(..), Side::Client) if leaving => {
                CloseAction::Send(Some(close(BACK_OFF.into(), "upstream is gone")))
            }
            (Self::Lost(_) | Self::Faulty(..), Side::Client) => {
                CloseAction::Send(Some(close(RECONNECT.into(), "upstream is gone")))
            }
            (Self::Idle, Side::Client) => {
                CloseAction::Send(Some(close(RECONNECT.into(), "nothing was sent for too long")))
            }
            (Self::Drained, Side::Client) => CloseAction::Send(Some(close(BACK_OFF.into(), "the server restarts"))),
        }
    }
}

/// A close with this code.
pub(super) fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}
