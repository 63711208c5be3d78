//! Recognises the content of a file where a certificate or a private key was expected, from its first bytes and the
//! labels of its PEM blocks (RFC 7468), and describes how to convert it.

use std::fmt;
use std::path::Path;

use super::x509::{self, Value};

/// The expected content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedContent {
    /// One or more certificates.
    Certificate,
    /// A private key that is not encrypted.
    Key,
}

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing, or white space.
    Nothing,
    /// Text in UTF-16, e.g. from an editor on Windows.
    Utf16,
    /// Text in UTF-8 with a byte order mark.
    ByteOrderMark,
    /// A certificate in DER.
    DerCertificate,
    /// A private key in DER.
    DerKey,
    /// A certificate and its key in PKCS #12 (`.p12`, `.pfx`).
    Pkcs12,
    /// A private key that is encrypted with a passphrase.
    EncryptedKey,
    /// A private key.
    Key,
    /// A private key in OpenSSH's format.
    OpenSshKey,
    /// A certificate.
    Certificate,
    /// A certificate in OpenSSL's format.
    TrustedCertificate,
    /// A certificate signing request.
    Request,
    /// Certificates in PKCS #7 (`.p7b`).
    Pkcs7,
    /// A public key.
    PublicKey,
    /// The parameters of a key, e.g. the name of its curve.
    Parameters,
    /// Other content.
    Other,
}

/// The version number with which PKCS #12 begins (RFC 7292 4). The largest version number of a private key's structure
/// is 1 (RFC 5958 2).
const PKCS12_VERSION: &[u8] = &[3];
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

impl Content {
    /// The content of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.trim_ascii().is_empty() {
            return Self::Nothing;
        }
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'-', ..] | [b'-', 0, ..] => return Self::Utf16,
            [0xef, 0xbb, 0xbf, ..] => return Self::ByteOrderMark,
            _ => {}
        }
        match x509::first_of_sequence(bytes) {
            Some(Value { tag: INTEGER, contents: PKCS12_VERSION }) => return Self::Pkcs12,
            Some(Value { tag: INTEGER, .. }) => return Self::DerKey,
            // An encrypted key also begins with a sequence, but its first element is the name of the cipher.
            Some(Value { tag: SEQUENCE, .. }) if x509::Fields::read(bytes).is_some() => return Self::DerCertificate,
            _ => {}
        }
        let text = String::from_utf8_lossy(bytes);
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Self::EncryptedKey;
        }
        let mut labels = text
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
            .map(Self::labelled);
        let first = labels.next().unwrap_or(Self::Other);
        // The parameters of a key precede it.
        if first == Self::Parameters { labels.next().unwrap_or(first) } else { first }
    }

    fn labelled(label: &str) -> Self {
        match label {
            "CERTIFICATE" => Self::Certificate,
            "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => Self::TrustedCertificate,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::Request,
            "PKCS7" | "CMS" => Self::Pkcs7,
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::PublicKey,
            "EC PARAMETERS" | "DH PARAMETERS" | "DSA PARAMETERS" => Self::Parameters,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "OPENSSH PRIVATE KEY" => Self::OpenSshKey,
            label if label.ends_with("PRIVATE KEY") => Self::Key,
            _ => Self::Other,
        }
    }

    /// How to obtain the expected content from this content, as the rest of a sentence.
    pub(super) const fn remedy(self, expected: ExpectedContent, path: &Path) -> Remedy<'_> {
        Remedy { content: self, expected, path }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Utf16 => "text in UTF-16",
            Self::ByteOrderMark => "a byte order mark before its text",
            Self::DerCertificate => "a certificate in DER (binary)",
            Self::DerKey => "a private key in DER (binary)",
            Self::Pkcs12 => "a PKCS #12 archive (.p12, .pfx)",
            Self::EncryptedKey => "an encrypted private key",
            Self::Key => "a private key",
            Self::OpenSshKey => "a private key of OpenSSH",
            Self::Certificate => "a certificate",
            Self::TrustedCertificate => "a certificate in a form of OpenSSL's own",
            Self::Request => "a request for a certificate",
            Self::Pkcs7 => "certificates in PKCS #7 (.p7b)",
            Self::PublicKey => "a public key",
            Self::Parameters => "the parameters of a key",
            Self::Other => "no PEM block that is known",
        })
    }
}

