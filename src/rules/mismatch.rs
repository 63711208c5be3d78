//! Why a rule does not watch an event on a channel.

use std::fmt;

use super::{Mode, Rule};
use crate::pusher::{ChannelKind, is_valid_name};

/// What keeps a rule from watching an event on a channel. In the order in which the rule comes closer to watching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch<'r> {
    /// The rule is for another event.
    Event {
        /// The rule's event.
        expected: &'r str,
    },
    /// The template does not match the channel.
    Channel {
        /// The rule's template.
        template: &'r str,
    },
    /// The name is no valid channel name.
    ChannelName,
    /// The channel is a cache channel or an encrypted one.
    ChannelKind,
    /// The rule is off.
    Off,
}

impl Mismatch<'_> {
    /// The code in an answer of the operator's API.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::Channel { .. } => "channel",
            Self::ChannelName => "channel_name",
            Self::ChannelKind => "channel_kind",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { expected } => write!(f, "the rule is for the event `{expected}`"),
            Self::Channel { template } => write!(f, "the channel does not match `{template}`"),
            Self::ChannelName => f.write_str("the channel's name is not valid"),
            Self::ChannelKind => f.write_str("events on cache channels and on encrypted channels are never dropped"),
            Self::Off => f.write_str("the rule is off"),
        }
    }
}

impl Rule {
    /// Why the rule does not watch `event` on `channel`. `None`: it does, if `where` matches.
    #[must_use]
    pub fn mismatch(&self, event: &str, channel: &str) -> Option<Mismatch<'_>> {
        let spec = self.spec();
        if spec.event != event && !spec.released_by.iter().any(|name| name == event) {
            Some(Mismatch::Event { expected: &spec.event })
        } else if !is_valid_name(channel) {
            Some(Mismatch::ChannelName)
        } else if ChannelKind::of(channel) != ChannelKind::Standard {
            Some(Mismatch::ChannelKind)
        } else if !self.watches(channel) {
            Some(Mismatch::Channel { template: &spec.channel })
        } else if spec.mode == Mode::Off {
            Some(Mismatch::Off)
        } else {
            None
        }
    }
}
