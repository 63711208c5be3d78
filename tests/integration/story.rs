//! The hotel's story: a backend that announces its staff with every message, and guests who receive only changes.

use crate::harness::bodies::{
    ANNOUNCEMENT, LIBRARIES, Library, announcement, announcement_on, batch, item, message, staff, staff_with_image,
};
use crate::harness::{Client, Fake, Recorded, Request, Usher};

const ANNA: &str = "Anna Byrne";
const BEN: &str = "Ben Ó Sé";

/// The names of the staff announced by the requests that reached upstream, in order.
fn announced(fake: &Fake) -> Vec<String> {
    let mut names = Vec::new();
    for request in fake.requests() {
        let body = request.json();
        if body["name"] == ANNOUNCEMENT {
            let data: serde_json::Value = serde_json::from_str(body["data"].as_str().unwrap()).unwrap();
            names.push(data["staff_name"].as_str().unwrap().to_owned());
        }
    }
    names
}

/// Fails unless upstream received exactly what was sent: request line, body, and the end-to-end headers in their order
/// and case.
#[track_caller]
pub fn assert_untouched(sent: &Request, got: &Recorded, fake: &Fake) {
    assert_eq!(got.request_line(), format!("{} {} HTTP/1.1", sent.method, sent.target));
    assert_eq!(got.text(), String::from_utf8_lossy(&sent.body));
    assert_eq!(got.body, sent.body);
    let is_ours = |name: &str| ["host", "content-length", "connection"].contains(&name.to_lowercase().as_str());
    let sent: Vec<_> = sent.headers.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
    let seen: Vec<_> = got.head.headers().into_iter().filter(|(name, _)| !is_ours(name)).collect();
    assert_eq!(seen, sent);
    assert_eq!(got.header("host").as_deref(), Some(fake.address().to_string().as_str()));
    assert!(got.body.is_empty() || got.header("content-length") == Some(got.body.len().to_string()), "{got:?}");
}

/// Sends `body` as a trigger that must reach upstream as it is.
#[track_caller]
fn forwards(client: &mut Client, fake: &Fake, request: &Request) {
    let before = fake.count();
    client.call(request).assert_forwarded();
    let requests = fake.requests();
    assert_eq!(requests.len(), before + 1, "one request upstream");
    assert_untouched(request, &requests[before], fake);
}

/// Sends `body` as a trigger that must be answered by usher alone.
#[track_caller]
fn suppresses(client: &mut Client, fake: &Fake, request: &Request) {
    let before = fake.count();
    client.call(request).assert_suppressed();
    assert_eq!(fake.count(), before, "nothing upstream");
}

#[test]
fn guests_hear_of_changes_only_whatever_the_library() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for (room, library) in LIBRARIES.into_iter().enumerate() {
        let channel = format!("h-room-{room}-chat");
        let mut client = usher.client();
        let announce = |name: &str| Request::events(&library.body(ANNOUNCEMENT, &[&channel], &staff(name)));
        let told = announced(&fake).len();
        forwards(&mut client, &fake, &announce(ANNA));
        for number in 0..20 {
            let text = format!(r#"{{"message":"№ {number} </a> & \"more\"","staff_info":{{"name":"{ANNA}"}}}}"#);
            forwards(&mut client, &fake, &Request::events(&library.body("new-staff-message", &[&channel], &text)));
            suppresses(&mut client, &fake, &announce(ANNA));
        }
        for name in [BEN, ANNA] {
            forwards(&mut client, &fake, &announce(name));
            forwards(&mut client, &fake, &Request::events(&message(&channel, "hello")));
            suppresses(&mut client, &fake, &announce(name));
        }
        assert_eq!(announced(&fake)[told..], [ANNA, BEN, ANNA], "{library:?}");
    }
    // The libraries differ only in the encoding: an announcement by one makes the same announcement by another
    // redundant.
    let mut client = usher.client();
    for library in LIBRARIES {
        suppresses(&mut client, &fake, &Request::events(&library.body(ANNOUNCEMENT, &["h-room-0-chat"], &staff(ANNA))));
    }
    assert_eq!(usher.admin().metric("usher_triggers_total", &["decision=\"suppressed\""]), 6.0 * 22.0 + 6.0);
}

#[test]
fn an_ever_changing_picture_is_no_change() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let announce = |name: &str, call| {
        Request::events(&Library::Python.body(ANNOUNCEMENT, &["h-room-1-chat"], &staff_with_image(name, call)))
    };
    forwards(&mut client, &fake, &announce(ANNA, 0));
    for call in 1..10 {
        suppresses(&mut client, &fake, &announce(ANNA, call));
    }
    forwards(&mut client, &fake, &announce(BEN, 10));
    suppresses(&mut client, &fake, &announce(BEN, 11));
    forwards(&mut client, &fake, &announce(ANNA, 12));
}

