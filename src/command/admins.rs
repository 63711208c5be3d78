//! The admin listeners of running ushers that a command asks: addresses, tokens, and what each is called in the output.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use http::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use usher::config::Config;
use usher::tls;

use super::credentials::read_secret;
use super::healthcheck::reachable;
use super::http_client::HttpClient;
use super::party::Role;

/// The variable with the token, as in the configuration.
const TOKEN_VARIABLE: &str = "USHER_ADMIN__TOKEN";

/// Which running ushers are asked.
#[derive(Debug, Args)]
pub(super) struct Admins {
    /// The admin listener of a running usher, e.g. http://127.0.0.1:9601; once for each usher.
    #[arg(long = "admin", value_name = "URL")]
    urls: Vec<Uri>,
    /// A file with the admin token: once for all, or once for each --admin in the same order. Else the token is taken
    /// from the variable USHER_ADMIN__TOKEN.
    #[arg(long = "token-file", value_name = "FILE")]
    token_files: Vec<PathBuf>,
    /// More certificate authorities (PEM), for a proxy with TLS before an admin listener.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// The admin listener of one usher.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    /// Scheme, host and port.
    pub(super) url: Uri,
    /// The token, if one is known.
    pub(super) token: Option<String>,
    /// What tells it from the others: a part of its host and port.
    pub(super) name: String,
}

impl Listener {
    /// A client with its token; an exchange may take `time_limit`.
    ///
    /// # Errors
    /// The address or the token has a form that cannot be used.
    pub(super) fn client(&self, tls: tls::Client, time_limit: Duration) -> anyhow::Result<HttpClient> {
        let client = HttpClient::new(Role::Admin, &self.url, tls, time_limit)?;
        match &self.token {
            Some(token) => client.with_token(token),
            None => Ok(client),
        }
    }

    /// The JSON document of this target, whose answer may take `time_limit`.
    ///
    /// # Errors
    /// It does not answer, or not as usher does.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        target: &str,
        tls: &tls::Client,
        time_limit: Duration,
    ) -> anyhow::Result<T> {
        let answer = self.client(tls.clone(), time_limit)?.get(target).await?;
        ensure!(
            answer.status() == StatusCode::OK,
            "{} answers GET {target} with {}: is it the admin listener of this version, and the token right (--token-file, {TOKEN_VARIABLE})?",
            self.name,
            answer.status()
        );
        serde_json::from_slice(answer.body())
            .with_context(|| format!("{} answers GET {target} with something else", self.name))
    }
}

impl Admins {
    /// Whether an address is given.
    pub(super) const fn are_given(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Whether a token or an authority is given.
    pub(super) const fn have_credentials(&self) -> bool {
        !self.token_files.is_empty() || self.ca_file.is_some()
    }

    /// The authorities that are trusted for all of them.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn tls(&self) -> anyhow::Result<tls::Client> {
        Ok(tls::Client::read(self.ca_file.as_deref())?)
    }

    /// The listeners that are given; none if none is.
    ///
    /// # Errors
    /// An address is no admin listener's, or is given twice; a token's file cannot be read, or there are not as many as
    /// addresses.
    pub(super) fn listeners(&self) -> anyhow::Result<Vec<Listener>> {
        let files = self.token_files.len();
        ensure!(
            files <= 1 || files == self.urls.len(),
            "--token-file is given {files} times and --admin {} times: give one token for all, or one for each",
            self.urls.len()
        );
        let tokens = self.tokens()?;
        let places = self.urls.iter().map(Place::of).collect::<anyhow::Result<Vec<_>>>()?;
        let listener = |(index, (url, name)): (usize, (&Uri, String))| Listener {
            url: url.clone(),
            token: token(tokens.get(index).or_else(|| tokens.first()).cloned(), None),
            name,
        };
        Ok(self.urls.iter().zip(names(&places)?).enumerate().map(listener).collect())
    }

    /// The listener of `config`, with its token unless a file is given.
    ///
    /// # Errors
    /// It has no known port, or the token's file cannot be read.
    pub(super) fn configured(&self, config: &Config) -> anyhow::Result<Listener> {
        let address = reachable(config.admin.listen);
        ensure!(address.port() != 0, "admin.listen has port 0: name the listener with --admin");
        let url = format!("http://{address}").parse().context("the admin listener's address makes no URL")?;
        ensure!(self.token_files.len() <= 1, "--token-file is given several times, and --admin is not given");
        let configured = config.admin.token.as_ref().map(|token| token.0.clone());
        Ok(Listener { url, token: token(self.tokens()?.pop(), configured), name: address.to_string() })
    }

