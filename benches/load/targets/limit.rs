//! A loop that copies bytes: see [`crate::limit`].

use std::net::SocketAddr;

use anyhow::Result;

use super::{Part, Recipe, Site};
use crate::{launch, limit};

/// `None`: it does not speak TLS.
pub(super) fn copier(address: SocketAddr, site: &Site, part: Part) -> Result<Option<Recipe>> {
    if site.identity.is_some() {
        return Ok(None);
    }
    let mut command = launch::command(&std::env::current_exe()?, &site.cpus)?;
    let upstream = if part == Part::Responder { limit::ANSWERS.to_owned() } else { site.upstream.to_string() };
    command.args([limit::ROLE, &address.port().to_string(), &upstream]);
    Ok(Some(Recipe { part, version: "the harness's own".to_owned(), command, admin: None }))
}
