//! usher in front of the stub, complete: the operator's listener on, the reference's rule, one worker.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Part, Recipe, Site, free_port, version_of};
use crate::launch;
use crate::supply::APP;

/// Channels that it can remember: some more than any run needs, since the cap is divided among the shards.
const MAX_CHANNELS: usize = 1_200_000;

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

/// usher as `binary`.
pub(super) fn gateway(
    binary: &Path,
    workers: usize,
    address: SocketAddr,
    directory: &Path,
    site: &Site,
) -> Result<Recipe> {
    ensure!(
        binary.is_file(),
        "there is no usher at {}; build it by `cargo build --release`, or leave --usher out",
        binary.display()
    );
    let file = directory.join("usher.toml");
    fs::write(&file, configuration(workers, address, site)?)?;
    // More than one worker needs more than one processor.
    let cpus = if workers == 1 { site.cpus.as_slice() } else { &[] };
    let mut command = launch::command(binary, cpus)?;
    command.arg("serve").arg("--config").arg(&file);
    let clean: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("USHER_")).collect();
    for name in clean {
        command.env_remove(name);
    }
    let version = format!("{} ({})", version_of(binary, "--version")?, binary.display());
    Ok(Recipe { part: Part::Gateway, version, command })
}

fn configuration(workers: usize, address: SocketAddr, site: &Site) -> Result<String> {
    let admin = free_port()?;
    let (url, idle) = (site.upstream_url(), site.connections.max(256));
    let [id, key, secret] = APP;
    let (shown, trusted) = site.identity.as_ref().map_or_else(Default::default, |identity| {
        let (certificate, key) = (identity.certificate(), identity.key());
        (
            format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"),
            format!("ca_file = {certificate:?}\n"),
        )
    });
    let idle_rules: String = (0..site.idle_rules).map(idle_rule).collect();
    Ok(format!(
        r#"[server]
listen = "{address}"
workers = {workers}
{shown}
[admin]
listen = "127.0.0.1:{admin}"

[upstream]
url = "{url}"
max_idle = {idle}
{trusted}
[assignments]
max_channels = {MAX_CHANNELS}
# The stub is as new as this process.
start_doubt = "0s"

[[apps]]
id = "{id}"
key = "{key}"
secret = "{secret}"

[[rules]]
name = "staff-assigned"
event = "staff-assigned"
channel = "{{hotelSlug}}-room-{{roomNumber}}-chat"
identity = ["/staff_id", "/staff_name"]
context = ["/conversation_id"]
{idle_rules}"#
    ))
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
