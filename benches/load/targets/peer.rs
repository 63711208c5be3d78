//! Any other proxy, given by its command.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Part, Recipe, Site, installed};
use crate::launch;

/// The words of `command` with `{port}` and `{upstream}` filled in; `None` if its program is not there.
pub(super) fn proxy(command: &str, address: SocketAddr, site: &Site) -> Result<Option<Recipe>> {
    let filled = command.replace("{port}", &address.port().to_string()).replace("{upstream}", &site.upstream_url());
    let mut words = filled.split_whitespace();
    let program = words.next().context("a peer needs a command, e.g. --peer 'envoy=envoy -c envoy.yaml'")?;
    let there =
        if program.contains('/') { Path::new(program).is_file().then(|| program.into()) } else { installed(program) };
    let Some(there) = there else { return Ok(None) };
    let mut command = launch::command(&there, &site.cpus)?;
    command.args(words);
    Ok(Some(Recipe { part: Part::Proxy, version: filled, command, admin: None }))
}
