//! `[webhooks]` and `[[apps.webhooks]]`: what the embedded broker tells the apps' backends. `[incoming_webhooks]`: what the
//! server behind usher tells.

use std::time::Duration;

use http::Uri;

use super::address::is_own_address;
use super::effective::MASKED;
use super::problem::quote;
use super::report::{Report, nearest};
use super::section::Section;
use super::{Config, certificates};
use crate::gateway::IncomingOptions;
use crate::shutdown::Tasks;
use crate::webhooks::{EventKind, EventKinds, Options, Receiver, Target};
use crate::{tls, upstream};

/// Reads `[webhooks]`.
pub(super) fn webhooks(section: &mut Section<'_>) -> Options {
    let timeouts = Duration::from_millis(100)..=Duration::from_mins(1);
    Options {
        timeout: section.duration("timeout", Duration::from_secs(4), timeouts),
        queue: section.count("queue", 10_000, 100..=1_000_000),
        tls: certificates::webhooks(section),
    }
}

/// Reads the webhooks of the app whose section this is.
pub(super) fn of_app(section: &mut Section<'_>, app: &str, upstream: &upstream::Options) -> Vec<Target> {
    let mut urls = Vec::new();
    let targets = section.sections("webhooks", |section| target(section, app, &mut urls));
    if !targets.is_empty() && !upstream.is_local() {
        let message = format!(
            "`{}`: usher sends the webhooks of its embedded broker alone, and here another server is upstream.",
            section.key("webhooks")
        );
        let cure = "Let that server send them; usher can take them in ([incoming_webhooks]).";
        section.warn("webhooks", "webhooks_without_broker", message, cure);
    }
    targets.into_iter().flatten().collect()
}

fn target(section: &mut Section<'_>, app: &str, urls: &mut Vec<String>) -> Option<Target> {
    let text = section.required("url", "https://hotel.example/pusher/webhooks", |text| url(text).map(drop));
    if urls.contains(&text) {
        section.problem("url", "Another webhook of this app has the same address. Name all its events in one of them.");
    }
    section.show("url", &masked(&text));
    urls.push(text.clone());
    let events = events(section);
    Some(Target { app: app.to_owned(), url: url(&text).ok()?, events })
}

fn events(section: &mut Section<'_>) -> EventKinds {
    let names = || EventKind::ALL.map(EventKind::name);
    let written = section.texts("events");
    if written.is_empty() {
        let message = format!("`{}` is missing. Name some of: {}.", section.key("events"), names().join(", "));
        section.missing("events", message);
    }
    let mut kinds = Vec::new();
    for (text, origin) in written {
        match EventKind::of(&text) {
            Some(kind) => kinds.push(kind),
            None => {
                let message = format!("{} is no event of webhooks. There are: {}.", quote(&text), names().join(", "));
                let suggestion = nearest(&text, names().into_iter()).map(str::to_owned);
                section.problem_at(origin, "events", message, suggestion);
            }
        }
    }
    kinds.into_iter().collect()
}

/// Reads `[incoming_webhooks]`; `None`: none are taken in.
pub(super) fn incoming(section: &mut Section<'_>, upstream: &upstream::Options) -> Option<IncomingOptions> {
    let path = section.parsed("path", String::new(), path);
    let forward_to =
        section.parsed("forward_to", None, |text| if text.is_empty() { Ok(None) } else { url(text).map(Some) });
    if let Some(url) = &forward_to {
        section.show("forward_to", &masked(&url.to_string()));
    }
    let ages = Duration::from_secs(10)..=Duration::from_hours(1);
    let max_age = section.duration("max_age", Duration::from_mins(5), ages);
    let timeouts = Duration::from_millis(100)..=Duration::from_mins(1);
    let timeout = section.duration("timeout", Duration::from_secs(3), timeouts);
    if path.is_empty() {
        if forward_to.is_some() {
            let message =
                format!("`{}` has no effect without `path`: no webhook is taken in.", section.key("forward_to"));
            section.warn("forward_to", "webhooks_without_path", message, "Set `incoming_webhooks.path`.");
        }
        return None;
    }
    if upstream.is_local() {
        let message = format!(
            "`{}`: the embedded broker knows its clients itself, and sends no webhooks to usher.",
            section.key("path")
        );
        section.warn("path", "incoming_webhooks_with_broker", message, "Leave it out.");
    }
    Some(IncomingOptions { path, forward_to, max_age, timeout })
}

/// An address as it is shown: its query may hold a secret.
fn masked(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(before, _)| format!("{before}?{MASKED}"))
}

/// Checks that webhooks that come in are not handed on to usher itself, once all sections are read.
pub(super) fn check_across_sections(config: &Config, report: &mut Report) {
    let forward_to = config.incoming_webhooks.as_ref().and_then(|options| options.forward_to.as_ref());
    if forward_to.is_some_and(|url| is_own_address(url, config.server.listen)) {
        let message =
            "This is where usher itself listens: it would hand every webhook on to itself. Name the receiver.";
        report.conflict(["incoming_webhooks.forward_to", "server.listen"], message.to_owned());
    }
}

/// A path that is no other request's.
fn path(text: &str) -> Result<String, String> {
    let is_plain = |segment: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(fits)
    };
    let mut segments = text.strip_prefix('/').unwrap_or_default().split('/');
    if !text.is_empty() && !segments.clone().all(is_plain) {
        return Err(format!("{} is no path. Write it as e.g. \"/pusher/webhooks\".", quote(text)));
    }
    if segments.any(|segment| ["app", "apps"].contains(&segment)) {
        return Err("Paths with /app or /apps in them are those of Pusher's API and of WebSocket clients.".to_owned());
    }
    Ok(text.to_owned())
}

/// The address of a receiver: scheme, host, and what else there is, without credentials and fragment. The messages do not
/// repeat the text, which may hold a secret.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    const FORM: &str = "Write it as e.g. \"https://hotel.example/pusher/webhooks\".";
    let refuse = |reason: &str| Err(format!("{reason} {FORM}"));
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return refuse("The address has to begin with http:// or https://.");
    }
    if text.contains('#') {
        return refuse("The address has a fragment (#…), which is not sent.");
    }
    let Ok(url) = text.parse::<Uri>() else { return refuse("The address cannot be read.") };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("Credentials in the address are not sent: the signature shows who sends a webhook.");
    }
    match Receiver::new(&url, &tls::Client::default(), Tasks::default()) {
        Ok(_) => Ok(url),
        Err(problem) => refuse(&format!("Nothing can be sent there: {problem}.")),
    }
}
