//! The cause of a failed connection or TLS handshake, in plain words.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

/// Most names of a certificate that are repeated.
const MAX_NAMES: usize = 3;
/// Most characters of a name that are repeated.
const MAX_NAME: usize = 100;

/// The server's certificate is self-signed, and not trusted.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is self-signed and not trusted")]
pub(super) struct SelfSigned;

/// Why a connection or a handshake failed, in plain words, in one line. `error`: of the system or of rustls, or an
/// error that has one as its source.
#[must_use]
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    let mut last = error;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls(error);
        }
        last = error;
        // `io::Error::source` returns the source of the wrapped error, not the wrapped error.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    last.downcast_ref::<io::Error>().map_or_else(|| last.to_string(), system)
}

/// The system's error.
fn system(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        io::ErrorKind::NetworkDown => "the network is down",
        io::ErrorKind::TimedOut => "it timed out",
        io::ErrorKind::ConnectionReset => "connection reset by the peer",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::BrokenPipe => "the peer has closed the connection",
        io::ErrorKind::UnexpectedEof => "the peer closed the connection in the middle of it",
        io::ErrorKind::AddrNotAvailable => "the address is not available",
        io::ErrorKind::PermissionDenied => "the system does not permit it (a firewall?)",
        _ => return error.to_string(),
    };
    words.to_owned()
}

/// An error of TLS.
fn tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the answer is not TLS: does this port speak plain http?".to_owned()
        }
        rustls::Error::AlertReceived(alert) => peers(*alert),
        rustls::Error::NoCertificatesPresented => "the server presents no certificate".to_owned(),
        rustls::Error::PeerIncompatible(_) => {
            "no version or cipher suite of TLS in common (usher speaks TLS 1.2 and 1.3)".to_owned()
        }
        other => other.to_string(),
    }
}

/// The alert by which the peer ended the handshake.
fn peers(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::ProtocolVersion => {
            "the peer speaks no version of TLS that usher speaks (1.2, 1.3)".to_owned()
        }
        AlertDescription::UnrecognisedName => "the peer has no certificate for this name".to_owned(),
        alert => format!("the peer ended the handshake with the alert {alert:?}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", rough(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet (or this machine's clock is slow)".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the certificate is issued by an authority that is not trusted (unknown issuer)".to_owned()
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut text = format!("the certificate is for another name than {}", printable(&expected.to_str()));
            for (index, name) in presented.iter().take(MAX_NAMES).enumerate() {
                let before = if index == 0 { ": it is for" } else { "," };
                write!(text, "{before} {}", printable(bare(name))).expect("a string takes any text");
            }
            if presented.len() > MAX_NAMES {
                text.push_str(", …");
            }
            text
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers (extended key usage)".to_owned()
        }
        CertificateError::Other(OtherError(other)) if other.is::<SelfSigned>() => SelfSigned.to_string(),
        other => other.to_string(),
    }
}

/// The name in `DnsName("h")`, as rustls writes the names of a certificate.
fn bare(name: &str) -> &str {
    name.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")")).unwrap_or(name)
}

/// A name from the network in one line, cut.
fn printable(name: &str) -> String {
    name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect()
}

/// A time in its greatest unit.
fn rough(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..=119 => (seconds, "seconds"),
        120..=7199 => (seconds / 60, "minutes"),
        7200..=172_799 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: io::ErrorKind) -> String {
        cause(&io::Error::from(kind))
    }

    #[test]
    fn causes_are_plain_words() {
        assert_eq!(of(io::ErrorKind::ConnectionRefused), "connection refused");
        assert_eq!(of(io::ErrorKind::HostUnreachable), "no route to the host");
        let wrapped = |error: CertificateError| cause(&io::Error::other(rustls::Error::InvalidCertificate(error)));
        assert_eq!(wrapped(CertificateError::Expired), "the certificate has expired");
        assert!(wrapped(CertificateError::UnknownIssuer).contains("unknown issuer"));
        assert!(wrapped(CertificateError::Other(OtherError(std::sync::Arc::new(SelfSigned)))).contains("self-signed"));
        let names = CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("a.example").unwrap().to_owned(),
            presented: ["DnsName(\"b.example\")", "DnsName(\"\u{1b}[2J\")"].map(str::to_owned).to_vec(),
        };
        assert_eq!(
            wrapped(names),
            "the certificate is for another name than a.example: it is for b.example, \\u{1b}[2J"
        );
    }

    #[test]
    fn a_time_has_one_unit() {
        assert_eq!(
            [rough(1), rough(600), rough(7200), rough(864_000)],
            ["1 seconds", "10 minutes", "2 hours", "10 days"]
        );
    }
}
