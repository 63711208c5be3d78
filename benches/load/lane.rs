//! A lane: one target under one kind of load, round after round.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use std::sync::Arc;

use crate::accounting::{Tree, Usage};
use crate::errand::Errand;
use crate::generator::{Edge, Load, Pace};
use crate::mixes::Mix;
use crate::supply::Supply;
use crate::tally::Tally;
use crate::targets::{Part, Target, redis_used_memory};

/// Requests in stock, at most: 800 bytes each.
const STOCK: usize = 400_000;

/// A target and its load.
pub(crate) struct Lane {
    pub(crate) name: String,
    /// Its index among the targets.
    pub(crate) target: usize,
    pub(crate) connections: usize,
    supply: Supply,
    /// The number of requests of the last round, for the stock of the next.
    taken: usize,
    /// Memory before and after the channels became known: of Redis if it remembers there, else the target's resident one.
    pub(crate) memory: Option<[u64; 2]>,
    pub(crate) rooms: usize,
}

/// How each round is done.
pub(crate) struct Method {
    pub(crate) pace: Pace,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// What is measured in a round: a target, and what works for it.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) target: &'a Target,
    pub(crate) stub: &'a Target,
    /// Redis, if the target remembers there.
    pub(crate) store: Option<&'a Target>,
}

/// What one round measured.
pub(crate) struct Round {
    pub(crate) tally: Tally,
    pub(crate) target: Usage,
    pub(crate) generator: Usage,
    pub(crate) stub: Usage,
    /// Redis's, if the target remembers there.
    pub(crate) store: Option<Usage>,
    /// Of the target at the end, in bytes.
    pub(crate) resident: u64,
    /// Share of the requests that had to be signed within the round.
    pub(crate) hurried: f64,
    /// How many requests the stub saw, and how many it should have seen.
    pub(crate) upstream: [u64; 2],
}

impl Lane {
    /// A lane without measurements.
    pub(crate) fn new(
        name: String,
        target: usize,
        targets: &[Target],
        mix: Mix,
        rooms: usize,
        connections: usize,
    ) -> Self {
        let supply = Supply::new(mix, rooms, targets[target].address());
        Self { name, target, connections, supply, taken: 0, memory: None, rooms }
    }

    /// Makes all its channels known, if its mix needs that.
    pub(crate) fn announce(&mut self, scene: Scene<'_>, mix: Mix, tls: Option<&Arc<ClientConfig>>) -> Result<()> {
        let target = scene.target;
        if !mix.needs_announcements() || target.part != Part::Gateway {
            return Ok(());
        }
        let tree = target.tree()?;
        let memory = || scene.store.map_or_else(|| tree.resident(), |store| redis_used_memory(store.address()));
        let mut errand = Errand::connect(target.address(), tls)?;
        let mut before = None;
        for request in self.supply.openings() {
            errand.ask(&request).with_context(|| format!("{} takes no announcement", self.name))?;
            // After the first request, so that its fixed cost is not attributed to the channels.
            if before.is_none() {
                before = Some(memory()?);
            }
        }
        self.memory = before.map(|before| Ok::<_, anyhow::Error>([before, memory()?])).transpose()?;
        Ok(())
    }

    /// Scales the length of the next rounds by this factor.
    pub(crate) fn expect_times(&mut self, length: f64) {
        self.taken = (self.taken as f64 * length) as usize;
    }

    /// Runs one round. The stub must serve no other target meanwhile.
    pub(crate) fn measure(&mut self, scene: Scene<'_>, method: &Method) -> Result<Round> {
        let Scene { target, stub, store } = scene;
        self.supply.stock((self.taken + self.taken / 4).min(STOCK));
        let store_tree = store.map_or_else(|| Ok(Tree::none()), Target::tree)?;
        let trees = [target.tree()?, Tree::own(), stub.tree()?, store_tree];
        let mut errand = Errand::connect(stub.address(), method.tls.as_ref())?;
        let seen = errand.count()?;
        let mut edges = Vec::with_capacity(2);
        let load = Load {
            addresses: &target.addresses,
            tls: method.tls.as_ref(),
            connections: self.connections,
            pace: method.pace,
            warm_up: method.warm_up,
            duration: method.duration,
        };
        let tally = load
            .run(&mut self.supply, |edge| {
                let usage = [trees[0].usage()?, trees[1].usage()?, trees[2].usage()?, trees[3].usage()?];
                debug_assert_eq!(edge == Edge::Begin, edges.is_empty());
                edges.push(usage);
                Ok(())
            })
            .with_context(|| format!("{} failed", self.name))?;
        ensure!(edges.len() == 2, "a round has two edges");
        let used = |index: usize| edges[1][index] - edges[0][index];
        let seen = errand.count()? - seen;
        let expected = match target.part {
            // The stub as a target is one of its own.
            Part::Responder | Part::Upstream | Part::Store => 0,
            Part::Proxy | Part::Gateway => tally.answers - tally.refused - tally.suppressed,
        };
        self.taken = usize::try_from(tally.answers).unwrap_or(STOCK);
        let hurried = self.supply.hurried() as f64 / tally.answers.max(1) as f64;
        let resident = trees[0].resident()?;
        Ok(Round {
            target: used(0),
            generator: used(1),
            stub: used(2),
            store: store.map(|_| used(3)),
            resident,
            hurried,
            upstream: [seen, expected],
            tally,
        })
    }
}
