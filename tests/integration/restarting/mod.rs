//! Restarts under load: what callers and guests notice, directly and behind HAProxy and nginx with the files of deploy/.

pub mod load;
pub mod proxy;
mod sdks;
mod several;
mod table;

use std::net::SocketAddr;
use std::time::Duration;

use self::load::{Connections, Load, Outcome};
use self::proxy::{Behind, Proxy, Recipe, free_address};
use crate::harness::service_manager::ServiceManager;
use crate::harness::usher::Signal;
use crate::harness::{Fake, Setup, Usher};

const CALLERS: usize = 20;

/// What a test does.
#[derive(Debug, Clone, Copy)]
struct Plan {
    recipe: Option<Recipe>,
    connections: Connections,
    /// Triggers a second.
    rate: usize,
    restarts: usize,
    signal: Signal,
    /// `assignments.start_doubt`.
    start_doubt: &'static str,
    /// Whether the memory is to outlive a clean stop.
    keeps_state: bool,
}

impl Plan {
    const fn new(recipe: Option<Recipe>, connections: Connections) -> Self {
        Self { recipe, connections, rate: 500, restarts: 3, signal: Signal::Term, start_doubt: "0s", keeps_state: true }
    }

    fn has_standby(&self) -> bool {
        matches!(self.recipe, Some(Recipe::Haproxy(file) | Recipe::Nginx(file)) if file.contains("standby"))
    }

    /// Whether the service manager holds the sockets.
    fn holds_sockets(&self) -> bool {
        !matches!(self.recipe, Some(Recipe::Haproxy(file) | Recipe::Nginx(file)) if !file.contains("single"))
    }

    /// Whether usher's memory outlives a clean stop.
    fn has_state(&self) -> bool {
        self.keeps_state && !self.has_standby()
    }

    fn setup(&self, fake: &Fake, (gateway, admin): (SocketAddr, SocketAddr), state: &str) -> String {
        let mut setup = Setup::before(fake);
        setup.server = setup.server.replace("127.0.0.1:0", &gateway.to_string());
        setup.admin = setup.admin.replace("127.0.0.1:0", &admin.to_string());
        setup.start_doubt = self.start_doubt;
        // HAProxy's checks need 2 s to find that usher is not ready.
        setup.server += if self.has_standby() { "drain_delay = \"3s\"\n" } else { "drain_delay = \"1s\"\n" };
        if self.has_state() {
            setup.more += &format!("[state]\npath = \"{state}\"\n");
        }
        setup.toml()
    }
}

/// usher, as its recipe says: with sockets that stay open, or beside a stand-by.
struct Deployment {
    manager: Option<ServiceManager>,
    usher: Usher,
    toml: String,
    behind: Behind,
    proxy: Option<Proxy>,
    _standby: Option<Usher>,
    _state: tempfile::TempDir,
}

impl Deployment {
    fn start(plan: &Plan, fake: &Fake) -> Self {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().to_str().unwrap();
        let manager = plan.holds_sockets().then(ServiceManager::new);
        let (gateway, admin) = manager
            .as_ref()
            .map_or_else(|| (free_address(), free_address()), |manager| (manager.gateway(), manager.admin()));
        let toml = plan.setup(fake, (gateway, admin), path);
        let usher = start(manager.as_ref(), &toml);
        let standby = plan.has_standby().then(|| {
            let mut setup = Setup::before(fake);
            setup.more = "\n".to_owned();
            Usher::start_with(&format!("observe = true\n{}", setup.toml()))
        });
        let behind =
            Behind { gateway, admin, standby: standby.as_ref().map(|usher| (usher.gateway(), usher.admin().0)) };
        let proxy = plan.recipe.map(|recipe| Proxy::start(recipe, behind));
        Self { manager, usher, toml, behind, proxy, _standby: standby, _state: state }
    }

    /// Where callers connect.
    fn address(&self) -> SocketAddr {
        self.proxy.as_ref().map_or(self.behind.gateway, Proxy::address)
    }

