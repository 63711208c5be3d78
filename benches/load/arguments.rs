//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use crate::mixes::Mix;
use crate::targets::{Bystanders, Kind, Memory, Part, usher_built_beside};

/// Load usher and its peers in one run, interleaved, and say what a request costs each of them.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --", version)]
pub(crate) struct Arguments {
    /// What is asked; several, separated by commas, are measured one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Mix::Forward, Mix::Suppress])]
    pub(crate) mix: Vec<Mix>,

    /// Only these targets, by name: nginx, nginx-return, haproxy, limit, limit-return, usher, stub, a --usher's or a --peer's name; without
    /// it all of these that suit the mix, but the stub. usher-shared is an usher whose memory is in a Redis of its own,
    /// usher-shared-2 are two that share it and the load
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    target: Vec<String>,

    /// An usher to measure instead of what `cargo build --release` makes here; give several as NAME=PATH to compare
    /// builds
    #[arg(long, value_name = "[NAME=]PATH")]
    usher: Vec<String>,

    /// Another proxy: its command, in which {port} and {upstream} (a URL) are filled in
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,

    /// Workers of usher; several, separated by commas, are measured side by side. More than one worker runs on all
    /// processors
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    workers: Vec<usize>,

    /// Connections of the generator; 64, or 16 with --rate
    #[arg(long)]
    connections: Option<usize>,

    /// Open loop: so many requests a second, latency from the moment at which each was due. Without it each connection
    /// always has one under way
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,

    /// Rounds of each target
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,

    /// Length of a round: "2s", "200ms"
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) duration: Duration,

    /// Load before each round that is not counted
    #[arg(long, default_value = "200ms", value_parser = duration)]
    pub(crate) warm_up: Duration,

    /// Conversation channels of the hotel
    #[arg(long, default_value_t = 10_000)]
    pub(crate) channels: usize,

    /// HTTPS on both sides of every target, TLS 1.3 with one cipher suite
    #[arg(long)]
    pub(crate) tls: bool,

    /// How cost grows with connections (1 to 6,000), with 1,000 rules and apps that have nothing to do with the requests,
    /// and with known channels (1,000 to 1,000,000), and what a channel costs in memory: usher's, and Redis's
    #[arg(long, conflicts_with_all = ["rate", "mix"])]
    pub(crate) growth: bool,

    /// What a connection costs in memory while its request does not come
    #[arg(long, conflicts_with_all = ["rate", "mix", "growth"])]
    pub(crate) slow: bool,

    /// What a delivery over a relayed WebSocket connection costs, in a burst and paced, and a connection in memory
    #[arg(long, conflicts_with_all = ["rate", "mix", "growth", "slow"])]
    pub(crate) deliveries: bool,

    /// WebSocket fan-out: runs `cargo bench --bench fanout`
    #[arg(long)]
    pub(crate) fanout: bool,

    /// A smoke test: every mix, short rounds, one of each
    #[arg(long)]
    pub(crate) quick: bool,

    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Draw an SVG chart into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,

    /// The processor of the targets
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    target_cpu: usize,

    /// The processor of generator and stub
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    load_cpu: usize,

    /// The processor of Redis; without it that of generator and stub
    #[arg(long, value_name = "CPU")]
    redis_cpu: Option<usize>,

    /// Let the system choose processors
    #[arg(long)]
    no_pin: bool,

    /// Report wrong and missing answers, but do not fail for them
    #[arg(long)]
    pub(crate) tolerate: bool,

    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Something to be measured, by its name in the report.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

