//! The commands that run once and report by their exit code: `check`, `healthcheck`, `trigger`, `demo`.

use std::net::TcpListener;

use serde_json::json;

use crate::harness::cli::{Cli, Finished};
use crate::harness::tls::{Identity, terminate};
use crate::harness::usher::Signal;
use crate::harness::{Fake, Step, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";

/// A temporary directory with one file, and the file's path.
fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

/// `usher trigger` as the app of the tests, at `url`.
fn trigger(url: &str) -> Cli {
    Cli::new(&["trigger", "--app", sign::APP, "--key", sign::KEY, "--url", url]).env("USHER_SECRET", sign::SECRET)
}

fn at(usher: &Usher) -> String {
    format!("http://{}", usher.gateway())
}

#[test]
fn check_tells_all_that_is_wrong_and_exits_with_78() {
    let (_directory, path) = file(
        "usher.toml",
        "[server]\nlisten = \"here\"\nwrkers = 2\n\n[upstream]\nurl = \"http://127.0.0.1:6002/x\"\n",
    );
    let broken = Cli::new(&["check", "--config", &path]).run();
    assert_eq!((broken.code, broken.out.as_str()), (78, ""), "{broken:?}");
    for told in
        ["server.listen", "server.wrkers", "workers", "upstream.url", "usher.toml:2", "usher.toml:3", "usher.toml:6"]
    {
        assert!(broken.err.contains(told), "{told}: {}", broken.err);
    }
    assert_eq!(Cli::new(&["serve", "--config", &path]).run().code, 78);
    assert_eq!(Cli::new(&["check", "--config", "/nowhere/usher.toml"]).run().code, 78);
}

#[test]
fn check_accepts_what_can_be_used() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    let rule = "[[rules]]\nname = \"r\"\nevent = \"e\"\nchannel = \"c-{x}\"\nidentity = \"/i\"\n";
    // Few enough for the descriptors of every machine.
    let few = "limits.max_connections = 10\nupstream.max_idle = 1\nserver.workers = 2\n";
    let (_directory, path) = file("usher.toml", &format!("upstream.url = \"http://127.0.0.1:6002\"\n{few}{app}{rule}"));
    let good = Cli::new(&["check", "--config", &path]).run();
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{good:?}");
    assert!(good.out.contains("1 app(s), 1 rule(s)") && !good.out.contains("warning"), "{good:?}");
    assert!(good.out.starts_with("recommended: ") && good.out.contains("observe"), "{good:?}");
    // Intended for another command: not a fault, but a warning.
    let warned = Cli::new(&["check", "--config", &path]).env("USHER_SECRET", "s3cret").run();
    assert!(
        warned.code == 0 && warned.out.contains("warning: `USHER_SECRET`") && !warned.out.contains("s3cret"),
        "{warned:?}"
    );
}

#[test]
fn check_tells_how_much_is_served_and_watched() {
    let app = |id: u8| format!("[[apps]]\nid = \"{id}\"\nkey = \"k{id}\"\nsecret = \"s\"\n");
    let few = "limits.max_connections = 10\n".to_owned();
    let (_directory, path) = file("usher.toml", &(few + &app(1) + &app(2)));
    let checked = Cli::new(&["check", "--config", &path]).run();
    let lines: Vec<_> = checked.out.lines().collect();
    let [warning, result] = lines[..] else { panic!("{checked:?}") };
    assert!(warning.starts_with("warning: nothing is watched: no rule") && warning.contains(&path), "{warning}");
    assert!(checked.code == 0 && result.contains("2 app(s), 0 rule(s)"), "{checked:?}");
    let built_in = Cli::new(&["check", "--set", "limits.max_connections=10"]).run();
    assert_eq!((built_in.code, built_in.out.lines().count()), (0, 1), "{built_in:?}");
    assert!(built_in.out.contains("1 app(s), 1 rule(s)"), "{built_in:?}");
}

