//! Reading what a relayed delivery says: `{"event":…,"channel":…,"data":"…"}` (pusher-protocol.md 4.4).

use std::borrow::Cow;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A delivery.
#[derive(Debug, Deserialize)]
pub(super) struct Delivery<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl<'a> Delivery<'a> {
    /// The delivery in `text`; `None`: it is another message.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Its data, if that is a string.
    pub(super) fn data(&self) -> Option<String> {
        serde_json::from_str(self.data?.get()).ok()
    }
}

/// Finds the name of an event in a message that has not been parsed.
#[derive(Debug)]
pub(super) struct Name(Finder<'static>);

impl Name {
    /// Looks for the longest part of the name that every JSON writer leaves as it is.
    pub(super) fn new(event: &str) -> Self {
        let is_escaped = |character: char| !(character.is_ascii_alphanumeric() || " -_.,:;=@#!()".contains(character));
        let longest = event.split(is_escaped).max_by_key(|part| part.len()).unwrap_or_default();
        Self(Finder::new(longest.as_bytes()).into_owned())
    }

    /// Whether the name may be in `text`.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        self.0.find(text.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_escaped() {
        let name = Name::new("App\\Events\\StaffAssigned");
        assert!(name.may_be_in(r#"{"event":"App\\Events\\StaffAssigned"}"#));
        assert!(!name.may_be_in(r#"{"event":"App\\Events\\Other"}"#));
        assert!(Name::new("über").may_be_in(r#"{"event":"\u00fcber"}"#));
        assert!(Name::new("üü").may_be_in("anything: it is parsed"));
        assert!(Name::new("staff-assigned").may_be_in(r#"{"data":"{}","event":"staff-assigned"}"#));
    }

    #[test]
    fn a_delivery_has_an_event_a_channel_and_perhaps_data() {
        let read = |text| Delivery::read(text).map(|it| (it.event.to_string(), it.channel.to_string(), it.data()));
        let whole = read(r#"{"channel":"r","data":"{\"a\":1}","event":"e\/1","user_id":"7"}"#);
        assert_eq!(whole, Some(("e/1".to_owned(), "r".to_owned(), Some("{\"a\":1}".to_owned()))));
        assert_eq!(read(r#"{"event":"e","channel":"r","data":{"a":1}}"#).unwrap().2, None);
        assert_eq!(read(r#"{"event":"e","channel":"r"}"#).unwrap().2, None);
        for other in ["", "{}", "[]", r#"{"event":"pusher:pong","data":{}}"#, r#"{"event":7,"channel":"r"}"#] {
            assert!(Delivery::read(other).is_none(), "{other}");
        }
    }
}
