//! The typed configuration: read once from the file, the environment and the flags, checked as a whole, and refused
//! with all its problems at once.
//!
//! `overlay` builds one `tree` of values with their origins. `keys`, `upstream`, `cluster`, `rates`, `apps`, `rules`,
//! `events` and `cases` read it through `section`, which collects the problems in a `report`, and every value that is read as an `effective`
//! one. `suspicions` are values that are valid and probably wrong.

mod address;
mod apps;
mod broker;
mod cases;
mod certificates;
mod cluster;
mod effective;
mod events;
mod file;
mod keys;
mod overlay;
mod problem;
mod rates;
mod reload;
mod report;
mod rules;
mod secret;
mod section;
mod store_url;
mod suspicions;
mod tree;
mod unit;
mod upstream;
mod webhooks;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use cases::{Tests, read_tests};
pub use cluster::Cluster;
pub use effective::{EffectiveValue, RunningValue};
pub use problem::{Origin, Problem, Problems, Warning};
pub use unit::{duration, size};

use self::file::ReadMode;
use crate::pusher::App;
use crate::rules::{ContractEntry, Mode, Rule};
use crate::triggers::Payloads;
use crate::{assignment, gateway, simulation, state, tls};

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `observe`: whether every rule that is to enforce observes instead.
    pub observe: bool,
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[upstream]`.
    pub upstream: crate::upstream::Options,
    /// `[broker]`, which applies if `upstream` is the embedded broker.
    pub broker: crate::broker::Options,
    /// `[webhooks]`, which applies if `upstream` is the embedded broker.
    pub webhooks: crate::webhooks::Options,
    /// `[[apps.webhooks]]` of all apps.
    pub webhook_targets: Vec<crate::webhooks::Target>,
    /// `[incoming_webhooks]`; `None`: none are taken in.
    pub incoming_webhooks: Option<gateway::IncomingOptions>,
    /// `[limits]`.
    pub limits: gateway::Limits,
    /// `[assignments]`.
    pub assignments: assignment::Bounds,
    /// `assignments.replay_bytes`: the bytes that are kept in all for rules with `late_joiners = "replay"`.
    pub replay_bytes: usize,
    /// `[state]`.
    pub state: state::Options,
    /// `[cluster]`; `None`: the memory is not shared.
    pub cluster: Option<Cluster>,
    /// `[log]`.
    pub log: Log,
    /// `report.discover`: whether what comes is sampled.
    pub discover: bool,
    /// `[[apps]]`.
    pub apps: Vec<App>,
    /// `[[rules]]`, with the modes that they run in.
    pub rules: Vec<Rule>,
    /// The modes of `rules` as written, in the same order.
    pub modes: Vec<ConfiguredMode>,
    /// `[[events]]`.
    pub events: Vec<ContractEntry>,
    /// `[[tests]]`. What is wrong with them is no problem of the configuration.
    pub tests: Tests,
    /// What is valid but probably a mistake, for the log and `usher check`.
    pub warnings: Vec<Warning>,
    /// Every key with its value and where it comes from, secrets masked.
    pub values: Vec<EffectiveValue>,
}

/// A rule's mode as written, before `observe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfiguredMode {
    /// The mode.
    pub mode: Mode,
    /// Where it is written, in one word: [`Origin::label`].
    pub source: &'static str,
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Whether triggers in their usual form are read by the fast path.
    pub fast_path: bool,
    /// What happens to triggers for unknown apps.
    pub unknown_apps: gateway::UnknownApps,
    /// How long everything is served after a SIGTERM.
    pub drain_delay: Duration,
    /// How long what is in flight may take once the listeners are closed.
    pub drain_period: Duration,
    /// Proxies before usher whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<tls::Identity>,
}

/// The operator's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token for everything: needed for calls that change something.
    pub token: Option<Token>,
    /// Bearer token for reading alone. One of the two is needed where `listen` is not loopback.
    pub read_token: Option<Token>,
    /// Names, in lower case, under which the listener answers, beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The name of the environment; may be empty.
    pub name: String,
    /// Bytes of records of each kind that are kept of triggers; 0: none.
    pub triggers_bytes: usize,
    /// Whether triggers may be recorded whole, by `GET /record`.
    pub recording: bool,
    /// Of which events the data is recorded; `None`: see [`Config::payloads`].
    pub payloads: Option<Payloads>,
}

/// A token of the admin listener; masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A level or a `tracing` filter, e.g. `info` or `usher=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// The sources of the configuration; a later one takes precedence.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; `None`: the one that the variable `USHER_CONFIG` names, else defaults alone, with the built-in app and
    /// rule.
    pub file: Option<PathBuf>,
    /// The environment's variables; those that do not begin with `USHER_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, as dotted keys and values, e.g. (`upstream.url`, `http://127.0.0.1:6002`).
    pub flags: Vec<(String, String)>,
}

impl Config {
    /// Of which events the data is recorded: as configured; else of all on a developer's machine, i.e. with the embedded
    /// broker and an admin listener that only this machine reaches, and of none anywhere else.
    #[must_use]
    pub fn payloads(&self) -> Payloads {
        let is_local = self.upstream.is_local() && address::is_loopback(self.admin.listen);
        self.admin.payloads.unwrap_or(if is_local { Payloads::All } else { Payloads::None })
    }

