//! Access control: the `Host` check against DNS rebinding, and the bearer token.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, Version};
use subtle::ConstantTimeEq;

use super::Access;
use super::refusal::Refusal;

/// Checks that the `Host` is an IP address, `localhost` or one of the `allowed` names. A page of another name cannot make
/// a browser send such a host (threats.md ADM-02). The listener's own address is configured as an IP literal, so it is
/// accepted.
///
/// # Errors
/// The host is another name, or is missing or ambiguous.
pub(super) fn host<B>(request: &Request<B>, allowed: &[String]) -> Result<(), Refusal> {
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
    if header.into_iter().chain(target).all(|authority| is_accepted(authority, allowed)) {
        Ok(())
    } else {
        Err(Refusal::ForeignHost)
    }
}

/// Whether `authority` is `localhost`, an IP literal or an allowed name, with or without a port.
fn is_accepted(authority: &str, allowed: &[String]) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
    };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, rest)| address.parse::<Ipv6Addr>().is_ok() && is_port(rest));
    }
    let (name, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    let is_allowed = allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed));
    (is_allowed || name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()) && is_port(rest)
}

/// What a bearer token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// To read.
    Read,
    /// To read, and to change something.
    Change,
}

/// What the bearer token of `headers` allows. It is compared with both configured ones, in constant time.
///
/// # Errors
/// No token is configured, or the token is missing or wrong.
pub(super) fn permission(headers: &HeaderMap, access: &Access) -> Result<Permission, Refusal> {
    let [all, read] =
        [&access.token, &access.read_token].map(|token| token.as_deref().filter(|token| !token.is_empty()));
    if all.or(read).is_none() {
        return Err(Refusal::TokenNotSet);
    }
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return Err(Refusal::TokenMissing) };
    let (scheme, token) = given.as_bytes().split_at_checked("Bearer ".len()).ok_or(Refusal::TokenMissing)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Refusal::TokenMissing);
    }
    let is = |configured: Option<&str>| {
        configured.is_some_and(|configured| bool::from(token.trim_ascii().ct_eq(configured.as_bytes())))
    };
    match (is(all), is(read)) {
        (true, _) => Ok(Permission::Change),
        (false, true) => Ok(Permission::Read),
        (false, false) => Err(Refusal::TokenWrong),
    }
}

/// Checks that a request may change something.
///
/// # Errors
/// There is no token that allows it, or the request has not this one.
pub(super) fn may_change(permission: Result<Permission, Refusal>, access: &Access) -> Result<(), Refusal> {
    if access.token.as_deref().is_none_or(str::is_empty) {
        return Err(Refusal::TokenNotSet);
    }
    match permission? {
        Permission::Change => Ok(()),
        Permission::Read => Err(Refusal::TokenReadsOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, read_token: Option<&str>) -> Access {
        Access { token: token.map(Into::into), read_token: read_token.map(Into::into), ..Access::default() }
    }

    #[test]
    fn allowed_names_are_accepted_whole_and_in_any_case() {
        let allowed = ["usher.hotel.example".to_owned()];
        for host in ["usher.hotel.example", "Usher.Hotel.Example:9601", "localhost", "127.0.0.1:9601"] {
            assert!(is_accepted(host, &allowed), "{host}");
        }
        for host in
            ["hotel.example", "x.usher.hotel.example", "usher.hotel.example.evil.example", "usher.hotel.example."]
        {
            assert!(!is_accepted(host, &allowed), "{host}");
        }
    }

    #[test]
    fn each_token_allows_what_it_is_for() {
        let both = access(Some("all"), Some("read"));
        let given = |token: &str, access: &Access| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            let allowed = permission(&headers, access);
            (allowed.clone().ok(), may_change(allowed, access))
        };
        assert_eq!(given("all", &both), (Some(Permission::Change), Ok(())));
        assert_eq!(given("read", &both), (Some(Permission::Read), Err(Refusal::TokenReadsOnly)));
        assert_eq!(given("other", &both), (None, Err(Refusal::TokenWrong)));
        let read = access(None, Some("read"));
        assert_eq!(given("read", &read), (Some(Permission::Read), Err(Refusal::TokenNotSet)));
    }

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
            assert!(is_accepted(host, &[]), "{host}");
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
            assert!(!is_accepted(host, &[]), "{host}");
        }
    }

    #[test]
    fn only_the_whole_token_fits() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            permission(&headers, &access(Some("s3cret"), None))
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
        assert!(matches!(permission(&headers, &access(Some(""), Some(""))), Err(Refusal::TokenNotSet)));
        assert!(matches!(permission(&headers, &access(None, None)), Err(Refusal::TokenNotSet)));
    }

    #[test]
    fn two_tokens_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer s3cret".parse().unwrap());
        assert!(matches!(permission(&headers, &access(Some("s3cret"), None)), Err(Refusal::TokenMissing)));
    }
}
