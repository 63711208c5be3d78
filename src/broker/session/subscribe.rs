//! Subscribing: the client's token and its identity on presence channels (`pusher-protocol.md` 4.3, 5.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::channel::Identity;
use super::super::channel_type::{Access, ChannelType};
use super::super::frame;
use super::super::json;
use super::super::message::Subscribe;
use super::{Effect, Session, identity, refuse};
use crate::pusher::{App, Grant};

/// The longest `channel_data`, in bytes, with room for spaces and escapes.
const MAX_CHANNEL_DATA: usize = 16 * 1024;

/// A presence channel's `channel_data`.
#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

impl Session {
    /// Handles a request to subscribe.
    pub(super) fn subscribe(&mut self, request: &Subscribe<'_>, app: &App) -> Effect {
        let name = &*request.channel;
        let Some(channel_type) = ChannelType::of(name) else {
            return refuse(
                None,
                "The channel's name is invalid: 1 to 200 of the characters A-Z a-z 0-9 _ - = @ , . ; are allowed",
            );
        };
        if channel_type.access == Access::User {
            return self.subscribe_to_user(name);
        }
        if self.channels.contains_key(name) {
            return refuse(None, &format!("Existing subscription to channel {name}"));
        }
        if self.channels.len() >= self.session_options.max_channels {
            return refuse(
                None,
                &format!("The connection is subscribed to {} channels already, which is the most", self.channels.len()),
            );
        }
        match self.authorize(request, channel_type, app) {
            Ok(identity) => {
                let is_filtered = request.filter.is_some();
                Effect::Join { channel: name.into(), channel_type, identity, is_filtered }
            }
            Err(effect) => effect,
        }
    }

    /// Verifies the token for a channel. Returns the identity, on presence channels. A `channel_data` is a part of the
    /// signed text on private channels, too (docs/broker.md).
    fn authorize(
        &self,
        request: &Subscribe<'_>,
        channel_type: ChannelType,
        app: &App,
    ) -> Result<Option<Identity>, Effect> {
        let name = &*request.channel;
        if !channel_type.access.needs_token() {
            return Ok(None);
        }
        let data = request.channel_data.as_deref();
        if data.is_some_and(|data| data.len() > MAX_CHANNEL_DATA) {
            return Err(refuse(
                None,
                &format!("The channel_data for {name} is too large: {MAX_CHANNEL_DATA} bytes are allowed"),
            ));
        }
        let token = request.auth.as_deref().unwrap_or_default();
        Grant::Channel { name, data }
            .verify(app, &self.id.to_string(), token)
            .map_err(|error| refuse(None, &format!("The auth token for {} on {name} was refused: {error}", self.id)))?;
        if channel_type.is_presence() { self.identify(name, data).map(Some) } else { Ok(None) }
    }

    /// The identity for the presence channel `name` in this `channel_data`; without it, the identity of the signed-in
    /// user.
    fn identify(&self, name: &str, data: Option<&str>) -> Result<Identity, Effect> {
        let Some(data) = data else {
            let Some(user) = &self.user else {
                return Err(refuse(
                    None,
                    &format!(
                        "There is no channel_data for {name}, and the connection is not signed in: nobody knows who joins"
                    ),
                ));
            };
            return user.identity.clone().map_err(|problem| {
                refuse(None, &format!("The user who is signed in cannot join {name}: user_data {problem}"))
            });
        };
        let problem = |problem: &str| refuse(None, &format!("The channel_data for {name} {problem}"));
        let ChannelData { user_id, user_info } =
            json::object(data).ok_or_else(|| problem("is not an object with a user_id"))?;
        identity::read(user_id, user_info).map_err(problem)
    }

    /// pusher-js subscribes to the channel of its user after the sign-in. The connection is in that channel already;
    /// the channels of other users are refused.
    fn subscribe_to_user(&self, name: &str) -> Effect {
        if self.user.as_ref().is_some_and(|user| *user.channel == *name) {
            return Effect::Reply(frame::subscribed(name));
        }
        refuse(None, "The channel of a user is for the connections that are signed in as this user")
    }
}
