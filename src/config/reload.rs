//! Which keys of a new configuration take effect only after a restart.
//!
//! Each section is destructured whole, so that a new field does not compile until it is decided here whether a reload
//! applies it.

use super::{Admin, Cluster, Config, Log, Server};
use crate::assignment::Bounds;
use crate::cluster::Login;
use crate::{state, upstream, webhooks};

/// A key, and whether it has the same value in both configurations.
type Compared = (&'static str, bool);

impl Config {
    /// The keys that differ in `new` and take effect only after a restart. Everything else is applied on SIGHUP:
    /// `observe`, `apps` with their webhooks, `incoming_webhooks`, `rules`, `events`, `report.discover`, `server.unknown_apps`, `server.trusted_proxies`, the
    /// tokens, the hosts, the name and `recording` of `admin`, `limits` (those that shape a connection while it is accepted: for new connections),
    /// `assignments.max_channels`, `log.level`, certificates, keys and authorities (by the files' content and their
    /// names).
    #[must_use]
    pub fn reloadable_difference(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            observe: _,
            server,
            admin,
            upstream,
            broker,
            webhooks,
            webhook_targets: _,
            incoming_webhooks: _,
            limits: _,
            assignments,
            replay_bytes,
            state,
            cluster,
            log,
            discover: _,
            apps: _,
            rules: _,
            modes: _,
            events: _,
            tests: _,
            // What is said of the configuration, and no key of it.
            warnings: _,
            // The same values once more, as they are shown.
            values: _,
        } = self;
        server_keys(server, &new.server)
            .into_iter()
            .chain(admin_keys(admin, &new.admin))
            .chain(upstream_keys(upstream, &new.upstream))
            .chain([("broker", *broker == new.broker)])
            .chain(webhooks_keys(webhooks, &new.webhooks))
            .chain(assignments_keys(assignments, &new.assignments))
            .chain([("assignments.replay_bytes", *replay_bytes == new.replay_bytes)])
            .chain(state_keys(state, &new.state))
            .chain(cluster_keys(cluster.as_ref(), new.cluster.as_ref()))
            .chain(log_keys(log, &new.log))
            .filter(|(_, is_same)| !is_same)
            .map(|(key, _)| key)
            .collect()
    }
}

fn server_keys(old: &Server, new: &Server) -> [Compared; 6] {
    let Server { listen, workers, fast_path, unknown_apps: _, drain_delay, drain_period, trusted_proxies: _, tls } =
        old;
    [
        ("server.listen", *listen == new.listen),
        ("server.workers", *workers == new.workers),
        ("server.fast_path", *fast_path == new.fast_path),
        ("server.drain_delay", *drain_delay == new.drain_delay),
        ("server.drain_period", *drain_period == new.drain_period),
        // A listener with TLS takes another certificate, but does not become one without TLS.
        ("server.tls", tls.is_some() == new.tls.is_some()),
    ]
}

fn admin_keys(old: &Admin, new: &Admin) -> [Compared; 3] {
    let Admin { listen, token: _, read_token: _, allowed_hosts: _, name: _, triggers_bytes, recording: _, payloads } =
        old;
    [
        ("admin.listen", *listen == new.listen),
        ("admin.triggers_bytes", *triggers_bytes == new.triggers_bytes),
        ("admin.payloads", *payloads == new.payloads),
    ]
}

fn upstream_keys(old: &upstream::Options, new: &upstream::Options) -> [Compared; 7] {
    let upstream::Options {
        url,
        websocket_url,
        timeout,
        connect_timeout,
        idle_timeout,
        max_connection_age,
        max_idle,
        // Authorities and the client's certificate are reloaded.
        tls: _,
    } = old;
    [
        ("upstream.url", *url == new.url),
        ("upstream.websocket_url", *websocket_url == new.websocket_url),
        ("upstream.timeout", *timeout == new.timeout),
        ("upstream.connect_timeout", *connect_timeout == new.connect_timeout),
        ("upstream.idle_timeout", *idle_timeout == new.idle_timeout),
        ("upstream.max_connection_age", *max_connection_age == new.max_connection_age),
        ("upstream.max_idle", *max_idle == new.max_idle),
    ]
}

fn webhooks_keys(old: &webhooks::Options, new: &webhooks::Options) -> [Compared; 2] {
    // Authorities are reloaded.
    let webhooks::Options { timeout, queue, tls: _ } = old;
    [("webhooks.timeout", *timeout == new.timeout), ("webhooks.queue", *queue == new.queue)]
}

fn assignments_keys(old: &Bounds, new: &Bounds) -> [Compared; 4] {
    let Bounds { max_channels: _, max_waiters_per_channel, max_waiters, doubt_period, start_doubt } = old;
    [
        ("assignments.max_waiters_per_channel", *max_waiters_per_channel == new.max_waiters_per_channel),
        ("assignments.max_waiters", *max_waiters == new.max_waiters),
        ("assignments.doubt_period", *doubt_period == new.doubt_period),
        // It counts from the start, so that the next start is the first to apply it.
        ("assignments.start_doubt", *start_doubt == new.start_doubt),
    ]
}

fn state_keys(old: &state::Options, new: &state::Options) -> [Compared; 2] {
    let state::Options { path, max_age } = old;
    [("state.path", *path == new.path), ("state.max_age", *max_age == new.max_age)]
}

fn cluster_keys(old: Option<&Cluster>, new: Option<&Cluster>) -> Vec<Compared> {
    let (Some(old), Some(new)) = (old, new) else { return vec![("cluster", old.is_some() == new.is_some())] };
    let Cluster { servers, login, tls, prefix, node, lease, member_timeout, replicas, isolated, timeout } = old;
    let Login { username, password, database } = login;
    let is_same_url = *servers == new.servers && *database == new.login.database && tls.is_some() == new.tls.is_some();
    vec![
        ("cluster.redis_url", is_same_url),
        ("cluster.username", *username == new.login.username),
        ("cluster.password", *password == new.login.password),
        ("cluster.ca_file", *tls == new.tls || tls.is_some() != new.tls.is_some()),
        ("cluster.prefix", *prefix == new.prefix),
        ("cluster.node", *node == new.node),
        ("cluster.lease", *lease == new.lease),
        ("cluster.member_timeout", *member_timeout == new.member_timeout),
        ("cluster.replicas", *replicas == new.replicas),
        ("cluster.isolated", *isolated == new.isolated),
        ("cluster.timeout", *timeout == new.timeout),
    ]
}

fn log_keys(old: &Log, new: &Log) -> [Compared; 1] {
    let Log { format, level: _ } = old;
    [("log.format", *format == new.format)]
}
