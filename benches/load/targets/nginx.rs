//! nginx with one worker: as a reverse proxy that keeps its connections upstream, and as a server that answers without
//! an upstream.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Part, Recipe, Site, installed, version_of};
use crate::launch;
use crate::secure::SUITE;

/// `proxy_pass` with keep-alive, and as a WebSocket proxy below `/app/`.
pub(super) fn proxy(address: SocketAddr, directory: &Path, site: &Site) -> Result<Option<Recipe>> {
    let trust = site.identity.as_ref().map_or_else(String::new, |identity| {
        format!(
            "proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites {SUITE}; proxy_ssl_verify on; proxy_ssl_name localhost; \
             proxy_ssl_trusted_certificate {};",
            identity.certificate().display()
        )
    });
    let scheme = if site.identity.is_some() { "https" } else { "http" };
    let location = |headers: &str| format!("proxy_pass {scheme}://stub; proxy_http_version 1.1; {headers} {trust}");
    let locations = format!(
        "location / {{ {} }}\nlocation /app/ {{ {} }}",
        location("proxy_set_header Connection \"\";"),
        location("proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;")
    );
    recipe(Part::Proxy, &locations, address, directory, site)
}

/// `return 200`: the reference for answers without an upstream.
pub(super) fn responder(address: SocketAddr, directory: &Path, site: &Site) -> Result<Option<Recipe>> {
    let location = "location / { default_type application/json; return 200 '{}'; }";
    recipe(Part::Responder, location, address, directory, site)
}

fn recipe(part: Part, locations: &str, address: SocketAddr, directory: &Path, site: &Site) -> Result<Option<Recipe>> {
    let Some(program) = installed("nginx") else { return Ok(None) };
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration(locations, address, directory, site))?;
    let mut command = launch::command(&program, &site.cpus)?;
    command.arg("-p").arg(directory).arg("-c").arg(&file).arg("-e").arg(directory.join("error.log"));
    Ok(Some(Recipe { part, version: version_of(&program, "-v")?, command, admin: None }))
}

fn configuration(locations: &str, address: SocketAddr, directory: &Path, site: &Site) -> String {
    let Site { upstream, connections, .. } = site;
    let keepalive = (*connections).max(128);
    let (tls, certificate) = match &site.identity {
        None => ("", String::new()),
        Some(identity) => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {SUITE};",
                identity.certificate().display(),
                identity.key().display()
            ),
        ),
    };
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {directory}/{what};\n"))
        .concat();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 20000; }}
http {{
access_log off;
keepalive_requests 1000000000;
{temporary}
upstream stub {{ server {upstream}; keepalive {keepalive}; keepalive_requests 1000000000; }}
server {{
listen {address}{tls} backlog=1024;
{certificate}
{locations}
}}
}}
"
    )
}
