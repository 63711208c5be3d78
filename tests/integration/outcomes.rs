//! Every row of ARCHITECTURE.md "When an announcement is suppressed": the outcome of an announcement determines what
//! may be suppressed next.

use crate::harness::bodies::announcement;
use crate::harness::{Client, Fake, Gate, Request, Response, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

/// With a short upstream time-out, so that the tests are fast.
fn with_short_timeout(fake: &Fake) -> Usher {
    Usher::start(fake, |setup| {
        setup.timeout = "700ms";
        setup.doubt_period = "2s";
    })
}

/// Announces with the next step of upstream being `step`.
fn announce(usher: &Usher, fake: &Fake, channel: &str, staff: &str, step: Step) -> Response {
    fake.script([step]);
    let before = fake.count();
    let response = usher.client().announce(channel, staff);
    assert!(fake.count() <= before + 1, "sent more than once");
    response
}

#[test]
fn every_form_of_acceptance_makes_it_known() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let forms = [
        Step::ok(),
        Step::status(201),
        Step::status(202),
        Step::chunked(),
        Step::close_delimited(),
        Step::http10(),
        Step::answer_and_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"),
        Step::answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ];
    for (room, step) in forms.into_iter().enumerate() {
        let channel = format!("h-room-{room}-chat");
        let told = format!("{step:?}");
        let response = announce(&usher, &fake, &channel, "A", step);
        assert!((200..300).contains(&response.status), "{told}: {response:?}");
        assert_eq!(response.decision(), "forwarded", "{told}");
        let mut client = usher.client();
        client.announce(&channel, "A").assert_suppressed();
        client.announce(&channel, "B").assert_forwarded();
        client.announce(&channel, "B").assert_suppressed();
    }
}

#[test]
fn a_rejected_announcement_leaves_the_old_value() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for (room, status) in [400, 401, 403, 404, 408, 409, 413, 422, 429].into_iter().enumerate() {
        let channel = format!("h-room-{room}-chat");
        let first = announce(&usher, &fake, &channel, "A", Step::status(status));
        assert_eq!(
            (first.status, first.text().as_str(), first.error().as_str()),
            (status, "{}", ""),
            "upstream's own answer"
        );
        announce(&usher, &fake, &channel, "A", Step::ok()).assert_forwarded();
        assert_eq!(announce(&usher, &fake, &channel, "B", Step::status(status)).status, status);
        let mut client = usher.client();
        client.announce(&channel, "A").assert_suppressed();
        client.announce(&channel, "B").assert_forwarded();
    }
}

#[test]
fn an_announcement_that_was_never_sent_leaves_the_old_value() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let closing = Step::answer_and_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
    announce(&usher, &fake, CHANNEL, "A", closing).assert_forwarded();
    fake.wait_closed();
    fake.refuse();
    let mut client = usher.client();
    client.announce(CHANNEL, "B").assert_error(502, "upstream_unreachable");
    client.announce(CHANNEL, "A").assert_suppressed();
    client.announce("h-room-2-chat", "A").assert_error(502, "upstream_unreachable");
    fake.accept_again();
    client.announce(CHANNEL, "A").assert_suppressed();
    client.announce("h-room-2-chat", "A").assert_forwarded();
    client.announce(CHANNEL, "B").assert_forwarded();
}

/// A known, B ambiguous: the guest may see either, now or later, so nothing is dropped while the doubt lasts.
#[track_caller]
fn leaves_in_doubt(usher: &Usher, fake: &Fake, channel: &str, step: Step, status: u16, error: &str) {
    let told = format!("{step:?}");
    announce(usher, fake, channel, "A", Step::ok()).assert_forwarded();
    let doubtful = announce(usher, fake, channel, "B", step);
    assert_eq!((doubtful.status, doubtful.error().as_str()), (status, error), "{told}: {doubtful:?}");
    if !error.is_empty() {
        doubtful.assert_error(status, error);
    }
    for staff in ["A", "A", "B", "B", "A"] {
        let response = announce(usher, fake, channel, staff, Step::ok());
        assert_eq!((response.status, response.decision().as_str()), (200, "forwarded"), "{staff} after {told}");
    }
    let entry = usher.admin().assignment(channel).expect("a channel in doubt is remembered as such");
    assert_eq!(entry["in_doubt"], true, "{told}: {entry}");
}

#[test]
fn an_ambiguous_outcome_puts_the_channel_in_doubt() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let rows = [
        (Step::status(500), 500, ""),
        (Step::status(502), 502, ""),
        (Step::status(503), 503, ""),
        (Step::status(504), 504, ""),
        (Step::answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), 302, ""),
        (Step::status(307), 307, ""),
        (Step::reset(), 502, "upstream_failed"),
        (Step::ResetUnread, 502, "upstream_failed"),
        (Step::reset_in_head(), 502, "upstream_failed"),
        (Step::close(), 502, "upstream_failed"),
        (Step::cut(), 502, "upstream_failed"),
        (Step::cut_chunked(), 502, "upstream_failed"),
        (Step::answer_and_close("HTTP/9.9 nonsense\r\n\r\n"), 502, "upstream_failed"),
        (Step::answer("HTTP/1.1 204 No Content\r\n\r\n"), 204, ""),
        (Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 200, ""),
    ];
    for (room, (step, status, error)) in rows.into_iter().enumerate() {
        leaves_in_doubt(&usher, &fake, &format!("h-room-{room}-chat"), step, status, error);
    }
}

#[test]
fn a_time_out_puts_the_channel_in_doubt_whether_delivered_or_not() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.timeout = "700ms");
    let half = Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"half\":");
    for (room, step) in [Step::silence(), half, Step::answer("HTTP/1.1 200 OK\r\nContent-")].into_iter().enumerate() {
        leaves_in_doubt(&usher, &fake, &format!("h-room-{room}-chat"), step, 504, "upstream_timeout");
    }
}

