//! The body of a webhook (`pusher-protocol.md` 5.2), as far as usher has a use for it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::WebhookRefusal;
use crate::audience::ReportedChange;
use crate::metrics::IncomingEvent;
use crate::pusher::is_valid_name;

/// The largest number of events of one webhook. Pusher sends up to 20, soketi and sockudo what comes in 50 ms.
pub(super) const MAX_EVENTS: usize = 1000;

/// A webhook.
#[derive(Debug, Deserialize)]
pub(super) struct Payload<'b> {
    time_ms: u64,
    #[serde(borrow)]
    events: Vec<Event<'b>>,
}

/// One of its events. What it says beside this is handed on and not read.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'b> {
    #[serde(borrow)]
    name: Cow<'b, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'b, str>>,
    #[serde(default)]
    subscription_count: Option<usize>,
}

impl<'b> Payload<'b> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is not a webhook's, or has too many events.
    pub(super) fn read(body: &'b [u8]) -> Result<Self, WebhookRefusal> {
        let payload: Self = serde_json::from_slice(body).map_err(|_| WebhookRefusal::Malformed)?;
        if payload.events.len() > MAX_EVENTS { Err(WebhookRefusal::TooManyEvents) } else { Ok(payload) }
    }

    /// Checks that it was made at most `max_age` before or after `now`, which is since the Unix epoch.
    ///
    /// # Errors
    /// It was not.
    pub(super) fn check_time(&self, now: Duration, max_age: Duration) -> Result<(), WebhookRefusal> {
        let made = Duration::from_millis(self.time_ms);
        if now.abs_diff(made) > max_age { Err(WebhookRefusal::OutOfTime { max_age }) } else { Ok(()) }
    }

    /// All events.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event<'b>> {
        self.events.iter()
    }

    /// What it says of channels.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&str, ReportedChange)> {
        self.events.iter().filter_map(|event| {
            let channel = event.channel.as_deref().filter(|channel| is_valid_name(channel))?;
            Some((channel, event.change()?))
        })
    }
}

impl Event<'_> {
    /// Its kind, for the metrics.
    pub(super) fn kind(&self) -> IncomingEvent {
        match &*self.name {
            "channel_occupied" => IncomingEvent::ChannelOccupied,
            "channel_vacated" => IncomingEvent::ChannelVacated,
            "member_added" => IncomingEvent::MemberAdded,
            "member_removed" => IncomingEvent::MemberRemoved,
            "client_event" => IncomingEvent::ClientEvent,
            "cache_miss" => IncomingEvent::CacheMiss,
            "subscription_count" => IncomingEvent::SubscriptionCount,
            _ => IncomingEvent::Other,
        }
    }

    fn change(&self) -> Option<ReportedChange> {
        match self.kind() {
            IncomingEvent::ChannelOccupied => Some(ReportedChange::Occupied),
            IncomingEvent::ChannelVacated => Some(ReportedChange::Vacated),
            IncomingEvent::MemberAdded => Some(ReportedChange::MemberAdded),
            IncomingEvent::SubscriptionCount => self.subscription_count.map(ReportedChange::Subscriptions),
            // Who leaves is no news, and who misses a cached event has subscribed, perhaps as one of many.
            IncomingEvent::CacheMiss => Some(ReportedChange::Occupied),
            IncomingEvent::MemberRemoved | IncomingEvent::ClientEvent | IncomingEvent::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_all_servers_are_read() {
        let body = r#"{"time_ms":1700000000000,"events":[
            {"name":"channel_occupied","channel":"a"},{"name":"channel_vacated","channel":"b"},
            {"name":"member_added","channel":"presence-c","user_id":7},{"name":"member_removed","channel":"presence-c","user_id":"7"},
            {"name":"subscription_count","channel":"d","subscription_count":3},{"name":"subscription_count","channel":"d"},
            {"name":"client_event","channel":"private-e","event":"client-x","data":{"a":[1]},"socket_id":"1.2"},
            {"name":"cache_miss","channel":"cache-f","data":"{}"},{"name":"ai_stream_cancelled","channel":"g"},
            {"name":"channel_occupied","channel":"not a name"},{"name":"channel_occupied"}]}"#;
        let payload = Payload::read(body.as_bytes()).unwrap();
        let changes: Vec<_> = payload.changes().collect();
        assert_eq!(
            changes,
            [
                ("a", ReportedChange::Occupied),
                ("b", ReportedChange::Vacated),
                ("presence-c", ReportedChange::MemberAdded),
                ("d", ReportedChange::Subscriptions(3)),
                ("cache-f", ReportedChange::Occupied),
            ]
        );
        assert_eq!(payload.events().count(), 11);
        for (now, max_age, fits) in [
            (1_700_000_300, 300, true),
            (1_700_000_301, 300, false),
            (1_699_999_700, 300, true),
            (1_699_999_699, 300, false),
        ] {
            let checked = payload.check_time(Duration::from_secs(now), Duration::from_secs(max_age));
            assert_eq!(checked.is_ok(), fits, "{now}");
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            "7",
            "\u{7f}",
            r#"{"time_ms":1}"#,
            r#"{"events":[]}"#,
            r#"{"time_ms":"1","events":[]}"#,
            r#"{"time_ms":-1,"events":[]}"#,
            r#"{"time_ms":1,"events":[{}]}"#,
            r#"{"time_ms":1,"events":[{"name":7}]}"#,
            r#"{"time_ms":1,"events":[{"name":"channel_occupied","channel":7}]}"#,
            r#"{"time_ms":1,"events":[]} x"#,
            r#"{"time_ms":1,"time_ms":2,"events":[]}"#,
        ] {
            assert_eq!(Payload::read(body.as_bytes()).unwrap_err(), WebhookRefusal::Malformed, "{body}");
        }
        assert_eq!(Payload::read(b"\xff").unwrap_err(), WebhookRefusal::Malformed);
        let of = |count: usize| format!(r#"{{"time_ms":1,"events":[{}]}}"#, vec![r#"{"name":"x"}"#; count].join(","));
        assert_eq!(Payload::read(of(MAX_EVENTS).as_bytes()).unwrap().events().count(), MAX_EVENTS);
        assert_eq!(Payload::read(of(MAX_EVENTS + 1).as_bytes()).unwrap_err(), WebhookRefusal::TooManyEvents);
    }
}
