//! A server below a base path, like Laravel Reverb with `REVERB_SERVER_PATH`: requests go to `/ws/apps/…`. The PHP
//! library does not sign that path (https://github.com/laravel/reverb/issues/356), others sign it. usher accepts both,
//! as long as the target is otherwise in normal form.

use serde_json::json;

use crate::harness::bodies::{announcement, message, staff};
use crate::harness::websocket::{End, Far, Frame, handshake};
use crate::harness::{Fake, Recorded, Request, Step, Usher, eventually, sign};

const BASE: &str = "/ws";
const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// The part of the path that a caller signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signs {
    Whole,
    BehindBase,
}

impl Signs {
    /// A trigger to `path` below the base.
    fn request(self, path: &str, body: &str) -> Request {
        let whole = format!("{BASE}{path}");
        let signed = if self == Self::Whole { &whole } else { path };
        Request::new("POST", &format!("{whole}?{}", sign::query("POST", signed, "", body.as_bytes())), body.as_bytes())
    }

    /// Whether a server that expects such signatures accepts the request.
    fn fits(self, request: &Recorded) -> bool {
        let target = request.target();
        let signed = if self == Self::Whole { &target } else { target.strip_prefix(BASE).unwrap() };
        sign::verifies(&request.method(), signed, &request.body)
    }
}

/// Every path through usher with every kind of signature, with a server that accepts only that kind.
fn everywhere(check: impl Fn(&Usher, &Fake, Signs)) {
    for fast_path in [true, false] {
        for signs in [Signs::BehindBase, Signs::Whole] {
            let fake = Fake::start();
            fake.otherwise(move |request| if signs.fits(request) { Step::ok() } else { Step::status(401) });
            let usher = Usher::start(&fake, |setup| setup.server += &format!("fast_path = {fast_path}\n"));
            check(&usher, &fake, signs);
        }
    }
}

#[test]
fn triggers_are_taken_read_and_forwarded_as_they_came() {
    everywhere(|usher, fake, signs| {
        let mut client = usher.client();
        let first = signs.request("/apps/3/events", &announcement(CHANNEL, "Anna"));
        client.call(&first).assert_forwarded();
        client.call(&first).assert_suppressed();
        let batch =
            json!({ "batch": [{ "name": "staff-assigned", "channel": CHANNEL, "data": staff("Anna") }] }).to_string();
        client.call(&signs.request("/apps/3/batch_events", &batch)).assert_suppressed();
        client.call(&signs.request("/apps/3/events", &message(CHANNEL, "hello"))).assert_forwarded();
        assert_eq!(fake.requests().iter().map(Recorded::target).next(), Some(first.target));
        assert_eq!(fake.count(), 2);
        // The app is the same with any base path.
        client.announce(CHANNEL, "Anna").assert_suppressed();
    });
}

#[test]
fn what_is_reduced_is_signed_as_the_caller_signed() {
    everywhere(|usher, fake, signs| {
        let mut client = usher.client();
        client.call(&signs.request("/apps/3/events", &announcement(CHANNEL, "Anna"))).assert_forwarded();
        let both = json!({ "name": "staff-assigned", "channels": [CHANNEL, OTHER], "data": staff("Anna") }).to_string();
        let events = [CHANNEL, "h-room-3-chat"]
            .map(|channel| json!({ "name": "staff-assigned", "channel": channel, "data": staff("Anna") }));
        let batch = json!({ "batch": events }).to_string();
        for (path, body) in [("/apps/3/events", both), ("/apps/3/batch_events", batch)] {
            let answer = client.call(&signs.request(path, &body));
            assert_eq!((answer.status, answer.decision().as_str()), (200, "reduced"), "{signs:?} {path}: {answer:?}");
        }
        let reduced = &fake.requests()[1..];
        assert!(
            reduced
                .iter()
                .all(|request| !request.text().contains(CHANNEL) && request.target().starts_with("/ws/apps/3/")),
            "{reduced:?}"
        );
    });
}

#[test]
fn a_signature_over_anything_else_is_refused() {
    everywhere(|usher, fake, signs| {
        let mut client = usher.client();
        let body = announcement(CHANNEL, "Anna");
        let right = signs.request("/apps/3/events", &body);
        for (right_part, wrong) in
            [("/ws/", "/sw/apps/../"), ("body_md5=", "body_md5=0"), ("auth_signature=", "auth_signature=0")]
        {
            let request = Request::new("POST", &right.target.replace(right_part, wrong), body.as_bytes());
            assert_eq!(client.call(&request).status, 401, "{}", request.target);
        }
        let for_another = signs.request("/apps/4/events", &body).target.replace("/apps/4/", "/apps/3/");
        client.call(&Request::new("POST", &for_another, body.as_bytes())).assert_error(401, "auth_signature_mismatch");
        client.call(&signs.request("/apps/99/events", &body)).assert_error(404, "unknown_app");
        assert_eq!(fake.count(), 0);
    });
}

/// Another parser may interpret such a target differently, so nothing in it is dropped.
#[test]
fn an_encoded_target_is_verified_as_sent() {
    everywhere(|usher, fake, signs| {
        let mut client = usher.client();
        let body = announcement(CHANNEL, "Anna");
        let disguises = [
            "/apps/3/%65vents",
            "/./apps/3/events",
            "/x/../apps/3/events",
            "//apps/3/events",
            "/apps/3/events;a",
            "/%61/apps/3/events",
            "/apps/3/apps/3/events",
        ];
        for path in disguises {
            let answer = client.call(&signs.request(path, &body));
            match signs {
                Signs::Whole => answer.assert_forwarded(),
                Signs::BehindBase => answer.assert_error(401, "auth_signature_mismatch"),
            }
        }
        let forwarded = if signs == Signs::Whole { disguises.len() } else { 0 };
        assert_eq!(fake.requests().iter().filter(|request| request.target().starts_with(BASE)).count(), forwarded);
    });
}

#[test]
fn the_old_endpoint_and_all_others_are_below_the_base_as_well() {
    everywhere(|usher, fake, signs| {
        let mut client = usher.client();
        let announce = |channel: &str| signs.request("/apps/3/events", &announcement(channel, "Anna"));
        for channel in [CHANNEL, OTHER] {
            client.call(&announce(channel)).assert_forwarded();
        }
        client.call(&signs.request(&format!("/apps/3/channels/{CHANNEL}/events"), &staff("Ben"))).assert_forwarded();
        client.call(&announce(OTHER)).assert_suppressed();
        client.call(&announce(CHANNEL)).assert_forwarded();
        let query = sign::query("GET", "/apps/3/channels", "", b"");
        fake.script([Step::ok()]);
        assert_eq!(client.call(&Request::new("GET", &format!("/ws/apps/3/channels?{query}"), b"")).status, 200);
        assert_eq!(fake.requests().last().map(Recorded::target), Some(format!("/ws/apps/3/channels?{query}")));
    });
}

#[test]
fn relayed_guests_are_counted_there_too() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| setup.upstream += &far.key());
    let mut client = usher.client();
    client.send(&handshake().line("GET /ws/app/278d425bdf160c739803?protocol=7 HTTP/1.1").bytes());
    let mut upstream = far.next().accept();
    let mut guest = End::switched(client);
    guest.send(&Frame::text(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{CHANNEL}"}}}}"#)));
    upstream.read();
    upstream.send(&Frame::text(&format!(
        r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{CHANNEL}","data":"{{}}"}}"#
    )));
    guest.read();
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    eventually("its audience is known", || {
        (usher.admin().report()["rules"][0]["audience_known"] == true).then_some(())
    });
}
