//! `usher init`: from nothing to a configuration that observes; and what shells and `man` are told.

use serde_json::json;

use crate::harness::admin::TOKEN;
use crate::harness::bodies::Library;
use crate::harness::cli::{Cli, Finished};
use crate::harness::{Fake, Usher, sign};

const DATA: &str =
    "{\"staff_id\":7,\"staff_name\":\"Anna\",\"conversation_id\":3,\"staff_profile_image\":\"https://x/1\"}";

fn init(directory: &tempfile::TempDir, upstream: &str, more: &[&str]) -> Finished {
    let output = directory.path().join("usher.toml");
    let fixed = [
        "init",
        "--output",
        output.to_str().unwrap(),
        "--upstream",
        upstream,
        "--app-id",
        sign::APP,
        "--key",
        sign::KEY,
    ];
    let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
    Cli::new(&arguments).env("USHER_APPS__0__SECRET", sign::SECRET).run()
}

#[test]
fn a_configuration_that_observes_is_written_checked_and_served() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://{}", fake.address());
    let example = ["--event", "staff-assigned", "--channel", "h-room-101-chat", "--data", DATA];
    let written = init(&directory, &url, &example);
    for part in
        ["$ usher check", "the configuration can be used", "$ usher doctor", "Laravel", "Rails", "Django", "Node.js"]
    {
        assert!(written.out.contains(part), "{part}: {written:?}");
    }
    let file = directory.path().join("usher.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [
        "identity = [\"/staff_id\", \"/staff_name\"]",
        "context = [\"/conversation_id\"]",
        "ignore = [\"/staff_profile_image\"]",
        "channel = \"h-room-{number1}-chat\"",
        "mode = \"observe\"",
        "on_difference = \"forward\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(sign::SECRET));
    let ports = [
        ("USHER_SERVER__LISTEN", "127.0.0.1:0"),
        ("USHER_ADMIN__LISTEN", "127.0.0.1:0"),
        ("USHER_APPS__0__SECRET", sign::SECRET),
        ("USHER_ASSIGNMENTS__START_DOUBT", "0s"),
        ("USHER_LOG__FORMAT", "json"),
        ("USHER_ADMIN__TOKEN", TOKEN),
    ];
    let usher = Usher::serve(&["--config", file.to_str().unwrap()], &ports, "");
    let mut client = usher.client();
    for decision in ["forwarded nothing_known", "would_suppress same_assignment"] {
        client.trigger(&Library::Node.body("staff-assigned", &["h-room-101-chat"], DATA)).assert_status(200);
        let newest = usher.admin().triggers().remove(0);
        assert_eq!(json!([newest["decision"], newest["reason"]]), json!(decision.split(' ').collect::<Vec<_>>()));
    }
    let again = init(&directory, &url, &example);
    assert!(again.code == 1 && again.err.contains("is it there already?"), "{again:?}");
}

#[test]
fn what_no_rule_follows_from_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let refused = init(&directory, "http://127.0.0.1:9", &["--event", "e", "--channel", "c", "--data", "{\"text\":1}"]);
    assert!(refused.code == 1 && refused.err.contains("--identity"), "{refused:?}");
    let output = directory.path().join("usher.toml");
    assert!(!output.exists());
    let arguments = ["init", "--output", output.to_str().unwrap(), "--cluster", "eu", "--app-id", "1", "--key", "k"];
    let refused = Cli::new(&arguments).run();
    assert!(refused.code == 1 && refused.err.contains("--secret-file"), "{refused:?}");
}

#[test]
fn shells_and_man_know_every_command() {
    let commands = ["init", "check", "explain", "test", "record", "replay", "suggest", "doctor", "tail"];
    for shell in ["bash", "zsh", "fish"] {
        let script = Cli::new(&["completions", shell]).run();
        assert!(script.code == 0 && commands.iter().all(|command| script.out.contains(command)), "{shell}");
    }
    let page = Cli::new(&["man"]).run();
    assert!(page.code == 0 && page.out.contains(".TH usher 1"), "{page:?}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Cli::new(&["man", "--all", folder.path().to_str().unwrap()]).run().code, 0);
    for command in commands {
        assert!(folder.path().join(format!("usher-{command}.1")).exists(), "{command}");
    }
}