impl fmt::Display for ExpectedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate in PEM (-----BEGIN CERTIFICATE-----)",
            Self::Key => "a private key in PEM without a passphrase (-----BEGIN PRIVATE KEY-----)",
        })
    }
}

/// See [`Content::remedy`].
#[derive(Debug)]
pub(super) struct Remedy<'a> {
    content: Content,
    expected: ExpectedContent,
    path: &'a Path,
}

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (self.content, self.expected) {
            (Content::Utf16, _) => write!(f, "`iconv -f UTF-16 -t UTF-8 {path} > new.pem` makes it plain text"),
            (Content::ByteOrderMark, _) => write!(f, "`tail -c +4 {path} > new.pem` takes the mark away"),
            (Content::DerCertificate, ExpectedContent::Certificate) => {
                write!(f, "`openssl x509 -inform DER -in {path} -out new.pem` makes PEM of it")
            }
            (Content::DerKey, ExpectedContent::Key) => {
                write!(f, "`openssl pkey -inform DER -in {path} -out new.pem` makes PEM of it")
            }
            (Content::Pkcs12, ExpectedContent::Certificate) => {
                write!(f, "`openssl pkcs12 -in {path} -nokeys -out new.pem` takes the certificates out")
            }
            (Content::Pkcs12, ExpectedContent::Key) => {
                write!(f, "`openssl pkcs12 -in {path} -nocerts -nodes -out new.pem` takes the key out")
            }
            (Content::EncryptedKey, ExpectedContent::Key) => {
                write!(
                    f,
                    "`openssl pkey -in {path} -out new.pem` asks for the passphrase and writes the key without it; run `chmod 600` on that file"
                )
            }
            (Content::OpenSshKey, ExpectedContent::Key) => write!(f, "give the key that was made for the certificate"),
            (Content::TrustedCertificate, ExpectedContent::Certificate) => {
                write!(f, "`openssl x509 -in {path} -out new.pem` writes it as usual")
            }
            (Content::Request, ExpectedContent::Certificate) => write!(f, "give what the authority sent back for it"),
            (Content::Pkcs7, ExpectedContent::Certificate) => {
                write!(f, "`openssl pkcs7 -print_certs -in {path} -out new.pem` takes them out")
            }
            (Content::Key | Content::EncryptedKey, ExpectedContent::Certificate) => {
                write!(f, "give the certificate's file here (and the key's as the key)")
            }
            (Content::Certificate, ExpectedContent::Key) => {
                write!(f, "give the key's file here (and the certificate's as the certificate)")
            }
            (Content::Parameters | Content::PublicKey, ExpectedContent::Key) => {
                write!(f, "give the private key that belongs to the certificate")
            }
            _ => write!(
                f,
                "give another file, or copy it again; `openssl` reads {}",
                match self.expected {
                    ExpectedContent::Certificate => "a good one by `openssl x509 -noout -text -in FILE`",
                    ExpectedContent::Key => "a good one by `openssl pkey -noout -text -in FILE`",
                }
            ),
        }
    }
}

/// The DER-encoded object identifiers of the kinds of keys that ring does not support.
const KINDS: [(&[u8], &str); 12] = [
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "an EC key on the curve secp256k1"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "an EC key on the curve P-521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "an EC key on the curve P-224"),
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01], "an EC key on the curve P-192"),
    (&[0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01], "an EC key on a Brainpool curve"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key, which cannot sign"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "an RSA key for RSASSA-PSS alone"),
    (
        &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
        "an RSA key that is too short, too long or damaged",
    ),
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "a damaged EC key"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "a damaged EC key"),
];

/// The name of the kind of a private key (DER) that ring does not accept.
pub(super) fn unusable_kind(key: &[u8]) -> &'static str {
    // The identifier precedes the key itself; in the format of SEC 1 (RFC 5915) it follows the key.
    let found = KINDS.iter().find(|(identifier, _)| key.windows(identifier.len()).any(|window| window == *identifier));
    found.map_or("a private key of a kind that is not known, or damaged", |(_, kind)| kind)
}