#[test]
fn a_file_that_names_no_app_is_refused() {
    for text in ["", "# to be written\n", "[upstream]\nurl = \"http://127.0.0.1:6002\"\n"] {
        let (_directory, path) = file("usher.toml", text);
        for command in ["check", "serve"] {
            for refused in [Cli::new(&[command, "--config", &path]), Cli::new(&[command]).env("USHER_CONFIG", &path)] {
                let refused = refused.run();
                assert_eq!((refused.code, refused.out.as_str()), (78, ""), "{command} {text:?}: {refused:?}");
                assert!(refused.err.starts_with(&path) && refused.err.contains("There is no app"), "{refused:?}");
            }
        }
        let piped = Cli::new(&["check", "--config", "/dev/stdin"]).input(text).run();
        assert_eq!(piped.code, 78, "{piped:?}");
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [
        &["trigger"][..],
        &["trigger", "c"],
        &["subscribe"],
        &["fly"],
        &["subscribe", "c", "--timeout", "5"],
        &["subscribe", "c", "--count", "0"],
    ] {
        let refused = Cli::new(arguments).run();
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn healthcheck_follows_readiness() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |_| {});
    let check = |more: &str| {
        let listen = format!("admin.listen={}", usher.admin().0);
        Cli::new(&["healthcheck", "--upstream", "http://127.0.0.1:1", "--set", &listen]).arg(more).run()
    };
    let ready = check("--timeout=20s");
    assert_eq!((ready.code, ready.out.as_str(), ready.err.as_str()), (0, "ready", ""));

    let gate = crate::harness::Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut client = usher.client();
    client.send(&crate::harness::Request::events(&crate::harness::bodies::announcement(CHANNEL, "Anna")).bytes());
    fake.next_request();
    usher.signal(Signal::Term);
    usher.wait_log(|event| crate::harness::usher::message(event).starts_with("draining"));
    let draining = check("--timeout=20s");
    assert_eq!(draining.code, 1, "{draining:?}");
    assert!(draining.err.contains("not ready: 503"), "{draining:?}");
    gate.open();
    assert_eq!(client.response().status, 200);
    drop(client);
    assert_eq!(usher.wait_exit(), 0);
    let gone = Cli::new(&[
        "healthcheck",
        "--upstream",
        "http://127.0.0.1:1",
        "--set",
        &format!("admin.listen={}", usher.admin().0),
    ])
    .run();
    assert!(gone.code == 1 && gone.err.contains("cannot connect to usher's admin listener at"), "{gone:?}");
    assert!(gone.err.contains("admin.listen") && !gone.err.contains("upstream"), "{gone:?}");
    let other = format!("admin.listen={}", Usher::start(&fake, |_| {}).gateway());
    let other_program = Fake::start();
    for listen in [other, format!("admin.listen={}", other_program.address())] {
        let told = Cli::new(&["healthcheck", "--set", &listen]).run();
        assert!(told.code == 1 && !told.err.contains("upstream"), "{told:?}");
    }
}

#[test]
fn trigger_names_the_server_that_it_asked_and_the_scheme_to_try() {
    let fake = Fake::start();
    let identity = Identity::new();
    let secure = terminate(fake.address(), &identity).port();
    let told = |url: &str| {
        let told = trigger(url).arg("c").arg("e").arg("--timeout=20s").run();
        assert!(told.code == 1 && !told.err.contains("upstream"), "{told:?}");
        told.err
    };
    let plain = told(&format!("http://localhost:{secure}"));
    assert!(plain.contains(&format!("try https://localhost:{secure}")), "{plain}");
    let usher = Usher::start(&fake, |_| {});
    let port = usher.gateway().port();
    let tls = told(&format!("https://localhost:{port}"));
    assert!(tls.contains(&format!("try http://localhost:{port}")), "{tls}");
    let untrusted = told(&format!("https://localhost:{secure}"));
    assert!(untrusted.contains("not trusted") && untrusted.contains("--ca-file"), "{untrusted}");
    drop(usher);
    let nobody = told(&format!("http://localhost:{port}"));
    assert!(nobody.contains("cannot connect to the server localhost") && nobody.contains("--url"), "{nobody}");
}

#[test]
fn healthcheck_gives_up_on_a_silent_listener_and_a_broken_configuration() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("admin.listen={}", silent.local_addr().unwrap());
    let late =
        Cli::new(&["healthcheck", "--upstream", "http://127.0.0.1:1", "--timeout", "50ms", "--set", &listen]).run();
    assert_eq!((late.code, late.out.as_str()), (1, ""), "{late:?}");
    let broken = Cli::new(&["healthcheck", "--set", "admin.listn=x"]).run();
    assert!(broken.code == 1 && broken.err.contains("admin.listn"), "{broken:?}");
    let port =
        Cli::new(&["healthcheck", "--upstream", "http://127.0.0.1:1", "--set", "admin.listen=127.0.0.1:0"]).run();
    assert!(port.code == 1 && port.err.contains("port 0"), "{port:?}");
}

