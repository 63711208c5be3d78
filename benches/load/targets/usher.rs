//! usher in front of the stub, complete: the operator's listener on, the reference's rule, one worker. One that shares
//! its memory is as one by itself, with a section `[cluster]` more.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{BOUND, Bystanders, Memory, Part, Recipe, Site, free_port, version_of};
use crate::errand::Errand;
use crate::launch;
use crate::supply::APP;

/// Channels that it can remember: some more than any run needs, since the cap is divided among the shards.
const MAX_CHANNELS: usize = 1_200_000;

/// Lets the harness close the history of a shared memory.
const TOKEN: &str = "the-load-harness";

/// For upstream's answer, in seconds; a doubt is longer.
const TIMEOUT: u64 = 2;
const DOUBT: u64 = 3;

/// One usher of those that share a memory.
pub(super) struct Member {
    store: SocketAddr,
    /// What the keys begin with.
    prefix: String,
    /// Its name among the others.
    node: String,
}

impl Member {
    /// The member of this number; `None` without a shared memory.
    pub(super) fn of(memory: Memory, member: usize, site: &Site) -> Option<Self> {
        if memory == Memory::Own {
            return None;
        }
        // As long as the default, "usher": it is in every key.
        let prefix = format!("load{:x}", site.number);
        site.store.map(|store| Self { store, prefix, node: format!("load-{member}") })
    }

    fn section(&self) -> String {
        let Self { store, prefix, node } = self;
        format!("[cluster]\nredis_url = \"redis://{store}\"\nprefix = {prefix:?}\nnode = {node:?}\n")
    }
}

/// Closes the new history of members with these operator's listeners, once all have entered, and waits until the doubt
/// that follows is over.
pub(super) fn settle(admins: &[SocketAddr]) -> Result<()> {
    let mut errands = admins.iter().map(|admin| Errand::connect(*admin, None)).collect::<Result<Vec<_>>>()?;
    wait(&mut errands, "they have not entered", |app| app["standing"] == "member")?;
    let first = errands.first_mut().context("nobody shares this memory")?;
    first.ask(&operator("POST", &format!("/cluster/close?app={}", APP[0])))?;
    wait(&mut errands, "the doubt does not end", |app| {
        app["open"].is_null() && app["doubt_left"].as_f64().is_some_and(|left| left <= 0.0)
    })
}

/// Waits until `/cluster` of all of them is as `fits` says; `missing`: what is wrong if that takes too long.
fn wait(errands: &mut [Errand], missing: &str, fits: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let until = Instant::now() + BOUND;
    for errand in errands {
        loop {
            let shown: serde_json::Value = serde_json::from_str(&errand.ask(&operator("GET", "/cluster"))?)?;
            if fits(&shown["apps"][0]) {
                break;
            }
            ensure!(Instant::now() < until, "{missing} within {BOUND:?}: {shown}");
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// A request to the operator's listener.
fn operator(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

/// The release binary in the target directory of this bench, built if it has to be.
///
/// Asked of cargo each time, for `cargo bench` puts another one in its place: built together with the benches, whose
/// tokio has its test clock in it.
pub(crate) fn built_beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the harness does not find itself")?;
    // target/release/deps/load-0123456789abcdef
    let target =
        own.ancestors().nth(3).context("the harness lies in no target directory; name a binary with --usher PATH")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    eprintln!("cargo build --release");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--release", "--quiet", "--bin", "usher", "--target-dir"])
        .arg(target)
        .arg("--manifest-path")
        .arg(manifest);
    let built = build.status().context("cargo cannot be started; name a binary with --usher PATH")?;
    ensure!(built.success(), "usher cannot be built by `cargo build --release`; name a binary with --usher PATH");
    Ok(target.join("release").join("usher"))
}

/// usher as `binary`; a member of those that share a memory, or by itself.
pub(super) fn gateway(
    binary: &Path,
    workers: usize,
    address: SocketAddr,
    directory: &Path,
    (site, member, bystanders): (&Site, Option<Member>, Bystanders),
) -> Result<Recipe> {
    ensure!(
        binary.is_file(),
        "there is no usher at {}; build it by `cargo build --release`, or leave --usher out",
        binary.display()
    );
    let file = directory.join("usher.toml");
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let cluster = member.map(|member| member.section()).unwrap_or_default();
    fs::write(&file, configuration(workers, [address, admin], site, (&cluster, bystanders)))?;
    // More than one worker needs more than one processor.
    let cpus = if workers == 1 { site.cpus.as_slice() } else { &[] };
    let mut command = launch::command(binary, cpus)?;
    command.arg("serve").arg("--config").arg(&file);
    let clean: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("USHER_")).collect();
    for name in clean {
        command.env_remove(name);
    }
    let version = format!("{} ({})", version_of(binary, "--version")?, binary.display());
    Ok(Recipe { part: Part::Gateway, version, command, admin: Some(admin) })
}

fn configuration(
    workers: usize,
    [address, admin]: [SocketAddr; 2],
    site: &Site,
    (cluster, bystanders): (&str, Bystanders),
) -> String {
    let (url, connections) = (site.upstream_url(), site.connections.max(256));
    // Some more than there are, for those of the harness's own checks.
    let most = connections + 100;
    let [id, key, secret] = APP;
    let (shown, trusted) = site.identity.as_ref().map_or_else(Default::default, |identity| {
        let (certificate, key) = (identity.certificate(), identity.key());
        (
            format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"),
            format!("ca_file = {certificate:?}\n"),
        )
    });
    let idle_rules: String = (0..bystanders.rules).map(idle_rule).collect();
    let idle_apps: String = (0..bystanders.apps).map(idle_app).collect();
    format!(
        r#"[server]
listen = "{address}"
workers = {workers}
{shown}
[limits]
max_connections = {most}
max_requests = {most}

[admin]
listen = "{admin}"
token = "{TOKEN}"

[upstream]
url = "{url}"
max_idle = {connections}
timeout = "{TIMEOUT}s"
{trusted}
[assignments]
doubt_period = "{DOUBT}s"
max_channels = {MAX_CHANNELS}
# The stub is as new as this process.
start_doubt = "0s"

{cluster}
[[apps]]
id = "{id}"
key = "{key}"
secret = "{secret}"
{idle_apps}
[[rules]]
name = "staff-assigned"
event = "staff-assigned"
channel = "{{hotelSlug}}-room-{{roomNumber}}-chat"
identity = ["/staff_id", "/staff_name"]
context = ["/conversation_id"]
{idle_rules}"#
    )
}

/// An app that nobody uses.
fn idle_app(number: usize) -> String {
    format!("\n[[apps]]\nid = \"idle-{number:04}\"\nkey = \"idle-key-{number:04}\"\nsecret = \"idle-secret\"\n")
}

/// A rule that watches the messages' event on unused channels.
fn idle_rule(number: usize) -> String {
    format!(
        r#"
[[rules]]
name = "idle-{number:04}"
event = "new-message"
channel = "{{hotelSlug}}-idle-{number:04}-chat"
identity = ["/id"]
"#
    )
}
