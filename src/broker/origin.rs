//! The origins whose pages may connect (`broker.allowed_origins`), in the notation of browsers: scheme, host and port,
//! in lower case, without a path and without the scheme's default port (RFC 6454 6.2).

use std::net::Ipv6Addr;

/// The schemes with a default port, which browsers omit.
const DEFAULT_PORTS: [(&str, Option<u16>); 2] = [("http", Some(80)), ("https", Some(443))];

/// One or several origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: every origin.
    Any,
    /// One origin. `null` is the origin of files and sandboxed frames.
    One(String),
    /// `https://*.hotel.example`: the origins of a host and of all its subdomains. The owner of a host controls its
    /// subdomains as well, so both have the same trust.
    Within {
        /// With `://`.
        scheme: String,
        /// The host, with its port if there is one.
        host: String,
    },
}

impl AllowedOrigin {
    /// Parses `text`.
    ///
    /// # Errors
    /// `text` matches no origin that a browser sends. The error says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::One(text)),
            _ => {}
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(format!(
                "An origin begins with the scheme of its pages: write \"https://{}\".",
                text.trim_matches('/')
            ));
        };
        if !is_scheme(scheme) {
            return Err(format!("{scheme:?} is no scheme. Write an origin like \"https://hotel.example\"."));
        }
        if let "ws" | "wss" = scheme {
            return Err(format!(
                "Pages have no origin with {scheme}://. Write the scheme of the page: \"http{}://{authority}\".",
                &scheme[2..]
            ));
        }
        if let Some((host, _)) = authority.split_once(['/', '?', '#']) {
            return Err(format!("An origin has no path, and no slash at its end: write \"{scheme}://{host}\"."));
        }
        let (host, port) =
            split_port(authority).ok_or_else(|| format!("{authority:?} is no host with a port or without one."))?;
        let port = port
            .filter(|port| !DEFAULT_PORTS.contains(&(scheme, Some(*port))))
            .map_or_else(String::new, |port| format!(":{port}"));
        match host.strip_prefix("*.") {
            Some(host) => {
                Ok(Self::Within { scheme: format!("{scheme}://"), host: format!("{}{port}", normalized(host)?) })
            }
            None => Ok(Self::One(format!("{scheme}://{}{port}", normalized(host)?))),
        }
    }

    /// Whether `origin`, as sent by a browser, matches.
    pub(super) fn matches(&self, origin: &[u8]) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::One(one) => origin == one.as_bytes(),
            Self::Within { scheme, host } => {
                let below = origin.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_suffix(host.as_bytes()));
                below.is_some_and(|below| {
                    below.is_empty()
                        || (below.len() > 1 && below.ends_with(b".") && below.iter().all(|byte| is_host_byte(*byte)))
                })
            }
        }
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Splits an authority into the host and the optional port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_ends = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(host_ends);
    if rest.is_empty() {
        return Some((host, None));
    }
    let digits = rest.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().map(|port| (host, Some(port)))
}

/// `host` in the notation of browsers.
fn normalized(host: &str) -> Result<String, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address
            .parse::<Ipv6Addr>()
            .map(|address| format!("[{address}]"))
            .map_err(|_| format!("{host:?} is no IPv6 address."));
    }
    if !host.is_empty() && host.bytes().all(is_host_byte) {
        return Ok(host.to_owned());
    }
    Err(if host.contains('*') {
        "A * stands for every origin (\"*\"), or for a host and all below it (\"https://*.hotel.example\").".to_owned()
    } else if host.is_ascii() {
        format!("{host:?} is no host name. Write an origin like \"https://hotel.example\".")
    } else {
        format!(
            "Browsers write the host {host:?} in ASCII (xn--…): copy what `location.origin` is in the console of a page's browser."
        )
    })
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_differently_is_the_same_origin() {
        for (text, origin) in [
            ("https://hotel.example", "https://hotel.example"),
            ("HTTPS://Hotel.Example", "https://hotel.example"),
            ("https://hotel.example:443", "https://hotel.example"),
            ("https://hotel.example:0443", "https://hotel.example"),
            ("http://hotel.example:80", "http://hotel.example"),
            ("http://hotel.example:443", "http://hotel.example:443"),
            ("https://hotel.example:8443", "https://hotel.example:8443"),
            ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
            ("http://[2001:DB8::0:1]:80", "http://[2001:db8::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("null", "null"),
        ] {
            let allowed = AllowedOrigin::parse(text).unwrap();
            assert!(allowed.matches(origin.as_bytes()), "{text}: {allowed:?}");
            for other in [
                "https://other.example",
                "https://hotel.example.evil.example",
                "https://hotel.example:1",
                "http://hotel",
                "",
            ] {
                assert!(!allowed.matches(other.as_bytes()), "{text}: {allowed:?} {other}");
            }
        }
    }

    #[test]
    fn a_star_stands_for_all_or_for_those_within_a_host() {
        let any = AllowedOrigin::parse("*").unwrap();
        assert!(any.matches(b"https://hotel.example") && any.matches(b"null"));
        let within = AllowedOrigin::parse("https://*.Hotel.example:443").unwrap();
        for origin in
            ["https://hotel.example", "https://a.hotel.example", "https://b.a.hotel.example", "HTTPS://A.HOTEL.EXAMPLE"]
        {
            assert!(within.matches(origin.as_bytes()), "{origin}");
        }
        for origin in [
            "https://.hotel.example",
            "http://a.hotel.example",
            "https://a.hotel.example:8443",
            "https://ahotel.example",
            "https://evil.example/.hotel.example",
            "https://evil.example#.hotel.example",
            "https://u@a.hotel.example",
        ] {
            assert!(!within.matches(origin.as_bytes()), "{origin}");
        }
        let port = AllowedOrigin::parse("http://*.hotel.example:8080").unwrap();
        assert!(port.matches(b"http://a.hotel.example:8080") && !port.matches(b"http://a.hotel.example"));
    }

    #[test]
    fn what_no_browser_sends_is_refused_with_what_to_write() {
        for (text, told) in [
            ("hotel.example", "write \"https://hotel.example\""),
            ("//hotel.example/", "write \"https://hotel.example\""),
            ("https://hotel.example/", "write \"https://hotel.example\""),
            ("https://hotel.example:8443/chat?a", "write \"https://hotel.example:8443\""),
            ("https://hotel.example?a", "no path"),
            ("wss://hotel.example", "\"https://hotel.example\""),
            ("ws://hotel.example", "\"http://hotel.example\""),
            ("1://hotel.example", "is no scheme"),
            ("*://hotel.example", "is no scheme"),
            ("https://*", "A * stands for"),
            ("https://hotel.*", "A * stands for"),
            ("https://*hotel.example", "A * stands for"),
            ("https://*.*.example", "A * stands for"),
            ("https://*.", "is no host name"),
            ("https://", "is no host name"),
            ("https://u@hotel.example", "is no host name"),
            ("https://a b", "is no host name"),
            ("https://hôtel.example", "in ASCII"),
            ("https://hotel.example:", "no host with a port"),
            ("https://hotel.example:x", "no host with a port"),
            ("https://hotel.example:+1", "no host with a port"),
            ("https://hotel.example:65536", "no host with a port"),
            ("https://[::1", "no host with a port"),
            ("https://[x]", "no IPv6 address"),
        ] {
            let problem = AllowedOrigin::parse(text).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
