//! What an operator sees of ushers that share their memory, and may change about it.

use serde_json::{Value, json};

use crate::documents::assert_documented;
use crate::harness::admin::{Admin, TOKEN};
use crate::harness::bodies::announcement;
use crate::harness::redis::Redis;
use crate::harness::usher::{Signal, field, message as logged};
use crate::harness::{Fake, Operator, Usher, eventually};

/// Terms under which a missing member is given up, and a history closes, within a test.
const SHORT: &str = "isolated = \"refuse\"\nmember_timeout = \"12s\"";

/// Terms under which neither happens within a test.
const LONG: &str = "isolated = \"refuse\"\nmember_timeout = \"5m\"";

fn start(fake: &Fake, store: &Redis, node: &str, more: &str) -> Usher {
    Usher::start(fake, |setup| store.share(setup, node, more))
}

/// Two members that are ready.
fn both(fake: &Fake, store: &Redis, nodes: [&str; 2]) -> [Usher; 2] {
    let ushers = nodes.map(|node| start(fake, store, node, LONG));
    ushers.iter().for_each(|usher| becomes_ready(usher.admin()));
    ushers
}

/// The only app of `/cluster`.
fn app(admin: Admin) -> Value {
    admin.json("/cluster")["apps"][0].clone()
}

fn until(admin: Admin, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(app(admin)).filter(&fits))
}

fn ready(admin: Admin) -> (u16, Option<String>) {
    let answer = admin.call_openly("GET", "/readyz");
    (answer.status, answer.header("usher-error"))
}

fn becomes_ready(admin: Admin) {
    eventually("it is ready", || (ready(admin).0 == 200).then_some(()));
}

