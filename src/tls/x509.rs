//! Parses a few fields of a certificate: validity period, issuer, subject and extended key usage. rustls does not
//! expose them, and a complete X.509 parser would add about fifteen crates for a few bytes of a file of the operator's.

use time::{Date, Month};

/// DER tags (X.690 8.1.2; RFC 5280 4.1).
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-ce-extKeyUsage (RFC 5280 4.2.1.12).
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// anyExtendedKeyUsage.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// id-kp-serverAuth: for TLS servers.
pub(super) const SERVER_USAGE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// id-kp-clientAuth: for TLS clients.
pub(super) const CLIENT_USAGE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// Fields of a certificate. Times are in seconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The issuer's encoded name.
    pub(super) issuer: &'a [u8],
    /// The subject's encoded name.
    pub(super) subject: &'a [u8],
    /// `None`: not encoded according to RFC 5280 4.1.2.5.
    pub(super) not_before: Option<i64>,
    /// The same.
    pub(super) not_after: Option<i64>,
    usages: KeyUsages<'a>,
}

/// The extended key usages of a certificate.
#[derive(Debug)]
enum KeyUsages<'a> {
    /// There is no limit.
    Any,
    /// Only these, by their object identifiers.
    Only(Vec<&'a [u8]>),
}

impl<'a> Fields<'a> {
    /// Parses a certificate in DER. `None` if its structure does not follow RFC 5280 4.1.
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).expect(SEQUENCE)?);
        let mut body = Der(outer.expect(SEQUENCE)?);
        body.optional(VERSION)?;
        let _serial = body.expect(INTEGER)?;
        let _algorithm = body.expect(SEQUENCE)?;
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.next()?, validity.next()?);
        let subject = body.expect(SEQUENCE)?;
        let _key = body.expect(SEQUENCE)?;
        let mut usages = KeyUsages::Any;
        while let Some(value) = body.next() {
            if value.tag == EXTENSIONS {
                usages = extended_key_usages(value.contents)?;
            }
        }
        Some(Self { issuer, subject, not_before: time_of(not_before), not_after: time_of(not_after), usages })
    }

    /// Whether the certificate may be used for `usage`.
    pub(super) fn is_for(&self, usage: &[u8]) -> bool {
        match &self.usages {
            KeyUsages::Any => true,
            KeyUsages::Only(usages) => usages.iter().any(|&found| found == usage || found == ANY_USAGE),
        }
    }
}

/// `notAfter` of a certificate in DER, in seconds since the Unix epoch. `None` if the structure of the certificate does
/// not follow RFC 5280 4.1.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    Fields::read(certificate)?.not_after
}

/// The first value in the DER sequence at the beginning of `bytes`. `None` if there is no
/// complete sequence.
pub(super) fn first_of_sequence(bytes: &[u8]) -> Option<Value<'_>> {
    Der(Der(bytes).expect(SEQUENCE)?).next()
}

/// The extended key usages in the extensions. `None`: the extensions are malformed.
fn extended_key_usages(extensions: &[u8]) -> Option<KeyUsages<'_>> {
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some(Value { tag: SEQUENCE, contents }) = extensions.next() {
        let mut extension = Der(contents);
        let name = extension.expect(OID)?;
        extension.optional(BOOLEAN)?;
        let value = extension.expect(OCTET_STRING)?;
        if name == EXTENDED_KEY_USAGE {
            let mut usages = Der(Der(value).expect(SEQUENCE)?);
            return Some(KeyUsages::Only(std::iter::from_fn(|| usages.expect(OID)).collect()));
        }
    }
    Some(KeyUsages::Any)
}

/// The time in a DER value.
fn time_of(value: Value<'_>) -> Option<i64> {
    let text = value.contents;
    match value.tag {
        UTC_TIME => {
            let (year, rest) = two_digits(text)?;
            // RFC 5280 4.1.2.5.1
            let century = if year >= 50 { 1900 } else { 2000 };
            time(century + u16::from(year), rest)
        }
        GENERALIZED_TIME => {
            let (century, rest) = two_digits(text)?;
            let (year, rest) = two_digits(rest)?;
            time(u16::from(century) * 100 + u16::from(year), rest)
        }
        _ => None,
    }
}

/// A DER value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
}

/// The remaining values of a DER sequence.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value.
    fn next(&mut self) -> Option<Value<'a>> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Value { tag, contents })
    }

    /// Skips the next value if it has this tag. `None`: the value is malformed.
    fn optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }

    /// The contents of the next value, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.contents)
    }
}

/// Seconds since the Unix epoch of `MMDDHHMMSSZ` in `year`.
fn time(year: u16, text: &[u8]) -> Option<i64> {
    let (month, text) = two_digits(text)?;
    let (day, text) = two_digits(text)?;
    let (hour, text) = two_digits(text)?;
    let (minute, text) = two_digits(text)?;
    let (second, text) = two_digits(text)?;
    let date = Date::from_calendar_date(year.into(), Month::try_from(month).ok()?, day).ok()?;
    let time = date.with_hms(hour, minute, second).ok()?;
    (text == b"Z").then(|| time.assume_utc().unix_timestamp())
}

/// The number in the first two bytes, and the remaining bytes.
fn two_digits(text: &[u8]) -> Option<(u8, &[u8])> {
    let (number @ [tens, ones], rest) = text.split_first_chunk()?;
    number.iter().all(u8::is_ascii_digit).then(|| ((tens - b'0') * 10 + (ones - b'0'), rest))
}
