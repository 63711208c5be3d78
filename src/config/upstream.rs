//! `[upstream]`: where requests are forwarded: to the embedded broker, to an address, or to one of Pusher's clusters.

use std::time::Duration;

use http::Uri;

use super::address::{HTTP, WEBSOCKET, server_url};
use super::certificates;
use super::problem::quote;
use super::section::Section;
use crate::upstream::Options;

/// Reads the section.
pub(super) fn upstream(section: &mut Section<'_>) -> Options {
    let nonzero_timeout = || Duration::from_millis(1)..=Duration::from_hours(1);
    let url = url(section);
    section.show("url", &url);
    Options {
        websocket_url: websocket(section, &url),
        url,
        timeout: section.duration("timeout", Duration::from_secs(3), nonzero_timeout()),
        connect_timeout: section.duration("connect_timeout", Duration::from_secs(1), nonzero_timeout()),
        idle_timeout: section.duration("idle_timeout", Duration::from_secs(20), nonzero_timeout()),
        max_connection_age: section.duration("max_connection_age", Duration::from_mins(5), nonzero_timeout()),
        max_idle: section.count("max_idle", 256, 0..=65_536),
        tls: certificates::upstream(section),
    }
}

/// Where WebSocket connections go if not to the server of `url`: the configured address, or for a host of Pusher's API
/// the WebSocket host of the same cluster (`pusher-protocol.md` 1.1, 4.1).
fn websocket(section: &mut Section<'_>, url: &Uri) -> Option<Uri> {
    let written = section.parsed("websocket_url", None, |text| {
        if text.is_empty() { Ok(None) } else { server_url(text, &WEBSOCKET).map(Some) }
    });
    let effective = written.or_else(|| {
        let cluster = url.host()?.strip_prefix("api-")?.strip_suffix(".pusher.com")?;
        let scheme = if url.scheme_str() == Some("http") { "ws" } else { "wss" };
        format!("{scheme}://ws-{cluster}.pusher.com").parse().ok()
    });
    section.show("websocket_url", &effective);
    effective
}

fn url(section: &mut Section<'_>) -> Uri {
    let refused = match section.either("url", "cluster") {
        Ok(Some(("cluster", name))) => cluster(&name).map_err(|message| ("cluster", message)),
        Ok(Some((_, url))) if url == Options::LOCAL => return Uri::from_static(Options::LOCAL),
        Ok(Some((_, url))) => server_url(&url, &HTTP).map_err(|message| ("url", message)),
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
