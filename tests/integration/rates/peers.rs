//! Connections and messages of WebSocket clients, with the embedded broker and over the relay.

use std::thread;

use tokio::time::Instant;

use super::{count, keys};
use crate::harness::websocket::{CLOSE, End, Far, Frame, handshake};
use crate::harness::{Client, Fake, Setup, Usher, eventually};

/// An usher with its embedded broker, these rates and more of `[server]`.
fn local(rates: &[&str], server: &str) -> Usher {
    let mut setup =
        Setup { upstream: "url = \"local\"\n".to_owned(), limits: keys(rates), ..Setup::before(&Fake::start()) };
    setup.server += server;
    Usher::start_with(&setup.toml())
}

/// Connects with this `X-Forwarded-For`, and returns the code if the first frame is a close.
fn visit(usher: &Usher, forwarded_for: &str) -> Option<u16> {
    let mut client = usher.client();
    client.send(&handshake().and("X-Forwarded-For", forwarded_for).bytes());
    End::switched(client).read().code()
}

/// Connects repeatedly until it is closed with a retry code.
#[track_caller]
fn wait_turned_away(usher: &Usher, forwarded_for: impl Fn(usize) -> String) {
    let told = (0..200).find_map(|visitor| visit(usher, &forwarded_for(visitor)));
    assert_eq!(told, Some(4100));
    assert!(count(usher, "usher_rate_limited_total", "peer_connections") >= 1.0);
}

#[test]
fn excess_connections_are_closed_with_a_retry_code() {
    let usher = local(&["peer_connections = 1", "peer_connections_burst = 3"], "");
    let mut client = usher.client();
    let close = eventually("one is turned away", || {
        client = usher.client();
        client.send(&handshake().bytes());
        let mut end = End::switched(std::mem::replace(&mut client, usher.client()));
        let frame = end.read();
        (frame.opcode == CLOSE).then(|| {
            end.send(&frame).wait_closed();
            frame
        })
    });
    assert_eq!(close.code(), Some(4100));
    assert!(String::from_utf8_lossy(&close.payload[2..]).contains("limits.rates.peer_connections"), "{close:?}");
    eventually("there is a permit again", || visit(&usher, "").is_none().then_some(()));
}

#[test]
fn upstream_hears_nothing_of_a_connection_that_is_turned_away() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| {
        setup.upstream += &far.key();
        setup.limits = keys(&["peer_connections = 1", "peer_connections_burst = 2"]);
    });
    let mut clients: Vec<Client> = (0..12).map(|_| usher.client()).collect();
    clients.iter_mut().for_each(|client| _ = client.send(&handshake().bytes()));
    let limited = || count(&usher, "usher_rate_limited_total", "peer_connections");
    eventually("all have come", || (far.count() as f64 + limited() == 12.0).then_some(()));
    let admitted = far.count();
    assert!((2..12).contains(&admitted), "{admitted} of 12 were let in");
    let _relayed: Vec<End> = (0..admitted).map(|_| far.next().accept_and(&Frame::text("welcome"))).collect();
    let told: Vec<Option<u16>> = clients.into_iter().map(|client| End::switched(client).read().code()).collect();
    assert_eq!(told.iter().filter(|code| code.is_none()).count(), admitted, "{told:?}");
    assert_eq!(told.iter().filter(|code| **code == Some(4100)).count(), 12 - admitted, "{told:?}");
}

#[test]
fn an_untrusted_proxy_cannot_choose_an_address() {
    // "::/0" contains all IPv6 addresses and no IPv4 address.
    for trusted in ["", "trusted_proxies = [\"192.0.2.0/24\"]\n", "trusted_proxies = [\"::/0\"]\n"] {
        let usher = local(&["peer_connections = 1"], trusted);
        wait_turned_away(&usher, |visitor| format!("203.0.113.{visitor}"));
    }
}

#[test]
fn a_trusted_proxy_tells_its_clients_apart() {
    let usher = local(&["peer_connections = 1"], "trusted_proxies = [\"127.0.0.1\"]\n");
    for visitor in 0..100 {
        assert_eq!(visit(&usher, &format!("198.51.100.1, 203.0.113.{visitor}")), None);
    }
    // Entries before the last hop are unverified claims of the client.
    wait_turned_away(&usher, |visitor| format!("203.0.113.{visitor}, 198.51.100.9"));
}

#[test]
fn a_proxy_may_be_named_as_an_ipv4_network_within_ipv6() {
    for network in ["::ffff:127.0.0.0/104", "::ffff:127.0.0.1"] {
        let usher = local(&["peer_connections = 1"], &format!("trusted_proxies = [\"{network}\"]\n"));
        for visitor in 0..100 {
            assert_eq!(visit(&usher, &format!("203.0.113.{visitor}")), None, "{network}");
        }
    }
}

#[test]
fn a_client_of_the_broker_is_read_at_its_pace_and_loses_nothing() {
    let usher = local(&["peer_messages = 20", "peer_messages_burst = 5"], "");
    let mut client = usher.client();
    client.send(&handshake().bytes());
    let mut guest = End::switched(client);
    assert!(String::from_utf8_lossy(&guest.read().payload).contains("pusher:connection_established"));
    let subscribe = |number: usize| format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"room-{number}"}}}}"#);
    let began = Instant::now();
    (0..30).for_each(|number| _ = guest.send(&Frame::text(&subscribe(number))));
    for number in 0..30 {
        let mut succeeded = || String::from_utf8_lossy(&guest.read().payload).contains("subscription_succeeded");
        eventually(&format!("subscription {number}"), || succeeded().then_some(()));
    }
    let took = began.elapsed().as_secs_f64();
    assert!(took >= 24.0 / 20.0, "30 messages in {took} s are too many");
    assert!(count(&usher, "usher_rate_delayed_total", "peer_messages") >= 1.0);
}

#[test]
fn a_relayed_client_is_read_at_its_pace_and_loses_nothing() {
    let (fake, far) = (Fake::start(), Far::start());
    let usher = Usher::start(&fake, |setup| {
        setup.upstream += &far.key();
        setup.limits = keys(&["peer_messages = 20", "peer_messages_burst = 5"]);
    });
    let connect = || {
        let mut client = usher.client();
        client.send(&handshake().bytes());
        let upstream = far.next().accept();
        (End::switched(client), upstream)
    };
    let (one, two) = (connect(), connect());
    let began = Instant::now();
    // Two connections of one address share its limit; messages from upstream are not limited.
    let talks = [one, two].map(|(mut client, mut upstream)| {
        thread::spawn(move || {
            (0..20).for_each(|number| _ = client.send(&Frame::text(&number.to_string())));
            (0..100).for_each(|_| _ = upstream.send(&Frame::text("down")));
            (0..100).for_each(|_| assert_eq!(client.read(), Frame::text("down")));
            for number in 0..20 {
                assert_eq!(upstream.read(), Frame::text(&number.to_string()));
            }
            client.send(&Frame::close(1000, ""));
            assert_eq!(upstream.read(), Frame::close(1000, ""));
        })
    });
    talks.into_iter().for_each(|talk| talk.join().unwrap());
    let took = began.elapsed().as_secs_f64();
    assert!(took >= 33.0 / 20.0, "40 messages in {took} s are too many");
}
