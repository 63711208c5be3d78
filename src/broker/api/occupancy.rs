//! What channels are like at present: the `GET` calls, and what `info` asks for (`pusher-protocol.md` 1.2, 1.3).

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::channel::Counts;
use super::super::json;
use super::super::kind::{Access, Kind};
use super::Call;
use super::refusal::Refusal;

/// What a caller wants to know of a channel. Words that nobody knows are skipped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Info {
    user_count: bool,
    subscription_count: bool,
    cache: bool,
}

/// Attributes of a channel; only those that were asked for.
#[derive(Debug, Default, Serialize)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl Info {
    /// The words of a list.
    pub(super) fn parse(list: &str) -> Self {
        let words: Vec<_> = list.split(',').map(str::trim).collect();
        Self {
            user_count: words.contains(&"user_count"),
            subscription_count: words.contains(&"subscription_count"),
            cache: words.contains(&"cache"),
        }
    }

    /// What is wanted of a channel with these counts. One without users has no `user_count`.
    pub(super) fn attributes(self, kind: Kind, counts: Counts) -> Attributes {
        Attributes {
            user_count: (self.user_count && kind.is_presence()).then_some(counts.users),
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
    let info = wanted(call);
    if info.user_count && !prefix.starts_with("presence-") {
        return Err(Refusal::NoUserCounts);
    }
    let listed = call.broker_app.channels.list(prefix);
    let channels =
        listed.iter().filter_map(|(name, counts)| Some((&**name, info.attributes(Kind::of(name)?, *counts)))).collect();
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
        cache: Option<Option<Cached<'a>>>,
    }
    #[derive(Serialize)]
    struct Cached<'a> {
        data: &'a str,
        ttl: u64,
    }
    let kind = kind_of(name)?;
    let info = wanted(call);
    if info.user_count && !kind.is_presence() {
        return Err(Refusal::NoUserCount);
    }
    let snapshot = call.broker_app.channels.snapshot(name);
    let cached = if info.cache && kind.cached { Some(call.broker_app.channels.cached(name, call.now)) } else { None };
    let cache = cached
        .as_ref()
        .map(|cached| cached.as_ref().map(|(data, remaining)| Cached { data, ttl: remaining.as_secs() }));
    Ok(json::text(&Channel { occupied: snapshot.occupied, attributes: info.attributes(kind, snapshot.counts), cache }))
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
    if !kind_of(name)?.is_presence() {
        return Err(Refusal::NoUsers);
    }
    let users = call.broker_app.channels.users(name);
    Ok(json::text(&Users { users: users.iter().map(|id| User { id }).collect() }))
}

/// The kind of a channel that can be looked at.
fn kind_of(name: &str) -> Result<Kind, Refusal> {
    Kind::of(name).filter(|kind| kind.access != Access::User).ok_or_else(|| Refusal::InvalidChannel(name.to_owned()))
}

fn wanted(call: &Call<'_, '_>) -> Info {
    Info::parse(call.query.only("info").unwrap_or_default())
}