#[test]
fn the_doubt_ends_and_the_next_announcement_is_known_again() {
    let fake = Fake::start();
    let usher = with_short_timeout(&fake);
    announce(&usher, &fake, CHANNEL, "A", Step::ok()).assert_forwarded();
    announce(&usher, &fake, CHANNEL, "B", Step::silence()).assert_error(504, "upstream_timeout");
    eventually("the doubt ends", || {
        usher.admin().assignment(CHANNEL).is_none_or(|entry| entry["in_doubt"] == false).then_some(())
    });
    let mut client = usher.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    client.announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn a_slow_answer_is_an_answer() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut first = usher.client();
    first.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    fake.next_request();
    // What is in flight is not known: another assignment is forwarded at once, and its own response determines its
    // outcome.
    usher.client().announce(CHANNEL, "B").assert_forwarded();
    gate.open();
    first.response().assert_forwarded();
    // The order at upstream is unknown.
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn the_rest_of_a_trigger_in_doubt_is_not_sent_twice() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for step in [Step::reset(), Step::close(), Step::cut(), Step::status(503)] {
        // Open pooled connections: a pool with retries would retry on these.
        usher.client().announce(CHANNEL, "A");
        let before = fake.count();
        let told = format!("{step:?}");
        let response = announce(&usher, &fake, CHANNEL, "B", step);
        assert!(response.status >= 500, "{told}: {response:?}");
        assert_eq!(fake.count(), before + 1, "{told}");
    }
}

#[test]
fn a_get_is_repeated_once_when_its_kept_connection_was_closed() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let question = Request::new("GET", "/apps/3/channels?a=b", b"").header("X-Mark", "1");
    for step in [Step::close(), Step::answer_and_close("HTTP/1.1 200 OK\r\nContent-Le")] {
        let told = format!("{step:?}");
        client.call(&question);
        let before = fake.count();
        fake.script([step]);
        assert_eq!(client.call(&question).status, 200, "{told}");
        let [first, second] = &fake.requests()[before..] else { panic!("{told}: {} requests", fake.count() - before) };
        assert_eq!(first.head.lines(), second.head.lines(), "{told}");
        assert_ne!(first.connection, second.connection, "{told}");
    }
}

#[test]
fn connections_are_kept_and_used_again() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for staff in ["A", "B"].into_iter().cycle().take(20) {
        client.announce(CHANNEL, staff).assert_forwarded();
    }
    assert_eq!((fake.count(), fake.connections()), (20, 1));
}

#[test]
fn a_kept_connection_that_died_is_replaced() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for (room, staff) in (0..10).zip(["A", "B"].into_iter().cycle()) {
        let channel = format!("h-room-{room}-chat");
        client.announce(&channel, staff).assert_forwarded();
        fake.close_connections();
        fake.wait_closed();
        client.announce(&channel, "C").assert_forwarded();
    }
    assert_eq!(fake.count(), 20);
    assert!(fake.connections() >= 11, "{}", fake.connections());
}

#[test]
fn a_disconnect_before_the_end_of_the_body_has_no_effect() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let request = Request::events(&announcement(CHANNEL, "A"));
    for part in [request.head().len() / 2, request.head().len(), request.head().len() + 5, request.bytes().len() - 1] {
        let mut client = usher.client();
        client.send(&request.bytes()[..part]);
        client.hang_up();
    }
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "B").assert_forwarded();
    let staff: Vec<_> = fake.requests().iter().map(|seen| seen.text().contains("\\\"A\\\"")).collect();
    assert_eq!(staff, [true, false], "only what was said whole");
}

#[test]
fn a_disconnect_after_the_body_has_no_effect_on_the_trigger() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    for (room, wait) in [true, false].into_iter().enumerate() {
        let channel = format!("h-room-{room}-chat");
        fake.script([if wait { Step::hold(&gate, Step::ok()) } else { Step::ok() }]);
        let mut client = usher.client();
        client.send(&Request::events(&announcement(&channel, "A")).bytes());
        if wait {
            fake.next_request();
        }
        client.hang_up();
        if wait {
            gate.open();
        } else {
            fake.next_request();
        }
        // It is redundant, whether it waits for the one in flight or finds it settled.
        usher.client().announce(&channel, "A").assert_suppressed();
    }
    assert_eq!(fake.count(), 2);
}

#[test]
fn a_reset_after_the_body_has_no_effect_on_the_trigger() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let request = Request::events(&announcement(CHANNEL, "A")).header("Expect", "100-continue");
    let mut client = usher.client();
    client.send(&request.head()).send(&request.body);
    fake.next_request();
    client.reset();
    gate.open();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    assert_eq!(fake.count(), 1);
}

#[test]
fn a_caller_that_disconnects_while_waiting_is_dropped() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::status(400))]);
    let mut leader = usher.client();
    leader.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    fake.next_request();
    let mut gone = usher.client();
    gone.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    gone.hang_up();
    let mut stays = usher.client();
    stays.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    gate.open();
    assert_eq!(leader.response().status, 400);
    // The trigger of the closed connection may have been forwarded in its own task: then the other one is redundant.
    assert_eq!(stays.response().status, 200);
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    assert_eq!(fake.count(), 2, "one more after the rejected one");
}

/// Callers that have closed their sending half are served.
#[test]
fn a_half_closed_caller_is_answered() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client: Client = usher.client();
    let response = client.send(&Request::events(&announcement(CHANNEL, "A")).bytes()).finish_writing().response();
    response.assert_forwarded();
}
