//! The identity of a member of a presence channel, from `channel_data` or from the sign-in (`pusher-protocol.md` 1.4).

use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::channel::Identity;
use super::super::json;

/// The longest user id in characters (`pusher-protocol.md` 1.4).
const MAX_USER_ID: usize = 128;
/// The largest `user_info` in bytes of JSON (`pusher-protocol.md` 1.4).
const MAX_USER_INFO: usize = 1024;

/// The identity in a user object.
///
/// # Errors
/// What is wrong with the object, as the end of a sentence for the client.
pub(super) fn read(user_id: &RawValue, user_info: Option<&RawValue>) -> Result<Identity, &'static str> {
    let user_id = json::identifier(user_id).ok_or("has a user_id that is neither a text nor a number")?;
    if user_id.chars().count() > MAX_USER_ID {
        return Err("has a user_id of more than 128 characters");
    }
    if user_info.is_some_and(|info| info.get().len() > MAX_USER_INFO) {
        return Err("has a user_info of more than 1024 bytes");
    }
    Ok(Identity { user_id: user_id.into(), user_info: user_info.map(|info| Arc::from(info.to_owned())) })
}
