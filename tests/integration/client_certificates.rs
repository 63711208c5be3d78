//! An upstream server that requires a certificate of its authority (`upstream.certificate`, `upstream.key`).
//!
//! With TLS 1.2 the server's refusal ends the handshake. With TLS 1.3 it arrives after usher's side of the handshake
//! has ended and the request may have been sent, so the outcome of that trigger is ambiguous.

use std::path::Path;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::harness::bodies::{self, announcement};
use crate::harness::tls::{Authority, Identity, terminate, terminate_asking, terminate_for};
use crate::harness::usher::{field, message};
use crate::harness::websocket::{End, Far, Frame, handshake};
use crate::harness::{Fake, Request, Setup, Step, Usher};

const CHANNEL: &str = "h-room-1-chat";

/// Every version of TLS on every path through usher.
fn everywhere(check: impl Fn(&'static SupportedProtocolVersion, bool)) {
    for version in [&TLS12, &TLS13] {
        for fast_path in [true, false] {
            check(version, fast_path);
        }
    }
}

/// A TLS server that requests certificates of an authority, and the files to connect to it.
struct Guarded {
    folder: tempfile::TempDir,
    server: Identity,
    authority: Authority,
    version: &'static SupportedProtocolVersion,
    setup: Setup,
}

impl Guarded {
    fn before(fake: &Fake, version: &'static SupportedProtocolVersion, fast_path: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, authority) = (Identity::new(), Authority::new("the clients' authority"));
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &server.certificate).unwrap();
        let port = terminate_for(fake.address(), &server, &authority, version).port();
        let mut setup = Setup::before_url(&format!("https://localhost:{port}"));
        setup.server += &format!("fast_path = {fast_path}\n");
        setup.upstream += &format!("ca_file = {ca:?}\n");
        Self { folder, server, authority, version, setup }
    }

    /// Forwards WebSocket connections to `far`, through a TLS server of the same kind.
    fn and(&mut self, far: &Far) {
        let port = terminate_for(far.address(), &self.server, &self.authority, self.version).port();
        self.setup.upstream += &format!("websocket_url = \"wss://localhost:{port}\"\n");
    }

    /// The configuration with usher's client certificate, if it has one.
    fn showing(&self, client: Option<&Identity>) -> String {
        let mut setup = self.setup.clone();
        if let Some(client) = client {
            let (certificate, key) = client.write_to(self.folder.path());
            setup.upstream += &keys(&certificate, &key);
        }
        setup.toml()
    }

    /// Rejected credentials: no certificate, and certificates of other authorities, the second of which has the
    /// accepted authority's name.
    fn strangers(&self) -> [(&'static str, Option<Identity>); 3] {
        let other = |name| Some(Authority::new(name).issue());
        [
            ("none", None),
            ("another authority's", other("somebody else's")),
            ("one of the same name", other("the clients' authority")),
        ]
    }
}

fn keys(certificate: &Path, key: &Path) -> String {
    format!("certificate = {certificate:?}\nkey = {key:?}\n")
}

fn failures(usher: &Usher) -> f64 {
    usher.admin().metric("usher_upstream_failures_total", &["reason=\"upstream_client_certificate\""])
}

#[test]
fn the_accepted_certificate_allows_every_request() {
    everywhere(|version, fast_path| {
        let (fake, far) = (Fake::start(), Far::start());
        let mut guarded = Guarded::before(&fake, version, fast_path);
        guarded.and(&far);
        let usher = Usher::start_with(&guarded.showing(Some(&guarded.authority.issue())));
        let mut client = usher.client();
        client.announce(CHANNEL, "A").assert_forwarded();
        client.announce(CHANNEL, "A").assert_suppressed();
        assert_eq!(client.call(&Request::signed("GET", "/apps/3/channels", "", b"")).status, 200);
        assert_eq!(fake.count(), 2);
        let mut guest = usher.client();
        guest.send(&handshake().bytes());
        let mut upstream = far.next().accept_and(&Frame::text("welcome"));
        let mut guest = End::switched(guest);
        assert_eq!(guest.read(), Frame::text("welcome"));
        guest.send(&Frame::text("hello"));
        assert_eq!(upstream.read(), Frame::text("hello"));
    });
}

#[test]
fn a_missing_certificate_is_reported_as_required_by_upstream() {
    everywhere(|version, fast_path| {
        let (fake, far) = (Fake::start(), Far::start());
        let mut guarded = Guarded::before(&fake, version, fast_path);
        guarded.and(&far);
        for (name, client) in guarded.strangers() {
            let usher = Usher::start_with(&guarded.showing(client.as_ref()));
            // With a small and a large body: writing the remainder fails when the refusal arrives, and that failure
            // must not hide the refusal.
            let long = "x".repeat(900_000);
            let requests = [
                Request::events(&announcement(CHANNEL, "A")),
                Request::events(&announcement(CHANNEL, "A")),
                Request::events(&bodies::message(CHANNEL, &long)),
                Request::signed("GET", "/apps/3/channels", "", b""),
                Request::new("POST", "/elsewhere", long.as_bytes()),
            ];
            for (count, request) in requests.iter().enumerate() {
                let answer = usher.client().call(request);
                answer.assert_error(502, "upstream_failed");
                let said = answer.json()["error"].as_str().unwrap().to_owned();
                assert!(
                    said.contains("client certificate") && said.contains("set upstream.certificate and upstream.key"),
                    "{name}: {said}"
                );
                assert_eq!(failures(&usher), (count + 1) as f64, "{name}");
            }
            let mut guest = usher.client();
            guest.send(&handshake().bytes()).response().assert_error(502, "upstream_failed");
            usher.wait_log(|event| {
                message(event) == "a trigger was not answered by upstream"
                    && field(event, "error").as_str().is_some_and(|error| error.contains("upstream.certificate"))
            });
        }
        assert_eq!((fake.count(), far.count()), (0, 0), "nothing is handed on for a stranger");
    });
}

/// A refused request may have been applied, from usher's point of view: so nothing becomes known by it, and what was
/// known before is no longer known.
#[test]
fn a_refused_announcement_makes_nothing_known() {
    everywhere(|version, fast_path| {
        let fake = Fake::start();
        let guarded = Guarded::before(&fake, version, fast_path);
        let (welcome, stranger) = (guarded.authority.issue(), guarded.strangers()[1].1.clone());
        let usher = Usher::start_with(&guarded.showing(Some(&welcome)));
        let mut client = usher.client();
        client.announce(CHANNEL, "A").assert_forwarded();
        client.announce(CHANNEL, "A").assert_suppressed();
        for shown in [None, stranger.as_ref()] {
            usher.reload(&guarded.showing(shown));
            // Open connections continue.
            fake.close_connections();
            fake.wait_closed();
            client.announce(CHANNEL, "B").assert_error(502, "upstream_failed");
            assert!(
                usher.admin().assignment(CHANNEL).is_none_or(|entry| entry["identity"].is_null()),
                "{:?}",
                usher.admin().assignment(CHANNEL)
            );
            usher.reload(&guarded.showing(Some(&welcome)));
            client.announce(CHANNEL, "A").assert_forwarded();
        }
        assert_eq!(fake.count(), 3);
    });
}

/// The certificate's files, renewed in place.
#[test]
fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let fake = Fake::start();
    let guarded = Guarded::before(&fake, &TLS13, true);
    let stranger = guarded.strangers()[1].1.clone();
    let usher = Usher::start_with(&guarded.showing(stranger.as_ref()));
    usher.client().announce(CHANNEL, "A").assert_error(502, "upstream_failed");
    let toml = guarded.showing(Some(&guarded.authority.issue()));
    usher.reload(&toml);
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

#[test]
fn doctor_tells_what_upstream_asks_for() {
    for version in [&TLS12, &TLS13] {
        let fake = Fake::start();
        let guarded = Guarded::before(&fake, version, true);
        for (name, client) in guarded.strangers() {
            let (code, findings) = crate::doctor::examined(&guarded.showing(client.as_ref()));
            let tls = findings.iter().find(|finding| finding["check"] == "tls").unwrap();
            assert!(code == 1 && tls["verdict"] == "problem", "{name}: {tls}");
            let advice = tls["advice"].as_str().unwrap();
            assert!(
                advice.contains("client certificate") && advice.contains("upstream.certificate and upstream.key"),
                "{name}: {tls}"
            );
        }
        let (_, findings) = crate::doctor::examined(&guarded.showing(Some(&guarded.authority.issue())));
        for check in ["tls", "signature"] {
            let finding = findings.iter().find(|finding| finding["check"] == check).unwrap();
            assert_eq!(finding["verdict"], "ok", "{finding}");
        }
    }
}

/// nginx does not fail the handshake: it answers every request with 400.
#[test]
fn doctor_knows_an_answer_for_want_of_a_certificate() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    fake.otherwise(|_| {
        Step::says(
            400,
            "Content-Type: text/html\r\n",
            b"<html><title>400 No required SSL certificate was sent</title></html>",
        )
    });
    let (server, authority) = (Identity::new(), Authority::new("the clients' authority"));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &server.certificate).unwrap();
    let advice = |port: u16| {
        let mut setup = Setup::before_url(&format!("https://localhost:{port}"));
        setup.upstream += &format!("ca_file = {ca:?}\n");
        let (_, findings) = crate::doctor::examined(&setup.toml());
        let signature = findings.iter().find(|finding| finding["check"] == "signature").unwrap();
        assert_eq!(signature["verdict"], "problem", "{signature}");
        signature["advice"].as_str().unwrap().to_owned()
    };
    let asked = advice(terminate_asking(fake.address(), &server, &authority).port());
    assert!(asked.contains("upstream.certificate and upstream.key"), "{asked}");
    let not_asked = advice(terminate(fake.address(), &server).port());
    assert!(not_asked.contains("upstream.url"), "{not_asked}");
}
