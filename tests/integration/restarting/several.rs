//! Several ushers behind HAProxy with deploy/haproxy/cluster.cfg. Here they share no memory and observe: what is shown is
//! that each gets traffic while it is ready, and that none that stops fails a trigger.

use super::load::{Connections, Load};
use super::proxy::{Behind, Proxy, Recipe, free_address};
use crate::harness::usher::Signal;
use crate::harness::{Fake, Setup, Usher, eventually};

const RECIPE: Recipe = Recipe::Haproxy("deploy/haproxy/cluster.cfg");

/// Waits until this process has been sent triggers.
fn assert_serves(usher: &Usher, which: &str) {
    eventually(which, || (usher.admin().metric("usher_triggers_total", &[]) > 0.0).then_some(()));
}

#[test]
fn every_usher_that_is_ready_gets_traffic_and_none_that_stops_fails_a_trigger() {
    for connections in [Connections::Fresh, Connections::Kept] {
        let fake = Fake::start();
        let toml = |(gateway, admin): (std::net::SocketAddr, std::net::SocketAddr)| {
            let mut setup = Setup::before(&fake);
            setup.server = setup.server.replace("127.0.0.1:0", &gateway.to_string()) + "drain_delay = \"3s\"\n";
            setup.admin = setup.admin.replace("127.0.0.1:0", &admin.to_string());
            format!("observe = true\n{}", setup.toml())
        };
        let tomls = [(); 2].map(|()| toml((free_address(), free_address())));
        let mut ushers = tomls.each_ref().map(|toml| Usher::start_with(toml));
        let [first, second] = ushers.each_ref().map(|usher| (usher.gateway(), usher.admin().0));
        let proxy = Proxy::start(RECIPE, Behind { gateway: first.0, admin: first.1, standby: Some(second) });
        let load = Load::start(proxy.address(), connections, 8, 100);
        for (usher, toml) in ushers.iter_mut().zip(&tomls) {
            assert_serves(usher, "it gets traffic");
            usher.signal(Signal::Term);
            assert_eq!(usher.wait_exit(), 0, "{}", usher.logs());
            *usher = Usher::start_with(toml);
            // Before the other one stops, and for good: HAProxy finds that it is ready.
            assert_serves(usher, "it gets traffic again");
        }
        let outcome = load.stop(&fake);
        assert_eq!((outcome.failed, outcome.lost), (Vec::<String>::new(), 0), "{connections:?}");
        assert!(outcome.sent > 100, "{connections:?}: {}", outcome.sent);
    }
}
