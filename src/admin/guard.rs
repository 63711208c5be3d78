//! Access control: the `Host` check against DNS rebinding, and the bearer token.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, Version};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;

/// Checks that the `Host` is an IP address or `localhost`. A page of another name cannot make a browser send such a
/// host (threats.md ADM-02). The listener's own address is configured as an IP literal, so it is accepted.
///
/// # Errors
/// The host is another name, or is missing or ambiguous.
pub(super) fn host<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let header = match header {
        Some(header) => Some(header.to_str().map_err(|_| Refusal::BadHost)?),
        // HTTP/1.0 may omit it; no browser does.
        None if request.version() == Version::HTTP_10 => None,
        None => return Err(Refusal::BadHost),
    };
    if header.into_iter().chain(target).all(is_local_name) { Ok(()) } else { Err(Refusal::ForeignHost) }
}

/// Whether `authority` is `localhost` or an IP literal, with or without a port.
fn is_local_name(authority: &str) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
    };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, rest)| address.parse::<Ipv6Addr>().is_ok() && is_port(rest));
    }
    let (name, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()) && is_port(rest)
}

/// Checks the bearer token of `headers` against the configured one, in constant time.
///
/// # Errors
/// No token is configured, or the token is missing or wrong.
pub(super) fn token(headers: &HeaderMap, configured: Option<&str>) -> Result<(), Refusal> {
    let configured = configured.filter(|token| !token.is_empty()).ok_or(Refusal::TokenNotSet)?;
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return Err(Refusal::TokenMissing) };
    let (scheme, token) = given.as_bytes().split_at_checked("Bearer ".len()).ok_or(Refusal::TokenMissing)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Refusal::TokenMissing);
    }
    if bool::from(token.trim_ascii().ct_eq(configured.as_bytes())) { Ok(()) } else { Err(Refusal::TokenWrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local() {
        for host in [
            "localhost",
            "LOCALHOST:9601",
            "127.0.0.1",
            "127.0.0.1:9601",
            "10.2.3.4:80",
            "[::1]",
            "[::1]:9601",
            "localhost:",
        ] {
            assert!(is_local_name(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_not_local() {
        let others = [
            "",
            ":",
            "evil.example",
            "localhost.evil.example",
            "evil.example:9601",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "::1",
        ];
        for host in others.into_iter().chain([
            "[::1",
            "[::1]evil",
            "[localhost]",
            "localhost:x",
            "localhost:99999",
            "a@localhost",
            "localhost@a",
            "localhost.",
        ]) {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn only_the_whole_token_fits() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            token(&headers, Some("s3cret"))
        };
        assert!(given("Bearer s3cret").is_ok() && given("bearer  s3cret ").is_ok());
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer S3CRET", "Bearer "] {
            assert!(matches!(given(wrong), Err(Refusal::TokenWrong)), "{wrong:?}");
        }
        for missing in ["", "s3cret", "Basic s3cret", "Bearer", "Bearers3cret"] {
            assert!(matches!(given(missing), Err(Refusal::TokenMissing)), "{missing:?}");
        }
    }

    #[test]
    fn an_empty_token_admits_nobody() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer ".parse().unwrap());
        assert!(matches!(token(&headers, Some("")), Err(Refusal::TokenNotSet)));
        assert!(matches!(token(&headers, None), Err(Refusal::TokenNotSet)));
    }

    #[test]
    fn two_tokens_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer s3cret".parse().unwrap());
        assert!(matches!(token(&headers, Some("s3cret")), Err(Refusal::TokenMissing)));
    }
}
