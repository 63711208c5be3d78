//! Checks of the server behind usher, from this machine: its name, its certificate, its clock, and whether it accepts
//! signatures and WebSockets.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::DATE;
use http::{Response, StatusCode, Uri};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher::clock::Clock;
use usher::config::Config;
use usher::pusher::{Acceptance, App, sign_query};
use usher::tls::{self, cause};
use usher::upstream::ServerAddress;

use super::finding::{Finding, Severity, quote};
use super::local::lifetime;
use crate::command::http_client::HttpClient;
use crate::command::listener::{Address, Connection, ConnectionEvent, Effect, Subscriptions};
use crate::command::party::{Party, Role};

/// A smaller difference of the clocks is no finding: `Date` has whole seconds, and an answer takes time.
const SMALL_SKEW: u64 = 30;
/// From this difference on, signatures are refused (`pusher-protocol.md` 2.1).
const WINDOW: u64 = 600;

/// The advice if upstream requires client certificates.
const CERTIFICATE_WANTED: &str = "upstream asks for a client certificate that it accepts: set upstream.certificate and upstream.key to one (with its key) from who runs it";

fn host_and_port(server: &ServerAddress) -> String {
    format!("{}:{}", server.host, server.port)
}

/// All checks of the server behind. A check that depends on another one runs only if that one found nothing wrong, so
/// that each cause has one finding.
pub(super) async fn examine(config: &Config, time_limit: Duration) -> Vec<Finding> {
    if config.upstream.is_local() {
        return vec![Finding::ok("upstream", "", "usher is its own broker: there is no other server to be reached")];
    }
    let url = &config.upstream.url;
    let websocket = config.upstream.websocket_url.as_ref().unwrap_or(url);
    let tls = &config.upstream.tls;
    let (Ok(server), Ok(websocket_server)) = (ServerAddress::of(url), ServerAddress::of(websocket)) else {
        return Vec::new();
    };
    let is_other = websocket_server != server;
    let other = async {
        match (is_other, websocket_server.is_tls) {
            (false, _) => Vec::new(),
            (true, true) => reach(&websocket_server, tls, time_limit).await,
            // Without TLS, the check of the WebSocket covers the connection.
            (true, false) => vec![name(&websocket_server, time_limit).await],
        }
    };
    let api = async {
        let mut findings = reach(&server, tls, time_limit).await;
        if is_fine(&findings) {
            match HttpClient::new(Role::Upstream, url, tls.clone(), time_limit) {
                Ok(client) => findings.extend(answers(config, &client, &host_and_port(&server)).await),
                Err(error) => {
                    findings.push(Finding::problem("connection", "", format!("{error:#}"), "mend [upstream]"))
                }
            }
        }
        findings
    };
    let (mut findings, other) = tokio::join!(api, other);
    let has_answer = findings.iter().any(|finding| finding.check() == "clock");
    let reaches_websocket = if is_other { is_fine(&other) } else { has_answer };
    findings.extend(other);
    if reaches_websocket {
        for app in &config.apps {
            findings.push(socket(websocket, app, tls, time_limit).await);
        }
    }
    merged(findings)
}

fn is_fine(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Problem)
}

/// Whether the name is known, a connection can be opened, and TLS succeeds; ends at the first problem.
async fn reach(server: &ServerAddress, tls: &tls::Client, time_limit: Duration) -> Vec<Finding> {
    let name = name(server, time_limit).await;
    if name.severity == Severity::Problem {
        return vec![name];
    }
    vec![name, connection(server, tls, time_limit).await]
}

/// What the server answers: its clock, and whether it takes the apps' signatures.
async fn answers(config: &Config, client: &HttpClient, about: &str) -> Vec<Finding> {
    let answer = match client.get("/").await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "check that a Pusher-compatible server listens on this port";
            return vec![Finding::problem("connection", about, format!("no answer to a request: {error:#}"), advice)];
        }
    };
    if answer.status() == StatusCode::BAD_REQUEST
        && let Some(hint) = client.tls_hint().await
    {
        return vec![Finding::problem(
            "connection",
            about,
            format!("it answers {} without TLS", answer.status()),
            hint,
        )];
    }
    let clock = clock(&answer);
    let mut findings = Vec::new();
    for app in &config.apps {
        findings.push(signature(config, app, client).await);
    }
    if clock.severity == Severity::Problem {
        // Where the clocks differ by so much, every signature is refused: what else is wrong shows only afterwards.
        findings.retain(|finding| finding.severity != Severity::Problem);
    }
    findings.insert(0, clock);
    findings
}

