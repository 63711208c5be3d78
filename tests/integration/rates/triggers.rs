//! Triggers of an app and on a channel.

use tokio::time::Instant;

use super::{count, keys, limited};
use crate::harness::bodies::{ANNOUNCEMENT, announcement, batch, item, message, staff};
use crate::harness::usher::{Signal, message as said};
use crate::harness::{Client, Fake, Request, Response, Setup, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";
/// A rate limit without waits.
const NO_WAIT: &str = "max_wait = \"0s\"";

/// Sends messages on `channel` until one is refused, which a rate of 1 a second does soon on any machine.
#[track_caller]
fn exhaust(usher: &Usher, channel: &str) -> Response {
    let mut client = usher.client();
    let mut answers = (0..200).map(|number| client.trigger(&message(channel, &format!("number {number}"))));
    answers.find(|answer| answer.status != 200).expect("nothing was refused")
}

/// Sends each body on a separate connection, all before a response is read.
fn send_all(usher: &Usher, bodies: &[String]) -> Vec<Client> {
    let mut clients: Vec<Client> = bodies.iter().map(|_| usher.client()).collect();
    clients.iter_mut().zip(bodies).for_each(|(client, body)| _ = client.send(&Request::events(body).bytes()));
    clients
}

fn messages(count: usize) -> Vec<String> {
    (0..count).map(|number| message(CHANNEL, &format!("number {number}"))).collect()
}

#[test]
fn triggers_beyond_the_limit_wait_and_are_not_lost() {
    for rates in
        [["app_triggers = 40", "app_triggers_burst = 10"], ["channel_triggers = 40", "channel_triggers_burst = 10"]]
    {
        let fake = Fake::start();
        let usher = limited(&fake, &[&rates[..], &["max_wait = \"5s\""]].concat());
        let bodies = messages(60);
        let began = Instant::now();
        for mut client in send_all(&usher, &bodies) {
            client.response().assert_forwarded();
        }
        let took = began.elapsed().as_secs_f64();
        assert!(took >= 49.0 / 40.0, "60 triggers in {took} s are too many");
        let mut arrived: Vec<String> = fake.requests().iter().map(|request| request.text()).collect();
        arrived.sort();
        let mut expected = bodies;
        expected.sort();
        assert_eq!(arrived, expected);
        let scope = rates[0].split('_').next().unwrap();
        assert!(count(&usher, "usher_rate_delayed_total", scope) > 0.0);
        assert_eq!(usher.admin().metric("usher_rate_limited_total", &[]), 0.0);
        assert_eq!(usher.admin().metric("usher_rate_waiting", &[]), 0.0);
    }
}

#[test]
fn beyond_the_wait_it_is_429_and_nothing_is_sent() {
    for scope in ["app", "channel"] {
        let fake = Fake::start();
        let usher = limited(&fake, &[&format!("{scope}_triggers = 1"), NO_WAIT]);
        let refused = exhaust(&usher, CHANNEL);
        refused.assert_error(429, "rate_limited");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
        let sentence = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(sentence.contains(&format!("limits.rates.{scope}_triggers")), "{sentence}");
        assert_eq!(count(&usher, "usher_rate_limited_total", scope), 1.0);
        let accepted = usher.admin().metric("usher_trigger_outcomes_total", &["outcome=\"accepted\""]);
        assert_eq!(fake.count() as f64, accepted, "the refused one was not sent");
        // The connection is kept, and a second later there is a permit again.
        let mut client = usher.client();
        eventually("a permit", || (client.trigger(&message(CHANNEL, "again")).status == 200).then_some(()));
    }
}

#[test]
fn no_more_wait_than_may() {
    let fake = Fake::start();
    let usher = limited(&fake, &["app_triggers = 1", "max_wait = \"30s\"", "max_waiters = 2"]);
    let answers: Vec<Response> =
        send_all(&usher, &messages(12)).into_iter().map(|mut client| client.response()).collect();
    let (forwarded, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(forwarded.len() >= 3 && !refused.is_empty(), "{refused:?}");
    for answer in &refused {
        answer.assert_error(429, "rate_limited");
        assert!(answer.text().contains("limits.rates.max_waiters"), "{answer:?}");
    }
    assert_eq!(fake.count(), forwarded.len());
}

#[test]
fn no_handoff_is_lost_to_the_limit_of_a_channel() {
    let fake = Fake::start();
    let usher = limited(&fake, &["channel_triggers = 1", NO_WAIT]);
    exhaust(&usher, CHANNEL).assert_error(429, "rate_limited");
    let mut client = usher.client();
    for staff in ["Anna", "Boris", "Anna"] {
        client.announce(CHANNEL, staff).assert_forwarded();
        client.announce(CHANNEL, staff).assert_suppressed();
    }
    let both = [item("new-staff-message", CHANNEL, "{}"), item(ANNOUNCEMENT, CHANNEL, &staff("Chris"))];
    client.batch(&batch(&both)).assert_forwarded();
    // It may be an announcement that cannot be read exactly, so the channel's limit does not apply to it.
    client.trigger(&announcement(CHANNEL, "Dana").replacen('{', "{\"odd\":1,", 1)).assert_forwarded();
    exhaust(&usher, CHANNEL).assert_error(429, "rate_limited");
    client.trigger(&message("h-room-2-chat", "another channel")).assert_forwarded();
}

#[test]
fn what_is_suppressed_is_free() {
    let fake = Fake::start();
    let usher = limited(&fake, &["app_triggers = 1", "app_triggers_burst = 3", NO_WAIT]);
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    for _ in 0..50 {
        client.announce(CHANNEL, "Anna").assert_suppressed();
    }
    client.announce(CHANNEL, "Boris").assert_forwarded();
    exhaust(&usher, "h-room-2-chat").assert_error(429, "rate_limited");
    client.announce(CHANNEL, "Boris").assert_suppressed();
}

#[test]
fn a_refused_announcement_leaves_the_memory_as_it_was() {
    let fake = Fake::start();
    let usher = limited(&fake, &["app_triggers = 1", NO_WAIT]);
    let mut rooms = (1..).map(|room| format!("h-room-{room}-chat"));
    let mut client = usher.client();
    // On a busy machine a permit may be available for the announcement; then the next room is used.
    let room = eventually("an announcement is refused", || {
        let room = rooms.next()?;
        eventually("a permit", || (client.announce(&room, "Anna").status == 200).then_some(()));
        exhaust(&usher, "h-room-0-chat");
        (client.announce(&room, "Boris").status == 429).then_some(room)
    });
    client.announce(&room, "Anna").assert_suppressed();
    assert!(!fake.requests().iter().any(|seen| seen.text().contains(&room) && seen.text().contains("Boris")));
}

#[test]
fn a_delayed_trigger_is_decided_again() {
    let fake = Fake::start();
    let usher = limited(&fake, &["app_triggers = 1", "max_wait = \"30s\""]);
    usher.client().trigger(&message("h-room-2-chat", "takes the only permit")).assert_forwarded();
    let decisions: Vec<String> = send_all(&usher, &vec![announcement(CHANNEL, "Anna"); 4])
        .into_iter()
        .map(|mut client| client.response().decision())
        .collect();
    assert_eq!(decisions.iter().filter(|decision| *decision == "forwarded").count(), 1, "{decisions:?}");
    assert_eq!(decisions.iter().filter(|decision| *decision == "suppressed").count(), 3, "{decisions:?}");
    assert_eq!(fake.count(), 2);
    let told = usher.admin().decisions().into_iter().filter(|decision| decision["channel"] == CHANNEL).count();
    assert_eq!(told, 4, "each was decided once");
}

#[test]
fn a_disconnect_during_the_delay_changes_nothing() {
    let fake = Fake::start();
    let usher = limited(&fake, &["app_triggers = 1", "max_wait = \"30s\""]);
    let bodies = messages(4);
    let clients = send_all(&usher, &bodies);
    eventually("all wait", || {
        (usher.admin().metric("usher_rate_waiting", &[]) + fake.count() as f64 >= 4.0).then_some(())
    });
    clients.into_iter().for_each(Client::hang_up);
    let mut arrived: Vec<String> = (0..4).map(|_| fake.next_request().text()).collect();
    arrived.sort();
    assert_eq!(arrived, bodies);
}

#[test]
fn draining_forwards_all_waiting_triggers() {
    let fake = Fake::start();
    let mut usher = limited(&fake, &["app_triggers = 1", "max_wait = \"60s\""]);
    let clients = send_all(&usher, &messages(30));
    // All have been read: connections that are not read are not accepted any more.
    eventually("all wait", || {
        (usher.admin().metric("usher_rate_waiting", &[]) + fake.count() as f64 >= 30.0).then_some(())
    });
    usher.signal(Signal::Term);
    for mut client in clients {
        client.response().assert_forwarded();
    }
    assert_eq!(usher.wait_exit(), 0);
    assert_eq!(fake.count(), 30);
}

#[test]
fn a_reload_sets_other_rates() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let reload = |limits: String| {
        usher.rewrite_config(&Setup { limits, ..setup.clone() }.toml());
        let from = usher.log_lines();
        usher.signal(Signal::Hup);
        usher.wait_log_after(from, |event| said(event) == "the configuration was reloaded");
    };
    let mut client = usher.client();
    (0..50).for_each(|_| client.trigger(&message(CHANNEL, "unlimited")).assert_forwarded());
    reload(keys(&["app_triggers = 1", NO_WAIT]));
    exhaust(&usher, CHANNEL).assert_error(429, "rate_limited");
    reload(String::new());
    (0..50).for_each(|_| client.trigger(&message(CHANNEL, "unlimited")).assert_forwarded());
}
