//! The keys of the sections without a file of their own, with their defaults and bounds, and the checks between
//! sections. `config/usher.toml` describes the keys.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::{self, is_loopback, is_own_address};
use super::problem::quote;
use super::report::{Report, nearest};
use super::section::{Refused, Section};
use super::tree::{Table, Value};
use super::unit::{GIB, KIB, MIB, format_duration};
use super::{
    Admin, Config, Log, LogFormat, Server, Token, apps, broker, cases, certificates, cluster, events, rates, rules,
    suspicions, upstream, webhooks,
};
use crate::gateway::UnknownApps;
use crate::triggers::{MIN_CAPACITY, Payloads};
use crate::upstream::Options;
use crate::{assignment, gateway, state};

/// The bounds of a timeout that cannot be zero.
const NONZERO_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
/// The bounds of a time that may be zero.
const ANY_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// How long a working client may be silent: 120 s until it pings, and 30 s for the answer (pusher-protocol.md 4.2).
const CLIENT_SILENCE: Duration = Duration::from_secs(150);
/// The longest name of an environment, in characters.
const MAX_NAME_LENGTH: usize = 40;
/// The length of a token that cannot be guessed, in characters.
const MIN_TOKEN_LENGTH: usize = 16;

/// Reads the whole tree. The result is usable only if `report` has no problem afterwards.
pub(super) fn read(mut tree: Table, report: &mut Report) -> Config {
    let tests = cases::take(&mut tree);
    let mut config = Section::root(tree, report, |root| {
        let upstream = root.section("upstream", upstream::upstream);
        let server = root.section("server", |section| server(section, &upstream));
        let admin = root.section("admin", admin);
        let broker = root.section("broker", broker::broker);
        let incoming_webhooks = root.section("incoming_webhooks", |section| webhooks::incoming(section, &upstream));
        let webhooks = root.section("webhooks", webhooks::webhooks);
        let limits = root.section("limits", limits);
        let cluster = root.section("cluster", cluster::cluster);
        let is_shared = cluster.is_some();
        let (assignments, replay_bytes) = root.section("assignments", |section| {
            (assignments(section, &server, &upstream, is_shared), section.size("replay_bytes", 64 * MIB, 0..=64 * GIB))
        });
        let state = root.section("state", |section| state(section, &upstream, is_shared));
        let log = root.section("log", log);
        let discover = root.section("report", |section| section.flag("discover", true));
        let observe = root.flag("observe", false);
        let apps::Apps { apps, ids, webhooks: webhook_targets } = apps::read(root, &server, &upstream);
        let (rules, modes) = rules::read(root, &ids, observe).into_iter().unzip();
        let events = events::read(root, &ids);
        let tests = cases::read(tests, &ids);
        let (warnings, values) = (Vec::new(), Vec::new());
        Config {
            observe,
            server,
            admin,
            upstream,
            broker,
            webhooks,
            webhook_targets,
            incoming_webhooks,
            limits,
            assignments,
            replay_bytes,
            state,
            cluster,
            log,
            discover,
            apps,
            rules,
            modes,
            events,
            tests,
            warnings,
            values,
        }
    });
    check_across_sections(&config, report);
    cluster::check_across_sections(&config, report);
    webhooks::check_across_sections(&config, report);
    suspicions::warn(&config, report);
    report.refuse_unknown();
    config.values = report.take_values();
    config.warnings.append(&mut report.warnings);
    config
}

fn server(section: &mut Section<'_>, upstream: &Options) -> Server {
    Server {
        listen: section.parsed("listen", SocketAddr::from(([127, 0, 0, 1], 6001)), address::listen),
        workers: section.count("workers", 0, 0..=1024),
        fast_path: section.flag("fast_path", true),
        unknown_apps: section.choice(
            "unknown_apps",
            [("reject", UnknownApps::Reject), ("forward", UnknownApps::Forward)],
            UnknownApps::Reject,
        ),
        drain_delay: section.duration("drain_delay", Duration::ZERO, ANY_TIMEOUT),
        drain_period: drain_period(section, upstream),
        trusted_proxies: rates::trusted_proxies(section),
        tls: section.section("tls", certificates::server),
    }
}