#[test]
fn trigger_signs_sends_and_tells_the_decision() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let data = r#"{"staff_name": "Zoë"}"#;
    let announce = || trigger(&at(&usher)).arg(CHANNEL).arg("staff-assigned");
    let first = announce().arg(data).run();
    assert_eq!((first.code, first.out.as_str(), first.err.as_str()), (0, "200 OK  usher-decision: forwarded\n{}", ""));
    let got = fake.next_request();
    assert!(got.is_signed(), "{}", got.target());
    assert_eq!(got.json(), json!({ "name": "staff-assigned", "channels": [CHANNEL], "data": data }));
    assert_eq!(got.header("content-type").as_deref(), Some("application/json"));

    let again = announce().arg("-").arg("--json").input(&format!("{data}\n")).run();
    assert_eq!(again.json(), [json!({ "status": 200, "decision": "suppressed", "code": null, "body": {} })]);
    assert_eq!((again.code, fake.count()), (0, 1));

    let more = announce()
        .arg(data)
        .arg("--also")
        .arg("h-conversation-1-chat")
        .arg("--socket-id")
        .arg("1.2")
        .arg("--info")
        .arg("user_count")
        .run();
    assert!(more.code == 0 && more.out.contains("forwarded"), "{more:?}");
    let got = fake.next_request().json();
    assert_eq!(
        (&got["channels"], &got["socket_id"], &got["info"]),
        (&json!([CHANNEL, "h-conversation-1-chat"]), &json!("1.2"), &json!("user_count"))
    );
}

#[test]
fn trigger_sends_batches() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let events = json!([
        { "channel": CHANNEL, "name": "staff-assigned", "data": { "staff_name": "Anna" } },
        { "channel": CHANNEL, "name": "staff-assigned", "data": "{\"staff_name\":\"Anna\"}" },
    ]);
    let (_directory, path) = file("events.json", &events.to_string());
    let sent = trigger(&at(&usher)).arg("--batch").arg(&path).run();
    assert_eq!((sent.code, sent.out.as_str()), (0, "200 OK  usher-decision: reduced\n{}"), "{sent:?}");
    let got = fake.next_request();
    assert!(got.is_signed() && got.target().starts_with("/apps/3/batch_events?"), "{}", got.target());
    assert_eq!(got.json()["batch"].as_array().unwrap().len(), 1);
    assert_eq!(got.json()["batch"][0]["data"], "{\"staff_name\":\"Anna\"}");
    let piped = trigger(&at(&usher)).arg("--batch").arg("-").input(&events.to_string()).run();
    assert!(piped.out.contains("suppressed"), "{piped:?}");
}

