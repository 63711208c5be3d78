//! The ushers of a history, and the store that they share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::proxy::Proxy;
use super::sentinel::Sentinels;
use super::{PATIENCE, Plan};
use crate::harness::address::own_address;
use crate::harness::admin::Admin;
use crate::harness::redis::Redis;
use crate::harness::usher::Signal;
use crate::harness::{Fake, Random, Usher, eventually, eventually_within};
use crate::histories::callers::SharedState;
use crate::histories::record::Recorder;
use crate::histories::setup::{CHANNELS, DRAIN, Lasting, Settings, TIMEOUT};
use crate::histories::upstream::Upstream;

/// `cluster.lease`.
pub const LEASE: Duration = Duration::from_millis(600);
/// `cluster.member_timeout`.
pub const MEMBER_TIMEOUT: Duration = Duration::from_millis(2_200);
/// How long after a call was complete upstream may apply it.
const LATE: Duration = Duration::from_millis(900);
/// `assignments.doubt_period`: also what has no answer is applied within it, since a process that is killed may have
/// waited for one.
pub const DOUBT: Duration = Duration::from_millis(1_100);
const _: () = assert!(LATE.as_millis() + TIMEOUT.as_millis() < DOUBT.as_millis());

/// All processes of a history.
pub struct Fleet<'a> {
    pub upstream: Arc<Upstream>,
    pub shared: Arc<SharedState>,
    /// The number of faults of each kind.
    pub done: BTreeMap<&'static str, usize>,
    /// Whether a new history may have begun.
    pub may_begin_history: bool,
    pub(super) gateways: Vec<Gateway>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) random: Random,
    store: Option<Store>,
    _fake: &'a Fake,
}

/// One usher, and its way to the store.
pub struct Gateway {
    /// `None`: it has ended.
    usher: Option<Usher>,
    is_halted: bool,
    toml: String,
    listen: SocketAddr,
    /// `None`: there is no store, or Sentinels say where it is.
    proxy: Option<Proxy>,
}

/// The primary, and its replica if there is one.
struct Store {
    primary: Redis,
    replica: Option<Redis>,
    condition: Condition,
    replica_condition: Condition,
    sentinels: Option<Sentinels>,
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Runs,
    Halted,
    Killed { has_data: bool },
}

impl Gateway {
    /// The operator's listener of the process that runs.
    pub fn admin(&self) -> Admin {
        self.usher.as_ref().unwrap().admin()
    }

    pub const fn is_running(&self) -> bool {
        self.usher.is_some() && !self.is_halted
    }

    pub const fn is_halted(&self) -> bool {
        self.is_halted
    }

    pub fn start(&mut self) {
        self.usher = Some(Usher::start_with(&self.toml));
    }
}