/// How long what is in flight may take once the listeners are closed: by default as long as an answer to a trigger, and
/// a second for everything else.
fn drain_period(section: &mut Section<'_>, upstream: &Options) -> Duration {
    let needed = upstream.timeout + Duration::from_secs(1);
    let drain_period = section.optional_duration("drain_period", ANY_TIMEOUT).unwrap_or(needed);
    section.show("drain_period", &drain_period);
    if drain_period > needed {
        let message = format!(
            "`{}` ({}) is longer than {}, by when every trigger in flight has its answer: callers of the next process wait longer than they need to.",
            section.key("drain_period"),
            format_duration(drain_period),
            format_duration(needed)
        );
        let cure = "Leave it out. `server.drain_delay` is for a proxy to notice that usher is about to end.";
        section.warn("drain_period", "long_drain_period", message, cure);
    }
    drain_period
}

fn admin(section: &mut Section<'_>) -> Admin {
    let listen = section.parsed("listen", SocketAddr::from(([127, 0, 0, 1], 9601)), address::listen);
    let token = token(section, "token", "token_file", listen);
    let read_token = token_for_reading(section, &token, listen);
    if token == Ok(None) && read_token == Ok(None) && !is_loopback(listen) {
        section.problem(
            "listen",
            "Others can reach this address, so it needs a token. Set `admin.token_file` or USHER_ADMIN__TOKEN, or listen on 127.0.0.1.",
        );
    }
    Admin {
        listen,
        token: token.ok().flatten(),
        read_token: read_token.ok().flatten(),
        allowed_hosts: allowed_hosts(section),
        name: section.parsed("name", String::new(), environment_name),
        triggers_bytes: triggers_bytes(section),
        recording: recording(section, listen),
        payloads: section.optional_choice(
            "payloads",
            [Payloads::None, Payloads::Announcements, Payloads::All].map(|payloads| (payloads.label(), payloads)),
        ),
    }
}

/// `admin.recording`. What is recorded is whole, and the listener has no TLS.
fn recording(section: &mut Section<'_>, listen: SocketAddr) -> bool {
    let recording = section.flag("recording", false);
    if recording && !is_loopback(listen) {
        let message = format!(
            "`{}`: others can reach `admin.listen`, which has no TLS, and a recording has all data of all triggers.",
            section.key("recording")
        );
        let cure = "Listen on 127.0.0.1 while you record, or put a proxy with TLS before the listener and let nobody else reach it.";
        section.warn("recording", "exposed_recording", message, cure);
    }
    recording
}

/// `admin.triggers_bytes`, and a hint for the key that it replaced.
fn triggers_bytes(section: &mut Section<'_>) -> usize {
    section
        .replaced("decisions", "`admin.triggers_bytes` bounds the records of triggers now, in bytes, e.g. \"8MiB\".");
    let bytes = section.size("triggers_bytes", 8 * MIB, 0..=GIB);
    if bytes > 0 && bytes < MIN_CAPACITY {
        section.problem("triggers_bytes", "Fewer than 1MiB hold too few records. Write \"0B\" to keep none.");
    }
    bytes
}

/// A token, given as text or in a file.
fn token(
    section: &mut Section<'_>,
    key: &'static str,
    file_key: &'static str,
    listen: SocketAddr,
) -> Result<Option<Token>, Refused> {
    let Some((given, token)) = section.secret(key, file_key)? else { return Ok(None) };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        section.problem(
            given,
            "The token must be sendable as a bearer token: ASCII letters, digits and signs, without spaces.",
        );
    } else if token.len() < MIN_TOKEN_LENGTH && !is_loopback(listen) {
        let message =
            format!("`{}`: a token of fewer than {MIN_TOKEN_LENGTH} characters can be guessed.", section.key(given));
        section.warn(given, "weak_token", message, "`openssl rand -hex 32` makes one that cannot.");
    }
    Ok(Some(Token(token)))
}

/// The token that allows reading only; `other` is the one that allows everything.
fn token_for_reading(
    section: &mut Section<'_>,
    other: &Result<Option<Token>, Refused>,
    listen: SocketAddr,
) -> Result<Option<Token>, Refused> {
    let token = token(section, "read_token", "read_token_file", listen)?;
    if token.is_some() && token == *other.as_ref().unwrap_or(&None) {
        section.problem(
            "read_token",
            "This is `admin.token`, which allows changes as well. Make another one: `openssl rand -hex 32`.",
        );
    }
    Ok(token)
}