    /// The apps, rules and bounds, to decide offline by them.
    #[must_use]
    pub fn simulated(&self) -> simulation::Setup {
        simulation::Setup {
            apps: self.apps.clone(),
            rules: self.rules.clone(),
            bounds: self.assignments.clone(),
            limits: self.limits.clone(),
            unknown_apps: self.server.unknown_apps,
            keeps_records: false,
        }
    }

    /// The rules that no test reads an event for.
    #[must_use]
    pub fn untested_rules(&self) -> Vec<&str> {
        let tested = |name: &str| {
            let mut read = self.tests.cases.iter().flat_map(|case| simulation::rules_read(&self.rules, case));
            read.any(|rule| rule.spec().name == name)
        };
        self.rules.iter().map(|rule| rule.spec().name.as_str()).filter(|name| !tested(name)).collect()
    }

    /// Reads and checks everything. Flags take precedence over variables (`USHER_UPSTREAM__URL`), variables over the
    /// file, the file over the defaults. The built-in app and rule are defaults of a start without a file; with a file,
    /// only its own apps and rules exist.
    ///
    /// # Errors
    /// Everything that is wrong with it, or what keeps the file from being read at all.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, ReadMode::Start)
    }

    /// The same as [`Self::load`], while usher runs with an earlier configuration. A file that can be read only once,
    /// such as a pipe, is refused.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, ReadMode::Reload)
    }

    /// The same as [`Self::load`], without certificates, keys and authorities: their files are not read. For commands
    /// that query a running usher.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn look_up(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, ReadMode::Lookup)
    }

    /// The same as [`Self::load`], without the files that the configuration names: certificates, keys, authorities,
    /// secrets and the token. For a check on a machine that does not have them; such a configuration serves nobody.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn without_files(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, ReadMode::SkipFiles)
    }

    fn read(sources: &Sources, read_mode: ReadMode) -> Result<Self, Problems> {
        let mut report = report::Report::new(read_mode);
        let read = overlay::read_file(sources.path(), &mut report);
        let (mut tree, unreadable) =
            read.map_or_else(|problems| (tree::Table::new(), Some(problems)), |tree| (tree, None));
        overlay::overlay(&mut tree, sources, &mut report);
        let log_format = keys::log_format(&tree);
        if let Some(problems) = unreadable {
            return Err(problems.logged_as(log_format));
        }
        if sources.environment.iter().any(|(name, _)| name == overlay::CLIENT_SECRET_VARIABLE) {
            let message = "`USHER_SECRET` is read by `usher trigger` and `usher subscribe` alone; an app's secret is set by USHER_APPS__0__SECRET.";
            report.warnings.push(Warning {
                origin: Origin::Variable(overlay::CLIENT_SECRET_VARIABLE.to_owned()),
                key: String::new(),
                code: "client_secret_variable",
                message: message.to_owned(),
                cure: String::new(),
            });
        }
        suspicions::warn_of_references(&tree, &mut report);
        let config = keys::read(tree, &mut report);
        match Problems::check(report.problems) {
            Ok(()) => Ok(config),
            Err(problems) => Err(problems.logged_as(log_format)),
        }
    }

    /// Each rule's mode and its source, as a text for people: `staff-assigned enforce (file)`.
    pub fn described_modes(&self) -> impl Iterator<Item = String> {
        self.rules.iter().zip(&self.modes).map(|(rule, written)| {
            let (name, mode) = (rule.spec().name.escape_debug(), rule.spec().mode);
            format!("{name} {} ({})", mode.label(), written.source_of(mode))
        })
    }

    /// A recommendation for a first deployment, if this may be one: a sentence for the log and `usher check`.
    #[must_use]
    pub fn recommendation(&self) -> Option<&'static str> {
        let enforces = !self.rules.is_empty() && self.rules.iter().all(|rule| rule.spec().mode == Mode::Enforce);
        (enforces && !self.upstream.is_local()).then_some(
            "Every rule enforces. For a first deployment before a server that guests depend on, start with --observe, or set `mode = \"observe\"` \
             on the rules, look at GET /report on the admin listener for a day, and enforce then.",
        )
    }
}

impl ConfiguredMode {
    /// Where the mode `running` comes from, in which the rule runs: `observe` if that is why it is another one than the
    /// written one.
    #[must_use]
    pub fn source_of(self, running: Mode) -> &'static str {
        if running == self.mode { self.source } else { "observe" }
    }
}

impl Sources {
    /// The file that is read, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let variable =
            || self.environment.iter().find(|(name, path)| name == overlay::FILE_VARIABLE && !path.is_empty());
        self.file.as_deref().or_else(|| variable().map(|(_, path)| Path::new(path)))
    }
}

/// Shows names without values, which may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn names<T>(pairs: &[(T, T)]) -> Vec<&T> {
            pairs.iter().map(|(name, _)| name).collect()
        }
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &names(&self.environment))
            .field("flags", &names(&self.flags))
            .finish()
    }
}
