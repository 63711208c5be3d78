//! Concurrent duplicates, waiting requests and their bounds, and concurrent requests on several channels.

use std::thread;

use crate::harness::bodies::{ANNOUNCEMENT, announcement, announcement_on, batch, item, staff};
use crate::harness::{Client, Fake, Gate, Request, Response, Step, Usher};

const CHANNEL: &str = "h-room-1-chat";

/// Sends the same announcement on as many connections, without waiting for answers.
fn send_all(usher: &Usher, count: usize, body: &str) -> Vec<Client> {
    let request = Request::events(body).bytes();
    let mut clients: Vec<Client> = (0..count).map(|_| usher.client()).collect();
    for client in &mut clients {
        client.send(&request);
    }
    clients
}

fn answers(clients: Vec<Client>) -> Vec<Response> {
    clients.into_iter().map(|mut client| client.response()).collect()
}

fn with_status(answers: &[Response], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[test]
fn fifty_equal_announcements_are_one() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.max_wait = "300s");
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let clients = send_all(&usher, 50, &announcement(CHANNEL, "A"));
    fake.next_request();
    gate.open();
    let answers = answers(clients);
    assert_eq!(with_status(&answers, 200), 50);
    assert_eq!(answers.iter().filter(|answer| answer.decision() == "forwarded").count(), 1);
    assert_eq!(fake.count(), 1);
}

#[test]
fn when_the_first_is_rejected_exactly_one_more_is_forwarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.max_wait = "300s");
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::status(400))]);
    let clients = send_all(&usher, 50, &announcement(CHANNEL, "A"));
    fake.next_request();
    gate.open();
    let answers = answers(clients);
    assert_eq!((with_status(&answers, 400), with_status(&answers, 200)), (1, 49));
    assert_eq!(fake.count(), 2);
}

#[test]
fn when_the_first_is_ambiguous_all_go() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::reset())]);
    let clients = send_all(&usher, 10, &announcement(CHANNEL, "A"));
    fake.next_request();
    gate.open();
    let answers = answers(clients);
    assert_eq!((with_status(&answers, 502), with_status(&answers, 200)), (1, 9));
    assert_eq!(fake.count(), 10, "in doubt, an acceptance makes nothing known");
}

#[test]
fn a_takeover_during_the_flight_is_never_swallowed() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    fake.next_request();
    fake.script([Step::hold(&gate, Step::ok())]);
    let handover = send_all(&usher, 1, &announcement(CHANNEL, "B"));
    fake.next_request();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    gate.open();
    assert_eq!(with_status(&answers(handover), 200), 1);
    usher.client().announce(CHANNEL, "B").assert_forwarded();
    usher.client().announce(CHANNEL, "B").assert_suppressed();
}

#[test]
fn a_rejection_restores_nothing_if_another_came_between() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    fake.next_request();
    fake.script([Step::hold(&gate, Step::status(400))]);
    let rejected = send_all(&usher, 1, &announcement(CHANNEL, "B"));
    fake.next_request();
    usher.client().announce(CHANNEL, "C").assert_forwarded();
    gate.open();
    assert_eq!(with_status(&answers(rejected), 400), 1);
    // Guests see C, not what was known before B.
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn past_the_bound_of_waiters_it_is_forwarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.assignments = "max_waiters_per_channel = 2\n".to_owned());
    let gate = Gate::new();
    // All are held: once one of them is accepted, later ones are suppressed.
    fake.script((0..4).map(|_| Step::hold(&gate, Step::ok())));
    let clients = send_all(&usher, 6, &announcement(CHANNEL, "A"));
    for _ in 0..4 {
        fake.next_request();
    }
    gate.open();
    assert_eq!(with_status(&answers(clients), 200), 6);
    assert_eq!(fake.count(), 4, "the leader and three past the bound");
}

