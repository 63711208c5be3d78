//! Requests of many connections that arrive together: usher is stopped while they are sent, and decides them in one
//! batch when it continues. Each decision is the same as for a single request.

use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, message, staff_with_image};
use crate::harness::usher::Signal;
use crate::harness::{Client, Fake, Request, Usher};

const CONNECTIONS: usize = 120;

fn channel(index: usize) -> String {
    format!("h-room-{index}-chat")
}

/// Delivers all `requests` before usher reads any of them.
fn send_together(usher: &Usher, clients: &mut [Client], requests: &[Request]) {
    usher.signal(Signal::Stop);
    for (client, request) in clients.iter_mut().zip(requests) {
        client.send(&request.bytes());
    }
    usher.signal(Signal::Continue);
}

#[test]
fn each_connection_has_the_answer_to_its_own_request() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.server = "listen = \"127.0.0.1:0\"\nworkers = 1\n".to_owned());
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| usher.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.announce(&channel(index), "Anna").assert_forwarded();
    }
    let requests: Vec<Request> = (0..CONNECTIONS)
        .map(|index| match index % 6 {
            0 => Request::events(&announcement(&channel(index), "Anna")),
            1 => Request::events(&announcement(&channel(index), "Bert")),
            2 => Request::events(&message(&channel(index), &"x".repeat(1 + index * 30))),
            3 => {
                let mut forged = Request::events(&announcement(&channel(index), "Anna"));
                forged.body = announcement(&channel(index), "Anne").into_bytes();
                forged
            }
            4 => Request::signed("GET", "/apps/3/channels", "", b""),
            _ => Request::events(&message(&channel(index), &"x".repeat(50_000))),
        })
        .collect();
    for round in 0..3 {
        send_together(&usher, &mut clients, &requests);
        for (index, client) in clients.iter_mut().enumerate() {
            let response = client.response();
            match index % 6 {
                0 => response.assert_suppressed(),
                1 if round > 0 => response.assert_suppressed(),
                3 => response.assert_error(401, "body_md5_mismatch"),
                4 => assert_eq!(response.status, 200),
                _ => response.assert_forwarded(),
            }
        }
    }
    let forwarded =
        |index: usize| fake.requests().iter().filter(|request| request.text().contains(&channel(index))).count();
    for (index, expected) in [(0, 1), (1, 2), (2, 4), (3, 1), (5, 4)] {
        assert_eq!(forwarded(index), expected, "channel {index}");
    }
}

#[test]
fn one_of_many_simultaneous_announcements_is_forwarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| usher.client()).collect();
    let body = |index| Library::Python.body(ANNOUNCEMENT, &[&channel(0)], &staff_with_image("Anna", index));
    let requests: Vec<Request> = (0..CONNECTIONS).map(|index| Request::events(&body(index))).collect();
    send_together(&usher, &mut clients, &requests);
    let told: Vec<String> = clients.iter_mut().map(|client| client.response().decision()).collect();
    assert_eq!(told.iter().filter(|decision| *decision == "forwarded").count(), 1, "{told:?}");
    assert_eq!(fake.count(), 1);
}

#[test]
fn a_request_of_a_disconnected_caller_is_decided_and_settled() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.server = "listen = \"127.0.0.1:0\"\nworkers = 1\n".to_owned());
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| usher.client()).collect();
    for client in &mut clients {
        client.trigger(&message(&channel(0), "hello")).assert_forwarded();
    }
    usher.signal(Signal::Stop);
    for (index, mut client) in clients.into_iter().enumerate() {
        client.send(&Request::events(&announcement(&channel(index), "Anna")).bytes());
        client.hang_up();
    }
    usher.signal(Signal::Continue);
    for _ in 0..2 * CONNECTIONS {
        fake.next_request();
    }
    let mut client = usher.client();
    for index in 0..CONNECTIONS {
        client.announce(&channel(index), "Anna").assert_suppressed();
    }
}

/// After a network interruption, all guests reconnect at once.
#[test]
fn connections_during_a_stop_wait_in_the_backlog() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    usher.signal(Signal::Stop);
    let mut clients: Vec<Client> = (0..300).map(|_| usher.client()).collect();
    usher.signal(Signal::Continue);
    for client in &mut clients {
        client.trigger(&message(&channel(0), "hello")).assert_forwarded();
    }
}
