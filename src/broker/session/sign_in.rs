//! Signing in: the client's token, its user and its watchlist (`pusher-protocol.md` 4.5, 5.1).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::channel_type::{Access, ChannelType, user_channel};
use super::super::frame::{self, Frame};
use super::super::json;
use super::super::message::SignIn;
use super::super::watchlists::MAX_WATCHED;
use super::{Effect, Session, SignedInAs, identity, refuse};
use crate::pusher::{App, Grant, Warning};

/// The longest `user_data` in bytes: three times a full watchlist of the longest ids.
const MAX_USER_DATA: usize = 64 * 1024;

/// The fields of `user_data` that the server uses.
#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    watchlist: Option<&'a RawValue>,
}

/// The user of a sign-in.
struct User {
    id: Arc<str>,
    signed_in_as: SignedInAs,
    watchlist: Watchlist,
}

/// The watchlist of a sign-in.
#[derive(Default)]
struct Watchlist {
    /// The ids of the users.
    ids: Vec<Arc<str>>,
    /// The length of the list as sent, if it was longer than allowed.
    excess_length: Option<usize>,
}

impl User {
    /// Parses `user_data`, or returns the error for the client.
    fn read(data: &str) -> Result<Self, Effect> {
        let invalid = || refuse(None, "The user_data is not an object with an id of 1 to 200 bytes");
        let data: UserData<'_> = json::object(data).ok_or_else(invalid)?;
        let id = json::identifier(data.id).ok_or_else(invalid)?;
        let channel = user_channel(&id).ok_or_else(invalid)?;
        let watchlist = data.watchlist.map_or_else(|| Ok(Watchlist::default()), Watchlist::read)?;
        let signed_in_as = SignedInAs { channel: channel.into(), identity: identity::read(data.id, data.user_info) };
        Ok(Self { id: id.into(), signed_in_as, watchlist })
    }
}

impl Watchlist {
    /// The first ids of a watchlist, as many as allowed, or the error for the client.
    fn read(watchlist: &RawValue) -> Result<Self, Effect> {
        let invalid = || refuse(None, "The watchlist is not a list of the ids of users, of 1 to 200 bytes each");
        let tokens: Vec<&RawValue> = serde_json::from_str(watchlist.get()).map_err(|_| invalid())?;
        let excess_length = Some(tokens.len()).filter(|length| *length > MAX_WATCHED);
        let ids = tokens.into_iter().take(MAX_WATCHED);
        let ids = ids.map(|token| json::identifier(token).filter(|id| user_channel(id).is_some()).map(Arc::from));
        Ok(Self { ids: ids.collect::<Option<_>>().ok_or_else(invalid)?, excess_length })
    }

    /// The warning for a client whose watchlist was truncated.
    fn warning(&self) -> Option<Frame> {
        let text =
            |length| format!("Watchlist limit exceeded: of {length} user ids, the first {MAX_WATCHED} are accepted");
        self.excess_length.map(|length| frame::error(Some(Warning::WatchlistLimit), &text(length)))
    }
}

impl Session {
    /// Handles a sign-in. A client with an invalid watchlist is not signed in: otherwise it would wait for events that
    /// never arrive.
    pub(super) fn sign_in(&mut self, request: &SignIn<'_>, app: &App) -> Effect {
        let data = &*request.user_data;
        if data.len() > MAX_USER_DATA {
            return refuse(None, &format!("The user_data is too large: {MAX_USER_DATA} bytes are allowed"));
        }
        if let Err(error) = (Grant::User { data }).verify(app, &self.id.to_string(), &request.auth) {
            return refuse(None, &format!("The auth token for {} was refused: {error}", self.id));
        }
        let User { id: user, signed_in_as, watchlist } = match User::read(data) {
            Ok(user) => user,
            Err(effect) => return effect,
        };
        let (reply, warning, watchlist) = (frame::signed_in(data), watchlist.warning(), watchlist.ids);
        let channel = Arc::clone(&signed_in_as.channel);
        let effect = match &self.user {
            None => Effect::SignIn {
                channel,
                channel_type: ChannelType { access: Access::User, cached: false },
                user,
                watchlist,
                reply,
                warning,
            },
            Some(before) if before.channel == channel => Effect::Watch { watchlist, reply, warning },
            Some(_) => return refuse(None, "The connection is signed in as another user"),
        };
        self.user = Some(Box::new(signed_in_as));
        self.sign_in_by = None;
        effect
    }
}
