//! The recipes of docs/recipes.md: the code that needs no framework runs as printed, before an usher that is started
//! without settings; only the ports differ. Django, and Next.js's page, are run by hand with the versions named there.

use std::process::Command;

use crate::harness::actor::{clients, output_of};
use crate::harness::bodies::Library;
use crate::harness::document::{assert_blocks_are_tested, block, block_for, text};
use crate::harness::{Fake, Request, Usher};

const RECIPES: &str = "docs/recipes.md";

/// Ports that the system chooses, and logs that the tests read.
const FRESH: &[&str] = &["--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"];

/// Output without the ids of the triggers.
fn without_ids(output: &str) -> Vec<&str> {
    output.lines().map(|line| line.rsplit_once(' ').map_or(line, |(said, _id)| said)).collect()
}

/// The block of output after a sentence of the document.
fn printed(after: &str) -> String {
    let text = text(RECIPES);
    let (_, rest) = text.split_once(after).unwrap();
    let (_, rest) = rest.split_once("```text\n").unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// Runs a module of Node.js where the client libraries are.
fn node(code: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", code]).current_dir(clients().join("node"));
    output_of(command.envs(variables.iter().copied()))
}

#[test]
fn the_node_recipe_prints_what_the_document_says() {
    let usher = Usher::serve(FRESH, &[], "");
    let output = node(&block_for(RECIPES, "node", &usher), &[]);
    assert_eq!(without_ids(&output), without_ids(&printed("## What the answers say")));
    // The id in the output leads to the record.
    let id = output.lines().nth(2).unwrap().rsplit_once(' ').unwrap().1;
    let record = usher.admin().call_openly("GET", &format!("/triggers/{id}")).json();
    assert_eq!((&record["decision"], &record["reason"]), (&"suppressed".into(), &"same_assignment".into()), "{record}");
}

#[test]
fn the_node_recipe_shows_a_refusal() {
    let usher = Usher::serve(FRESH, &[], "");
    let code =
        block_for(RECIPES, "node", &usher).replace("usher-secret", "wrong").replace("console.error", "console.log");
    let output = node(&code, &[]);
    let documented = printed("With a wrong secret it prints");
    let (beginning, _) = documented.split_once('…').unwrap();
    assert!(output.starts_with(beginning), "{output}");
}

#[test]
fn the_django_recipe_logs_what_the_document_says() {
    let usher = Usher::serve(FRESH, &[], "");
    let client = block_for(RECIPES, "python", &usher);
    let view = "\nimport sys\nlogging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s', force=True)\n\
                logging.getLogger('urllib3').setLevel(logging.WARNING)\n\
                for text in ['Hello', 'Hello']:\n\
                \x20   client.trigger('grand-room-101-chat', 'staff-assigned', {'staff_name': 'Anna Byrne'})\n\
                \x20   client.trigger('grand-room-101-chat', 'new-staff-message', {'message': text})\n";
    let python = clients().join("python/.venv/bin/python");
    let output = output_of(Command::new(&python).args(["-c", &(client.clone() + view)]));
    assert_eq!(without_ids(&output), without_ids(&printed("/message?text=Hello")));

    let refused = "\ntry:\n\x20   client.trigger('a', 'b', {})\nexcept pusher.errors.PusherBadAuth as error:\n\x20   print(error)\n";
    let mut command = Command::new(python);
    command.args(["-c", &(client + refused)]).env("PUSHER_SECRET", "wrong");
    assert!(output_of(&mut command).contains("auth_signature_mismatch"));
}

#[test]
fn the_route_of_the_next_js_recipe_runs_with_its_settings() {
    let usher = Usher::serve(FRESH, &[], "");
    let settings = block_for(RECIPES, "env", &usher);
    let settings: Vec<(&str, &str)> = settings.lines().map(|line| line.split_once('=').unwrap()).collect();
    let code = block_for(RECIPES, "route", &usher)
        + "\nfor (const text of ['Good evening!', 'Your table is ready.']) {\n\
           \x20 const answer = await POST(new Request('http://localhost/', { method: 'POST', body: JSON.stringify({ text }) }));\n\
           \x20 if (!(await answer.json()).sent) throw new Error('not sent');\n}\n";
    assert_eq!(without_ids(&node(&code, &settings)), without_ids(&printed("## What the answers say")));
}

/// As Laravel sends it: a class's name with backslashes, one `channel`, and the page's `socket_id` with `toOthers()`.
#[test]
fn the_rule_of_the_laravel_recipe_reads_what_laravel_sends() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| {
        setup.more = block(RECIPES, "laravel").replace("name = \"staff-assigned\"", "name = \"laravel\"");
    });
    let body = |id: u32| {
        let data = format!(r#"{{"staff":{{"id":{id},"updated_at":"2026-01-01T00:00:0{id}.000000Z"}}}}"#);
        Library::Php.body(r"App\\Events\\StaffAssigned", &["private-grand-room-101-chat"], &data)
    };
    let mut client = usher.client();
    let mut reason = |body: &str| {
        client.call(&Request::events(body)).head.header("usher-reason").unwrap_or_else(|| panic!("no reason: {body}"))
    };
    assert_eq!([reason(&body(7)), reason(&body(7)), reason(&body(8))], ["nothing_known", "same_assignment", "changed"]);
    let to_others = body(8).replacen('{', r#"{"socket_id":"1.2","#, 1);
    assert_eq!([reason(&to_others), reason(&body(8))], ["same_assignment", "same_assignment"]);
    let others_first = body(9).replacen('{', r#"{"socket_id":"1.2","#, 1);
    let again = others_first.replace("1.2", "3.4");
    let reasons = [&others_first, &others_first, &again, &body(9)].map(|body| reason(body));
    assert_eq!(reasons, ["changed", "same_assignment", "left_out", "same_assignment"]);
}

#[test]
fn every_block_that_can_be_run_is_run() {
    assert_blocks_are_tested(RECIPES, &["python", "js", "toml"]);
}
