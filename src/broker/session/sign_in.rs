//! Signing in: what a client must show, and whom its user watches (`pusher-protocol.md` 4.5, 5.1).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::frame::{self, Frame};
use super::super::json;
use super::super::kind::{Access, Kind, user_channel};
use super::super::message::SignIn;
use super::super::watchlists::MAX_WATCHED;
use super::{Effect, Session, SignedInAs, identity, refuse};
use crate::pusher::{App, Grant, Warning};

/// The longest `user_data` in bytes: three times a full watchlist of the longest ids.
const MAX_USER_DATA: usize = 64 * 1024;

/// The `user_data` of a signed-in user, as far as the server needs it.
#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    watchlist: Option<&'a RawValue>,
}

/// Who a client is.
struct User {
    id: Arc<str>,
    signed_in_as: SignedInAs,
    watched: Watched,
}

/// The users whom a user watches.
#[derive(Default)]
struct Watched {
    /// Their ids.
    ids: Vec<Arc<str>>,
    /// How many were named, if that was more than are allowed.
    named: Option<usize>,
}

impl User {
    /// The user that `data` describes, or what its client is told.
    fn read(data: &str) -> Result<Self, Effect> {
        let unnamed = || refuse(None, "The user_data is not an object with an id of 1 to 200 bytes");
        let data: UserData<'_> = json::object(data).ok_or_else(unnamed)?;
        let id = json::identifier(data.id).ok_or_else(unnamed)?;
        let channel = user_channel(&id).ok_or_else(unnamed)?;
        let watched = data.watchlist.map_or_else(|| Ok(Watched::default()), Watched::read)?;
        let signed_in_as = SignedInAs { channel: channel.into(), identity: identity::read(data.id, data.user_info) };
        Ok(Self { id: id.into(), signed_in_as, watched })
    }
}

impl Watched {
    /// The first ids of a watchlist, as many as are allowed, or what its client is told.
    fn read(watchlist: &RawValue) -> Result<Self, Effect> {
        let unreadable = || refuse(None, "The watchlist is not a list of the ids of users, of 1 to 200 bytes each");
        let tokens: Vec<&RawValue> = serde_json::from_str(watchlist.get()).map_err(|_| unreadable())?;
        let named = Some(tokens.len()).filter(|named| *named > MAX_WATCHED);
        let ids = tokens.into_iter().take(MAX_WATCHED);
        let ids = ids.map(|token| json::identifier(token).filter(|id| user_channel(id).is_some()).map(Arc::from));
        Ok(Self { ids: ids.collect::<Option<_>>().ok_or_else(unreadable)?, named })
    }

    /// What a client is told whose watchlist was cut.
    fn warning(&self) -> Option<Frame> {
        let told =
            |named| format!("Watchlist limit exceeded: of {named} user ids, the first {MAX_WATCHED} are accepted");
        self.named.map(|named| frame::error(Some(Warning::WatchlistLimit), &told(named)))
    }
}

impl Session {
    /// A client whose watchlist cannot be read is not signed in: what it would not be told of, it should not wait for.
    pub(super) fn sign_in(&mut self, wish: &SignIn<'_>, app: &App) -> Effect {
        let data = &*wish.user_data;
        if data.len() > MAX_USER_DATA {
            return refuse(None, &format!("The user_data is too large: {MAX_USER_DATA} bytes are allowed"));
        }
        if let Err(error) = (Grant::User { data }).verify(app, &self.id.to_string(), &wish.auth) {
            return refuse(None, &format!("The auth token for {} was refused: {error}", self.id));
        }
        let User { id: user, signed_in_as, watched } = match User::read(data) {
            Ok(user) => user,
            Err(effect) => return effect,
        };
        let (reply, warning, watchlist) = (frame::signed_in(data), watched.warning(), watched.ids);
        let channel = Arc::clone(&signed_in_as.channel);
        let effect = match &self.user {
            None => Effect::SignIn {
                channel,
                kind: Kind { access: Access::User, cached: false },
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
