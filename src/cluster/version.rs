//! Which server it is, as its `INFO server` says.

use std::fmt;

/// A server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `Redis` or `Valkey`.
    pub product: &'static str,
    /// The number, as the server writes it.
    pub number: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.number)
    }
}

impl Version {
    /// The version in an `INFO server`. Valkey gives the version of Redis from which it comes as `redis_version`, and
    /// its own as `valkey_version`.
    pub(super) fn read(info: &str) -> Option<Self> {
        let of = |product, number: &str| Self { product, number: number.chars().take(40).collect() };
        field(info, "valkey_version")
            .map(|number| of("Valkey", number))
            .or_else(|| field(info, "redis_version").map(|number| of("Redis", number)))
    }

    /// Whether it refuses scripts that begin with `#!lua` on a replica: from Redis 7.0 and Valkey 7.2 on.
    pub(super) fn suffices(&self) -> bool {
        let mut parts = self.number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let found = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        found >= if self.product == "Valkey" { (7, 2) } else { (7, 0) }
    }
}

/// A field of an `INFO`.
pub(super) fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_product() {
        for (info, shown, suffices) in [
            ("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n", "Redis 7.0.15", true),
            ("redis_version:6.2.14\r\n", "Redis 6.2.14", false),
            ("redis_version:10.1.0\r\n", "Redis 10.1.0", true),
            ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n", "Valkey 8.0.1", true),
            ("redis_version:7.2.4\r\nvalkey_version:7.2.0\r\n", "Valkey 7.2.0", true),
            ("redis_version:7.0.0\r\nvalkey_version:7.1.9\r\n", "Valkey 7.1.9", false),
            ("redis_version:\r\n", "Redis ", false),
            ("redis_version:7\r\n", "Redis 7", true),
        ] {
            let version = Version::read(info).expect("a version");
            assert_eq!((version.to_string(), version.suffices()), (shown.to_owned(), suffices));
        }
        assert_eq!(Version::read("# Server\r\nno_redis_version:7.0.0\r\n"), None);
    }
}
