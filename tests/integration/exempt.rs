//! Requests that are never suppressed, independent of the memory (ARCHITECTURE.md "When an announcement is suppressed"),
//! and their effect on the memory.

use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, staff};
use crate::harness::{Client, Fake, Request, Usher, sign};
use crate::story::assert_untouched;

const CHANNEL: &str = "h-room-1-chat";
const ANNA: &str = "Anna Byrne";

/// An announcement of Anna with this text inserted before its closing brace.
fn with(more: &str) -> String {
    let body = announcement(CHANNEL, ANNA);
    format!("{}{more}}}", body.strip_suffix('}').unwrap())
}

#[track_caller]
fn forwards(client: &mut Client, fake: &Fake, request: &Request) {
    let before = fake.count();
    let response = client.call(request);
    assert_eq!(response.status, 200, "{response:?}");
    let requests = fake.requests();
    assert_eq!(requests.len(), before + 1, "one request upstream");
    assert_untouched(request, &requests[before], fake);
}

/// Makes Anna known, sends `request` twice, both of which must be forwarded unchanged, and returns whether Anna's next
/// announcement is dropped.
#[track_caller]
fn stays_known_after(request: &Request) -> bool {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, ANNA).assert_forwarded();
    client.announce(CHANNEL, ANNA).assert_suppressed();
    forwards(&mut client, &fake, request);
    forwards(&mut client, &fake, request);
    let next = client.announce(CHANNEL, ANNA);
    assert_eq!(next.status, 200);
    let known = next.decision() == "suppressed";
    if !known {
        client.announce(CHANNEL, ANNA).assert_suppressed();
    }
    known
}