/// The code of a refused change.
#[track_caller]
fn refusal(admin: Admin, method: &str, target: &str) -> (u16, String) {
    let answer = admin.call(method, target);
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_cluster_is_shown_and_a_history_closed_by_word() {
    let fake = Fake::start();
    let store = Redis::start();
    let [one, two] = both(&fake, &store, ["one", "two"]);
    let shown = until(one.admin(), "both are in", |app| app["members"].as_array().unwrap().len() == 2);
    assert_documented("/cluster", &[one.admin().json("/cluster")]);
    let cluster = two.admin().json("/cluster");
    assert_eq!((&cluster["node"], &cluster["isolated"]), (&json!("two"), &json!("refuse")));
    assert_eq!((&shown["standing"], &shown["open"]), (&json!("member"), &json!("history")));
    assert!(shown["open_until"].is_string() && shown["store"]["problem"].is_null(), "{shown}");
    let own: Vec<_> =
        shown["members"].as_array().unwrap().iter().map(|member| (&member["node"], &member["this"])).collect();
    assert_eq!(own, [(&json!("one"), &json!(true)), (&json!("two"), &json!(false))]);
    assert_eq!(one.admin().json("/overview")["cluster"], true);

    let change = "/cluster/close?app=3";
    assert_eq!(one.admin().call_openly("POST", change).status, 401);
    assert_eq!(refusal(one.admin(), "POST", "/cluster/close"), (400, "bad_query".into()));
    assert_eq!(refusal(one.admin(), "POST", "/cluster/close?app=9"), (404, "no_app".into()));
    let closed = one.admin().call("POST", change);
    assert_eq!(closed.status, 200);
    assert_documented("/cluster/close", &[closed.json()]);
    assert_eq!((&closed.json()["open"], &closed.json()["members"]), (&Value::Null, &json!(2)));
    // Both suppress once the doubt is over, also what the other one has announced.
    let (mut first, mut second) = (one.client(), two.client());
    eventually("the doubt ends", || {
        first.announce("h-room-1-chat", "Anna");
        (second.announce("h-room-1-chat", "Anna").header("usher-decision").as_deref() == Some("suppressed"))
            .then_some(())
    });
    let told = two.wait_log(|event| logged(event).starts_with("the shared memory is no longer open"));
    assert_eq!((field(&told, "app"), field(&told, "node")), (&json!("3"), &json!("two")));
}

#[test]
fn a_missing_member_is_told_and_given_up_by_word() {
    let fake = Fake::start();
    let store = Redis::start();
    let [one, lost] = both(&fake, &store, ["one", "two-2"]);
    assert_eq!(one.admin().call("POST", "/cluster/close?app=3").status, 200);
    let target = "/cluster/members/two%2D2?app=3";
    assert_eq!(refusal(one.admin(), "DELETE", target), (409, "lease_lasts".into()));
    assert_eq!(refusal(one.admin(), "DELETE", "/cluster/members/one?app=3"), (409, "lease_lasts".into()));
    assert_eq!(refusal(one.admin(), "DELETE", "/cluster/members/nobody?app=3"), (404, "no_member".into()));
    lost.signal(Signal::Kill);
    let open = until(one.admin(), "it is missing", |app| app["open"] == "missing");
    assert_eq!((&open["members"][1]["state"], &open["open_until"]), (&json!("missing"), &Value::Null));
    let told = one
        .wait_log(|event| logged(event).starts_with("the shared memory is open") && field(event, "open") == "missing");
    assert_eq!((&told["level"], field(&told, "missing")), (&json!("WARN"), &json!(1)));
    eventually("it is counted", || {
        let metric = |name: &str, label: &str| one.admin().metric(name, &[label]);
        (metric("usher_cluster_members", "state=\"missing\"") == 1.0
            && metric("usher_cluster_open", "reason=\"missing\"") == 1.0)
            .then_some(())
    });
    let given_up = one.admin().call("DELETE", target);
    assert_eq!((given_up.status, &given_up.json()["missing"]), (200, &json!(0)));
    let closed = until(one.admin(), "it is given up", |app| app["open"].is_null());
    assert_eq!((&closed["epoch_cause"], closed["members"].as_array().unwrap().len()), (&json!("given_up"), 1));
    eventually("its epoch is counted", || {
        (one.admin().metric("usher_cluster_epochs_total", &["cause=\"given_up\""]) == 1.0).then_some(())
    });
}

#[test]
fn what_becomes_of_a_usher_without_the_store_is_told_line_by_line() {
    let fake = Fake::start();
    let store = Redis::start();
    let usher = start(&fake, &store, "one", SHORT);
    becomes_ready(usher.admin());
    let told = usher.wait_log(|event| logged(event).starts_with("this usher shares the memory of the app from now on"));
    assert_eq!((&told["level"], field(&told, "open")), (&json!("INFO"), &json!("history")));
    assert_eq!(field(&told, "members"), 1);
    store.signal("-STOP");
    for (standing, begins, level) in [
        ("silent", "this usher is no member of the shared memory now", "WARN"),
        ("blind", "this usher forwards all announcements of the app without asking", "WARN"),
        ("isolated", "this usher was away from the shared memory of the app for so long", "ERROR"),
    ] {
        let told = usher.wait_log(|event| logged(event).starts_with(begins));
        assert_eq!(told["level"], level);
        assert_eq!(field(&told, "cause"), "the store gives no answer", "{told}");
        // The last one stays.
        if standing == "isolated" {
            assert_eq!(field(&told, "isolated"), "refuse");
            assert!(
                logged(&told).ends_with("it refuses the triggers of the app with 503 (cluster.isolated)"),
                "{told}"
            );
            let shown = until(usher.admin(), "it is isolated", |app| app["standing"] == standing);
            assert!(
                shown["store"]["problem"].is_string() && shown["open"].is_null() && shown["epoch"].is_null(),
                "{shown}"
            );
            assert_eq!(usher.admin().metric("usher_cluster_standing", &["standing=\"isolated\""]), 1.0);
        }
    }
    assert_eq!(ready(usher.admin()), (503, Some("isolated".into())));
    assert_eq!(refusal(usher.admin(), "POST", "/cluster/close?app=3"), (503, "no_membership".into()));
    store.signal("-CONT");
    becomes_ready(usher.admin());
    let told =
        usher.wait_log(|event| logged(event).starts_with("this usher has entered the shared memory of the app again"));
    assert!(field(&told, "away_seconds").as_f64().is_some_and(|seconds| seconds > 2.0), "{told}");
    let lost = usher.events().iter().filter(|event| logged(event).starts_with("this usher is no member")).count();
    assert_eq!(lost, 1, "one line for a change");
}

#[test]
fn which_server_has_the_memory_is_told_and_one_that_may_forget_it_is_warned_of() {
    const FORGETS: &str = "the server of the shared memory may forget it: ";
    let fake = Fake::start();
    let policy = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    for (store, policy) in [(Redis::start(), "noeviction"), (Redis::start_with(&policy), "allkeys-lru")] {
        let usher = start(&fake, &store, "one", LONG);
        let told = usher.wait_log(|event| logged(event) == "the shared memory is at this server");
        assert_eq!(told["level"], "INFO");
        for (name, expected) in [
            ("server", json!(store.address().to_string())),
            ("maxmemory_policy", json!(policy)),
            ("replicas", json!(0)),
            ("expected_replicas", json!(0)),
        ] {
            assert_eq!(field(&told, name), &expected, "{told}");
        }
        assert!(field(&told, "version").as_str().is_some_and(|version| version.starts_with("Redis 7")), "{told}");
        if policy == "noeviction" {
            becomes_ready(usher.admin());
            assert!(!usher.events().iter().any(|event| logged(event).starts_with(FORGETS)), "{}", usher.logs());
        } else {
            let warned = usher.wait_log(|event| logged(event).starts_with(FORGETS));
            assert_eq!(warned["level"], "WARN");
            for part in
                ["maxmemory-policy is allkeys-lru: a full server removes", "CONFIG SET maxmemory-policy noeviction"]
            {
                assert!(logged(&warned).contains(part), "{warned}");
            }
        }
    }
}

#[test]
fn a_usher_that_has_not_entered_or_was_replaced_is_not_ready() {
    let fake = Fake::start();
    let store = Redis::start();
    store.signal("-STOP");
    let usher = start(&fake, &store, "one", SHORT);
    assert_eq!(ready(usher.admin()), (503, Some("not_entered".into())));
    assert_eq!(app(usher.admin())["standing"], "outside");
    let waits =
        usher.wait_log(|event| logged(event).starts_with("this usher cannot enter the shared memory of the app yet"));
    assert!(field(&waits, "problem").is_string(), "{waits}");
    store.signal("-CONT");
    becomes_ready(usher.admin());
    let other = start(&fake, &store, "one", SHORT);
    becomes_ready(other.admin());
    usher.wait_log(|event| logged(event).starts_with("another process has entered under this node's name"));
    assert_eq!(ready(usher.admin()), (503, Some("replaced".into())));
    assert_eq!(app(usher.admin())["standing"], "replaced");
    assert_eq!(app(usher.admin())["members"][0]["this"], false);
}

#[test]
fn the_page_shows_the_cluster_and_no_name_in_it_is_markup() {
    const MARKUP: &str = "<img src=x onerror=alert(1)>";
    let fake = Fake::start();
    let store = Redis::start();
    let usher = start(&fake, &store, "one", LONG);
    becomes_ready(usher.admin());
    for (width, scheme) in [(360, "light"), (1200, "dark")] {
        let operator = Operator::open_on(usher.admin(), width, scheme);
        operator.sees("#cluster", "one (this usher)");
        operator.sees("#cluster", "the store has begun anew");
        operator.sees("#cluster .badge", "member");
        operator.is_accessible(&format!("a cluster, {width} {scheme}"));
        let member = json!({ "node": MARKUP, "generation": "g", "state": "missing", "lease_left": 0.0, "missing_for": 150.5,
            "rules": MARKUP, "version": 1, "this": false });
        let hostile = json!({ "app": MARKUP, "standing": "isolated", "since": "2026-03-01T19:00:01.000Z", "open": "missing",
            "open_until": null, "epoch": "1", "epoch_cause": "rules", "doubt_left": 0.0, "members": [member],
            "round_trip_ms": 0.4, "store": { "server": MARKUP, "version": MARKUP, "problem": MARKUP } });
        operator.ask("amend", json!(["/cluster", { "node": MARKUP, "isolated": "forward", "apps": [hostile] }]));
        operator.sees("#cluster td", "missing for 2 min");
        operator.sees("#cluster-node", MARKUP);
        operator.sees("#cluster th", MARKUP);
        operator.sees("#cluster .notice", MARKUP);
        operator.sees("#cluster", "a handoff could be lost");
        assert_eq!(operator.reads("#cluster button").len(), 0, "usher is no member and would refuse it");
        let mut open = hostile.clone();
        open["standing"] = json!("member");
        operator.ask("amend", json!(["/cluster", { "node": MARKUP, "isolated": "forward", "apps": [open] }]));
        operator.sees("#cluster button", &format!("Give up {MARKUP}"));
        assert_eq!(operator.reads("#cluster img").len(), 0);
        operator.is_accessible(&format!("a hostile cluster, {width} {scheme}"));
        assert_eq!(
            operator.ask("overflowing", json!(["#cluster, #cluster p, #cluster h3, #cluster button"])),
            json!([])
        );
        assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
    }
    let alone = Usher::start(&fake, |_| {});
    let operator = Operator::open(alone.admin());
    operator.sees("#state", "Live");
    operator.misses("#cluster-title", "Cluster");
}

#[test]
fn on_the_page_a_history_is_closed_and_a_member_given_up() {
    const CLOSE: &str = "Close the new history of app 3";
    const GIVE_UP: &str = "Give up two-2 of app 3";
    let fake = Fake::start();
    let store = Redis::start();
    let [one, lost] = both(&fake, &store, ["one", "two-2"]);
    let operator = Operator::open(one.admin());
    operator.sees("#cluster", "two-2");
    assert_eq!(operator.reads("#cluster button"), ["Close the new history"]);
    operator.tabs_to(CLOSE);
    operator.presses("Enter");
    operator.sees("#ask-text", "your word that no such usher lives. If one does, a handoff can be lost.");
    operator.is_accessible("the question about a history");
    operator.presses("Escape");
    assert_eq!(operator.ask("focused", json!([]))["name"], CLOSE, "the keyboard is where it was");
    assert_eq!(app(one.admin())["open"], "history", "nothing was said yet");
    operator.presses("Enter");
    operator.fills("Admin token", TOKEN);
    operator.clicks("Close the history");
    operator.sees("#said", "The new history of app 3 is closed.");
    operator.misses("#cluster button", "");
    assert_eq!(operator.ask("focused", json!([]))["name"], "Members of app 3");
    assert_eq!(app(one.admin())["open"], Value::Null);

    lost.signal(Signal::Kill);
    operator.sees("#cluster button", "Give up two-2");
    operator.clicks(GIVE_UP);
    operator.sees("#ask-text", "your word that its process has ended. If it still runs, a handoff can be lost.");
    operator.clicks("Cancel");
    assert_eq!(app(one.admin())["members"][1]["state"], "missing", "nothing was said yet");
    operator.clicks(GIVE_UP);
    operator.clicks("Give it up");
    operator.sees("#said", "two-2 is given up.");
    operator.misses("#cluster", "two-2");
    let given_up = app(one.admin());
    assert_eq!((&given_up["open"], &given_up["epoch_cause"]), (&Value::Null, &json!("given_up")));
    assert_eq!(operator.complaints(&["/token"]), [] as [Value; 0]);
}

#[test]
fn a_switched_mode_holds_for_all_members_until_one_of_them_is_reloaded() {
    let fake = Fake::start();
    let store = Redis::start();
    let start = |node: &str| start(&fake, &store, node, LONG);
    let [one, two] = both(&fake, &store, ["one", "two"]);
    assert_eq!(one.admin().call("POST", "/cluster/close?app=3").status, 200);
    let (mut first, mut second) = (one.client(), two.client());
    let mut suppressed = |what: &str| {
        eventually(what, || {
            first.announce("h-room-1-chat", "Anna");
            (second.announce("h-room-1-chat", "Anna").header("usher-decision").as_deref() == Some("suppressed"))
                .then_some(())
        });
    };
    suppressed("the doubt ends");

    switches(one.admin(), "observe");
    has_mode(one.admin(), "observe");
    eventually("the other one follows", || (mode(two.admin()) == "observe").then_some(()));
    let told = two.wait_log(|event| logged(event).starts_with("a rule is switched for all members"));
    assert_eq!((field(&told, "app"), field(&told, "mode")), (&json!("3"), &json!("observe")));
    let answer = two.client().announce("h-room-1-chat", "Anna");
    assert_eq!(answer.header("usher-decision").as_deref(), Some("forwarded"));

    // One that comes later has it, too, and none loses it with the store's data.
    let late = start("late");
    becomes_ready(late.admin());
    eventually("one that enters follows", || (mode(late.admin()) == "observe").then_some(()));
    store.command(&["FLUSHALL"]);
    let latest = start("latest");
    becomes_ready(latest.admin());
    eventually("the members know it", || (mode(latest.admin()) == "observe").then_some(()));
    switches(two.admin(), "off");
    for usher in [&one, &two, &late, &latest] {
        eventually("all follow another switch", || (mode(usher.admin()) == "off").then_some(()));
    }

    one.signal(Signal::Hup);
    for usher in [&one, &two, &late, &latest] {
        eventually("a reload ends it for all", || (mode(usher.admin()) == "enforce").then_some(()));
    }
    two.wait_log(|event| logged(event).starts_with("a rule is in its configured mode again"));
    assert_eq!(one.admin().call("POST", "/cluster/close?app=3").status, 200);
    suppressed("they suppress again");
}

#[test]
fn what_else_differs_is_seen_by_all_members() {
    for on_difference in ["count", "forward"] {
        let fake = Fake::start();
        let store = Redis::start();
        let start = |node: &str| {
            Usher::start(&fake, |setup| {
                store.share(setup, node, LONG);
                setup.rule = format!("on_difference = \"{on_difference}\"\n");
            })
        };
        let (one, two) = (start("one"), start("two"));
        becomes_ready(one.admin());
        becomes_ready(two.admin());
        assert_eq!(one.admin().call("POST", "/cluster/close?app=3").status, 200);
        let announcement = announcement("h-room-1-chat", "Anna");
        let (mut first, mut second) = (one.client(), two.client());
        eventually("the doubt ends", || {
            first.trigger(&announcement);
            (second.trigger(&announcement).header("usher-decision").as_deref() == Some("suppressed")).then_some(())
        });
        let other = announcement.replace("Receptionist", "Manager");
        let reason = second.trigger(&other).header("usher-reason");
        let differing = two.admin().report()["rules"][0]["differences"]["differing"].clone();
        let expected = if on_difference == "count" { "same_assignment" } else { "changed_elsewhere" };
        assert_eq!((reason.as_deref(), differing), (Some(expected), json!(1)));
    }
}

#[test]
fn a_mode_is_not_switched_without_the_store() {
    let fake = Fake::start();
    let mut store = Redis::start();
    let usher = start(&fake, &store, "one", LONG);
    becomes_ready(usher.admin());
    store.kill();
    eventually("it is no member any more", || {
        let answer = usher.admin().switch("staff-assigned", "off");
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, 503, "{code}");
        (code == "no_membership").then_some(())
    });
    has_mode(usher.admin(), "enforce");
}

/// On a busy machine a member may be without a lease for a moment.
fn switches(admin: Admin, to: &str) {
    eventually("the mode is switched", || (admin.switch("staff-assigned", to).status == 200).then_some(()));
}

/// The mode of the only rule.
fn mode(admin: Admin) -> String {
    admin.json("/overview")["rules"][0]["mode"].as_str().unwrap().to_owned()
}

#[track_caller]
fn has_mode(admin: Admin, expected: &str) {
    assert_eq!(mode(admin), expected);
}