impl<'a> Fleet<'a> {
    pub fn start(fake: &'a Fake, recorder: &Arc<Recorder>, seed: u64, plan: &Plan) -> Self {
        let mut random = Random(seed);
        let lasting = Lasting { delay: Duration::ZERO, drain: DRAIN, state: None, late: LATE };
        let upstream = Upstream::serve(fake, recorder, seed, &lasting);
        let settings = Settings { doubt: DOUBT, ..Settings::usual(random.chance(50), lasting) };
        let store = plan.is_shared.then(|| Store::start(random.chance(45) && !plan.is_lone, random.chance(40)));
        let gateways: Vec<Gateway> = (1..=plan.ushers)
            .map(|number| {
                let direct = store.as_ref().filter(|store| store.sentinels.is_none());
                let proxy = direct.map(|store| Proxy::start(store.primary.address()));
                let listen = SocketAddr::new(own_address(), 6001);
                let mut toml = settings.toml(listen, fake.address());
                toml += &store.as_ref().map(|store| store.section(number, proxy.as_ref())).unwrap_or_default();
                let toml = (plan.adapt)(toml);
                let mut gateway = Gateway { usher: None, is_halted: false, toml, listen, proxy };
                gateway.start();
                gateway
            })
            .collect();
        let shared = SharedState::new(recorder, gateways[0].listen);
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.listen).collect();
        shared.spread_over(&addresses);
        let recorder = Arc::clone(recorder);
        // With Sentinels, any fault of the primary may lead to a promotion.
        let may_begin_history = store.as_ref().is_some_and(|store| store.sentinels.is_some());
        Self {
            may_begin_history,
            upstream,
            shared,
            done: BTreeMap::new(),
            gateways,
            recorder,
            random,
            store,
            _fake: fake,
        }
    }

    /// Where the primary is, while everything runs.
    pub fn primary(&self) -> Option<SocketAddr> {
        self.store.as_ref().map(|store| store.primary.address())
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|gateway| gateway.listen).collect()
    }

    /// Whether the operator can know of all processes that live: where Sentinels may promote a server at any time, one
    /// that was named a moment ago may be blind now.
    pub fn is_supervised(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.sentinels.is_none())
    }

    /// Closes a history that is open by time, by the operator's word: waits until the store names all processes.
    pub fn close_history(&self) {
        let names_all = |gateway: &Gateway| {
            let cluster = gateway.admin().json("/cluster");
            let count = |app: &serde_json::Value| app["members"].as_array().map_or(0, Vec::len);
            cluster["apps"].as_array().unwrap().iter().all(|app| count(app) == self.gateways.len())
        };
        eventually("the store names all processes", || self.gateways.iter().all(names_all).then_some(()));
        for (app, _) in CHANNELS {
            let target = format!("/cluster/close?app={app}");
            let close = || (self.gateways[0].admin().call("POST", &target).status == 200).then_some(());
            eventually("the history is closed", close);
        }
    }

    /// The last lines of each usher's log.
    pub fn logs(&self) -> String {
        let last = |usher: &Usher| {
            let logs = usher.logs();
            let lines: Vec<&str> = logs.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        };
        let logs = self.gateways.iter().filter_map(|gateway| gateway.usher.as_ref().map(last));
        logs.collect::<Vec<_>>().join("\n--\n")
    }

    /// Everything runs again.
    pub fn mend(&mut self) {
        if let Some(store) = &mut self.store {
            store.mend();
        }
        for number in 0..self.gateways.len() {
            self.gateways[number].proxy.iter().for_each(Proxy::mend);
            self.wake_usher(number);
            if self.gateways[number].usher.is_none() {
                self.gateways[number].start();
            }
        }
        self.recorder.operate("all is mended");
    }

    pub(super) fn end_usher(&mut self, number: usize, signal: Signal) {
        let gateway = &mut self.gateways[number];
        if !gateway.is_running() {
            return;
        }
        let Some(mut usher) = gateway.usher.take() else { return };
        usher.signal(signal);
        let code = usher.wait_exit();
        assert_eq!(code, if signal == Signal::Kill { -1 } else { 0 }, "{}", usher.logs());
    }

    pub(super) fn wake_usher(&mut self, number: usize) {
        let gateway = &mut self.gateways[number];
        if std::mem::take(&mut gateway.is_halted) {
            gateway.usher.iter().for_each(|usher| usher.signal(Signal::Continue));
        }
    }

    pub(super) fn halt_usher(&mut self, number: usize) {
        let gateway = &mut self.gateways[number];
        if gateway.is_running() {
            gateway.usher.iter().for_each(|usher| usher.signal(Signal::Stop));
            gateway.is_halted = true;
        }
    }

    /// Does something to one usher's way to the store, or to all of them.
    pub(super) fn each_proxy(&mut self, number: usize, act: impl Fn(&Proxy)) {
        let all = self.random.chance(25);
        let chosen = self.gateways.iter().enumerate().filter(|(other, _)| all || *other == number);
        chosen.filter_map(|(_, gateway)| gateway.proxy.as_ref()).for_each(act);
    }

    /// The answer of the primary, which runs.
    pub(super) fn answer(&self, words: &[&str]) -> String {
        self.store.as_ref().unwrap().primary.command(words)
    }

    /// Sends a command to the primary, if it runs.
    pub(super) fn tell(&self, words: &[&str]) {
        for store in self.store.iter().filter(|store| store.condition == Condition::Runs) {
            store.primary.command(words);
        }
    }

    pub(super) fn tell_without_answer(&self, words: &[&str]) {
        for store in self.store.iter().filter(|store| store.condition == Condition::Runs) {
            store.primary.begin(words);
        }
    }

    pub(super) fn kill_redis(&mut self, has_data: bool) {
        for store in self.store.iter_mut().filter(|store| store.condition == Condition::Runs) {
            store.primary.kill();
            store.condition = Condition::Killed { has_data };
        }
    }

    pub(super) fn halt_redis(&mut self) {
        for store in self.store.iter_mut().filter(|store| store.condition == Condition::Runs) {
            store.primary.signal("-STOP");
            store.condition = Condition::Halted;
        }
    }

    pub(super) fn lose_replica(&mut self) {
        let Some(store) = &mut self.store else { return };
        match &mut store.replica {
            Some(replica) if store.replica_condition == Condition::Runs => {
                replica.kill();
                store.replica_condition = Condition::Killed { has_data: false };
            }
            Some(_) => {}
            None => self.halt_redis(),
        }
    }

    /// The replica becomes the primary while the old one is gone, or while it still serves some ushers.
    pub(super) fn fail_over(&mut self) {
        let Some(store) = &mut self.store else { return };
        if store.replica.is_none() || store.replica_condition != Condition::Runs || store.condition != Condition::Runs {
            return self.kill_redis(false);
        }
        let is_gone = self.random.chance(50);
        if is_gone {
            store.primary.kill();
            store.condition = Condition::Killed { has_data: false };
        }
        if let Some(sentinels) = &store.sentinels {
            if !is_gone {
                store.primary.signal("-STOP");
                store.condition = Condition::Halted;
            }
            sentinels.await_other(store.primary.address());
            store.exchange();
            return;
        }
        // The old one serves whoever has not found the new one, and follows that once all is mended.
        store.replica.iter().for_each(|replica| drop(replica.command(&["REPLICAOF", "NO", "ONE"])));
        store.exchange();
        let to = store.primary.address();
        for gateway in &self.gateways {
            thread::sleep(self.random.millis(0, 300));
            gateway.proxy.iter().for_each(|proxy| proxy.lead_to(to));
        }
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        // Also if the history has failed.
        self.shared.close();
    }
}

