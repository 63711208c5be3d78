//! `[cluster]`: the store in which several ushers share their memory.

use std::time::Duration;

use super::problem::quote;
use super::report::Report;
use super::section::Section;
use super::store_url::StoreUrl;
use super::unit::format_duration;
use super::{Config, certificates};
use crate::cluster::{Isolated, LinkOptions, Login, Servers, Terms};
use crate::tls;

/// The default of `prefix`.
const PREFIX: &str = "usher";
const LEASE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_millis(500);
/// The default of `member_timeout`, and the shortest one with `isolated = "forward"`: Pusher refuses a request whose
/// `auth_timestamp` is older than 600 s (pusher-protocol.md 2.1), so what a node has signed before it was given up is
/// applied no more. A minute more is for clocks that differ.
const MEMBER_TIMEOUT: Duration = Duration::from_mins(11);
/// A renewal is sent every quarter of a lease. One whose time-out is longer than that would hold up the next one, so
/// that a single lost answer could cost the lease.
const TIMEOUTS_IN_A_LEASE: u32 = 4;
/// A node that has lost contact is silent until two and a quarter leases after its last renewal. One that is given up
/// sooner is never able to forward while the others still reckon with it.
const LEASES_IN_A_MEMBER_TIMEOUT: u32 = 3;
/// The longest prefix and the longest name of a node, in characters: a host's name has 64 at most on Linux.
const MAX_NAME_LENGTH: usize = 64;

/// How several ushers share their memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where the store is.
    pub servers: Servers,
    /// As whom usher logs in.
    pub login: Login,
    /// TLS to the servers, and to the Sentinels; `None`: there is none.
    pub tls: Option<tls::Client>,
    /// What the keys of this installation begin with. It has no brace.
    pub prefix: String,
    /// The name of this usher among the members: one process at a time has it.
    pub node: String,
    /// How long a lease lasts.
    pub lease: Duration,
    /// The time after which a missing member is given up.
    pub member_timeout: Duration,
    /// The number of replicas that a lease has to reach: all that could be promoted.
    pub replicas: u32,
    /// What becomes of announcements while this usher may have been given up.
    pub isolated: Isolated,
    /// The time within which a connection is made, and within which a call is answered.
    pub timeout: Duration,
}

impl Cluster {
    /// The terms on which all members of an app agree. `doubt_period`: that of `[assignments]`;
    /// `exchange`: the longest time from a decision until its trigger is sent.
    #[must_use]
    pub const fn terms(&self, doubt_period: Duration, exchange: Duration) -> Terms {
        let Self { lease, member_timeout, replicas, .. } = *self;
        Terms { lease, member_timeout, doubt_period, replicas, exchange }
    }

    /// How to connect for the app with this `key`, where `max_calls` may wait for their answers. After a failure the next
    /// attempts follow within half of a lease, so that a store that comes back is found while the lease may still last.
    #[must_use]
    pub fn link(&self, key: Vec<u8>, max_calls: usize) -> LinkOptions {
        LinkOptions {
            servers: self.servers.clone(),
            tls: self.tls.clone(),
            login: self.login.clone(),
            key,
            timeout: self.timeout,
            max_calls,
            max_pause: self.lease / 2,
        }
    }
}

/// Reads the section; `None` without `redis_url`.
pub(super) fn cluster(section: &mut Section<'_>) -> Option<Cluster> {
    let url = section
        .parsed("redis_url", None, |text| if text.is_empty() { Ok(None) } else { StoreUrl::parse(text).map(Some) });
    let username = section.parsed("username", None, |text| printable(text).map(|()| some(text)));
    let password = section.secret("password", "password_file");
    let has_tls = url.as_ref().is_some_and(|url| url.is_tls);
    let tls = certificates::cluster(section).unwrap_or_default();
    let prefix = section.parsed("prefix", PREFIX.to_owned(), |text| name(some(text).as_deref().unwrap_or(PREFIX)));
    let node = section.parsed("node", None, |text| some(text).map(|text| name(&text)).transpose());
    let lease = section.duration("lease", LEASE, Duration::from_millis(100)..=Duration::from_mins(1));
    let member_timeout =
        section.duration("member_timeout", MEMBER_TIMEOUT, Duration::from_millis(300)..=Duration::from_hours(24));
    let replicas = u32::try_from(section.count("replicas", 0, 0..=16)).unwrap_or_default();
    let choices = [("forward", Isolated::Forward), ("refuse", Isolated::Refuse)];
    let isolated = section.choice("isolated", choices, Isolated::Forward);
    let timeout = section.duration("timeout", TIMEOUT, Duration::from_millis(10)..=Duration::from_mins(1));

    let Some(url) = url else {
        refuse_without_url(section);
        return None;
    };
    let password = password.map(|given| given.map(|(_, password)| password));
    if username.is_some() && password == Ok(None) {
        let file = section.key("password_file");
        let message = format!(
            "The user has no password. Set {}, or name a file in `{file}`.",
            super::problem::variable(&section.key("password"))
        );
        section.missing("password", message);
    }
    if tls.ca_file().is_some() && !has_tls {
        section.problem(
            "ca_file",
            "This is for TLS, but `cluster.redis_url` asks for none. Begin that with rediss:// (or rediss+sentinel://), or remove this key.",
        );
    }
    let node = node.unwrap_or_else(|| host_name(section));
    section.show("node", &node);
    let login = Login { username, password: password.ok().flatten(), database: url.database };
    let tls = has_tls.then_some(tls);
    let cluster =
        Cluster { servers: url.servers, login, tls, prefix, node, lease, member_timeout, replicas, isolated, timeout };
    check(&cluster, section.report);
    Some(cluster)
}

