//! Joining channels: what a client must show (`pusher-protocol.md` 4.3, 5.1).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::channel::Identity;
use super::super::frame;
use super::super::json;
use super::super::kind::{Access, Kind};
use super::super::message::Subscribe;
use super::{Effect, Session, refuse};
use crate::pusher::{App, ErrorCode, Grant};

/// The longest user id in characters (`pusher-protocol.md` 1.4).
const MAX_USER_ID: usize = 128;
/// Most of what is told of a member, in bytes of JSON (`pusher-protocol.md` 1.4).
const MAX_USER_INFO: usize = 1024;
/// The longest text that is signed for a member, with room for spaces and escapes.
const MAX_SIGNED: usize = 16 * 1024;

/// A presence channel's `channel_data`.
#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

impl Session {
    pub(super) fn subscribe(&mut self, wish: &Subscribe<'_>, app: &App) -> Effect {
        let name = &*wish.channel;
        let Some(kind) = Kind::of(name) else {
            return refuse(None, "The channel's name is invalid: 1 to 200 of the characters A-Z a-z 0-9 _ - = @ , . ; are allowed");
        };
        if kind.access == Access::User {
            return self.subscribe_to_user(name);
        }
        if self.channels.contains_key(name) {
            return refuse(None, &format!("Existing subscription to channel {name}"));
        }
        if self.channels.len() >= self.terms.max_channels {
            return refuse(None, &format!("The connection is subscribed to {} channels already, which is the most", self.channels.len()));
        }
        match self.admit(wish, kind, app) {
            Ok(identity) => Effect::Join { channel: name.into(), kind, identity },
            Err(effect) => effect,
        }
    }

    /// Looks at what is shown for a channel; who joins, on presence channels.
    fn admit(&self, wish: &Subscribe<'_>, kind: Kind, app: &App) -> Result<Option<Identity>, Effect> {
        let name = &*wish.channel;
        let data = wish.channel_data.as_deref().filter(|_| kind.is_presence());
        if data.is_some_and(|data| data.len() > MAX_SIGNED) {
            return Err(refuse(None, &format!("The channel_data for {name} is too large")));
        }
        match kind.access {
            Access::Public | Access::User => return Ok(None),
            Access::Private | Access::Encrypted | Access::Presence => {
                let token = wish.auth.as_deref().unwrap_or_default();
                Grant::Channel { name, data }.verify(app, &self.id.to_string(), token).map_err(|error| {
                    refuse(Some(ErrorCode::Unauthorized), &format!("The auth token for {} on {name} was refused: {error}", self.id))
                })?;
            }
        }
        if !kind.is_presence() {
            return Ok(None);
        }
        let problem = |problem: &str| refuse(None, &format!("The channel_data for {name} {problem}"));
        let data: ChannelData<'_> = json::object(data.unwrap_or_default()).ok_or_else(|| problem("is not an object with a user_id"))?;
        let user_id = json::identifier(data.user_id).ok_or_else(|| problem("has a user_id that is neither a text nor a number"))?;
        if user_id.chars().count() > MAX_USER_ID {
            return Err(problem("has a user_id of more than 128 characters"));
        }
        if data.user_info.is_some_and(|info| info.get().len() > MAX_USER_INFO) {
            return Err(problem("has a user_info of more than 1024 bytes"));
        }
        Ok(Some(Identity { user_id: user_id.into(), user_info: data.user_info.map(|info| Arc::from(info.to_owned())) }))
    }

    /// pusher-js subscribes to the channel of its user once it is signed in. It is in there already; anybody else's is not for it.
    fn subscribe_to_user(&self, name: &str) -> Effect {
        if self.user.as_deref() == Some(name) {
            return Effect::Reply(frame::subscribed(name));
        }
        refuse(Some(ErrorCode::Unauthorized), "The channel of a user is for the connections that are signed in as this user")
    }
}
