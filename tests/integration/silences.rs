//! The eleven situations in which a trigger does not do what its backend expects: each shows its cause in its record, in
//! `usher tail` and in the log. The page has a test of its own (`browsers::rows`).

use serde_json::Value;

use crate::harness::admin::TOKEN;
use crate::harness::bodies::{announcement, message};
use crate::harness::cli::Cli;
use crate::harness::tls::{self, Identity};
use crate::harness::usher::text;
use crate::harness::{Fake, Request, Setup, Step, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";
const PATH: &str = "/apps/3/events";

fn signed(path: &str, key: &str, secret: &str, timestamp: u64) -> Request {
    let body = announcement(CHANNEL, "Anna");
    let query = sign::query_of("POST", path, "", body.as_bytes(), key, secret, timestamp);
    Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
}

/// Sends a trigger and checks that record, `tail` and log have its decision, its reason and the words of its cause.
#[track_caller]
fn shows(usher: &Usher, request: &Request, status: u16, decision: &str, reason: &str, words: &str) {
    let response = usher.client().call(request);
    assert_eq!(response.status, status, "{response:?}");
    let id = response.header("usher-trigger").unwrap();
    let record = usher.admin().json(&format!("/triggers/{id}"));
    let of = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((of("decision").as_str(), of("reason").as_str()), (decision, reason), "{record}");
    let causes = [of("why"), record["not_matched"].to_string()].concat();
    assert!(causes.contains(words), "{words}: {record}");
    let listed = usher.admin().json(&format!("/triggers?reason={reason}&limit=1"));
    assert_eq!(listed["triggers"][0]["id"], id.as_str(), "{listed}");

    let admin = format!("http://{}", usher.admin().0);
    let arguments = ["tail", "--admin", &admin, "--backlog", "100", "--json"];
    let tail = Cli::new(&arguments).env("USHER_ADMIN__TOKEN", TOKEN).start();
    let shown = tail.wait_out(&format!("\"id\":\"{id}\""));
    let line = shown.lines().find(|line| line.contains(&id)).unwrap();
    assert!(line.contains(reason) && line.contains(decision), "{reason}: {line}");
    drop(tail);

    let line = usher.wait_log(|event: &Value| text(event, "trigger") == id);
    assert!(line.to_string().contains(words) || line.to_string().contains(reason), "{line}");
}

#[test]
fn each_of_eleven_situations_shows_its_cause() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.level = "debug");
    let now = sign::now();
    let mut other_body = signed(PATH, sign::KEY, sign::SECRET, now);
    other_body.body[10] ^= 1;
    let refused = [
        (signed(PATH, sign::KEY, "wrong", now), 401, "auth_signature_mismatch", "secret is not that of the app"),
        (signed("/apps/77/events", "k", "s", now), 404, "unknown_app", "77"),
        (signed(PATH, "another-key", sign::SECRET, now), 401, "unknown_auth_key", "auth_key is not the key of app 3"),
        (
            signed(PATH, sign::KEY, sign::SECRET, now - 7200),
            401,
            "auth_timestamp_too_old",
            "behind the gateway's clock",
        ),
        (other_body, 401, "body_md5_mismatch", "body_md5 is not the MD5 of the body"),
    ];
    for (request, status, reason, words) in refused {
        shows(&usher, &request, status, "refused", reason, words);
    }
    for status in [401, 403, 500] {
        let said = format!("{{\"error\":\"upstream says {status}\"}}");
        fake.script([Step::says(status, "Content-Type: application/json\r\n", said.as_bytes())]);
        let request = Request::events(&message(CHANNEL, &status.to_string()));
        shows(&usher, &request, status, "failed", "no_rule", &format!("upstream says {status}"));
    }
    let unmatched = Request::events(&announcement("chat-101", "Anna"));
    shows(&usher, &unmatched, 200, "forwarded", "no_rule", "does not match `{hotelSlug}-room-{roomNumber}-chat`");
    fake.refuse();
    let request = Request::events(&message(CHANNEL, "x"));
    shows(&usher, &request, 502, "failed", "upstream_unreachable", "connection refused");
}

#[test]
fn an_expired_certificate_of_upstream_shows_its_cause() {
    let fake = Fake::start();
    let identity = Identity::expired();
    let port = tls::terminate(fake.address(), &identity).port();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, _) = identity.write_to(directory.path());
    let mut setup = Setup::before_url(&format!("https://localhost:{port}"));
    setup.upstream += &format!("ca_file = \"{}\"\n", certificate.display());
    let usher = Usher::start_with(&setup.toml());
    let request = Request::events(&message(CHANNEL, "x"));
    shows(&usher, &request, 502, "failed", "upstream_unreachable", "the certificate expired");
}