    /// The content of each file of a token.
    fn tokens(&self) -> anyhow::Result<Vec<String>> {
        let read = |path: &PathBuf| {
            read_secret(path).with_context(|| format!("the admin token cannot be read from {}", path.display()))
        };
        self.token_files.iter().map(read).collect()
    }
}

/// The token of a file, else of the configuration, else of the variable.
fn token(of_file: Option<String>, configured: Option<String>) -> Option<String> {
    let token = of_file.or(configured).or_else(|| std::env::var(TOKEN_VARIABLE).ok());
    token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Host and port of an address.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
}

impl Place {
    /// # Errors
    /// The address has not the form of an admin listener's.
    fn of(url: &Uri) -> anyhow::Result<Self> {
        let usual = match url.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
        match (url.host(), usual) {
            (Some(host), Some(usual)) if is_bare => {
                Ok(Self { host: host.to_owned(), port: url.port_u16().unwrap_or(usual) })
            }
            _ => anyhow::bail!(
                "{url} is no address of an admin listener: write scheme, host and port, like http://127.0.0.1:9601"
            ),
        }
    }

    /// The first label of a host name; `None` for an address.
    fn label(&self) -> Option<String> {
        let is_address = self.host.starts_with('[') || self.host.parse::<std::net::IpAddr>().is_ok();
        self.host.split('.').next().filter(|_| !is_address).map(str::to_owned)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The shortest names that tell the places apart: the first label of each host name, the host, the port, or both.
///
/// # Errors
/// One of them is there twice.
fn names(places: &[Place]) -> anyhow::Result<Vec<String>> {
    let is_one_host = places.iter().all(|place| place.host == places[0].host);
    let all = |name: fn(&Place) -> Option<String>| places.iter().map(name).collect::<Option<Vec<_>>>();
    let ways = [
        all(Place::label),
        all(|place| Some(place.host.clone())),
        all(|place| Some(format!(":{}", place.port))).filter(|_| is_one_host),
        all(|place| Some(place.to_string())),
    ];
    let differ = |names: &Vec<String>| names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
    if let Some(names) = ways.into_iter().flatten().find(differ) {
        return Ok(names);
    }
    let twice = places.iter().enumerate().find(|(index, place)| places[..*index].contains(place));
    anyhow::bail!("--admin names {} twice", twice.map(|(_, place)| place.to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(urls: &[&str]) -> anyhow::Result<Vec<String>> {
        let places = urls.iter().map(|url| Place::of(&url.parse()?)).collect::<anyhow::Result<Vec<_>>>()?;
        names(&places)
    }

    #[test]
    fn names_are_what_differs() {
        for (urls, expected) in [
            (&["http://usher-1:9601", "http://usher-2:9601"][..], &["usher-1", "usher-2"][..]),
            (&["https://a.example.com", "http://b.example.com:9601"], &["a", "b"]),
            (&["http://a.one.example", "http://a.two.example"], &["a.one.example", "a.two.example"]),
            (&["http://127.0.0.1:9601", "http://127.0.0.1:9603"], &[":9601", ":9603"]),
            (&["http://10.0.0.1:9601", "http://10.0.0.2:9601"], &["10.0.0.1", "10.0.0.2"]),
            (&["http://[::1]:1", "http://[::2]:1"], &["[::1]", "[::2]"]),
            (&["http://a:1", "http://a:2", "http://b:1"], &["a:1", "a:2", "b:1"]),
            (&["http://a:1"], &["a"]),
            (&[], &[]),
        ] {
            assert_eq!(named(urls).unwrap(), expected, "{urls:?}");
        }
        for urls in [["http://a", "http://a:80/"], ["https://a", "http://a:443"]] {
            assert!(named(&urls).unwrap_err().to_string().contains(" twice"), "{urls:?}");
        }
        for url in ["127.0.0.1:9601", "http://a/triggers", "http://a?x", "ftp://a", "/x"] {
            assert!(named(&[url]).unwrap_err().to_string().contains("like http://127.0.0.1:9601"), "{url}");
        }
    }
}