#[test]
fn trigger_tells_why_it_was_refused() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let unknown = Cli::new(&["trigger", "--url", &at(&usher), "c", "e"]).run();
    assert_eq!((unknown.code, unknown.out.as_str()), (1, "404 Not Found"), "{unknown:?}");
    assert!(unknown.err.contains("no app \"1001\" is configured"), "{unknown:?}");

    let (_directory, path) = file("secret", "not the secret\n");
    let wrong = Cli::new(&[
        "trigger",
        "--url",
        &at(&usher),
        "--app",
        "3",
        "--key",
        sign::KEY,
        "--secret-file",
        &path,
        "--json",
        "c",
        "e",
    ])
    .run();
    let told = &wrong.json()[0];
    assert_eq!((wrong.code, &told["status"], &told["decision"]), (1, &json!(401), &json!(null)), "{wrong:?}");
    assert_eq!(told["code"], told["body"]["code"]);
    assert!(!wrong.err.contains("not the secret") && !wrong.out.contains("not the secret"));

    // Pusher's own errors are plain text.
    fake.script([Step::answer("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\n\r\nno \x1b[2J.\n")]);
    let plain = trigger(&at(&usher)).arg("c").arg("e").run();
    assert_eq!((plain.code, plain.out.as_str()), (1, "413 Payload Too Large  usher-decision: forwarded"), "{plain:?}");
    assert!(plain.err.ends_with("not accepted: no \\u{1b}[2J."), "{plain:?}");

    // soketi's come with the status 200.
    fake.script([Step::answer(
        "HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"error\":\"Too many calls\",\"code\":429}",
    )]);
    let disguised = trigger(&at(&usher)).arg("c").arg("e").run();
    assert_eq!((disguised.code, disguised.out.as_str()), (1, "200 OK  usher-decision: forwarded"), "{disguised:?}");
    assert!(disguised.err.ends_with("not accepted: Too many calls"), "{disguised:?}");

    let missing = Cli::new(&["trigger", "--key", "other", "c", "e"]).run();
    assert!(missing.code == 1 && missing.err.contains("USHER_SECRET"), "{missing:?}");
}

#[test]
fn trigger_tells_when_nothing_came_back() {
    let told = |url: &str| -> Finished { trigger(url).arg("c").arg("e").arg("--json").arg("--timeout=100ms").run() };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let fake = Fake::start();
    let refusing = format!("http://{}", fake.address());
    fake.refuse();
    for url in [silent.as_str(), &refusing, "ftp://127.0.0.1", "http://127.0.0.1:1/path"] {
        let failed = told(url);
        assert_eq!(failed.code, 1, "{url}: {failed:?}");
        assert!(failed.json()[0]["error"].as_str().is_some_and(|error| !error.is_empty()), "{url}: {failed:?}");
        assert!(!failed.err.is_empty());
    }
}

#[test]
fn trigger_speaks_tls_and_believes_only_those_it_should() {
    let fake = Fake::start();
    let identity = Identity::new();
    let url = format!("https://localhost:{}", terminate(fake.address(), &identity).port());
    let (_directory, path) = file("ca.pem", &identity.certificate);
    let trusting = trigger(&url).arg("--ca-file").arg(&path).arg("c").arg("e").arg("--timeout=20s").run();
    assert_eq!((trusting.code, trusting.out.as_str()), (0, "200 OK\n{}"), "{trusting:?}");
    assert!(fake.next_request().is_signed());
    let doubting = trigger(&url).arg("c").arg("e").arg("--timeout=20s").run();
    assert!(doubting.code == 1 && doubting.err.contains("TLS"), "{doubting:?}");
    assert_eq!(fake.count(), 1);
}

#[test]
fn demo_shows_every_message_to_both_guests_and_each_handoff_once_to_one() {
    let shown = Cli::new(&["demo", "--fast"]).run();
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{shown:?}");
    assert!(!shown.out.contains('\u{1b}'), "no colours where nobody looks");
    // Recomputed here from the output.
    let columns = |line: &str| {
        let characters: Vec<char> = line.chars().collect();
        [2..40, 42..80].map(|range| {
            characters
                .get(range.start..range.end.min(characters.len()))
                .map_or(String::new(), |text| text.iter().collect())
        })
    };
    let pages: Vec<[String; 2]> = shown.out.lines().skip(5).take_while(|line| !line.is_empty()).map(columns).collect();
    let joined = |side: usize| {
        pages
            .iter()
            .filter_map(|page| page[side].trim().strip_suffix(" joined the chat"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let read = |side: usize| {
        pages.iter().map(|page| page[side].trim().to_owned()).filter(|cell| cell.contains(": ")).collect::<Vec<_>>()
    };
    assert_eq!(joined(0).len(), 41);
    assert_eq!(joined(1), ["* Anna", "* Boris", "* Anna"]);
    assert_eq!((read(0).len(), read(0)), (49, read(1)));
    let summary = "backend sent 41 announcements, the guest saw 3; 38 × (1 + audience) messages saved";
    assert_eq!(shown.out.lines().last(), Some(summary));
}