#[test]
fn past_the_time_of_waiting_it_is_forwarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.max_wait = "200ms");
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let leader = send_all(&usher, 1, &announcement(CHANNEL, "A"));
    fake.next_request();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    assert_eq!(fake.count(), 2);
    gate.open();
    assert_eq!(with_status(&answers(leader), 200), 1);
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn it_holds_or_it_waits_but_never_both() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let leader = send_all(&usher, 1, &announcement("h-room-2-chat", "A"));
    fake.next_request();
    // Its first channel is new, so it holds a reservation: it must not wait for the second, which is in flight.
    usher.client().trigger(&announcement_on(&["h-room-1-chat", "h-room-2-chat"], "A")).assert_forwarded();
    assert_eq!(fake.count(), 2);
    gate.open();
    assert_eq!(with_status(&answers(leader), 200), 1);
}

#[test]
fn opposite_orders_do_not_lock_each_other() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let orders = [["h-room-1-chat", "h-room-2-chat"], ["h-room-2-chat", "h-room-1-chat"]];
    thread::scope(|scope| {
        for order in orders.iter().cycle().take(8) {
            let usher = &usher;
            scope.spawn(move || {
                let mut client = usher.client();
                for round in 0..40 {
                    let name = ["A", "B"][round % 2];
                    let response = if round % 3 == 0 {
                        client.batch(&batch(&order.map(|channel| item(ANNOUNCEMENT, channel, &staff(name)))))
                    } else {
                        client.trigger(&announcement_on(order, name))
                    };
                    assert_eq!(response.status, 200, "{response:?}");
                }
            });
        }
    });
    assert!(fake.requests().iter().all(super::harness::Recorded::is_signed));
    // At the end, the last announcement is known.
    let mut client = usher.client();
    client.trigger(&announcement_on(&orders[0], "C")).assert_forwarded();
    client.trigger(&announcement_on(&orders[1], "C")).assert_suppressed();
}

#[test]
fn channels_do_not_wait_for_each_other() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let held = send_all(&usher, 1, &announcement("h-room-1-chat", "A"));
    fake.next_request();
    for room in 2..20 {
        usher.client().announce(&format!("h-room-{room}-chat"), "A").assert_forwarded();
    }
    gate.open();
    assert_eq!(with_status(&answers(held), 200), 1);
}

#[test]
fn an_opaque_request_keeps_its_channels_unknown_while_in_flight() {
    let body = announcement(CHANNEL, "B");
    let with = |more: &str| Request::events(&body.replacen('{', &format!("{{{more},"), 1));
    let unjudged = [
        ("an unexpected key", with(r#""surprise":1"#)),
        ("an excluded socket", with(r#""socket_id":"1.2.3""#)),
        ("no identity", Request::events(&body.replace("staff_name", "staff_nick"))),
        ("the end of the conversation", Request::events(&body.replace(ANNOUNCEMENT, "conversation-closed"))),
        ("an encoded body", Request::events(&body).header("Content-Encoding", "gzip")),
        ("parameters in the query", Request::signed("POST", "/apps/3/events", "name=x", body.as_bytes())),
        ("a disguised path", Request::signed("POST", "/apps/3/%65vents", "", body.as_bytes())),
        (
            "the legacy endpoint",
            Request::signed("POST", &format!("/apps/3/channels/{CHANNEL}/events"), "name=staff-assigned", b"{}"),
        ),
    ];
    for (what, request) in unjudged {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |setup| setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned());
        let gate = Gate::new();
        usher.client().announce(CHANNEL, "A").assert_forwarded();
        fake.next_request();
        // It may announce anybody, or end the assignment, when upstream applies it.
        fake.script([Step::hold(&gate, Step::ok())]);
        let mut held = usher.client();
        held.send(&request.bytes());
        fake.next_request();
        for _ in 0..3 {
            assert_eq!(usher.client().announce(CHANNEL, "A").decision(), "forwarded", "while {what} is in flight");
        }
        gate.open();
        assert_eq!(held.response().status, 200, "{what}");
        assert_eq!(usher.client().announce(CHANNEL, "A").decision(), "forwarded", "after {what}");
        assert_eq!(usher.client().announce(CHANNEL, "A").decision(), "suppressed", "after {what}");
    }
}