/// The findings, those of several apps that say the same as one.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        match merged.iter_mut().find(|known| known.says_the_same(&finding)) {
            Some(known) => known.is_about_also(&finding),
            None => merged.push(finding),
        }
    }
    merged
}

async fn name(server: &ServerAddress, time_limit: Duration) -> Finding {
    let host = server.host.as_str();
    if host.parse::<IpAddr>().is_ok() {
        return Finding::ok("dns", host, "an address, no name to look up");
    }
    let advice = "check the host's spelling in [upstream], and this machine's name server";
    match timeout(time_limit, lookup_host((host, server.port))).await {
        Ok(Ok(addresses)) => match addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>() {
            found if found.is_empty() => Finding::problem("dns", host, "the name has no address", advice),
            found => Finding::ok("dns", host, found.join(", ")),
        },
        Ok(Err(error)) => Finding::problem("dns", host, format!("the name cannot be looked up: {error}"), advice),
        Err(_elapsed) => {
            Finding::problem("dns", host, format!("the name server did not answer within {time_limit:?}"), advice)
        }
    }
}

async fn connection(server: &ServerAddress, tls: &tls::Client, time_limit: Duration) -> Finding {
    let about = host_and_port(server);
    let advice = "check that the server runs, that [upstream] names its port, and that no firewall stands between";
    let tcp = match timeout(time_limit, TcpStream::connect((server.host.as_str(), server.port))).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Finding::problem("connection", &about, format!("cannot connect: {error}"), advice),
        Err(_elapsed) => {
            return Finding::problem("connection", &about, format!("no connection within {time_limit:?}"), advice);
        }
    };
    if !server.is_tls {
        return Finding::ok("connection", &about, "connected; without TLS");
    }
    let Ok(name) = ServerName::try_from(server.host.clone()) else {
        return Finding::problem(
            "tls",
            &about,
            "no certificate can be for this host",
            "name the server as its certificate does",
        );
    };
    match secure(tls, name, tcp, time_limit).await {
        Ok(stream) => {
            let expires =
                stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(|own| tls::expires_at(own));
            lifetime(
                "tls",
                &about,
                expires,
                "who runs the upstream server has to renew it; from then on usher would reach nothing",
            )
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Finding::problem(
            "tls",
            &about,
            format!("no TLS within {time_limit:?}"),
            "check that this port speaks TLS; if it does not, try http:// (ws:// for WebSockets)",
        ),
        Err(error) => {
            let advice = Party::new(Role::Upstream, server.clone()).tls_advice(&error, tls);
            Finding::problem("tls", &about, format!("TLS failed: {}", cause(&error)), advice)
        }
    }
}

/// Performs the TLS handshake. With TLS 1.3 a server refuses a missing client certificate only after the handshake, so
/// a request is sent and the first byte of the answer awaited.
async fn secure(
    tls: &tls::Client,
    name: ServerName<'static>,
    tcp: TcpStream,
    time_limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = timeout(time_limit, TlsConnector::from(tls.config()).connect(name, tcp)).await??;
    let asked = async {
        stream.write_all(b"HEAD / HTTP/1.1\r\nHost: usher-doctor\r\nConnection: close\r\n\r\n").await?;
        stream.read(&mut [0]).await
    };
    match timeout(time_limit, asked).await {
        Ok(Err(error)) if tls::refuses_certificate(&error) => Err(error),
        // Whether this is an HTTP server that answers is checked elsewhere.
        Ok(_) | Err(_) => Ok(stream),
    }
}

/// The difference between this machine's clock and upstream's: signatures depend on both.
fn clock(answer: &Response<Bytes>) -> Finding {
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(date) = date else {
        return Finding::warning(
            "clock",
            "",
            "upstream's answer has no Date to compare with",
            "make sure that this machine's clock is synchronised (NTP)",
        );
    };
    let now = UNIX_EPOCH + Clock::unix_now_exact();
    let (off, word) = date
        .duration_since(now)
        .map_or_else(|past| (past.duration().as_secs(), "ahead of"), |late| (late.as_secs(), "behind"));
    let found = format!("this machine's clock is {off} s {word} upstream's");
    let advice = format!("synchronise the clocks (NTP): from {WINDOW} s on every signature is refused");
    match off {
        ..SMALL_SKEW => Finding::ok("clock", "", found),
        SMALL_SKEW..WINDOW => Finding::warning("clock", "", found, advice),
        WINDOW.. => Finding::problem("clock", "", found, advice),
    }
}

