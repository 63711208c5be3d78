//! Announcements that leave a client out (`socket_id`, Laravel's `toOthers()`): one is dropped once everybody whom it would
//! reach has had it, and each guest has had it.

use serde_json::{Value, json};

use crate::harness::bodies::{ANNOUNCEMENT, announcement, announcement_on, batch, item, staff};
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Client, Fake, Gate, Request, Response, Setup, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// A trigger with a `socket_id` in front of everything else.
fn leaving_out(body: &str, socket: &str) -> String {
    body.replacen('{', &format!("{{\"socket_id\":\"{socket}\","), 1)
}

/// Decision and reason.
#[track_caller]
fn told(response: &Response) -> (String, String) {
    (response.decision(), response.head.header("usher-reason").unwrap_or_default())
}

#[track_caller]
fn expect(client: &mut Client, body: &str, decision: &str, reason: &str) {
    assert_eq!(told(&client.trigger(body)), (decision.to_owned(), reason.to_owned()), "{body}");
}

fn without(socket: &str, name: &str) -> String {
    leaving_out(&announcement(CHANNEL, name), socket)
}

#[test]
fn an_announcement_is_dropped_once_everybody_whom_it_would_reach_has_had_it() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    expect(&mut client, &without("1.1", "Anna"), "forwarded", "nothing_known");
    expect(&mut client, &without("1.1", "Anna"), "suppressed", "same_assignment");
    let listed = usher.admin().json("/assignments");
    assert_eq!((&listed[0]["left_out"], &listed[0]["late_joiner"]), (&json!("1.1"), &json!(false)));
    expect(&mut client, &without("2.2", "Anna"), "forwarded", "left_out");
    assert_eq!(usher.admin().json("/assignments")[0]["left_out"], Value::Null, "together they have reached all");
    for body in [announcement(CHANNEL, "Anna"), without("3.3", "Anna"), without("1.1", "Anna")] {
        expect(&mut client, &body, "suppressed", "same_assignment");
    }
    expect(&mut client, &without("1.1", "Boris"), "forwarded", "changed");
    expect(&mut client, &announcement(CHANNEL, "Boris"), "forwarded", "left_out");
    expect(&mut client, &announcement(CHANNEL, "Boris"), "suppressed", "same_assignment");
    // What upstream does not accept reaches nobody.
    expect(&mut client, &without("1.1", "Anna"), "forwarded", "changed");
    fake.script([Step::status(403)]);
    assert_eq!(client.trigger(&announcement(CHANNEL, "Anna")).status, 403);
    expect(&mut client, &without("1.1", "Anna"), "suppressed", "same_assignment");
    expect(&mut client, &announcement(CHANNEL, "Anna"), "forwarded", "left_out");
}

#[test]
fn whom_another_spelling_or_an_idempotency_key_reaches_is_not_known() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    expect(&mut client, &announcement(CHANNEL, "Anna"), "forwarded", "nothing_known");
    for id in ["", "1", "01.1", "1.1.1", "x.1", "18446744073709551616.1"] {
        for _ in 0..2 {
            expect(&mut client, &without(id, "Anna"), "forwarded", "excludes_socket");
        }
    }
    let keyed = Request::events(&without("1.1", "Anna")).header("X-Idempotency-Key", "k");
    for _ in 0..2 {
        let answer = client.call(&keyed);
        assert_eq!(told(&answer), ("forwarded".to_owned(), "idempotency_key".to_owned()));
    }
    expect(&mut client, &announcement(CHANNEL, "Anna"), "forwarded", "nothing_known");
}

#[test]
fn batches_and_several_channels_are_reduced_by_what_has_reached_all() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    expect(&mut client, &without("1.1", "Anna"), "forwarded", "nothing_known");
    let both = leaving_out(&announcement_on(&[CHANNEL, OTHER], "Anna"), "1.1");
    assert_eq!(client.trigger(&both).decision(), "reduced");
    let other = leaving_out(&announcement_on(&[CHANNEL, OTHER], "Anna"), "2.2");
    expect(&mut client, &other, "forwarded", "left_out");
    expect(&mut client, &announcement_on(&[CHANNEL, OTHER], "Anna"), "suppressed", "same_assignment");
    // In a batch: what comes before it in the same batch counts.
    let boris = |socket: Option<&str>| {
        let item = item(ANNOUNCEMENT, CHANNEL, &staff("Boris"));
        socket.map_or_else(|| item.clone(), |socket| leaving_out(&item, socket))
    };
    let sent = |client: &mut Client, items: &[String]| {
        let before = fake.count();
        let decision = client.batch(&batch(items)).decision();
        let sent = fake.requests()[before..].first().map(|seen| seen.json()["batch"].as_array().unwrap().len());
        (decision, sent.unwrap_or_default())
    };
    let items = [boris(Some("1.1")), boris(Some("1.1")), boris(Some("2.2")), boris(None)];
    assert_eq!(sent(&mut client, &items), ("reduced".to_owned(), 2));
    assert_eq!(sent(&mut client, &items), ("suppressed".to_owned(), 0));
    let anna = |socket: &str| leaving_out(&item(ANNOUNCEMENT, CHANNEL, &staff("Anna")), socket);
    assert_eq!(sent(&mut client, &[boris(None), anna("1.1")]), ("reduced".to_owned(), 1));
    expect(&mut client, &without("1.1", "Anna"), "suppressed", "same_assignment");
    // Somebody has had Boris last, until the batch shows Anna to them again.
    assert_eq!(sent(&mut client, &[boris(None), anna("2.2")]), ("forwarded".to_owned(), 2));
    expect(&mut client, &without("1.1", "Anna"), "forwarded", "left_out");
}