    fn restart(&mut self, signal: Signal) {
        self.usher.signal(signal);
        let code = self.usher.wait_exit();
        assert_eq!(code, if signal == Signal::Kill { -1 } else { 0 }, "{}", self.usher.logs());
        self.usher = start(self.manager.as_ref(), &self.toml);
    }
}

fn start(manager: Option<&ServiceManager>, toml: &str) -> Usher {
    manager.map_or_else(|| Usher::start_with(toml), |manager| manager.start(toml))
}

/// Restarts usher under load.
fn play(plan: &Plan) -> Outcome {
    let fake = Fake::start();
    let mut deployment = Deployment::start(plan, &fake);
    let load = Load::start(deployment.address(), plan.connections, CALLERS, plan.rate);
    let between = if plan.has_standby() { Duration::from_secs(4) } else { Duration::from_millis(500) };
    for _ in 0..plan.restarts {
        // The load has to run on for a while: HAProxy needs 2 s to find that usher is ready again.
        std::thread::sleep(between);
        deployment.restart(plan.signal);
    }
    std::thread::sleep(between);
    let outcome = load.stop(&fake);
    let Outcome { sent, failed, lost, repeated, unsuppressed } = &outcome;
    eprintln!(
        "{plan:?}: sent {sent}, failed {}, lost handoffs {lost}, repeated {repeated}, longest time without suppression {unsuppressed:?}",
        failed.len()
    );
    outcome
}

/// No trigger fails, no handoff is lost, and with state nothing is repeated.
fn assert_unnoticed(plan: &Plan) {
    let outcome = play(plan);
    assert_eq!(outcome.lost, 0, "{plan:?}");
    assert!(outcome.sent > CALLERS, "{plan:?}: {outcome:?}");
    assert_eq!(outcome.failed, Vec::<String>::new(), "{plan:?}");
    if plan.has_state() {
        assert_eq!(outcome.repeated, 0, "{plan:?}");
    }
}

/// With sockets that stay open: directly, and behind each proxy.
const SINGLE: [Option<Recipe>; 3] =
    [None, Some(Recipe::Haproxy("deploy/haproxy/single.cfg")), Some(Recipe::Nginx("deploy/nginx/single.conf"))];

/// HAProxy waits for the next process.
const WAITING: Option<Recipe> = Some(Recipe::Haproxy("deploy/haproxy/waiting.cfg"));

const STANDBY: [Option<Recipe>; 2] =
    [Some(Recipe::Haproxy("deploy/haproxy/standby.cfg")), Some(Recipe::Nginx("deploy/nginx/standby.conf"))];

const CONNECTIONS: [Connections; 2] = [Connections::Fresh, Connections::Kept];

#[test]
fn a_restart_without_a_standby_fails_no_trigger() {
    for recipe in SINGLE.into_iter().chain([WAITING]) {
        for connections in CONNECTIONS {
            assert_unnoticed(&Plan { rate: 200, restarts: 1, ..Plan::new(recipe, connections) });
        }
    }
}

#[test]
fn a_restart_beside_a_standby_fails_no_trigger() {
    for (recipe, connections) in STANDBY.into_iter().zip([Connections::Kept, Connections::Fresh]) {
        assert_unnoticed(&Plan { rate: 200, restarts: 1, ..Plan::new(recipe, connections) });
    }
}

/// RESTARTS: how many of each kind (20).
#[test]
#[ignore = "takes minutes: `tests/long 20 restarts`"]
fn many_restarts_fail_no_trigger() {
    let restarts = std::env::var("RESTARTS").map_or(20, |restarts| restarts.parse().unwrap());
    for recipe in SINGLE.into_iter().chain([WAITING]).chain(STANDBY) {
        for connections in CONNECTIONS {
            assert_unnoticed(&Plan { restarts, ..Plan::new(recipe, connections) });
        }
    }
}