impl Store {
    fn start(has_replica: bool, has_sentinels: bool) -> Self {
        let primary = Redis::start();
        let replica = has_replica.then(|| {
            let replica = Redis::start();
            replica.follow(primary.address());
            replica
        });
        let sentinels = (has_replica && has_sentinels).then(|| Sentinels::start(primary.address()));
        Self { primary, replica, condition: Condition::Runs, replica_condition: Condition::Runs, sentinels }
    }

    /// `[cluster]` of one usher.
    fn section(&self, number: usize, proxy: Option<&Proxy>) -> String {
        let direct = || format!("redis://{}", proxy.map_or_else(|| self.primary.address(), Proxy::address));
        let url = self.sentinels.as_ref().map_or_else(direct, Sentinels::url);
        format!(
            "[cluster]\nredis_url = \"{url}\"\nnode = \"usher-{number}\"\nlease = \"{}ms\"\nmember_timeout = \"{}ms\"\n\
             replicas = {}\nisolated = \"refuse\"\ntimeout = \"150ms\"\n",
            LEASE.as_millis(),
            MEMBER_TIMEOUT.as_millis(),
            usize::from(self.replica.is_some()),
        )
    }

    /// The replica is the primary now.
    fn exchange(&mut self) {
        if let Some(replica) = &mut self.replica {
            std::mem::swap(&mut self.primary, replica);
            std::mem::swap(&mut self.condition, &mut self.replica_condition);
        }
    }

    fn mend(&mut self) {
        self.condition.mend(&mut self.primary);
        if let Some(replica) = &mut self.replica {
            self.replica_condition.mend(replica);
        }
        if self.replica.is_some() {
            // Sentinels that dispute take some time-outs of their failover.
            eventually_within(PATIENCE, "one server follows the other", || self.settle());
        }
        self.primary.command(&["CONFIG", "SET", "maxmemory", "0"]);
    }

    /// Makes the replica follow the primary; with Sentinels, the one that they name.
    fn settle(&mut self) -> Option<()> {
        if let Some(sentinels) = &self.sentinels {
            let named = sentinels.primary()?;
            if self.primary.address() != named {
                self.exchange();
            }
        }
        let (primary, replica) = (&self.primary, self.replica.as_ref()?);
        if !primary.command(&["INFO", "replication"]).contains("role:master") {
            return None;
        }
        let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
        let answer = replica.command(&["INFO", "replication"]);
        if answer.contains(&format!("master_host:{host}\r\nmaster_port:{port}\r")) {
            return answer.contains("master_link_status:up").then_some(());
        }
        replica.command(&["REPLICAOF", &host, &port]);
        None
    }
}

impl Condition {
    fn mend(&mut self, server: &mut Redis) {
        match std::mem::replace(self, Self::Runs) {
            Self::Runs => {}
            Self::Halted => server.signal("-CONT"),
            Self::Killed { has_data } => server.start_again(has_data),
        }
    }
}