#[test]
fn an_equal_announcement_waits_only_for_one_that_reaches_its_clients() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let (gate, mut leader, mut follower) = (Gate::new(), usher.client(), usher.client());
    fake.script([Step::hold(&gate, Step::ok())]);
    leader.send(&Request::events(&without("1.1", "Anna")).bytes());
    eventually("upstream has it", || (fake.count() == 1).then_some(()));
    follower.send(&Request::events(&without("1.1", "Anna")).bytes());
    eventually("it waits", || (usher.admin().metric("usher_waiters", &[]) == 1.0).then_some(()));
    let mut client = usher.client();
    expect(&mut client, &without("2.2", "Anna"), "forwarded", "left_out");
    gate.open();
    leader.response().assert_forwarded();
    assert_eq!(told(&follower.response()), ("suppressed".to_owned(), "same_in_flight".to_owned()));
    expect(&mut client, &announcement(CHANNEL, "Anna"), "suppressed", "same_assignment");
}

#[test]
fn a_rule_that_observes_says_the_same() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.rule = "mode = \"observe\"\n".to_owned());
    let mut client = usher.client();
    for (socket, decision, reason) in [
        ("1.1", "forwarded", "nothing_known"),
        ("1.1", "forwarded", "same_assignment"),
        ("2.2", "forwarded", "left_out"),
        ("3.3", "forwarded", "same_assignment"),
    ] {
        expect(&mut client, &without(socket, "Anna"), decision, reason);
    }
    assert_eq!(fake.count(), 4);
}

/// A page, with the id of its socket.
struct Guest(End, String);

impl Guest {
    fn arrive(usher: &Usher, channel: &str) -> Self {
        let mut client = usher.client();
        client.send(&handshake().bytes());
        let mut guest = Self(End::switched(client), String::new());
        let greeting = guest.hear("pusher:connection_established");
        greeting["socket_id"].as_str().unwrap().clone_into(&mut guest.1);
        let subscribe = json!({"event": "pusher:subscribe", "data": {"channel": channel}});
        guest.0.send(&Frame::text(&subscribe.to_string()));
        let _succeeded = guest.hear("pusher_internal:subscription_succeeded");
        guest
    }

    /// The decoded data of the next event of this name; others are skipped.
    fn hear(&mut self, event: &str) -> Value {
        loop {
            let heard: Value = serde_json::from_slice(&self.0.read().payload).unwrap();
            if heard["event"] == event {
                return serde_json::from_str(heard["data"].as_str().unwrap()).unwrap();
            }
        }
    }

    /// Whose announcements come before the end.
    fn heard(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let name = self.hear(ANNOUNCEMENT)["staff_name"].as_str().unwrap().to_owned();
            if name == "End" {
                return heard;
            }
            heard.push(name);
        }
    }
}

/// Three members of staff each have the page open, and their backend announces to others only.
#[test]
fn three_callers_that_leave_out_their_own_pages_reach_every_page() {
    let fake = Fake::start();
    let setup = Setup { upstream: "url = \"local\"\n".to_owned(), ..Setup::before(&fake) };
    let usher = Usher::start_with(&setup.toml());
    let mut pages = [0; 4].map(|_| Guest::arrive(&usher, CHANNEL));
    let mut callers = [0; 3].map(|_| usher.client());
    let mut decisions = Vec::new();
    for name in ["Anna", "Boris"] {
        for (caller, page) in callers.iter_mut().zip(&pages) {
            decisions.push(caller.trigger(&without(&page.1, name)).decision());
        }
    }
    let round = ["forwarded", "forwarded", "suppressed"];
    assert_eq!(decisions, [round, round].concat());
    callers[0].announce(CHANNEL, "End").assert_forwarded();
    let heard = pages.each_mut().map(Guest::heard);
    let expected = [
        vec!["Anna", "Boris"],
        vec!["Anna", "Boris"],
        vec!["Anna", "Anna", "Boris", "Boris"],
        vec!["Anna", "Anna", "Boris", "Boris"],
    ];
    assert_eq!(heard.to_vec(), expected);
}