/// The names under which the admin listener answers.
fn allowed_hosts(section: &mut Section<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, origin) in section.texts("allowed_hosts") {
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if is_name {
            names.push(name.to_ascii_lowercase());
        } else {
            let message = format!(
                "{} is no host name. Write it without scheme and port, e.g. \"usher.hotel.example\".",
                quote(&name)
            );
            section.problem_at(origin, "allowed_hosts", message, None);
        }
    }
    names
}

/// The name of an environment, which is shown to people.
fn environment_name(text: &str) -> Result<String, String> {
    if text.chars().count() > MAX_NAME_LENGTH || text.chars().any(char::is_control) {
        return Err(format!("Write one line of {MAX_NAME_LENGTH} characters at most, e.g. \"production\"."));
    }
    Ok(text.to_owned())
}

fn limits(section: &mut Section<'_>) -> gateway::Limits {
    let limits = gateway::Limits {
        max_head: section.size("max_head", 16 * KIB, 8 * KIB..=MIB),
        max_headers: section.count("max_headers", 100, 10..=10_000),
        max_target: section.size("max_target", 8 * KIB, 256..=MIB),
        max_body: section.size("max_body", MIB, KIB..=GIB),
        head_timeout: section.duration("head_timeout", Duration::from_secs(10), NONZERO_TIMEOUT),
        body_timeout: section.duration("body_timeout", Duration::from_secs(10), NONZERO_TIMEOUT),
        idle_timeout: section.duration("idle_timeout", Duration::from_secs(75), NONZERO_TIMEOUT),
        max_connections: section.count("max_connections", 10_000, 1..=10_000_000),
        max_connections_per_peer: section.count("max_connections_per_peer", 0, 0..=10_000_000),
        max_requests: section.count("max_requests", 4096, 1..=10_000_000),
        max_wait: section.duration("max_wait", Duration::from_secs(1), ANY_TIMEOUT),
        max_websocket_message: section.size("max_websocket_message", 128 * KIB, KIB..=64 * MIB),
        websocket_idle_timeout: section.duration("websocket_idle_timeout", Duration::from_mins(3), NONZERO_TIMEOUT),
        rates: section.section("rates", rates::rates),
    };
    if limits.max_target > limits.max_head && !section.report.is_faulty("limits.max_head") {
        section.problem(
            "max_target",
            "A target is part of its head: `limits.max_target` must not be greater than `limits.max_head`.",
        );
    }
    if limits.websocket_idle_timeout < CLIENT_SILENCE {
        let message = format!(
            "`limits.websocket_idle_timeout` is below {}: clients ping after up to 120s of silence and wait 30s for the answer, so quiet ones will be \
             disconnected again and again.",
            format_duration(CLIENT_SILENCE)
        );
        section.warn("websocket_idle_timeout", "short_timeout", message, "");
    }
    limits
}

fn assignments(section: &mut Section<'_>, server: &Server, upstream: &Options, is_shared: bool) -> assignment::Bounds {
    let doubt_period = section.duration("doubt_period", Duration::from_secs(30), NONZERO_TIMEOUT);
    assignment::Bounds {
        max_channels: section.count("max_channels", 1_000_000, 1..=100_000_000),
        max_waiters_per_channel: section.count("max_waiters_per_channel", 256, 0..=1_000_000),
        max_waiters: section.count("max_waiters", 10_000, 0..=10_000_000),
        doubt_period,
        start_doubt: start_doubt(
            section,
            doubt_period + upstream.connect_timeout + upstream.timeout + server.drain_delay + server.drain_period,
            upstream,
            is_shared,
        ),
    }
}

