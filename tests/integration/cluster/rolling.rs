//! A rolling restart of three members behind HAProxy, under load: nobody notices it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::harness::bodies::announcement;
use crate::harness::redis::Redis;
use crate::harness::usher::Signal;
use crate::harness::{Client, Fake, Request, Setup, Usher, eventually};
use crate::restarting::load::{Connections, Load};
use crate::restarting::proxy::{Behind, Proxy, Recipe, free_address};

/// Two of the members are in the file.
const RECIPE: Recipe = Recipe::Haproxy("deploy/haproxy/cluster.cfg");

const CALLERS: usize = 20;

/// Triggers a second.
const RATE: usize = 500;

fn toml(fake: &Fake, store: SocketAddr, number: usize) -> String {
    let mut setup = Setup::before(fake);
    setup.server = setup.server.replace("127.0.0.1:0", &free_address().to_string()) + "drain_delay = \"3s\"\n";
    setup.admin = setup.admin.replace("127.0.0.1:0", &free_address().to_string());
    setup.upstream = setup.upstream.replace("10s", "1s");
    (setup.timeout, setup.doubt_period) = ("1500ms", "2s");
    setup.more += &format!(
        "[cluster]\nredis_url = \"redis://{store}\"\nnode = \"usher-{number}\"\nmember_timeout = \"6s\"\nisolated = \"refuse\"\n"
    );
    setup.toml()
}

/// Waits until this process has been sent triggers.
fn await_traffic(usher: &Usher) {
    eventually("it gets traffic", || (usher.admin().metric("usher_triggers_total", &[]) > 0.0).then_some(()));
}

#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn a_rolling_restart_of_three_members_fails_loses_and_repeats_nothing() {
    let (fake, redis) = (Fake::start(), Redis::start());
    let tomls = [1, 2, 3].map(|number| toml(&fake, redis.address(), number));
    let mut ushers = tomls.each_ref().map(|toml| Usher::start_with(toml));
    let [first, second, third] = ushers.each_ref().map(|usher| (usher.gateway(), usher.admin().0));
    let behind = Behind { gateway: first.0, admin: first.1, standby: Some(second) };
    let more = format!("    server three {} port {}\n", third.0, third.1.port());
    let proxy = Proxy::start_with(RECIPE, behind, &more);
    eventually("the first history is open no more", || {
        let request = Request::events(&announcement("h-room-0-lobby-chat", "Cleo"));
        let response = Client::connect(proxy.address()).call(&request);
        (response.decision() == "suppressed").then_some(())
    });
    let load = Load::start(proxy.address(), Connections::Kept, CALLERS, RATE);
    for (usher, toml) in ushers.iter_mut().zip(&tomls) {
        await_traffic(usher);
        thread::sleep(Duration::from_secs(1));
        usher.signal(Signal::Term);
        assert_eq!(usher.wait_exit(), 0, "{}", usher.logs());
        *usher = Usher::start_with(toml);
        await_traffic(usher);
    }
    let outcome = load.stop(&fake);
    eprintln!(
        "sent {}, failed {}, lost {}, repeated {}, longest time without suppression {:?}",
        outcome.sent,
        outcome.failed.len(),
        outcome.lost,
        outcome.repeated,
        outcome.unsuppressed
    );
    assert_eq!((&outcome.failed, outcome.lost, outcome.repeated), (&Vec::new(), 0, 0));
}
