//! Addresses: those on which usher listens, and those of the servers behind it.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use super::problem::quote;
use crate::upstream::ServerAddress;

/// Whether only programs on this machine can reach `address`.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The address in `text`, to listen on.
///
/// # Errors
/// A sentence that names the accepted forms.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let forms = "Write an IP address and a port: \"127.0.0.1:6001\", \"0.0.0.0:6001\" for all of this machine's, or \"[::1]:6001\".";
    text.parse().map_err(|_| format!("{} is not an address to listen on. {forms}", quote(text)))
}

/// Whether `url` names an address on which usher itself listens.
pub(super) fn is_own_address(url: &Uri, listen: SocketAddr) -> bool {
    let Ok(server) = ServerAddress::of(url) else { return false };
    let ip = match server.host.parse::<IpAddr>() {
        Ok(ip) => Some(ip.to_canonical()),
        Err(_) if server.host.eq_ignore_ascii_case("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
        Err(_) => None,
    };
    let listens = listen.ip().to_canonical();
    let is_reached_at =
        |ip: IpAddr| ip == listens || ip.is_unspecified() || (listens.is_unspecified() && ip.is_loopback());
    listen.port() != 0 && server.port == listen.port() && ip.is_some_and(is_reached_at)
}

/// How an address has to be written, by what it is for.
pub(super) struct AddressForm {
    schemes: [&'static str; 2],
    /// The schemes of the other protocol, and the message about them.
    other: ([&'static str; 2], &'static str),
    wrong: &'static str,
    form: &'static str,
}

/// The address of an HTTP API.
pub(super) const HTTP: AddressForm = AddressForm {
    schemes: ["http", "https"],
    other: (["ws", "wss"], "This is a WebSocket address, but the HTTP API is meant."),
    wrong: "The scheme must be http or https.",
    form: "Write scheme, host and port alone, e.g. \"https://api-eu.pusher.com\" or \"http://127.0.0.1:6002\"; or \"local\".",
};

/// The address of a WebSocket server.
pub(super) const WEBSOCKET: AddressForm = AddressForm {
    schemes: ["ws", "wss"],
    other: (["http", "https"], "This is an HTTP address, but the WebSocket host is meant."),
    wrong: "The scheme must be ws or wss.",
    form: "Write scheme, host and port alone, e.g. \"wss://ws-eu.pusher.com\" or \"ws://127.0.0.1:6002\".",
};

/// A server's address: scheme, host, port and nothing else. The messages do not repeat the text, which may hold a
/// password.
pub(super) fn server_url(text: &str, expected: &AddressForm) -> Result<Uri, String> {
    let refuse = |reason: &str| Err(format!("{reason} {}", expected.form));
    let Some((scheme, rest)) = text.split_once("://") else { return refuse("The address has no scheme.") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("Credentials in the address are not used: the apps' secrets sign the requests.");
    }
    let scheme = scheme.to_ascii_lowercase();
    if !expected.schemes.contains(&scheme.as_str()) {
        return refuse(if expected.other.0.contains(&scheme.as_str()) { expected.other.1 } else { expected.wrong });
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
    if ServerAddress::of(&url).is_err() {
        return refuse("The address has no host.");
    }
    if authority.len() > url.host().map_or(0, str::len) && url.port_u16().is_none_or(|port| port == 0) {
        return refuse("The port must be a number from 1 to 65535.");
    }
    Ok(url)
}
