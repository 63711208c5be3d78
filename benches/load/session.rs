//! A run: stub and targets are started, every lane is measured in every round, and all are stopped.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::arguments::{Arguments, Named};
use crate::generator::Pace;
use crate::lane::{Lane, Method, Round, Scene};
use crate::launch::{self, Cpus};
use crate::mixes::Mix;
use crate::secure::Identity;
use crate::targets::{Kind, Site, Target};

/// The longest of the rounds that are thrown away at the beginning.
const SETTLING: std::time::Duration = std::time::Duration::from_millis(300);

/// One target of a run and the load on it.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// As the report calls it.
    pub(crate) name: String,
    pub(crate) target: Named,
    pub(crate) connections: usize,
    /// Conversation channels.
    pub(crate) rooms: usize,
}

/// A lane that was measured.
pub(crate) struct Measured {
    pub(crate) lane: Lane,
    pub(crate) part: crate::targets::Part,
    pub(crate) version: String,
    pub(crate) rounds: Vec<Round>,
}

/// The stub and the targets, while they run.
pub(crate) struct Session {
    site: Site,
    pub(crate) stub: Target,
    pub(crate) targets: Vec<Target>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Redis, once a target needs it, and its processors. It outlives the targets, which leave it.
    store: Option<Target>,
    store_cpus: Cpus,
    /// Removed with all files of the targets, after these ended.
    _directory: TempDir,
}

/// Measures `wishes` under `mix`. What is not installed is named and left out.
pub(crate) fn run(arguments: &Arguments, mix: Mix, wishes: &[Wish]) -> Result<Vec<Measured>> {
    let most = wishes.iter().map(|wish| wish.connections).max().context("there is nothing to measure")?;
    let mut session = Session::open(arguments, most)?;
    let mut lanes: Vec<Lane> = Vec::new();
    for wish in wishes {
        if let Some(target) = session.start(&wish.target)? {
            lanes.push(Lane::new(wish.name.clone(), target, &session.targets, mix, wish.rooms, wish.connections));
        }
    }
    ensure!(!lanes.is_empty(), "none of the targets is installed");
    for lane in &mut lanes {
        lane.announce(session.scene(lane.target), mix, session.tls.as_ref())?;
    }
    let pace = arguments.rate.map_or(Pace::Closed, |rate| Pace::Open { rate });
    let mut method = Method {
        pace,
        warm_up: arguments.warm_up,
        duration: arguments.duration.min(SETTLING),
        tls: session.tls.clone(),
    };
    let count = lanes.len();
    // Discarded: it fills caches and pools, and determines the stock of the first round.
    for lane in &mut lanes {
        lane.measure(session.scene(lane.target), &method)?;
    }
    let length = arguments.duration.as_secs_f64() / method.duration.as_secs_f64();
    method.duration = arguments.duration;
    for lane in &mut lanes {
        lane.expect_times(length);
    }
    let mut rounds: Vec<Vec<Round>> = lanes.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds.max(1) {
        // The order rotates, so that each lane runs at every position.
        for place in 0..count {
            let index = (round + place) % count;
            let lane = &mut lanes[index];
            tell(&format!("{} {}/{} {}", mix.name(), round + 1, arguments.rounds.max(1), lane.name));
            rounds[index].push(lane.measure(session.scene(lane.target), &method)?);
        }
    }
    tell("");
    let describe = |(lane, rounds): (Lane, Vec<Round>)| {
        let target = &session.targets[lane.target];
        Measured { part: target.part, version: target.version.clone(), lane, rounds }
    };
    Ok(lanes.into_iter().zip(rounds).map(describe).collect())
}

impl Session {
    /// Starts the stub. Targets get files and space for this many connections.
    pub(crate) fn open(arguments: &Arguments, connections: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("usher-load-").tempdir()?;
        // Servers that drop root's rights must reach their files.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let identity = arguments.tls.then(|| Identity::make(directory.path())).transpose()?;
        let [target_cpus, load_cpus, store_cpus] = arguments.cpus();
        launch::pin(&load_cpus)?;
        let stub = Target::stub(directory.path(), &load_cpus, identity.as_ref())?;
        let tls = identity.as_ref().map(Identity::client).transpose()?;
        let site = Site {
            directory: directory.path().to_owned(),
            upstream: stub.address(),
            store: None,
            number: 0,
            identity,
            cpus: target_cpus,
            connections,
        };
        Ok(Self { site, stub, targets: Vec::new(), tls, store: None, store_cpus, _directory: directory })
    }

    /// The target's index among the running ones; `None` if it is not installed.
    pub(crate) fn start(&mut self, named: &Named) -> Result<Option<usize>> {
        if let Some(running) = self.targets.iter().position(|target| target.name == named.name) {
            return Ok(Some(running));
        }
        if named.kind.is_shared() && !self.has_store()? {
            eprintln!("redis-server is not installed: {} is left out", named.name);
            return Ok(None);
        }
        self.site.number = self.targets.len();
        let started = match named.kind {
            // A second one: the first also serves the harness's questions.
            Kind::Stub => Some(Target::stub(&self.site.directory, &self.site.cpus, self.site.identity.as_ref())?),
            _ => Target::start(&named.name, &named.kind, &self.site)?,
        };
        let Some(target) = started else {
            eprintln!("{} is not installed: left out", named.name);
            return Ok(None);
        };
        self.targets.push(target);
        Ok(Some(self.targets.len() - 1))
    }

    /// Starts Redis, unless it runs. Returns whether it is there.
    fn has_store(&mut self) -> Result<bool> {
        if self.store.is_none() {
            self.store = Target::redis(&self.site.directory, &self.store_cpus)?;
            self.site.store = self.store.as_ref().map(Target::address);
        }
        Ok(self.store.is_some())
    }

    /// What is measured of the target of this index, and beside it.
    fn scene(&self, target: usize) -> Scene<'_> {
        let target = &self.targets[target];
        Scene { target, stub: &self.stub, store: self.store.as_ref().filter(|_| target.is_shared) }
    }
}

/// Says on a terminal what is being done, in one line that is written over.
pub(crate) fn tell(what: &str) {
    let mut error = std::io::stderr();
    if std::io::IsTerminal::is_terminal(&error) {
        // A failure to show progress is ignored.
        let _shown = write!(error, "\r\x1b[K{what}");
    }
}
