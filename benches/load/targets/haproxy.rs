//! HAProxy in HTTP mode with one thread, reusing its connections upstream.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Part, Recipe, Site, installed, version_of};
use crate::launch;
use crate::secure::SUITE;

/// `mode http`, `http-reuse always`.
pub(super) fn proxy(address: SocketAddr, directory: &Path, site: &Site) -> Result<Option<Recipe>> {
    let Some(program) = installed("haproxy") else { return Ok(None) };
    let (shown, trust) = site.identity.as_ref().map_or_else(Default::default, |identity| {
        (
            format!("ssl crt {} ssl-min-ver TLSv1.3 ciphersuites {SUITE}", identity.both().display()),
            format!(
                "ssl verify required ca-file {} ssl-min-ver TLSv1.3 ciphersuites {SUITE}",
                identity.certificate().display()
            ),
        )
    });
    let file = directory.join("haproxy.cfg");
    let configuration = format!(
        "global
  nbthread 1
  maxconn 3000
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 10s
  timeout tunnel 1h
  http-reuse always
frontend in
  bind {address} backlog 1024 {shown}
  default_backend out
backend out
  server stub {} {trust}
",
        site.upstream
    );
    fs::write(&file, configuration)?;
    let mut command = launch::command(&program, &site.cpus)?;
    command.arg("-db").arg("-f").arg(&file);
    Ok(Some(Recipe { part: Part::Proxy, version: version_of(&program, "-v")?, command, admin: None }))
}
