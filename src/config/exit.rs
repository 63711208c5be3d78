//! `[upstream]`: where requests go: to the embedded broker, to an address, or to one of Pusher's clusters by its name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;

use super::certificates;
use super::problem::quote;
use super::section::Section;
use crate::upstream::Options;

/// Reads the section.
pub(super) fn upstream(section: &mut Section<'_>) -> Options {
    let some_time = || Duration::from_millis(1)..=Duration::from_hours(1);
    let url = address(section);
    Options {
        websocket_url: websocket(section, &url),
        url,
        timeout: section.duration("timeout", Duration::from_secs(3), some_time()),
        connect_timeout: section.duration("connect_timeout", Duration::from_secs(1), some_time()),
        idle_timeout: section.duration("idle_timeout", Duration::from_secs(20), some_time()),
        max_connection_age: section.duration("max_connection_age", Duration::from_mins(5), some_time()),
        max_idle: section.count("max_idle", 256, 0..=65_536),
        tls: certificates::upstream(section),
    }
}

/// Where WebSocket connections go if not to the server of `url`: as written, or to the host that Pusher has for it
/// beside its API's (`pusher-protocol.md` 1.1, 4.1).
fn websocket(section: &mut Section<'_>, url: &Uri) -> Option<Uri> {
    let written = section.parsed("websocket_url", None, |text| {
        if text.is_empty() { Ok(None) } else { server(text, &WEBSOCKET).map(Some) }
    });
    written.or_else(|| {
        let cluster = url.host()?.strip_prefix("api-")?.strip_suffix(".pusher.com")?;
        let scheme = if url.scheme_str() == Some("http") { "ws" } else { "wss" };
        format!("{scheme}://ws-{cluster}.pusher.com").parse().ok()
    })
}

/// Whether `url` names the address that usher listens on by itself.
pub(super) fn is_own_address(url: &Uri, listen: SocketAddr) -> bool {
    let default_port = if matches!(url.scheme_str(), Some("https" | "wss")) { 443 } else { 80 };
    let host = url.host().unwrap_or_default();
    let ip = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Some(ip.to_canonical()),
        Err(_) if host.eq_ignore_ascii_case("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
        Err(_) => None,
    };
    let listens = listen.ip().to_canonical();
    let meets = |ip: IpAddr| ip == listens || ip.is_unspecified() || (listens.is_unspecified() && ip.is_loopback());
    listen.port() != 0 && url.port_u16().unwrap_or(default_port) == listen.port() && ip.is_some_and(meets)
}

fn address(section: &mut Section<'_>) -> Uri {
    let refused = match section.either("url", "cluster") {
        Ok(Some(("cluster", name))) => cluster(&name).map_err(|message| ("cluster", message)),
        Ok(Some((_, url))) if url == Options::LOCAL => return Uri::from_static(Options::LOCAL),
        Ok(Some((_, url))) => server(&url, &HTTP).map_err(|message| ("url", message)),
        Ok(None) => return Uri::from_static(Options::LOCAL),
        Err(_) => return Uri::default(),
    };
    refused.unwrap_or_else(|(key, message)| {
        section.problem(key, message);
        Uri::default()
    })
}

/// Pusher's API host of a cluster (`pusher-protocol.md` 1.1).
fn cluster(name: &str) -> Result<Uri, String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_label = is_name && name.len() <= 32 && !name.starts_with('-') && !name.ends_with('-');
    let url = if is_label { format!("https://api-{name}.pusher.com").parse().ok() } else { None };
    url.ok_or_else(|| {
        format!(
            "{} is not the name of a cluster. Write it as Pusher's dashboard shows it: \"mt1\", \"eu\", \"ap1\".",
            quote(name)
        )
    })
}

/// What an address is for, and how it is to be written.
struct Kind {
    schemes: [&'static str; 2],
    /// The schemes of the other kind, and what to say of them.
    other: ([&'static str; 2], &'static str),
    wrong: &'static str,
    form: &'static str,
}

const HTTP: Kind = Kind {
    schemes: ["http", "https"],
    other: (["ws", "wss"], "This is a WebSocket address, but the HTTP API is meant."),
    wrong: "The scheme must be http or https.",
    form: "Write scheme, host and port alone, e.g. \"https://api-eu.pusher.com\" or \"http://127.0.0.1:6002\"; or \"local\".",
};

const WEBSOCKET: Kind = Kind {
    schemes: ["ws", "wss"],
    other: (["http", "https"], "This is an HTTP address, but the WebSocket host is meant."),
    wrong: "The scheme must be ws or wss.",
    form: "Write scheme, host and port alone, e.g. \"wss://ws-eu.pusher.com\" or \"ws://127.0.0.1:6002\".",
};

/// A server's address: scheme, host, port and nothing else. The text is not repeated in messages, for it may hold a
/// password.
fn server(text: &str, kind: &Kind) -> Result<Uri, String> {
    let refuse = |reason: &str| Err(format!("{reason} {}", kind.form));
    let Some((scheme, rest)) = text.split_once("://") else { return refuse("The address has no scheme.") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("Credentials in the address are not used: the apps' secrets sign the requests.");
    }
    let scheme = scheme.to_ascii_lowercase();
    if !kind.schemes.contains(&scheme.as_str()) {
        return refuse(if kind.other.0.contains(&scheme.as_str()) { kind.other.1 } else { kind.wrong });
    }
    match rest.strip_prefix(authority).unwrap_or_default() {
        "" | "/" => {}
        more if more.contains('#') => return refuse("The address has a fragment (#…)."),
        more if more.contains('?') => return refuse("The address has a query (?…), but each request brings its own."),
        _ => {
            return refuse(
                "The address has a path, but requests are signed for their own path and go out under no other.",
            );
        }
    }
    let Ok(url) = text.parse::<Uri>() else { return refuse("The address cannot be read.") };
    if url.host().is_none_or(|host| host.trim_matches(['[', ']']).is_empty()) {
        return refuse("The address has no host.");
    }
    if authority.len() > url.host().map_or(0, str::len) && url.port_u16().is_none_or(|port| port == 0) {
        return refuse("The port must be a number from 1 to 65535.");
    }
    Ok(url)
}
