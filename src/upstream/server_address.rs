//! Where a URL leads to: host, port, and whether TLS is spoken there.

use http::Uri;

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Its name or IP address, without the brackets of IPv6.
    pub host: String,
    /// The URL's port, else that of its scheme.
    pub port: u16,
    /// Whether the scheme asks for TLS (`https`, `wss`).
    pub is_tls: bool,
}

/// Why a URL leads to no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerAddressError {
    /// It has no host, or an empty one.
    #[error("it names no host")]
    NoHost,
    /// It has no scheme, or another one.
    #[error("its scheme is neither http nor https, nor ws nor wss")]
    UnknownScheme,
}

impl ServerAddress {
    /// The server of `url`.
    ///
    /// # Errors
    /// The URL has no host, or none of the four schemes.
    pub fn of(url: &Uri) -> Result<Self, ServerAddressError> {
        let host = url.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(ServerAddressError::NoHost);
        }
        let (default_port, is_tls) = match url.scheme_str() {
            Some("http" | "ws") => (80, false),
            Some("https" | "wss") => (443, true),
            Some(_) | None => return Err(ServerAddressError::UnknownScheme),
        };
        Ok(Self { host: host.to_owned(), port: url.port_u16().unwrap_or(default_port), is_tls })
    }

    /// Host and port as in a URL, without the scheme's default port.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default_port = if self.is_tls { 443 } else { 80 };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_decides_on_tls_and_on_the_port() {
        for (url, host, port, is_tls, authority) in [
            ("http://h", "h", 80, false, "h"),
            ("http://h:80", "h", 80, false, "h"),
            ("http://h:443", "h", 443, false, "h:443"),
            ("ws://h:6001/app", "h", 6001, false, "h:6001"),
            ("https://API-eu.pusher.com/", "API-eu.pusher.com", 443, true, "API-eu.pusher.com"),
            ("wss://[::1]:6001", "::1", 6001, true, "[::1]:6001"),
            ("https://[::1]:443", "::1", 443, true, "[::1]"),
            ("HTTPS://192.0.2.7", "192.0.2.7", 443, true, "192.0.2.7"),
        ] {
            let server = ServerAddress { host: host.to_owned(), port, is_tls };
            assert_eq!(server.authority(), authority);
            assert_eq!(ServerAddress::of(&url.parse().unwrap()), Ok(server), "{url}");
        }
    }

    #[test]
    fn other_urls_lead_to_no_server() {
        for (url, error) in [
            ("/path", ServerAddressError::NoHost),
            ("http://:80", ServerAddressError::NoHost),
            ("ftp://h", ServerAddressError::UnknownScheme),
            ("local", ServerAddressError::UnknownScheme),
        ] {
            assert_eq!(ServerAddress::of(&url.parse().unwrap()), Err(error), "{url}");
        }
    }
}
