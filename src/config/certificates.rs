//! Certificates, keys and authorities: their files are read and checked together with the keys that name them, so that
//! `check`, a start and a reload find the same problems.

use std::path::{Path, PathBuf};

use super::file;
use super::problem::code;
use super::section::{Refused, Section};
use super::unit::MIB;
use crate::tls::{Client, Files, Identity, Purpose, TlsError};

/// The authorities of a whole system take a quarter of this.
const MAX_PEM: usize = MIB;

/// Reads `server.tls`: the certificate that usher presents to its clients.
pub(super) fn server(section: &mut Section<'_>) -> Option<Identity> {
    identity(section, Purpose::Server).unwrap_or_default()
}

/// Reads the keys for TLS in `upstream`: `ca_file`, `certificate` and `key`.
pub(super) fn upstream(section: &mut Section<'_>) -> Client {
    let identity = identity(section, Purpose::Client);
    let authorities = authorities(section);
    let (Ok(identity), Ok(authorities)) = (identity, authorities) else { return Client::default() };
    let authorities = authorities.as_ref().map(|(path, text)| (path.clone(), text.as_slice()));
    Client::new(authorities, identity).unwrap_or_else(|error| {
        section.problem_coded("ca_file", code::FILE, format!("{error}."));
        Client::default()
    })
}

/// Reads `webhooks.ca_file`, for TLS to the receivers of webhooks.
pub(super) fn webhooks(section: &mut Section<'_>) -> Client {
    let Ok(authorities) = authorities(section) else { return Client::default() };
    let authorities = authorities.as_ref().map(|(path, text)| (path.clone(), text.as_slice()));
    Client::new(authorities, None).unwrap_or_else(|error| {
        section.problem_coded("ca_file", code::FILE, format!("{error}."));
        Client::default()
    })
}

/// Reads `cluster.ca_file`, for TLS to the store.
///
/// # Errors
/// It cannot be used.
pub(super) fn cluster(section: &mut Section<'_>) -> Result<Client, Refused> {
    let authorities = authorities(section)?;
    let authorities = authorities.as_ref().map(|(path, text)| (path.clone(), text.as_slice()));
    Client::without_alpn(authorities).map_err(|error| {
        section.problem_coded("ca_file", code::FILE, format!("{error}."));
        Refused
    })
}

/// The path of `ca_file` and the file's content, if it is given and the read mode reads it.
fn authorities(section: &mut Section<'_>) -> Result<Option<(PathBuf, Vec<u8>)>, Refused> {
    match section.path("ca_file") {
        Some(path) if section.report.read_mode.reads_certificates() => {
            Ok(Some((path.clone(), read(section, "ca_file", &path)?)))
        }
        Some(_) | None => Ok(None),
    }
}

/// The pair of `certificate` and `key`, if it is given and the read mode reads it.
fn identity(section: &mut Section<'_>, purpose: Purpose) -> Result<Option<Identity>, Refused> {
    let (certificate, key) = (section.text("certificate"), section.text("key"));
    let missing = match (certificate.is_empty(), key.is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => None,
        (false, true) => Some((
            "key",
            format!("The certificate has no key: set `{}` to its file as well, or neither.", section.key("key")),
        )),
        (true, false) => Some((
            "certificate",
            format!(
                "The key has no certificate: set `{}` to its file as well, or neither.",
                section.key("certificate")
            ),
        )),
    };
    if let Some((key, message)) = missing {
        section.problem_coded(key, code::MISSING, message);
        return Err(Refused);
    }
    if !section.report.read_mode.reads_certificates() {
        return Ok(None);
    }
    let files = Files { certificate: certificate.into(), key: key.into() };
    // Both are read before the first error is returned, so that both errors are reported.
    let (certificate, key) = (read(section, "certificate", &files.certificate), read(section, "key", &files.key));
    match Identity::new(files.clone(), &certificate?, &key?) {
        Ok(identity) => {
            let name = section.key("certificate");
            for warning in identity.warnings(purpose) {
                section.warn("certificate", warning.code, format!("`{name}`: {}.", warning.message), "");
            }
            Ok(Some(identity))
        }
        Err(error) => {
            let is_key = error.path() == Some(&files.key) && files.key != files.certificate;
            section.problem_coded(if is_key { "key" } else { "certificate" }, code::FILE, format!("{error}."));
            Err(Refused)
        }
    }
}

fn read(section: &mut Section<'_>, key: &str, path: &Path) -> Result<Vec<u8>, Refused> {
    file::read(path, MAX_PEM, section.report.read_mode).map(|(content, _)| content).map_err(|source| {
        section.problem_coded(key, code::FILE, format!("{}.", TlsError::Read { path: path.to_owned(), source }));
        Refused
    })
}
