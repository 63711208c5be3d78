//! The commands of the runbook and of the first deployment, as printed there, against a running usher. Only ports, paths
//! and the app's id differ.

use std::process::Command;

use super::{read, run, said};
use crate::harness::admin::TOKEN;
use crate::harness::{Request, Setup, Usher, sign};

/// The documents whose blocks under `<!-- runs -->` are run.
const DOCUMENTS: &[&str] = &["docs/operations.md", "docs/first-deployment.md"];

/// The programs of the blocks, as a line begins. Another command of usher's is one line more.
const PROGRAMS: &[&str] = &["curl ", "usher check ", "usher doctor ", TAIL];

/// It follows until it is ended: here for some seconds, with what came before.
const TAIL: &str = "usher tail ";

/// The blocks under the mark.
fn blocks(document: &str) -> Vec<String> {
    let text = read(document);
    let marked = text.split("<!-- runs -->\n```sh\n").skip(1);
    marked.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// The commands of a block; one that goes on ends its line with a backslash.
fn commands(block: &str) -> Vec<String> {
    block.replace("\\\n", "").lines().map(str::to_owned).collect()
}

/// The output of `command`, for this usher with this configuration file.
fn result(command: &str, usher: &Usher, config: &str) -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_usher"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let adapted = command
        .replace("127.0.0.1:9601", &usher.admin().0.to_string())
        .replace("/etc/usher/usher.toml", config)
        .replace("\"app\": \"1001\"", &format!("\"app\": \"{}\"", sign::APP));
    // What curl is answered counts, too; and the first program of a pipe.
    let adapted = adapted.replace("curl -sS", "curl -sS --fail-with-body");
    let adapted = if command.starts_with(TAIL) {
        format!("timeout 3 {adapted} --backlog 100 || [ $? -eq 124 ]")
    } else {
        adapted
    };
    let script = format!("set -euo pipefail; {adapted}");
    let output = run(Command::new("bash").args(["-c", &script]).env("PATH", path).env("TOKEN", TOKEN));
    assert!(output.status.success(), "{command}:\n{}", said(&output));
    said(&output)
}

#[test]
fn every_command_of_the_runbook_works_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    // A server behind that opens WebSockets, too.
    let behind = Usher::start_with(&Setup::before_url("local").toml());
    let toml = Setup::before_url(&format!("http://{}", behind.gateway())).toml();
    let usher = Usher::start_with(&toml);
    // Beside a running usher, at its addresses: `usher doctor` finds the ports taken by it.
    let config = folder.path().join("usher.toml");
    let listen =
        |toml: &str, address: &str| toml.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""), 1);
    let named = listen(&listen(&toml, &usher.gateway().to_string()), &usher.admin().0.to_string());
    std::fs::write(&config, named).unwrap();
    let refused = usher.client().call(&Request::new("POST", "/apps/3/events", b"{}"));
    assert_eq!(refused.status, 401);
    // Its body is not a trigger: the server behind refuses it.
    assert_eq!(usher.client().call(&Request::events("{}")).status, 400);
    let mut run = 0;
    for document in DOCUMENTS {
        for command in blocks(document).iter().flat_map(|block| commands(block)) {
            assert!(PROGRAMS.iter().any(|program| command.starts_with(program)), "{document}: {command}");
            let output = result(&command, &usher, config.to_str().unwrap());
            assert!(!output.is_empty(), "{document}: {command} says nothing");
            run += 1;
        }
    }
    assert!(run >= 15, "only {run} commands");
}
