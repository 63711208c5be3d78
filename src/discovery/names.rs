//! What the name of a member says: whether it is an id, a name, a time, and of whom.

/// Last words of ids.
const IDS: [&str; 4] = ["id", "uuid", "guid", "key"];

/// Last words of names.
const NAMES: [&str; 8] = ["name", "login", "username", "email", "title", "label", "slug", "handle"];

/// Who or what an announcement announces.
const SUBJECTS: [&str; 24] = [
    "staff", "agent", "user", "operator", "assignee", "owner", "author", "member", "player", "driver", "doctor",
    "nurse", "host", "guide", "clerk", "sender", "employee", "person", "status", "state", "presence", "leader",
    "speaker", "by",
];

/// Where something is announced.
const PLACES: [&str; 20] = [
    "conversation",
    "chat",
    "thread",
    "session",
    "room",
    "channel",
    "ticket",
    "order",
    "hotel",
    "tenant",
    "org",
    "organization",
    "account",
    "reservation",
    "booking",
    "case",
    "visit",
    "stay",
    "location",
    "project",
];

/// Ids that tracing or the transport gives, wherever they stand. A `request_id` may be the id of what a guest asks for.
const TRACES: [&str; 4] = ["trace", "span", "correlation", "idempotency"];

/// Ids of an envelope, beside what it carries.
const OUTER_IDS: [&str; 6] = ["id", "uuid", "event_id", "message_id", "request_id", "delivery_id"];

/// What an envelope carries.
const CARRIED: [&str; 6] = ["payload", "data", "body", "content", "attributes", "detail"];

/// What comes before `_at` in the times of sending.
const SENDING: [&str; 10] = [
    "sent",
    "created",
    "updated",
    "published",
    "emitted",
    "generated",
    "occurred",
    "dispatched",
    "triggered",
    "queued",
];

/// The parts of an envelope that are about the sending.
const ENVELOPES: [&str; 6] = ["meta", "metadata", "headers", "trace", "tracing", "envelope"];

/// The words of a key in lower case: of `staff_id`, `staffId` and `staff-id` they are `staff` and `id`.
pub(super) fn words(key: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_inside = false;
    let mut was_lower = false;
    for letter in key.chars() {
        let is_word = letter.is_ascii_alphanumeric();
        if is_word {
            if !is_inside || was_lower && letter.is_ascii_uppercase() {
                words.push(String::new());
            }
            words.iter_mut().last().into_iter().for_each(|word| word.push(letter.to_ascii_lowercase()));
        }
        is_inside = is_word;
        was_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    words
}

/// The last key of a pointer, and the pointer without it.
pub(super) fn split(pointer: &str) -> (&str, &str) {
    pointer.rsplit_once('/').unwrap_or(("", pointer))
}

fn last_is(words: &[String], list: &[&str]) -> bool {
    words.last().is_some_and(|word| list.contains(&word.as_str()))
}

/// Whether the key at a pointer names an id.
pub(super) fn is_id(pointer: &str) -> bool {
    last_is(&words(split(pointer).1), &IDS)
}

/// Whether the key at a pointer names a name.
pub(super) fn is_name(pointer: &str) -> bool {
    last_is(&words(split(pointer).1), &NAMES)
}

/// Of whom the value at a pointer is: the same for `/staff_id`, `/staff_name`, `/staffId` and `/staff/id`.
pub(super) fn stem(pointer: &str) -> String {
    let (parent, key) = split(pointer);
    let mut words = words(key);
    if is_id(pointer) || is_name(pointer) {
        words.pop();
    }
    let own = words.join("_");
    if own.is_empty() { parent.to_owned() } else { format!("{parent}/{own}") }
}

/// How well the value at a pointer may be what is announced, by its name alone.
pub(super) fn rank(pointer: &str) -> i32 {
    let words = words(split(&stem(pointer)).1);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    4 * i32::from(has(&SUBJECTS)) - 4 * i32::from(has(&PLACES)) + i32::from(is_id(pointer) || is_name(pointer))
}

/// Whether the key says that it is an id of tracing or of the transport.
pub(super) fn is_trace_id(pointer: &str) -> bool {
    match &words(split(pointer).1)[..] {
        [word] => word == "nonce",
        [word, last] => TRACES.contains(&word.as_str()) && last_is(std::slice::from_ref(last), &IDS),
        _ => false,
    }
}

/// Whether a pointer leads to the id of an envelope, if there is one.
pub(super) fn is_outer_id(pointer: &str) -> bool {
    pointer
        .strip_prefix('/')
        .is_some_and(|key| OUTER_IDS.contains(&words(key).join("_").as_str()) && !key.contains('/'))
}

/// Whether a pointer leads into what an envelope carries.
pub(super) fn is_carried(pointer: &str) -> bool {
    let first = pointer.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    first.is_some_and(|(first, _)| CARRIED.contains(&first))
}

/// Whether the key says that it is the time of sending.
pub(super) fn is_sending_time(pointer: &str) -> bool {
    let words = words(split(pointer).1);
    match &words[..] {
        [word] => matches!(word.as_str(), "ts" | "timestamp"),
        [.., before, last] => {
            last == "at" && SENDING.contains(&before.as_str())
                || matches!(last.as_str(), "ts" | "timestamp")
                || last == "time" && matches!(before.as_str(), "event" | "server" | "sent")
        }
        [] => false,
    }
}

/// The part of an envelope about the sending that a pointer leads into, e.g. `/meta`.
pub(super) fn envelope(pointer: &str) -> Option<&str> {
    let (first, _) = pointer.strip_prefix('/')?.split_once('/')?;
    let words = words(first);
    ENVELOPES.contains(&words.last()?.as_str()).then(|| &pointer[..=first.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_one_person_have_one_stem() {
        for pointer in ["/p/staff_id", "/p/staffName", "/p/staff/id", "/p/staff-uuid"] {
            assert_eq!(stem(pointer), "/p/staff", "{pointer}");
        }
        assert_eq!((stem("/id"), stem("/status")), (String::new(), "/status".to_owned()));
        assert!(rank("/staff_id") > rank("/name") && rank("/name") > rank("/conversation_id"));
        assert_eq!(words("eventID"), ["event", "id"]);
    }

    #[test]
    fn times_and_ids_of_sending_are_known_by_name() {
        for pointer in ["/ts", "/meta/sent_at", "/createdAt", "/event_time"] {
            assert!(is_sending_time(pointer), "{pointer}");
        }
        for pointer in ["/last_seen_at", "/expires_at", "/eta", "/check_in_time", "/date", "/time"] {
            assert!(!is_sending_time(pointer), "{pointer}");
        }
        assert!(is_trace_id("/traceId") && is_trace_id("/payload/correlation_id") && !is_trace_id("/request_id"));
        assert!(
            is_outer_id("/eventId") && is_outer_id("/id") && !is_outer_id("/payload/id") && !is_outer_id("/staff_id")
        );
        assert!(is_carried("/payload/id") && !is_carried("/payload") && !is_carried("/guest/name"));
        assert_eq!((envelope("/meta/ts"), envelope("/payload/ts"), envelope("/meta")), (Some("/meta"), None, None));
    }
}
