//! Checks of ushers that run, each at its admin listener: whether it answers and serves, and what waits there for the
//! operator. `comparison` says what differs between them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::DATE;
use http::{Response, StatusCode};
use serde::Deserialize;
use usher::clock::Clock;
use usher::tls;

use super::comparison::{ClockReading, Member, compare};
use super::finding::{Finding, quote};
use super::running::{Running, waiting};
use crate::command::admins::Listener;
use crate::command::http_client::HttpClient;

/// The name of the check.
const CHECK: &str = "usher";

/// What an usher says of itself (docs/endpoints.md, `GET /overview`).
#[derive(Debug, Deserialize)]
struct Overview {
    version: String,
    name: String,
    since: String,
    /// Why nothing is suppressed since the start.
    start_doubt_reason: Option<String>,
}

/// The findings about each of these ushers, and about what differs between those that answer. They are asked at the
/// same time, each request for `time_limit` at most.
pub(super) async fn examine(listeners: &[Listener], tls: &tls::Client, time_limit: Duration) -> Vec<Finding> {
    let asked = join_all(listeners.iter().map(|listener| ask(listener, tls.clone(), time_limit))).await;
    let mut findings = Vec::new();
    let mut members = Vec::new();
    for answered in asked {
        match answered {
            Ok((member, found)) => {
                findings.extend(found);
                members.push(member);
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(compare(&members));
    findings
}

/// Asks one usher.
async fn ask(listener: &Listener, tls: tls::Client, time_limit: Duration) -> Result<(Member, Vec<Finding>), Finding> {
    let name = listener.name.as_str();
    let client = listener
        .client(tls, time_limit)
        .map_err(|error| Finding::problem(CHECK, name, format!("{error:#}"), "correct --admin or the token"))?;
    let sent = Clock::unix_now_exact();
    let overview = fetch(&client, name, "/overview").await?;
    let received = Clock::unix_now_exact();
    let clock = overview.headers().get(DATE).and_then(|date| date.to_str().ok());
    let clock = clock.and_then(|date| ClockReading::new(date, sent, received));
    let overview: Overview = read(name, &overview)?;
    let running: Vec<Running> = read(name, &fetch(&client, name, "/config").await?)?;
    let mut findings = vec![readiness(&client, name, &overview).await];
    findings.extend(waiting(name, &running));
    let values = running.into_iter().map(|value| (value.key, value.value)).collect();
    let Overview { version, name: environment, .. } = overview;
    Ok((Member { name: name.to_owned(), version, environment, clock, values }, findings))
}

/// A document of the admin listener.
async fn fetch(client: &HttpClient, name: &str, target: &str) -> Result<Response<Bytes>, Finding> {
    let answer = client.get(target).await.map_err(|error| {
        let advice = "start it, or correct --admin; the other ushers are compared without it";
        Finding::problem(CHECK, name, format!("{error:#}"), advice)
    })?;
    // The listener for clients has the header as well, and other codes.
    let is_usher = answer.headers().contains_key("usher-error");
    match answer.status() {
        StatusCode::OK => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_usher => Err(Finding::problem(
            CHECK,
            name,
            format!("it does not take the token, so nothing can be said of it: {}", quote(answer.body(), &[])),
            "give the token that it has, or its admin.read_token: --token-file FILE once for all ushers or once for each, or USHER_ADMIN__TOKEN",
        )),
        status => Err(no_listener(name, &format!("GET {target} is answered with {status}"))),
    }
}

fn read<'de, T: Deserialize<'de>>(name: &str, answer: &'de Response<Bytes>) -> Result<T, Finding> {
    serde_json::from_slice(answer.body())
        .map_err(|error| no_listener(name, &format!("its answer is not that of an usher of this version ({error})")))
}

fn no_listener(name: &str, found: &str) -> Finding {
    let advice = "check that the address is its admin.listen, and not its port for clients; and that it is not of an older version than this command";
    Finding::problem(CHECK, name, found, advice)
}

/// Whether it takes traffic.
async fn readiness(client: &HttpClient, name: &str, overview: &Overview) -> Finding {
    let Overview { version, since, start_doubt_reason, .. } = overview;
    let about = format!("usher {version}, since {since}");
    let doubt = start_doubt_reason.as_ref().map(|reason| format!("; suppresses nothing yet: {reason}"));
    let doubt = doubt.unwrap_or_default();
    match client.get("/readyz").await {
        Ok(answer) if answer.status() == StatusCode::OK => Finding::ok(CHECK, name, format!("{about}, ready{doubt}")),
        Ok(answer) => Finding::warning(
            CHECK,
            name,
            format!("{about}, not ready: {}{doubt}", quote(answer.body(), &[])),
            "a load balancer sends it no new traffic: if it is not about to end, its log says why",
        ),
        Err(error) => Finding::problem(CHECK, name, format!("{about}: {error:#}"), "look at its log"),
    }
}
