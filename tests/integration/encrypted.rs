//! TLS on both sides: the certificate that usher presents, and the authorities that it trusts upstream.

use std::fs;

use crate::harness::bodies::announcement;
use crate::harness::tls::{Identity, TlsClient, terminate};
use crate::harness::usher::Signal;
use crate::harness::{Fake, Request, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

#[test]
fn upstream_over_tls_is_trusted_by_its_authority_only() {
    let fake = Fake::start();
    let identity = Identity::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, &identity.certificate).unwrap();
    let port = terminate(fake.address(), &identity).port();
    let upstream = format!("url = \"https://localhost:{port}\"\nconnect_timeout = \"10s\"\n");

    let trusting = Usher::start(&fake, |setup| setup.upstream = format!("{upstream}ca_file = {file:?}\n"));
    let mut client = trusting.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    client.announce(CHANNEL, "A").assert_suppressed();
    let request = fake.next_request();
    assert_eq!(request.header("host"), Some(format!("localhost:{port}")));

    let wary = Usher::start(&fake, |setup| setup.upstream = upstream);
    for _ in 0..2 {
        wary.client().announce(CHANNEL, "A").assert_error(502, "upstream_unreachable");
    }
    assert_eq!(fake.count(), 1, "nothing is sent to a stranger");
}

#[test]
fn the_certificate_is_read_again_on_a_signal() {
    let fake = Fake::start();
    let (old, new) = (Identity::new(), Identity::new());
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = old.write_to(directory.path());
    let usher = Usher::start(&fake, |setup| {
        setup.server += &format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n")
    });
    let announce = |staff: &str| Request::events(&announcement(CHANNEL, staff));
    let mut kept = TlsClient::connect(usher.gateway(), &old).unwrap();
    kept.call(&announce("A")).assert_forwarded();
    assert!(TlsClient::connect(usher.gateway(), &new).is_err());
    assert!(
        usher.client().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").try_response().is_err(),
        "no plain HTTP where TLS is configured"
    );

    let from = usher.log_lines();
    fs::write(&certificate, "no certificate").unwrap();
    usher.signal(Signal::Hup);
    usher.wait_log_after(from, |event| event["level"] == "ERROR");
    assert_eq!(usher.admin().metric("usher_config_last_reload_successful", &[]), 0.0, "nothing was taken over");
    TlsClient::connect(usher.gateway(), &old).unwrap().call(&announce("A")).assert_suppressed();

    new.write_to(directory.path());
    usher.signal(Signal::Hup);
    let mut fresh = eventually("the new certificate is shown", || TlsClient::connect(usher.gateway(), &new).ok());
    fresh.call(&announce("A")).assert_suppressed();
    kept.call(&announce("A")).assert_suppressed();
    let expires = usher.admin().metric("usher_tls_certificate_expires_at_timestamp_seconds", &[]);
    assert!(expires > 0.0);
}
