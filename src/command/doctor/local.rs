//! Checks of this machine: the listeners, the certificate, the exposure of the operator's listener, and known problems
//! of client libraries.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use usher::clock::Clock;
use usher::config::Config;
use usher::server::Capacity;
use usher::tls;

use super::finding::Finding;
use crate::command::healthcheck::reachable;
use crate::command::http_client::HttpClient;
use crate::command::party::Role;

const DAY: i64 = 86_400;
/// With fewer days left, a certificate should have been renewed automatically.
const FEW_DAYS: i64 = 14;

/// Whether the addresses are free, or served by an usher.
pub(super) async fn listeners(config: &Config, time_limit: Duration) -> Vec<Finding> {
    let (gateway, admin) = (config.server.listen, config.admin.listen);
    let asks_gateway = async {
        let answer = ask(gateway, Method::TRACE, "/", time_limit).await;
        // An usher refuses TRACE itself, whatever its upstream does.
        answer.is_some_and(|answer| answer.headers().contains_key("usher-error")).then(String::new)
    };
    let asks_admin = async {
        let metrics = ask(admin, Method::GET, "/metrics", time_limit).await?;
        let version = String::from_utf8_lossy(metrics.body())
            .split_once("usher_build_info{version=\"")?
            .1
            .split('"')
            .next()
            .map(str::to_owned)?;
        let ready =
            ask(admin, Method::GET, "/readyz", time_limit).await.is_some_and(|answer| answer.status().is_success());
        Some(format!(" {version}, {}", if ready { "which is ready" } else { "which drains" }))
    };
    let shows_tls = config.server.tls.is_some();
    let gateway = async {
        if shows_tls && try_bind(gateway) == BindResult::InUse {
            // Its certificate is for the name that clients use, which is not known here.
            let advice = "if it is not usher, choose another server.listen; the finding about admin.listen tells";
            return Finding::warning(
                "listen",
                "server.listen",
                format!("{gateway} is in use by a program that is not checked, since it uses TLS"),
                advice,
            );
        }
        listener("server.listen", gateway, asks_gateway).await
    };
    let (gateway, admin) = tokio::join!(gateway, listener("admin.listen", admin, asks_admin));
    vec![gateway, admin]
}

/// Whether an address can be listened on.
#[derive(Debug, PartialEq, Eq)]
enum BindResult {
    Free,
    InUse,
    Impossible(String),
}

fn try_bind(address: SocketAddr) -> BindResult {
    match TcpListener::bind(address) {
        Ok(_released) => BindResult::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => BindResult::InUse,
        Err(error) => BindResult::Impossible(error.to_string()),
    }
}

/// Checks one listener. `usher`: the description of the usher that answers there, `None` if there is none.
async fn listener(key: &str, address: SocketAddr, usher: impl Future<Output = Option<String>>) -> Finding {
    match try_bind(address) {
        BindResult::Free if address.port() == 0 => Finding::ok("listen", key, "any free port"),
        BindResult::Free => Finding::ok("listen", key, format!("{address} is free")),
        BindResult::Impossible(error) => {
            let advice =
                format!("set {key} to an address of this machine; a port below 1024 needs CAP_NET_BIND_SERVICE");
            Finding::problem("listen", key, format!("{address} cannot be listened on: {error}"), advice)
        }
        BindResult::InUse => match usher.await {
            Some(about) => Finding::ok("listen", key, format!("{address} is served by an usher{about}")),
            None => {
                let advice = format!("end that program, or set {key} to another port (`ss -ltnp` tells who listens)");
                Finding::problem(
                    "listen",
                    key,
                    format!("{address} is in use by a program that does not answer as usher does"),
                    advice,
                )
            }
        },
    }
}

async fn ask(listen: SocketAddr, method: Method, target: &str, time_limit: Duration) -> Option<Response<Bytes>> {
    let url = format!("http://{}", reachable(listen)).parse().ok()?;
    HttpClient::new(Role::Admin, &url, tls::Client::default(), time_limit)
        .ok()?
        .call(method, target, Bytes::new())
        .await
        .ok()
}

/// Whether the limit on open files, for a process started like this one, suffices for all connections.
pub(super) fn descriptors(config: &Config) -> Finding {
    let capacity = Capacity::expected(config);
    if let Some(shortage) = capacity.shortage() {
        return Finding::warning(
            "descriptors",
            "",
            format!("for a process started like this one: {}", shortage.problem()),
            shortage.remedy(),
        );
    }
    let limit = capacity.limit().map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
    Finding::ok(
        "descriptors",
        "",
        format!("{limit} files may be open by a process started like this one, {} are needed", capacity.needed()),
    )
}

/// The certificate that usher presents, if it has one.
pub(super) fn certificate(config: &Config) -> Option<Finding> {
    let identity = config.server.tls.as_ref()?;
    let about = identity.files().certificate.display().to_string();
    Some(lifetime("certificate", &about, identity.expires_at(), "renew it; usher reads it again on SIGHUP"))
}

/// A finding about the expiry of a valid certificate. `expires`: seconds since the Unix epoch.
pub(super) fn lifetime(check: &'static str, about: &str, expires: Option<i64>, advice: &str) -> Finding {
    let Some(expires) = expires else {
        return Finding::warning(check, about, "the certificate does not tell when it expires", advice);
    };
    match expires.saturating_sub_unsigned(Clock::unix_now()).div_euclid(DAY) {
        ..0 => Finding::problem(check, about, "the certificate has expired", advice),
        days @ 0..FEW_DAYS => {
            Finding::warning(check, about, format!("the certificate is good for {days} more days"), advice)
        }
        days => Finding::ok(check, about, format!("the certificate is good for {days} more days")),
    }
}

/// Whether others can reach the operator's listener, and what it serves to them.
pub(super) fn exposure(config: &Config) -> Finding {
    let listen = config.admin.listen;
    if listen.ip().to_canonical().is_loopback() {
        return Finding::ok(
            "admin",
            "",
            format!("{listen}: programs on this machine alone can reach it, and read everything"),
        );
    }
    let found = format!(
        "{listen}: others can reach it; /metrics, /livez and /readyz are open to them, everything else needs admin.token"
    );
    Finding::warning(
        "admin",
        "",
        found,
        "it is plain HTTP, so keep it in a private network or behind a proxy with TLS; or listen on 127.0.0.1",
    )
}

/// Known problems of client libraries with this configuration.
pub(super) fn clients(config: &Config) -> Finding {
    let listen = config.server.listen;
    let port = listen.port();
    let usual = if config.server.tls.is_some() { 443 } else { 80 };
    let mut traps = Vec::new();
    if port != usual {
        traps
            .push(format!("pusher-http-python cannot take a port from PUSHER_URL: give it host=\"…\" and port={port}"));
    }
    if config.server.tls.is_some() {
        traps.push(
            "with ssl=True it trusts its own list of authorities, of 2021, alone: a private one does not work with it"
                .to_owned(),
        );
    }
    if listen.ip().is_loopback() {
        traps.push("only programs on this machine reach server.listen, and so do only browsers on it".to_owned());
    }
    Finding::ok("clients", "", "what client libraries need to know").advising(if traps.is_empty() {
        "nothing special".to_owned()
    } else {
        traps.join("; ")
    })
}
