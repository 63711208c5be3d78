//! A rolling restart of three members behind HAProxy, under load: nobody notices it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::upgrade::{Upgrade, Versions};
use crate::harness::bodies::announcement;
use crate::harness::redis::Redis;
use crate::harness::usher::Signal;
use crate::harness::{Client, Fake, Request, Setup, Usher, eventually};
use crate::restarting::load::{Connections, Load, Outcome};
use crate::restarting::proxy::{Behind, Proxy, Recipe, free_address};

/// Two of the members are in the file.
const RECIPE: Recipe = Recipe::Haproxy("deploy/haproxy/cluster.cfg");

const CALLERS: usize = 20;

/// Triggers a second.
const RATE: usize = 500;

fn setup(fake: &Fake, store: SocketAddr, number: usize) -> Setup {
    let mut setup = Setup::before(fake);
    setup.server = setup.server.replace("127.0.0.1:0", &free_address().to_string()) + "drain_delay = \"3s\"\n";
    setup.admin = setup.admin.replace("127.0.0.1:0", &free_address().to_string());
    setup.upstream = setup.upstream.replace("10s", "1s");
    (setup.timeout, setup.doubt_period) = ("1500ms", "2s");
    setup.more += &format!(
        "[cluster]\nredis_url = \"redis://{store}\"\nnode = \"usher-{number}\"\nmember_timeout = \"6s\"\nisolated = \"refuse\"\n"
    );
    setup
}

/// Waits until this process has been sent triggers.
fn await_traffic(usher: &Usher) {
    eventually("it gets traffic", || (usher.admin().metric("usher_triggers_total", &[]) > 0.0).then_some(()));
}

/// Waits until a repeated announcement is dropped.
fn await_suppression(proxy: &Proxy) {
    eventually("an announcement is suppressed", || {
        let request = Request::events(&announcement("h-room-0-lobby-chat", "Cleo"));
        let response = Client::connect(proxy.address()).call(&request);
        (response.decision() == "suppressed").then_some(())
    });
}

/// Waits until the app is open for this reason, or is not open.
fn await_open(usher: &Usher, reason: Option<&str>) {
    eventually("the members are compared", || {
        (usher.admin().json("/cluster")["apps"][0]["open"].as_str() == reason).then_some(())
    });
}

/// Restarts three members one after the other under load, each with what `change` makes of its configuration. `watch` is
/// told of each once it gets traffic again.
fn roll(redis: &Redis, change: impl Fn(&mut Setup), watch: impl Fn(usize, &Usher)) -> Outcome {
    let fake = Fake::start();
    let mut setups = [1, 2, 3].map(|number| setup(&fake, redis.address(), number));
    let mut ushers = setups.each_ref().map(|setup| Usher::start_with(&setup.toml()));
    let [first, second, third] = ushers.each_ref().map(|usher| (usher.gateway(), usher.admin().0));
    let behind = Behind { gateway: first.0, admin: first.1, standby: Some(second) };
    let more = format!("    server three {} port {}\n", third.0, third.1.port());
    let proxy = Proxy::start_with(RECIPE, behind, &more);
    await_suppression(&proxy);
    let load = Load::start(proxy.address(), Connections::Kept, CALLERS, RATE);
    for (number, (usher, setup)) in ushers.iter_mut().zip(&mut setups).enumerate() {
        await_traffic(usher);
        thread::sleep(Duration::from_secs(1));
        usher.signal(Signal::Term);
        assert_eq!(usher.wait_exit(), 0, "{}", usher.logs());
        change(setup);
        *usher = Usher::start_with(&setup.toml());
        await_traffic(usher);
        watch(number, usher);
    }
    await_suppression(&proxy);
    let outcome = load.stop(&fake);
    eprintln!(
        "sent {}, failed {}, lost {}, repeated {}, longest time without suppression {:?}",
        outcome.sent,
        outcome.failed.len(),
        outcome.lost,
        outcome.repeated,
        outcome.unsuppressed
    );
    outcome
}

#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn a_rolling_restart_of_three_members_fails_loses_and_repeats_nothing() {
    let outcome = roll(&Redis::start(), |_setup| {}, |_number, _usher| {});
    assert_eq!((&outcome.failed, outcome.lost, outcome.repeated), (&Vec::new(), 0, 0));
}

/// While the members' rules differ nobody suppresses, so announcements are repeated.
#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn a_rolling_change_of_the_rules_fails_and_loses_nothing() {
    let change = |setup: &mut Setup| {
        setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned();
        setup.doubt_period = "2500ms";
    };
    // The others decide by the rules from before until the last has changed.
    let outcome = roll(&Redis::start(), change, |number, usher| await_open(usher, (number < 2).then_some("rules")));
    assert_eq!((&outcome.failed, outcome.lost), (&Vec::new(), 0));
    assert!(outcome.repeated > 0, "somebody suppressed by other rules");
}

/// While the versions of the members' records differ nobody suppresses, and no record of the later one is replaced by a
/// member that would drop what is new in it.
#[test]
#[ignore = "busy: run by tests/run, by itself"]
fn a_rolling_change_of_the_record_fails_and_loses_nothing() {
    let redis = Redis::start();
    let (upgrade, versions) = (Upgrade::start(redis.address()), Versions::watch(redis.address()));
    let change = |setup: &mut Setup| {
        setup.more = setup.more.replace(&redis.address().to_string(), &upgrade.address().to_string());
    };
    let outcome = roll(&redis, change, |number, usher| {
        await_open(usher, (number < 2).then_some("versions"));
        if number < 2 {
            let suppressed = usher.admin().metric("usher_triggers_total", &["decision=\"suppressed\""]);
            assert_eq!(suppressed, 0.0, "beside a member that writes other records");
        }
    });
    assert_eq!((&outcome.failed, outcome.lost), (&Vec::new(), 0));
    assert!(outcome.repeated > 0, "somebody suppressed beside a member that writes other records");
    let (later, replaced) = versions.stop();
    assert!(later >= CALLERS, "{later} channels are written in the later version");
    assert_eq!(replaced, [""; 0], "a later record was replaced by an earlier one");
}
