//! What a running usher knows of the channels of a trigger (`GET /assignments`).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::{Date, Month, Time};
use usher::assignment::{Assignment, Digest, Reach, Remainder, Socket};
use usher::clock::{Clock, Moment};
use usher::pusher::{Endpoint, Trigger, socket_id};
use usher::simulation::{KnownChannel, Simulation};

use super::payload::Payload;
use crate::command::http_client::HttpClient;
use crate::command::tail::Encoded;

/// An entry of the listing. Fields of other versions are ignored.
#[derive(Debug, Deserialize)]
struct Entry {
    app: String,
    rule: String,
    channel: String,
    identity: Option<Box<RawValue>>,
    #[serde(default)]
    identity_pointer: Option<usize>,
    #[serde(default)]
    context: Vec<Box<RawValue>>,
    #[serde(default)]
    remainder: Option<RemainderEntry>,
    #[serde(default)]
    left_out: Option<String>,
    #[serde(default)]
    late_joiner: bool,
    since: Option<String>,
    last_seen: String,
    #[serde(default)]
    in_flight: u64,
    #[serde(default)]
    in_doubt: bool,
}

/// What else an announcement said.
#[derive(Debug, Deserialize)]
struct RemainderEntry {
    digest: String,
    compared: bool,
}

/// Takes over what the usher of `client` knows of the trigger's channels. Returns how many entries there are.
///
/// # Errors
/// It does not answer as it should.
pub(super) async fn take(client: &HttpClient, simulation: &mut Simulation, payload: &Payload) -> anyhow::Result<usize> {
    let mut taken = 0;
    for channel in channels(payload) {
        let target = format!("/assignments?app={}&channel={}", Encoded(&payload.app), Encoded(&channel));
        let answer = client.get(&target).await?;
        let entries: Vec<Entry> =
            serde_json::from_str(body(&answer)?).context("the answer is no listing of assignments")?;
        for entry in entries.iter().filter(|entry| entry.channel == channel) {
            let is_rule = entry.take(simulation);
            ensure!(
                is_rule,
                "the running usher has the rule `{}` for app {}, and the configuration has not: explain with its configuration",
                entry.rule,
                entry.app
            );
            taken += 1;
        }
    }
    Ok(taken)
}

impl Entry {
    /// What else the announcement said that the channel shows.
    fn remainder(&self) -> Remainder {
        let Some(RemainderEntry { digest, compared }) = &self.remainder else { return Remainder::Ignored };
        match (Digest::from_text(digest), compared) {
            (Some(digest), true) => Remainder::Compared(digest),
            (Some(digest), false) => Remainder::Noted(digest),
            (None, _) => Remainder::Ignored,
        }
    }

    /// Who has had the announcement.
    fn reach(&self) -> Reach {
        if self.late_joiner {
            return Reach::NotAll;
        }
        Reach::without(self.left_out.as_deref().and_then(socket_id).map(Socket::of))
    }

    fn take(&self, simulation: &mut Simulation) -> bool {
        let context: Vec<&str> = self.context.iter().map(|token| token.get()).collect();
        let identity = self.identity.as_ref().filter(|token| token.get() != "null");
        let shown = identity.map(|identity| {
            let pointer = self.identity_pointer.unwrap_or_default();
            Assignment::with_remainder(pointer, identity.get(), context, self.remainder())
        });
        let seen = moment(&self.last_seen, simulation.now());
        let known = KnownChannel {
            app: &self.app,
            rule: &self.rule,
            channel: &self.channel,
            shown,
            reach: self.reach(),
            since: self.since.as_deref().map_or(seen, |since| moment(since, simulation.now())),
            seen,
            is_in_flight: self.in_flight > 0,
            is_in_doubt: self.in_doubt,
        };
        simulation.know(&known)
    }
}

/// The body of an answer with status 200.
///
/// # Errors
/// It has another status, or is no text.
pub(super) fn body(answer: &Response<Bytes>) -> anyhow::Result<&str> {
    let text = std::str::from_utf8(answer.body()).context("the answer is no text")?;
    let start: String = text.chars().take(200).collect();
    ensure!(answer.status() == 200, "the admin listener answers {}: {start}", answer.status());
    Ok(text)
}

/// Every channel that the trigger names, as far as it can be read.
fn channels(payload: &Payload) -> BTreeSet<String> {
    let endpoint = if payload.path.ends_with("/batch_events") { Endpoint::Batch } else { Endpoint::Events };
    let trigger = Trigger::parse(endpoint, payload.body.as_bytes());
    let events = trigger.iter().flat_map(|trigger| &trigger.events);
    events.flat_map(|event| &event.channels).map(|channel| channel.to_string()).collect()
}

/// The moment of a time of day, by a clock that shows `now` at present; `now` if the time cannot be read.
fn moment(text: &str, now: Moment) -> Moment {
    let present = Clock::unix_now_exact();
    let age = unix_time(text).map_or(Duration::ZERO, |time| present.saturating_sub(time));
    let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Moment::from_millis(now.as_millis().saturating_sub(millis))
}

/// Reads the form of RFC 3339 that usher writes: `2026-01-31T08:09:10.123Z`.
fn unix_time(text: &str) -> Option<Duration> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(small(5..7)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0..4)?), month, small(8..10)?).ok()?;
    let millis = number(20..23).unwrap_or_default();
    let time = Time::from_hms_milli(small(11..13)?, small(14..16)?, small(17..19)?, millis).ok()?;
    u64::try_from(date.with_time(time).assume_utc().unix_timestamp_nanos() / 1_000_000).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_usher_writes_them() {
        assert_eq!(unix_time("1970-01-02T00:00:01.250Z"), Some(Duration::from_millis(86_401_250)));
        assert_eq!(unix_time("2026-01-31T08:09:10Z"), Some(Duration::from_secs(1_769_846_950)));
        for wrong in ["", "yesterday", "2026-13-01T00:00:00.000Z", "2026-01-31T25:00:00.000Z", "é026-01-31T08:09:10Z"]
        {
            assert_eq!(unix_time(wrong), None, "{wrong}");
        }
    }
}