#[test]
fn identity_and_context_are_compared_as_tokens() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let data = [
        r#"{"staff_id":7,"staff_name":"Anna"}"#,
        r#"{"staff_id":"7","staff_name":"Anna"}"#,
        r#"{"staff_name":"Anna"}"#,
        r#"{"staff_name":"Anna","conversation_id":123}"#,
        r#"{"staff_name":"Anna","conversation_id":124}"#,
        r#"{"staff_id":9007199254740992}"#,
        r#"{"staff_id":9007199254740993}"#,
    ];
    for text in data {
        let request = Request::events(&Library::Node.body(ANNOUNCEMENT, &["h-room-1-chat"], text));
        forwards(&mut client, &fake, &request);
        suppresses(&mut client, &fake, &request);
    }
    let unreadable =
        Request::events(&Library::Node.body(ANNOUNCEMENT, &["h-room-1-chat"], r#"{"staff_role":"Porter"}"#));
    forwards(&mut client, &fake, &unreadable);
    forwards(&mut client, &fake, &unreadable);
    forwards(&mut client, &fake, &Request::events(&Library::Node.body(ANNOUNCEMENT, &["h-room-1-chat"], data[6])));
}

#[test]
fn the_enveloped_form_is_understood() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| {
        setup.more = "[[rules]]\nname = \"enveloped\"\nevent = \"realtime_event\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n\
                      identity = [\"/payload/staff_name\"]\nwhere = { \"/category\" = \"guest_chat\", \"/type\" = \"staff_assigned\" }\n"
            .to_owned();
    });
    let mut client = usher.client();
    let envelope = |kind: &str, name: &str, id: usize| {
        let meta = format!(r#"{{"event_id":"e-{id}","ts":"2026-01-01T00:00:{id:02}Z"}}"#);
        let data =
            format!(r#"{{"category":"guest_chat","type":"{kind}","payload":{{"staff_name":"{name}"}},"meta":{meta}}}"#);
        Request::events(&Library::Python.body("realtime_event", &["h-room-1-chat"], &data))
    };
    forwards(&mut client, &fake, &envelope("staff_assigned", ANNA, 0));
    for id in 1..5 {
        forwards(&mut client, &fake, &envelope("new_message", ANNA, id));
        suppresses(&mut client, &fake, &envelope("staff_assigned", ANNA, id));
    }
    forwards(&mut client, &fake, &envelope("staff_assigned", BEN, 5));
    forwards(&mut client, &fake, &envelope("staff_assigned", ANNA, 6));
}

#[test]
fn a_release_ends_the_assignment() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned());
    let mut client = usher.client();
    let announce = Request::events(&announcement("h-room-1-chat", ANNA));
    forwards(&mut client, &fake, &announce);
    suppresses(&mut client, &fake, &announce);
    forwards(
        &mut client,
        &fake,
        &Request::events(&Library::Node.body("conversation-closed", &["h-room-1-chat"], "{}")),
    );
    forwards(&mut client, &fake, &announce);
    suppresses(&mut client, &fake, &announce);
}

