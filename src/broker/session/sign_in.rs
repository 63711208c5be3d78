//! Signing in: what a client must show, and whom its user watches (`pusher-protocol.md` 4.5, 5.1).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::kind::{Access, Kind, user_channel};
use super::super::message::SignIn;
use super::super::watchlists::MAX_WATCHED;
use super::super::{frame, json};
use super::{Effect, Session, refuse};
use crate::pusher::{App, ErrorCode, Grant};

/// The longest `user_data` in bytes: a full watchlist of the longest ids, and as much again beside it.
const MAX_USER_DATA: usize = 32 * 1024;

/// The `user_data` of a signed-in user, as far as the server needs it.
#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    watchlist: Option<&'a RawValue>,
}

/// Who a client is.
struct User {
    id: Arc<str>,
    channel: Arc<str>,
    /// The ids of the users whom this one watches.
    watchlist: Vec<Arc<str>>,
}

impl User {
    /// The user that `data` describes, or what its client is told.
    fn read(data: &str) -> Result<Self, Effect> {
        let unnamed = || refuse(None, "The user_data is not an object with an id of 1 to 200 bytes");
        let data: UserData<'_> = json::object(data).ok_or_else(unnamed)?;
        let id = json::identifier(data.id).ok_or_else(unnamed)?;
        let channel = user_channel(&id).ok_or_else(unnamed)?;
        let watchlist = data.watchlist.map_or_else(|| Ok(Vec::new()), watched)?;
        Ok(Self { id: id.into(), channel: channel.into(), watchlist })
    }
}

/// The ids in a watchlist, or what its client is told.
fn watched(watchlist: &RawValue) -> Result<Vec<Arc<str>>, Effect> {
    let unreadable = || refuse(None, "The watchlist is not a list of the ids of users, of 1 to 200 bytes each");
    let tokens: Vec<&RawValue> = serde_json::from_str(watchlist.get()).map_err(|_| unreadable())?;
    if tokens.len() > MAX_WATCHED {
        let problem = format!("The watchlist holds {} ids of users: {MAX_WATCHED} are allowed", tokens.len());
        return Err(refuse(Some(ErrorCode::WatchlistLimit), &problem));
    }
    let ids = tokens.into_iter().map(|token| json::identifier(token).filter(|id| user_channel(id).is_some()).map(Arc::from));
    ids.collect::<Option<_>>().ok_or_else(unreadable)
}

impl Session {
    /// A client whose watchlist is refused is not signed in: what it would not be told of, it should not wait for.
    pub(super) fn sign_in(&mut self, wish: &SignIn<'_>, app: &App) -> Effect {
        let data = &*wish.user_data;
        if data.len() > MAX_USER_DATA {
            return refuse(None, "The user_data is too large");
        }
        if let Err(error) = (Grant::User { data }).verify(app, &self.id.to_string(), &wish.auth) {
            return refuse(Some(ErrorCode::Unauthorized), &format!("The auth token for {} was refused: {error}", self.id));
        }
        let User { id: user, channel, watchlist } = match User::read(data) {
            Ok(user) => user,
            Err(effect) => return effect,
        };
        let reply = frame::signed_in(data);
        match &self.user {
            None => {
                self.user = Some(Arc::clone(&channel));
                Effect::SignIn { channel, kind: Kind { access: Access::User, cached: false }, user, watchlist, reply }
            }
            Some(same) if *same == channel => Effect::Watch { watchlist, reply },
            Some(_) => refuse(Some(ErrorCode::Unauthorized), "The connection is signed in as another user"),
        }
    }
}
