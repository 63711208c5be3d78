//! Where the configuration of a command comes from.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use usher::config::Sources;

/// The exit code of a configuration that cannot be used (`EX_CONFIG` of sysexits).
pub(super) const EX_CONFIG: u8 = 78;

/// Where the configuration comes from. Flags win over USHER_… variables, these over the file, the file over defaults.
#[derive(Debug, Args)]
pub(super) struct Configuration {
    /// The configuration file (TOML), else that of USHER_CONFIG; config/usher.toml documents every key.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve, e.g. 0.0.0.0:6001.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The Pusher-compatible server behind usher, e.g. http://127.0.0.1:6002.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Pusher's own cluster behind usher, e.g. eu.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    cluster: Option<String>,
    /// Observe: forward everything and count what would be suppressed, whatever the rules' modes are.
    #[arg(long)]
    observe: bool,
    /// Any other key, e.g. --set upstream.timeout=2s. Secrets are not taken from flags.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Configuration {
    /// Whether any of it is given by a flag.
    pub(super) const fn is_given(&self) -> bool {
        let Self { config, listen, upstream, cluster, observe, set } = self;
        config.is_some() || listen.is_some() || upstream.is_some() || cluster.is_some() || *observe || !set.is_empty()
    }

    /// The sources, with the environment as it is.
    ///
    /// # Errors
    /// If a flag has not the form that it needs.
    pub(super) fn sources(&self) -> anyhow::Result<Sources> {
        let mut flags = Vec::new();
        let named =
            [("server.listen", &self.listen), ("upstream.url", &self.upstream), ("upstream.cluster", &self.cluster)];
        flags.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        flags.extend(self.observe.then(|| ("observe".to_owned(), "true".to_owned())));
        for pair in &self.set {
            let (key, value) = pair.split_once('=').with_context(|| format!("--set takes KEY=VALUE, not {pair:?}"))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Sources { file: self.config.clone(), environment: std::env::vars_os().collect(), flags })
    }
}