impl Arguments {
    /// As given, with what --quick changes.
    pub(crate) fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.quick {
            arguments.mix = Mix::value_variants().to_vec();
            arguments.rounds = 1;
            arguments.duration = Duration::from_millis(200);
            arguments.warm_up = Duration::from_millis(50);
            arguments.channels = arguments.channels.min(2_000);
        }
        arguments
    }

    /// Connections of the generator.
    pub(crate) fn connections(&self) -> usize {
        self.connections.unwrap_or_else(|| if self.rate.is_some() { 16 } else { 64 }).max(1)
    }

    /// Processors of the targets, of generator and stub, and of Redis.
    pub(crate) fn cpus(&self) -> [Vec<usize>; 3] {
        let chosen = [self.target_cpu, self.load_cpu, self.redis_cpu.unwrap_or(self.load_cpu)];
        if self.no_pin { Default::default() } else { chosen.map(|cpu| vec![cpu]) }
    }

    /// Builds the usher of this project, if one is to be measured and none was given.
    pub(crate) fn build_usher(&mut self) -> Result<()> {
        if self.usher.is_empty()
            && (self.growth
                || self.slow
                || self.deliveries
                || self.target.is_empty()
                || self.target.iter().any(|name| name.starts_with("usher")))
        {
            self.usher.push(usher_built_beside()?.display().to_string());
        }
        Ok(())
    }

    /// Every usher that is asked for, with each of these memories.
    pub(crate) fn ushers(&self, memories: &[Memory]) -> Result<Vec<Named>> {
        let mut binaries = Vec::new();
        for given in &self.usher {
            let (name, path) = given.split_once('=').unwrap_or(("usher", given));
            if binaries.iter().any(|(known, _)| known == name) {
                bail!("two ushers are called {name}; name them: --usher before=PATH --usher after=PATH");
            }
            binaries.push((name.to_owned(), PathBuf::from(path)));
        }
        let mut ushers = Vec::new();
        for (name, binary) in binaries {
            for memory in memories {
                for &workers in &self.workers {
                    let name = format!("{name}{}", memory.suffix());
                    let name = if workers == 1 { name } else { format!("{name} ×{workers}") };
                    ushers.push(Named {
                        name,
                        kind: Kind::Usher {
                            binary: binary.clone(),
                            workers,
                            memory: *memory,
                            bystanders: Bystanders::default(),
                        },
                    });
                }
            }
        }
        Ok(ushers)
    }

    /// What to measure with `mix`.
    pub(crate) fn targets(&self, mix: Mix) -> Result<Vec<Named>> {
        let named = |name: &str, kind| Named { name: name.to_owned(), kind };
        let mut all = vec![
            named("nginx", Kind::Nginx),
            named("haproxy", Kind::Haproxy),
            named("nginx-return", Kind::NginxReturn),
            named("limit", Kind::Limit(Part::Proxy)),
            named("limit-return", Kind::Limit(Part::Responder)),
        ];
        all.extend(self.ushers(&Memory::ALL)?);
        for peer in &self.peer {
            let (name, command) = peer.split_once('=').with_context(|| format!("--peer {peer}: write NAME=COMMAND"))?;
            all.push(named(name, Kind::Peer(command.to_owned())));
        }
        all.push(named("stub", Kind::Stub));
        for name in &self.target {
            if all.iter().all(|target| target.name != *name) {
                let names: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
                bail!("there is no target {name}; there are {}", names.join(", "));
            }
        }
        all.retain(|target| match &target.kind {
            _ if !self.target.is_empty() => self.target.contains(&target.name),
            Kind::Stub => false,
            Kind::NginxReturn | Kind::Limit(Part::Responder) => mix == Mix::Suppress,
            Kind::Usher { memory, .. } => *memory == Memory::Own,
            Kind::Nginx | Kind::Haproxy | Kind::Limit(_) | Kind::Peer(_) => true,
        });
        Ok(all)
    }
}

fn duration(text: &str) -> Result<Duration> {
    let (number, unit) =
        text.strip_suffix("ms").map_or_else(|| (text.strip_suffix('s').unwrap_or(text), 1.0), |number| (number, 1e-3));
    let seconds: f64 = number.parse().with_context(|| format!("{text} is no duration; write e.g. 2s or 200ms"))?;
    Duration::try_from_secs_f64(seconds * unit)
        .with_context(|| format!("{text} is no duration; write e.g. 2s or 200ms"))
}
