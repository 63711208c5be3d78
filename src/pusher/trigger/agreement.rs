//! Compares the strict pass over a body with the lenient one, and both with serde_json's own reader. For tests and for
//! fuzzing (fuzz/README.md); not part of the program.

use serde_json::Value;

use super::{AffectedChannels, Endpoint, Event, Inexact, Trigger, lenient};

/// Checks one body. What is read exactly is what serde_json finds, too, and the lenient pass finds every channel of it;
/// of anything else, no channel that serde_json finds is missing from the affected ones. A body without its first
/// channel is read exactly again. Returns whether `body` is read exactly.
///
/// # Panics
/// They differ.
#[must_use]
pub fn check(endpoint: Endpoint, body: &[u8]) -> bool {
    let shown = || body.escape_ascii();
    let value = serde_json::from_slice::<Value>(body);
    match (Trigger::parse(endpoint, body), value) {
        (Ok(trigger), value) => {
            check_exact(endpoint, body, &trigger);
            match (endpoint, value) {
                (Endpoint::Events, Ok(value)) => assert!(agrees(&trigger.events[0], &value), "{}", shown()),
                (Endpoint::Batch, Ok(value)) => {
                    let items = value["batch"].as_array().expect("what is read exactly has a batch");
                    assert_eq!(items.len(), trigger.events.len(), "{}", shown());
                    let all = items.iter().zip(&trigger.events).all(|(value, event)| agrees(event, value));
                    assert!(all, "{}", shown());
                }
                // A lone surrogate, or a number beyond all bounds, in what is not read here: the data.
                (_, Err(_)) => {
                    assert!(trigger.events.iter().any(|event| event.data(&mut []).is_none()), "{}", shown());
                }
            }
            true
        }
        (Err(Inexact { affected: AffectedChannels::Listed(names), .. }), Ok(value)) => {
            let all = named_channels(&value).iter().all(|name| names.iter().any(|found| found == name));
            assert!(all, "{names:?} in {}", shown());
            false
        }
        (Err(_), _) => false,
    }
}

/// The lenient pass finds no fewer channels, and what stays of the trigger is one.
fn check_exact(endpoint: Endpoint, body: &[u8], trigger: &Trigger<'_>) {
    let shown = || body.escape_ascii();
    if let AffectedChannels::Listed(names) = lenient::affected(body) {
        let mut channels = trigger.events.iter().flat_map(|event| &event.channels);
        assert!(channels.all(|channel| names.iter().any(|name| name == channel)), "{names:?} in {}", shown());
    }
    let reduced = trigger.without(&[(0, 0)]);
    let count = |trigger: &Trigger<'_>| trigger.events.iter().map(|event| event.channels.len()).sum::<usize>();
    match Trigger::parse(endpoint, &reduced) {
        Ok(reduced) => assert_eq!(count(&reduced) + 1, count(trigger), "{}", shown()),
        Err(_) => assert!(reduced.is_empty() && count(trigger) == 1, "{}", shown()),
    }
}

/// Whether serde_json's own reader finds the same event in a value.
fn agrees(event: &Event<'_>, value: &Value) -> bool {
    let channels = match (&value["channel"], &value["channels"]) {
        (Value::String(channel), Value::Null) => vec![channel.as_str()],
        (Value::Null, Value::Array(channels)) => channels.iter().filter_map(Value::as_str).collect(),
        _ => return false,
    };
    value["name"].as_str() == Some(&*event.name)
        && value["data"].as_str() == event.data(&mut []).as_deref()
        && channels == event.channels[..]
        && value["socket_id"].as_str() == event.socket_id.as_deref()
        && value["info"].is_null() != event.wants_info
}

/// All strings anywhere in a value under a key that is read as `channel` or `channels`.
fn named_channels(value: &Value) -> Vec<&str> {
    let own = ["channel", "channels"].iter().flat_map(|key| match &value[*key] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    });
    let items = value["batch"].as_array().into_iter().flatten().flat_map(named_channels);
    own.chain(items).collect()
}