/// For the time `needed`, requests of an earlier process may still be applied: the longest life of its last request,
/// drain included, and the doubt period after that. The embedded broker ends with its process, so nothing of it is
/// applied later. The members of a cluster know from each other what may still be applied.
fn start_doubt(section: &mut Section<'_>, needed: Duration, upstream: &Options, is_shared: bool) -> Duration {
    let written = section.optional_duration("start_doubt", Duration::ZERO..=Duration::from_hours(24));
    if upstream.is_local() {
        section.show("start_doubt", &Duration::ZERO);
        return Duration::ZERO;
    }
    let start_doubt = written.unwrap_or(needed);
    section.show("start_doubt", &start_doubt);
    if is_shared {
        if written.is_some() {
            let message = "`assignments.start_doubt` is not used with `[cluster]`: the members know what a process that ran before may have sent, and doubt it \
                           for `assignments.doubt_period`.";
            section.warn("start_doubt", "start_doubt_with_cluster", message, "Leave it out.");
        }
    } else if start_doubt < needed {
        let key = section.key("start_doubt");
        let message = format!(
            "`{key}` ({}) is shorter than {}, for which requests of a process that ran before may still be applied: after a restart a handoff may be lost.",
            format_duration(start_doubt),
            format_duration(needed)
        );
        section.warn("start_doubt", "short_start_doubt", message, "Leave it out, unless nothing was sent before.");
    }
    start_doubt
}

fn state(section: &mut Section<'_>, upstream: &Options, is_shared: bool) -> state::Options {
    let mut path = section.path("path");
    if path.is_some() && is_shared {
        let message =
            "`state.path` is not used with `[cluster]`: the store has the memory, also while this process is down.";
        section.warn("path", "state_with_cluster", message, "Leave it out.");
        path = None;
    }
    if path.is_some() && upstream.is_local() {
        let message = "`state.path` has no effect with the embedded broker: after a restart every guest connects anew, so nothing is known of what they see.";
        section.warn("path", "state_without_upstream", message, "Leave it out.");
    }
    let max_age = section.duration("max_age", Duration::from_mins(1), Duration::from_secs(1)..=Duration::from_hours(1));
    state::Options { path, max_age }
}

/// The form of log lines in `tree`, which may have any fault.
pub(super) fn log_format(tree: &Table) -> LogFormat {
    let Some(Value::Table(log)) = tree.get("log").map(|node| &node.value) else { return LogFormat::Human };
    let written = log.get("format").and_then(|node| node.value.text().ok());
    LOG_FORMATS
        .into_iter()
        .find(|(name, _)| written.is_some_and(|text| text.trim() == *name))
        .map_or(LogFormat::Human, |(_, format)| format)
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("human", LogFormat::Human), ("json", LogFormat::Json)];

fn log(section: &mut Section<'_>) -> Log {
    Log {
        format: section.choice("format", LOG_FORMATS, LogFormat::Human),
        level: section.parsed("level", "info".to_owned(), level),
    }
}

/// Checks values of several sections against each other, once all sections are read.
fn check_across_sections(config: &Config, report: &mut Report) {
    if config.assignments.doubt_period <= config.upstream.timeout {
        let message = format!(
            "Upstream may still apply a request that timed out, so `assignments.doubt_period` ({}) must be longer than `upstream.timeout` ({}).",
            format_duration(config.assignments.doubt_period),
            format_duration(config.upstream.timeout)
        );
        report.conflict(["assignments.doubt_period", "upstream.timeout"], message);
    }
    if config.server.listen == config.admin.listen && config.server.listen.port() != 0 {
        let message = format!(
            "`server.listen` and `admin.listen` are the same address, {}. Give each its own port.",
            config.admin.listen
        );
        report.conflict(["admin.listen", "server.listen"], message);
    }
    if let Some(url) = &config.upstream.websocket_url
        && is_own_address(url, config.server.listen)
    {
        let message =
            "This is where usher itself listens: it would relay every connection to itself. Name the server behind it."
                .to_owned();
        report.conflict(["upstream.websocket_url", "server.listen"], message);
    }
    if is_own_address(&config.upstream.url, config.server.listen) {
        let message =
            "This is where usher itself listens: it would forward every request to itself. Name the server behind it."
                .to_owned();
        report.conflict(["upstream.url", "server.listen"], message);
    }
}

/// A filter. A bare word in it must be a level: a misspelt level would be read as the name of a module, and silence all
/// other modules.
fn level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let forms = || format!("Write one of {}, or a filter such as \"info,usher::gateway=debug\".", LEVELS.join(", "));
    for word in text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', ']', '{', '}'])) {
        if !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            let meant = nearest(word, LEVELS.into_iter())
                .map(|level| format!(" Did you mean \"{level}\"?"))
                .unwrap_or_default();
            return Err(format!("{} is no level.{meant} {}", quote(word), forms()));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{} is no filter: {error}. {}", quote(text), forms())),
    }
}