#[test]
fn a_batch_is_decided_in_order_and_reduced() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let a = |channel: &str| item(ANNOUNCEMENT, channel, &staff(ANNA));
    let b = |channel: &str| item(ANNOUNCEMENT, channel, &staff(BEN));
    let note = |text: &str| item("new-staff-message", "h-room-1-chat", &format!(r#"{{"message":"{text} <é>"}}"#));

    let mut reduced_to = |items: &[String], expected: &[String]| {
        let before = fake.count();
        let response = client.batch(&batch(items));
        assert_eq!((response.status, response.decision().as_str()), (200, "reduced"), "{response:?}");
        let requests = fake.requests();
        assert_eq!(requests.len(), before + 1);
        assert_eq!(requests[before].text(), batch(expected), "what stays keeps its order and its tokens");
        assert!(requests[before].is_signed(), "{}", requests[before].target());
        assert_eq!(requests[before].header("content-length"), Some(requests[before].body.len().to_string()));
    };
    reduced_to(&[a("h-room-1-chat"), a("h-room-1-chat")], &[a("h-room-1-chat")]);
    reduced_to(&[note("1"), a("h-room-1-chat"), note("2")], &[note("1"), note("2")]);
    reduced_to(&[a("h-room-1-chat"), b("h-room-2-chat")], &[b("h-room-2-chat")]);

    suppresses(&mut client, &fake, &Request::batch(&batch(&[a("h-room-1-chat")])));
    suppresses(
        &mut client,
        &fake,
        &Request::batch(&batch(&[a("h-room-1-chat"), b("h-room-2-chat"), a("h-room-1-chat")])),
    );
    forwards(&mut client, &fake, &Request::batch(&batch(&[note("3"), note("4")])));

    let there_and_back = Request::batch(&batch(&[a("h-room-3-chat"), b("h-room-3-chat"), a("h-room-3-chat")]));
    forwards(&mut client, &fake, &there_and_back);
    suppresses(&mut client, &fake, &Request::events(&announcement("h-room-3-chat", ANNA)));
    forwards(&mut client, &fake, &Request::batch(&batch(&[b("h-room-3-chat"), a("h-room-3-chat")])));
    suppresses(&mut client, &fake, &Request::events(&announcement("h-room-3-chat", ANNA)));
    forwards(&mut client, &fake, &Request::events(&announcement("h-room-3-chat", BEN)));
}

#[test]
fn a_batch_that_asks_for_info_is_never_reduced() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    forwards(&mut client, &fake, &Request::events(&announcement("h-room-1-chat", ANNA)));
    let redundant = item(ANNOUNCEMENT, "h-room-1-chat", &staff(ANNA));
    let asking = item("new-message", "h-room-1-chat", "{}").replace('}', r#","info":"subscription_count"}"#);
    let asking = asking.replacen(r#"{,"info":"subscription_count"}"#, "{}", 1);
    for _ in 0..2 {
        let request = Request::batch(&batch(&[redundant.clone(), asking.clone()]));
        forwards(&mut client, &fake, &request);
    }
}

#[test]
fn a_trigger_of_several_channels_is_reduced_to_the_others_and_signed_anew() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let (one, two, three) = ("h-room-1-chat", "h-room-2-chat", "h-conversation-3-chat");
    forwards(&mut client, &fake, &Request::events(&announcement(one, ANNA)));
    for (library, staff_name) in
        [(Library::Node, ANNA), (Library::Python, BEN), (Library::Php, ANNA), (Library::Go, BEN)]
    {
        let data = staff(staff_name);
        if staff_name == BEN || library == Library::Php {
            forwards(&mut client, &fake, &Request::events(&library.body(ANNOUNCEMENT, &[one], &data)));
        }
        let sent = Request::events(&library.body(ANNOUNCEMENT, &[three, one, two], &data));
        let response = client.call(&sent);
        assert_eq!((response.status, response.decision().as_str()), (200, "reduced"), "{response:?}");
        let got = fake.requests().pop().unwrap();
        assert_eq!(got.json()["channels"], serde_json::json!([three, two]), "{library:?}");
        assert_eq!(got.json()["data"], *data, "{library:?}");
        assert_eq!(got.json()["name"], ANNOUNCEMENT);
        assert!(got.is_signed(), "{}", got.target());
        let stays = |target: &str| {
            target
                .split(['?', '&'])
                .filter(|pair| !pair.starts_with("body_md5") && !pair.starts_with("auth_signature"))
                .collect::<Vec<_>>()
                .join("&")
        };
        assert_eq!(stays(&got.target()), stays(&sent.target), "the caller's key and timestamp stay");
        let headers = |headers: Vec<(String, String)>| {
            headers
                .into_iter()
                .filter(|(name, _)| !["Host", "Content-Length", "Connection"].contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(headers(got.head.headers()), headers(sent.headers.clone()));
        suppresses(&mut client, &fake, &Request::events(&library.body(ANNOUNCEMENT, &[one, two], &data)));
    }
}

#[test]
fn several_channels_that_are_all_new_go_untouched() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let both = Request::events(&announcement_on(&["h-room-1-chat", "h-room-2-chat"], ANNA));
    forwards(&mut client, &fake, &both);
    suppresses(&mut client, &fake, &both);
    forwards(&mut client, &fake, &Request::events(&announcement_on(&["h-room-1-chat", "h-room-2-chat"], BEN)));
}

#[test]
fn apps_do_not_share_what_they_remember() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| {
        setup.more = "[[apps]]\nid = \"4\"\nkey = \"other-key\"\nsecret = \"other-secret\"\n".to_owned()
    });
    let mut client = usher.client();
    let body = announcement("h-room-1-chat", ANNA);
    let query = || {
        crate::harness::sign::query_of(
            "POST",
            "/apps/4/events",
            "",
            body.as_bytes(),
            "other-key",
            "other-secret",
            crate::harness::sign::now(),
        )
    };
    let other = || Request::new("POST", &format!("/apps/4/events?{}", query()), body.as_bytes());
    forwards(&mut client, &fake, &Request::events(&body));
    forwards(&mut client, &fake, &other());
    suppresses(&mut client, &fake, &other());
    let crossed = Request::new("POST", &format!("/apps/3/events?{}", query()), body.as_bytes());
    assert_eq!(client.call(&crossed).status, 401);
}

#[test]
fn observing_forwards_everything_and_off_does_nothing() {
    for mode in ["observe", "off"] {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |setup| setup.rule = format!("mode = \"{mode}\"\n"));
        let mut client = usher.client();
        for _ in 0..3 {
            forwards(&mut client, &fake, &Request::events(&announcement("h-room-1-chat", ANNA)));
        }
        let shadowed = usher.admin().metric("usher_triggers_total", &["decision=\"would_suppress\""]);
        assert_eq!(shadowed, if mode == "observe" { 2.0 } else { 0.0 }, "{mode}");
    }
}
