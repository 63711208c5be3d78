//! `usher healthcheck`: whether the usher of a configuration accepts traffic, as an exit code, for images without a
//! shell or `curl`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use usher::config::{self, Config};
use usher::tls;

use super::block_on;
use super::configuration::Configuration;
use super::http_client::HttpClient;
use super::party::Role;
use super::terminal::{Printable, print, print_error};

const EXAMPLES: &str = "\
Examples:
  usher healthcheck --config /etc/usher/usher.toml";

/// Asks `/readyz` of the admin listener that the configuration names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    configuration: Configuration,
    /// How long to wait for an answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::duration)]
    timeout: Duration,
}

impl Healthcheck {
    /// Asks. Success means 200.
    ///
    /// # Errors
    /// If there is no answer, or another.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = match Config::look_up(&self.configuration.sources()?) {
            Ok(config) => config,
            Err(problems) => {
                // Not EX_CONFIG: container engines accept only 0 and 1.
                print_error(format_args!("{problems}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        let address = reachable(config.admin.listen);
        ensure!(
            address.port() != 0,
            "admin.listen has port 0: the port is known to the usher that serves alone; configure one"
        );
        let url = format!("http://{address}").parse().context("the admin listener's address makes no URL")?;
        let client = HttpClient::new(Role::Admin, &url, tls::Client::default(), self.timeout)?;
        let answer = block_on(async { client.get("/readyz").await }).context("not ready")?;
        let text = String::from_utf8_lossy(answer.body());
        let is_ready = answer.status() == 200 && text.trim() == "ready";
        // The gateway's own refusals carry the header, too, but do not have this status.
        let drains = answer.status() == 503 && answer.headers().contains_key("usher-error");
        ensure!(
            is_ready || drains,
            "the program at {address} does not answer as usher's admin listener does ({}): check admin.listen, and which program listens there \
             (`ss -ltnp`)",
            answer.status()
        );
        if drains {
            bail!("the usher at {address} is not ready: {} {}", answer.status(), Printable(text.trim()));
        }
        print("ready")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The address at which this machine reaches a listener: for one that listens on all addresses, the loopback address.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9601", "127.0.0.1:9601"),
            ("[::]:9601", "[::1]:9601"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
