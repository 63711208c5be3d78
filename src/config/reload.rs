//! What a running gateway cannot take over from a new configuration.

use super::Config;

impl Config {
    /// The keys that differ in `new` and take effect only after a restart. Everything else is applied on SIGHUP:
    /// `apps`, `rules`, `server.unknown_apps`, `server.trusted_proxies`, certificates, keys and authorities (by the
    /// files' content and their names), and those `limits` that are looked at for every request. The limits that shape
    /// a connection while it is accepted, and the number of connections, are set up once.
    #[must_use]
    pub fn reloadable_difference(&self, new: &Self) -> Vec<&'static str> {
        let fixed = [
            ("server.listen", self.server.listen == new.server.listen),
            ("server.workers", self.server.workers == new.server.workers),
            ("server.fast_path", self.server.fast_path == new.server.fast_path),
            ("server.drain_period", self.server.drain_period == new.server.drain_period),
            ("server.tls", self.server.tls.is_some() == new.server.tls.is_some()),
            ("admin.listen", self.admin.listen == new.admin.listen),
            ("admin.token", self.admin.token == new.admin.token),
            ("admin.decisions", self.admin.decisions == new.admin.decisions),
            ("upstream.url", self.upstream.url == new.upstream.url),
            ("upstream.websocket_url", self.upstream.websocket_url == new.upstream.websocket_url),
            ("upstream.timeout", self.upstream.timeout == new.upstream.timeout),
            ("upstream.connect_timeout", self.upstream.connect_timeout == new.upstream.connect_timeout),
            ("upstream.idle_timeout", self.upstream.idle_timeout == new.upstream.idle_timeout),
            ("upstream.max_connection_age", self.upstream.max_connection_age == new.upstream.max_connection_age),
            ("upstream.max_idle", self.upstream.max_idle == new.upstream.max_idle),
            ("broker", self.broker == new.broker),
            ("limits.max_head", self.limits.max_head == new.limits.max_head),
            ("limits.max_headers", self.limits.max_headers == new.limits.max_headers),
            ("limits.head_timeout", self.limits.head_timeout == new.limits.head_timeout),
            ("limits.idle_timeout", self.limits.idle_timeout == new.limits.idle_timeout),
            ("limits.max_connections", self.limits.max_connections == new.limits.max_connections),
            (
                "limits.max_connections_per_peer",
                self.limits.max_connections_per_peer == new.limits.max_connections_per_peer,
            ),
            ("assignments.max_channels", self.assignments.max_channels == new.assignments.max_channels),
            (
                "assignments.max_waiters_per_channel",
                self.assignments.max_waiters_per_channel == new.assignments.max_waiters_per_channel,
            ),
            ("assignments.max_waiters", self.assignments.max_waiters == new.assignments.max_waiters),
            ("assignments.doubt_period", self.assignments.doubt_period == new.assignments.doubt_period),
            // It counts from the start, so that the next one is the first to know of it.
            ("assignments.start_doubt", self.assignments.start_doubt == new.assignments.start_doubt),
            ("log.format", self.log.format == new.log.format),
            ("log.level", self.log.level == new.log.level),
        ];
        fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}
