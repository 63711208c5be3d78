//! The state of channels: the `GET` calls, and the attributes of `info` (`pusher-protocol.md` 1.2, 1.3).

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::channel::Counts;
use super::super::channel_type::{Access, ChannelType};
use super::super::json;
use super::Call;
use super::refusal::Refusal;

/// The requested attributes of a channel. Unknown words are ignored.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Info {
    user_count: bool,
    subscription_count: bool,
    cache: bool,
}

/// The attributes of a channel; only the requested ones are present.
#[derive(Debug, Default, Serialize)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl Info {
    /// Parses a list of words.
    pub(super) fn parse(list: &str) -> Self {
        let words: Vec<_> = list.split(',').map(str::trim).collect();
        Self {
            user_count: words.contains(&"user_count"),
            subscription_count: words.contains(&"subscription_count"),
            cache: words.contains(&"cache"),
        }
    }

    /// The requested attributes of a channel with these counts. Only presence channels have a `user_count`.
    pub(super) fn attributes(self, channel_type: ChannelType, counts: Counts) -> Attributes {
        Attributes {
            user_count: (self.user_count && channel_type.is_presence()).then_some(counts.users),
            subscription_count: self.subscription_count.then_some(counts.subscriptions),
        }
    }
}

/// `GET /channels`.
pub(super) fn channels(call: &Call<'_, '_>) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Channels<'a> {
        channels: BTreeMap<&'a str, Attributes>,
    }
    let prefix = call.query.only("filter_by_prefix").unwrap_or_default();
    let info = requested_info(call);
    if info.user_count && !prefix.starts_with("presence-") {
        return Err(Refusal::NoUserCounts);
    }
    let listed = call.broker_app.channels.list(prefix);
    let channels = listed
        .iter()
        .filter_map(|(name, counts)| Some((&**name, info.attributes(ChannelType::of(name)?, *counts))))
        .collect();
    Ok(json::text(&Channels { channels }))
}

/// `GET /channels/{name}`.
pub(super) fn channel(call: &Call<'_, '_>, name: &str) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Channel<'a> {
        occupied: bool,
        #[serde(flatten)]
        attributes: Attributes,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache: Option<CacheState<'a>>,
    }
    /// Serialised as `null` or as the object.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum CacheState<'a> {
        Empty,
        Event { data: &'a str, ttl: u64 },
    }
    let channel_type = channel_type_of(name)?;
    let info = requested_info(call);
    if info.user_count && !channel_type.is_presence() {
        return Err(Refusal::NoUserCount);
    }
    let snapshot = call.broker_app.channels.snapshot(name);
    let is_requested = info.cache && channel_type.cached;
    let event = if is_requested { call.broker_app.channels.cached(name, call.now) } else { None };
    let cache = is_requested.then(|| match &event {
        Some((data, remaining)) => CacheState::Event { data, ttl: remaining.as_secs() },
        None => CacheState::Empty,
    });
    Ok(json::text(&Channel {
        occupied: snapshot.occupied,
        attributes: info.attributes(channel_type, snapshot.counts),
        cache,
    }))
}

/// `GET /channels/{name}/users`.
pub(super) fn users(call: &Call<'_, '_>, name: &str) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Users<'a> {
        users: Vec<User<'a>>,
    }
    #[derive(Serialize)]
    struct User<'a> {
        id: &'a str,
    }
    if !channel_type_of(name)?.is_presence() {
        return Err(Refusal::NoUsers);
    }
    let users = call.broker_app.channels.users(name);
    Ok(json::text(&Users { users: users.iter().map(|id| User { id }).collect() }))
}

/// The type of a channel that callers may read.
fn channel_type_of(name: &str) -> Result<ChannelType, Refusal> {
    ChannelType::of(name)
        .filter(|channel_type| channel_type.access != Access::User)
        .ok_or_else(|| Refusal::InvalidChannel(name.to_owned()))
}

fn requested_info(call: &Call<'_, '_>) -> Info {
    Info::parse(call.query.only("info").unwrap_or_default())
}
