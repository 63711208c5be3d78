//! A table of request lines, and where the requests go. The apps 3 and 4 are configured.

use http::Request;

use super::{Route, TargetForm, route};
use crate::gateway::Refusal;
use crate::gateway::agreement::{APP, Requests};
use crate::pusher::Endpoint;

/// Where a request goes, in short.
#[derive(Debug, PartialEq, Eq)]
enum Goes {
    /// To the memory of this app.
    Exact(&'static str, Endpoint),
    /// To that of this app's channel.
    Legacy(&'static str, &'static str),
    /// This app is in doubt.
    Disguised(&'static str),
    /// It is refused for an app of this name.
    UnknownApp(&'static str),
    /// Past the memory.
    Other,
}

use Goes::{Disguised, Exact, Legacy, Other, UnknownApp};

/// Sends the request with this method and target; says whether it goes where it should.
#[track_caller]
fn expect(requests: &Requests, method: &str, target: &str, goes: &Goes) {
    let (head, ()) = Request::builder().method(method).uri(target).body(()).expect("a valid target").into_parts();
    let routed = route(&head, requests.routing());
    let is_right = match (&routed, goes) {
        (Ok(Route::Trigger(target)), Exact(id, endpoint)) => {
            *target.app.id == **id && target.form == TargetForm::Exact(*endpoint)
        }
        (Ok(Route::Trigger(target)), Legacy(id, channel)) => {
            *target.app.id == **id && target.form == TargetForm::Legacy { channel: (*channel).to_owned() }
        }
        (Ok(Route::Trigger(target)), Disguised(id)) => {
            *target.app.id == **id && target.form == TargetForm::NonCanonical
        }
        (Err(Refusal::UnknownApp { name }), UnknownApp(expected)) => name == expected,
        (Ok(Route::Other), Other) => true,
        _ => false,
    };
    assert!(is_right, "{method} {target} should go to {goes:?}, not to {routed:?}");
}

#[test]
fn paths_that_name_an_endpoint_byte_for_byte() {
    let requests = Requests::new();
    for (target, goes) in [
        ("/apps/3/events", Exact("3", Endpoint::Events)),
        ("/apps/3/batch_events", Exact("3", Endpoint::Batch)),
        ("/apps/4/events?", Exact("4", Endpoint::Events)),
        ("/apps/3/events?a=b&auth_key=another-key", Exact("3", Endpoint::Events)),
        // A base path (threats.md URI-09).
        ("/base/apps/3/events", Exact("3", Endpoint::Events)),
        ("/a/b.c/d_e-f~/apps/3/batch_events", Exact("3", Endpoint::Batch)),
        ("/apps/3/channels/c/events", Legacy("3", "c")),
        ("/base/apps/3/channels/c/events", Legacy("3", "c")),
        // Ids are compared byte for byte, and not as numbers (threats.md URI-05).
        ("/apps/03/events", UnknownApp("03")),
        ("/apps/3.0/events", UnknownApp("3.0")),
        ("/apps/9/events", UnknownApp("9")),
        ("/apps/9/batch_events", UnknownApp("9")),
        ("/apps/9/channels/c/events", UnknownApp("9")),
        // No endpoint of triggers (threats.md URI-08).
        ("/", Other),
        ("/apps/3", Other),
        ("/apps/3/channels", Other),
        ("/apps/3/channels/events/users", Other),
        ("/apps/3/event", Other),
        ("/apps/3/events2", Other),
        ("/apps/3/users/u/terminate_connections", Other),
        ("/events", Other),
        ("/app/3/events", Other),
        ("/apps3/events", Other),
    ] {
        expect(&requests, "POST", target, &goes);
    }
}

#[test]
fn what_may_become_an_endpoint_puts_its_app_in_doubt() {
    let requests = Requests::new();
    for target in [
        // threats.md URI-02: empty and dot segments.
        "//apps/3/events",
        "/apps//3/events",
        "/apps/3//events",
        "/apps/3/events/",
        "/./apps/3/events",
        "/apps/3/./events",
        "/apps/3/x/../events",
        "/apps/3/events/x/..",
        "/x/../apps/3/batch_events",
        // URI-03: escapes, up to three times over.
        "/apps/%33/events",
        "/apps/3/%65vents",
        "/apps/3%2Fevents",
        "/apps/3/%2565vents",
        "/apps/3/%252565vents",
        "/apps/3/%25252565vents",
        "/apps/3/events%3Fx",
        "/apps/3/events%23x",
        "/apps/3/events%00",
        "/apps/3/events%20",
        "/apps/3/%2e/events",
        "/%61pps/3/events",
        // URI-04: case, parameters, back slashes.
        "/Apps/3/events",
        "/apps/3/EVENTS",
        "/apps/3/events;v=1",
        "/apps/3;v=1/events",
        "/apps/3/x\\..\\events",
        // The old endpoint, disguised (URI-06).
        "/apps/3/channels/a%2fb/events",
        "/apps/3/channels/c/events/",
        "/apps/3/channels/c/Events",
        // A base that could be the API's own path (URI-09).
        "/apps/3/apps/3/events",
        "/base/../apps/3/events",
        "/base;v/apps/3/events",
        "/%62ase/apps/3/events",
    ] {
        // The key says the app, whatever the path says.
        expect(&requests, "POST", &format!("{target}?auth_key={}", APP[1]), &Disguised("3"));
    }
    // Without a key, the first segment behind `/apps/` does.
    expect(&requests, "POST", "/apps/3/events/", &Disguised("3"));
    expect(&requests, "POST", "/apps/3/events/?auth_key=no-key", &Disguised("3"));
    expect(&requests, "POST", "/apps/3/events/?auth_key=another-key", &Disguised("4"));
    expect(&requests, "POST", "/Apps/3/events", &UnknownApp(""));
    // A key that is given twice is no key (threats.md AUTH-04).
    let twice = format!("/Apps/3/events?auth_key={0}&auth_key={0}", APP[1]);
    expect(&requests, "POST", &twice, &UnknownApp(""));
}

#[test]
fn only_a_post_is_a_trigger_in_any_case() {
    let requests = Requests::new();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "POSTS"] {
        expect(&requests, method, "/apps/3/events", &Other);
        expect(&requests, method, "/apps/9/Events", &Other);
    }
    // Some servers take a method in any case (threats.md H1-15).
    for method in ["post", "Post"] {
        expect(&requests, method, "/apps/3/events", &Disguised("3"));
        expect(&requests, method, "/apps/3/channels/c/events", &Disguised("3"));
        expect(&requests, method, "/apps/9/events", &UnknownApp("9"));
    }
}

#[test]
fn the_name_of_an_unknown_app_is_cut_short() {
    let requests = Requests::new();
    let (head, ()) = Request::builder()
        .method("POST")
        .uri(format!("/apps/{}/events", "x".repeat(1000)))
        .body(())
        .expect("a valid target")
        .into_parts();
    let Err(Refusal::UnknownApp { name }) = route(&head, requests.routing()) else { panic!("no such app") };
    assert_eq!(name.len(), 64);
}