#[test]
fn a_socket_is_excluded_that_is_not_known_and_the_channel_becomes_unknown() {
    for id in ["", "123", "0123.456", "123.456.7", "123.x"] {
        assert!(!stays_known_after(&Request::events(&with(&format!(r#","socket_id":"{id}""#)))));
    }
}

/// sockudo answers a repeat of a key with success and sends nothing: A (key 1), B (key 2), A (key 1) leaves guests with
/// B.
#[test]
fn a_trigger_with_an_idempotency_key_may_be_left_out_by_upstream() {
    let keyed = |body: &str, key: &str| Request::events(body).header("X-Idempotency-Key", key);
    assert!(!stays_known_after(&keyed(&announcement(CHANNEL, ANNA), "1")));
    assert!(!stays_known_after(&keyed(&announcement(CHANNEL, "Boris Novak"), "1")));
    let other = r#"{"name":"new-staff-message","channel":"h-room-1-chat","data":"{}"}"#;
    assert!(stays_known_after(&keyed(other, "1")), "no rule watches it");
}

#[test]
fn a_null_socket_excludes_nobody() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, ANNA).assert_forwarded();
    client.trigger(&with(r#","socket_id":null"#)).assert_suppressed();
}

#[test]
fn info_asks_for_an_answer_of_its_own() {
    stays_known_after(&Request::events(&with(r#","info":"subscription_count""#)));
}

#[test]
fn an_encoded_body_is_not_read() {
    assert!(!stays_known_after(&Request::events(&announcement(CHANNEL, ANNA)).header("Content-Encoding", "gzip")));
}

#[test]
fn parameters_in_the_query_are_not_read() {
    let body = announcement(CHANNEL, ANNA);
    for extra in
        ["info=user_count", "socket_id=1.2", "name=staff-assigned", "channels[]=h-room-1-chat", "channel=h-room-1-chat"]
    {
        assert!(!stays_known_after(&Request::signed("POST", "/apps/3/events", extra, body.as_bytes())), "{extra}");
    }
    let all = format!("channel={CHANNEL}&data=x&name={ANNOUNCEMENT}");
    assert!(!stays_known_after(&Request::signed("POST", "/apps/3/events", &all, b"{}")));
}

#[test]
fn duplicate_and_unexpected_keys_are_not_read() {
    let data = serde_json::Value::from(staff(ANNA)).to_string();
    for body in [
        with(r#","name":"staff-assigned""#),
        with(r#","channels":["h-room-1-chat"]"#),
        with(r#","channel":"h-room-1-chat""#),
        with(r#","data":"{}""#),
        with(r#","surprise":1"#),
        with(r#","Name":"staff-assigned""#),
        format!(r#"{{"na\u006de":"staff-assigned","channels":["h-room-1-chat"],"data":{data}}}"#),
        format!(r#"{{"name":"staff-assigned","channels":["h-room-1-chat","h-room-1-chat"],"data":{data}}}"#),
        format!(r#"{{"name":"staff-assigned","channels":["h-room-1-chat"],"data":{}}}"#, staff(ANNA)),
        format!("\u{feff}{}", announcement(CHANNEL, ANNA)),
        format!("{}{{}}", announcement(CHANNEL, ANNA)),
        Library::Node.body(ANNOUNCEMENT, &[CHANNEL], r#"{"staff_name":"Anna Byrne","staff_name":"Ben"}"#),
        Library::Node.body(ANNOUNCEMENT, &[CHANNEL], "not json"),
    ] {
        assert!(!stays_known_after(&Request::events(&body)), "{body}");
    }
}

#[test]
fn odd_paths_to_a_trigger_endpoint_forget() {
    let body = announcement(CHANNEL, ANNA);
    for path in ["/apps/3/%65vents", "/apps/3//events", "/apps/3/./events", "/apps/3/events/", "/APPS/3/events"] {
        assert!(!stays_known_after(&Request::signed("POST", path, "", body.as_bytes())), "{path}");
    }
    let legacy = format!("/apps/3/channels/{CHANNEL}/events");
    assert!(!stays_known_after(&Request::signed("POST", &legacy, "name=staff-assigned", staff("Ben").as_bytes())));
}

#[test]
fn cache_and_encrypted_channels_are_never_dropped() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for prefix in ["cache-", "private-cache-", "presence-cache-", "private-encrypted-", "private-encrypted-cache-"] {
        for _ in 0..3 {
            forwards(&mut client, &fake, &Request::events(&announcement(&format!("{prefix}h-room-1-chat"), ANNA)));
        }
    }
    for prefix in ["private-", "presence-"] {
        forwards(&mut client, &fake, &Request::events(&announcement(&format!("{prefix}h-room-1-chat"), ANNA)));
        client.announce(&format!("{prefix}h-room-1-chat"), ANNA).assert_suppressed();
    }
}

#[test]
fn what_is_not_signed_changes_nothing() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, ANNA).assert_forwarded();
    let body = announcement(CHANNEL, "Mallory");
    let bytes = body.as_bytes();
    let query = |key: &str, secret: &str, at: u64| sign::query_of("POST", "/apps/3/events", "", bytes, key, secret, at);
    let now = sign::now();
    let good = query(sign::KEY, sign::SECRET, now);
    for (code, query) in [
        ("signature", query(sign::KEY, "wrong-secret", now)),
        ("unknown_auth_key", query("wrong-key", sign::SECRET, now)),
        ("timestamp", query(sign::KEY, sign::SECRET, now - 700)),
        ("timestamp", query(sign::KEY, sign::SECRET, now + 700)),
        ("", good.replace("body_md5=", "body_md5=0")),
        ("", format!("{good}&more=1")),
        ("", String::new()),
    ] {
        let response = usher.client().call(&Request::new("POST", &format!("/apps/3/events?{query}"), bytes));
        assert_eq!(response.status, 401, "{query}: {response:?}");
        assert!(response.error().contains(code), "{response:?}");
        response.assert_error(401, &response.error());
        assert!(!response.text().contains(sign::SECRET), "{response:?}");
    }
    let tampered =
        Request::new("POST", &format!("/apps/3/events?{good}"), body.replace("Mallory", "Mallery").as_bytes());
    let response = usher.client().call(&tampered);
    assert_eq!(response.status, 401);
    assert!(response.error().contains("md5"), "{response:?}");
    assert_eq!(fake.count(), 1);
    client.announce(CHANNEL, ANNA).assert_suppressed();
    assert!(usher.admin().metric("usher_auth_failures_total", &[]) >= 8.0);
}