/// Whether upstream accepts the signatures of this app: requests the app's channels, which changes nothing.
async fn signature(config: &Config, app: &App, client: &HttpClient) -> Finding {
    let about = format!("of app {}", app.id());
    let path = format!("/apps/{}/channels", app.id());
    let query = sign_query(app, "GET", &path, &[], None, Clock::unix_now());
    let answer = match client.get(&format!("{path}?{query}")).await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::problem(
                "signature",
                &about,
                format!("no answer: {error:#}"),
                "see the findings about the connection",
            );
        }
    };
    let signature = query.split('&').find_map(|pair| pair.strip_prefix("auth_signature=")).unwrap_or_default();
    let found = format!("upstream answered {}: {}", answer.status(), quote(answer.body(), &[signature]));
    match answer.status().as_u16() {
        200..=299 => accepted_finding(&about, found, answer.body()),
        // nginx answers like this if the handshake succeeded without a certificate, or with a wrong one.
        400 if config.upstream.tls.was_requested() => Finding::problem("signature", &about, found, CERTIFICATE_WANTED),
        401 => Finding::problem(
            "signature",
            &about,
            found,
            "check the app's key and secret, and the finding about the clock",
        ),
        403 => Finding::problem(
            "signature",
            &about,
            found,
            "the app is disabled or over its quota: look at upstream's dashboard",
        ),
        404 => Finding::problem(
            "signature",
            &about,
            found,
            "upstream does not know the app: check its id, and that [upstream] names its cluster",
        ),
        429 | 500.. => Finding::warning("signature", &about, found, "upstream is busy or failing: look again later"),
        _ => Finding::problem("signature", &about, found, "this is no answer of a Pusher server: check upstream.url"),
    }
}

/// The finding about a 2xx answer, which soketi sends for refusals as well (docs/servers.md).
fn accepted_finding(about: &str, found: String, body: &[u8]) -> Finding {
    match Acceptance::read(body) {
        Acceptance::Accepted => Finding::ok("signature", about, "upstream takes it"),
        Acceptance::Refused(_) => Finding::problem(
            "signature",
            about,
            found,
            "check the app's id, key and secret, and the finding about the clock",
        ),
        Acceptance::Failed(_) => Finding::warning("signature", about, found, "upstream is failing: look again later"),
        Acceptance::NoObject => Finding::problem(
            "signature",
            about,
            found,
            "this is no JSON object, as every answer of a Pusher server is, so nothing can be suppressed before it: check upstream.url, and what stands \
             before that server",
        ),
    }
}

/// Whether a client of this app can open a WebSocket, as the relay does.
async fn socket(url: &Uri, app: &App, tls: &tls::Client, time_limit: Duration) -> Finding {
    let about = format!("of app {}", app.id());
    let advice = "check upstream.websocket_url (for Pusher: wss://ws-<cluster>.pusher.com), and that a load balancer before it lets Upgrade pass";
    let subscriptions = Subscriptions { channels: Vec::new(), app: None, member: String::new() };
    let greeting = async {
        let address = Address::new(Role::Upstream, url, app.key(), tls)?;
        let mut connection = Connection::open(&address, &subscriptions).await?;
        loop {
            match connection.next().await {
                ConnectionEvent::Effects(effects) => {
                    for effect in effects {
                        match effect {
                            Effect::Established(_) => {
                                connection.close().await;
                                return Ok(None);
                            }
                            Effect::Refused(reason) => return Ok(Some(reason)),
                            Effect::Send(_) | Effect::Ready | Effect::Notice(_) | Effect::Event(_) => {}
                        }
                    }
                }
                ConnectionEvent::Ended(end) => return anyhow::Ok(Some(end.reason)),
            }
        }
    };
    match timeout(time_limit, greeting).await {
        Ok(Ok(None)) => Finding::ok("websocket", &about, "switched, and greeted as a client"),
        Ok(Ok(Some(reason))) => {
            let advice = "upstream speaks WebSocket, but does not take this client: check the app's key, and that this is the app's cluster";
            Finding::problem("websocket", &about, quote(reason.as_bytes(), &[]), advice)
        }
        Ok(Err(error)) => Finding::problem("websocket", &about, quote(format!("{error:#}").as_bytes(), &[]), advice),
        Err(_elapsed) => Finding::problem("websocket", &about, format!("not greeted within {time_limit:?}"), advice),
    }
}