/// Refuses what is given without an address: its author believes that the memory is shared.
fn refuse_without_url(section: &mut Section<'_>) {
    if section.report.is_faulty(&section.key("redis_url")) {
        return;
    }
    const KEYS: [&str; 11] = [
        "username",
        "password",
        "password_file",
        "ca_file",
        "prefix",
        "node",
        "lease",
        "member_timeout",
        "replicas",
        "isolated",
        "timeout",
    ];
    let defaults = ["", PREFIX, "2s", "11m", "0", "forward", "500ms"];
    let key = KEYS.into_iter().find(|key| {
        let value = section.report.value(&section.key(key)).unwrap_or_default();
        !defaults.contains(&value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str())
    });
    if let Some(key) = key {
        let message = format!(
            "`{}` is given and `cluster.redis_url` is not, so the memory would not be shared. Name the server there, e.g. \"redis://127.0.0.1:6379\", or \
             remove `[cluster]` whole.",
            section.key(key)
        );
        section.missing("redis_url", message);
    }
}

/// Checks the keys of the section against each other.
fn check(cluster: &Cluster, report: &mut Report) {
    let Cluster { servers, lease, member_timeout, replicas, isolated, timeout, .. } = cluster;
    if *timeout * TIMEOUTS_IN_A_LEASE > *lease {
        let message = format!(
            "A lease is renewed four times while it lasts, and one of these renewals may go unanswered: `cluster.timeout` ({}) must not be longer than a \
             quarter of `cluster.lease` ({}).",
            format_duration(*timeout),
            format_duration(*lease)
        );
        report.conflict(["cluster.timeout", "cluster.lease"], message);
    }
    if *member_timeout < *lease * LEASES_IN_A_MEMBER_TIMEOUT {
        let message = format!(
            "A member that has lost the store is silent for more than two leases before it goes on without it: `cluster.member_timeout` ({}) must be at \
             least three times `cluster.lease` ({}).",
            format_duration(*member_timeout),
            format_duration(*lease)
        );
        report.conflict(["cluster.member_timeout", "cluster.lease"], message);
    }
    if *member_timeout < MEMBER_TIMEOUT && *isolated == Isolated::Forward {
        let message = format!(
            "`cluster.member_timeout` ({}) is below {}: a member that the others have given up may still have sent requests that the server behind usher \
             takes (it refuses those signed more than ten minutes ago), and a handoff would be lost. Write \"11m\" or more, or set `cluster.isolated` to \
             \"refuse\", with which such a member sends nothing.",
            format_duration(*member_timeout),
            format_duration(MEMBER_TIMEOUT)
        );
        report.conflict(["cluster.member_timeout", "cluster.isolated"], message);
    }
    if *replicas == 0 && servers.fail_over() {
        let message = "`cluster.replicas` is 0, but with Sentinel or Redis Cluster a replica may take the primary's place, and what had not reached it is lost. \
                       Write how many replicas each primary has, e.g. 1; a lease counts only once all of them have it."
            .to_owned();
        report.conflict(["cluster.replicas", "cluster.redis_url"], message);
    }
}

/// Checks the section against the others.
pub(super) fn check_across_sections(config: &Config, report: &mut Report) {
    if config.cluster.is_none() {
        return;
    }
    if config.upstream.is_local() {
        let message = "With the embedded broker (`upstream.url` = \"local\") each usher has guests of its own, who would not see what another usher is told. \
                       Name one server behind all ushers in `upstream.url`, or remove `[cluster]`."
            .to_owned();
        report.conflict(["upstream.url", "cluster.redis_url"], message);
    }
    let rates = &config.limits.rates;
    if [rates.app_triggers, rates.channel_triggers, rates.peer_connections, rates.peer_messages]
        .iter()
        .any(Option::is_some)
    {
        let message = "`limits.rates` count for each member of the cluster by itself: all of them together let through so many times as much.";
        let cure = "Divide what you mean by the number of members, if that matters.";
        report.warn("limits.rates", "rates_per_member", message, cure);
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn printable(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("A user's name has no spaces, line breaks or other control characters.".to_owned());
    }
    Ok(())
}

/// A name that stands in keys, metrics and paths. A brace would end the hash tag of a key.
fn name(text: &str) -> Result<String, String> {
    let is_one = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    if is_one && text.len() <= MAX_NAME_LENGTH {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} cannot be used: it stands in keys, so only ASCII letters, digits and - _ . : may be in it, {MAX_NAME_LENGTH} at most, and no braces.",
        quote(text)
    ))
}

/// The name of this machine, as a node's name.
fn host_name(section: &mut Section<'_>) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let cure = "Give each usher a name of its own, e.g. node = \"usher-1\".";
    match name(&host) {
        Ok(host) if host == "localhost" => {
            let message = "`cluster.node` is not given, and this machine's name is \"localhost\", as that of others may be: two ushers of one name push each other out.";
            section.warn("node", "common_node_name", message, cure);
            host
        }
        Ok(host) if !host.is_empty() => host,
        Ok(_) | Err(_) => {
            section.missing("node", format!("This machine's name ({}) cannot be a node's name. {cure}", quote(&host)));
            String::new()
        }
    }
}
